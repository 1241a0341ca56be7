//! Binding and unbinding: the rules BIND-01..21.

use leveret_protocol::{Fault, Table};

use super::exchanges::check_not_default;
use super::{Command, ExchangeState, Planned, Standing, Topology, faults, strip_cr_lf};
use crate::core::binding::{Binding, BindingId, Destination};
use crate::core::exchange::{NewBinding, TOPIC};
use crate::core::permission::{Part, Permitted, Resource};
use crate::core::queue::arguments::QueueType;
use crate::core::queue_handle::ConnectionId;

/// What `queue.bind`, `queue.unbind`, `exchange.bind` and `exchange.unbind` ask for. The shorthands
/// of a channel (BIND-06, BIND-07) are written out already.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'a> {
    /// The source exchange's name as it came.
    pub source: &'a str,
    /// The destination.
    pub destination: BindTo<'a>,
    /// The binding key.
    pub routing_key: &'a [u8],
    /// The arguments.
    pub arguments: Table<'a>,
    /// Who asks.
    pub connection: ConnectionId,
}

/// A destination's name as it came.
#[derive(Clone, Copy, Debug)]
pub enum BindTo<'a> {
    /// A queue.
    Queue(&'a str),
    /// An exchange.
    Exchange(&'a str),
}

impl Topology {
    /// `queue.bind` and `exchange.bind`. Asks about the destination, the source, and
    /// the key of a topic exchange (PERM-06, PERM-07, PERM-13).
    ///
    /// # Errors
    /// 403 for the default exchange, 404 for a missing end (the source first, BIND-04), 406 for
    /// a key or arguments that the kind refuses, 405 for another connection's queue, and whatever `permitted`
    /// answers.
    pub fn plan_bind(
        &self,
        request: &BindRequest<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Planned<Standing>, Fault> {
        self.check_binding_names(request, permitted)?;
        let source = self.existing_exchange(&strip_cr_lf(request.source))?;
        let destination = self.existing_destination(request.destination)?;
        self.check_new_binding(source, destination, request)?;
        self.check_destination_access(destination, request.connection)?;
        let binding = binding(source, destination, request);
        if let Some(bound) = self.bindings.find(&binding) {
            return Ok(Planned::Answer(bound.standing()));
        }
        match faults::reached(self.limits.bindings_max, self.bindings.count()) {
            Some(limit) => Err(faults::binding_limit(&self.vhost, limit)),
            None => Ok(Planned::Apply(Command::Bind(self.with_id(source, binding)))),
        }
    }

    /// `queue.unbind` and `exchange.unbind`. Asks for what binding asks for; whatever is missing is
    /// unbound already (BIND-10).
    ///
    /// # Errors
    /// 403 for the default exchange, 405 for an existing binding of another connection's queue
    /// (BIND-11), and whatever `permitted` answers.
    pub fn plan_unbind(
        &self,
        request: &BindRequest<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Planned<Standing>, Fault> {
        self.check_binding_names(request, permitted)?;
        let source = self.exchange(strip_cr_lf(request.source).as_bytes());
        let (Some(source), Ok(destination)) =
            (source, self.existing_destination(request.destination))
        else {
            return Ok(Planned::Answer(Standing::Recorded));
        };
        let binding = binding(source, destination, request);
        if !self.bindings.contains(&binding) {
            return Ok(Planned::Answer(Standing::Recorded));
        }
        self.check_destination_access(destination, request.connection)?;
        Ok(Planned::Apply(Command::Unbind(binding)))
    }

    /// What comes before existence: permissions and the default exchange's rule.
    fn check_binding_names(
        &self,
        request: &BindRequest<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<(), Fault> {
        let source = strip_cr_lf(request.source);
        match request.destination {
            BindTo::Queue(name) => {
                permitted(Part::DestinationQueue, Resource::Queue(&strip_cr_lf(name)))?;
            }
            BindTo::Exchange(name) => {
                let name = strip_cr_lf(name);
                permitted(Part::DestinationExchange, Resource::Exchange(&name))?;
                check_not_default(&name)?;
            }
        }
        check_not_default(&source)?;
        permitted(Part::Source, Resource::Exchange(&source))?;
        match self.exchange(source.as_bytes()) {
            Some(exchange) if *exchange.spec().kind == TOPIC => {
                let (exchange, routing_key) = (&*source, request.routing_key);
                let topic = Resource::Topic {
                    exchange,
                    routing_key,
                };
                permitted(Part::BindingKey, topic)
            }
            _ => Ok(()),
        }
    }

    fn existing_destination(&self, to: BindTo<'_>) -> Result<Destination, Fault> {
        match to {
            BindTo::Exchange(name) => {
                let exchange = self.existing_exchange(&strip_cr_lf(name))?;
                Ok(Destination::Exchange(exchange.spec().id))
            }
            BindTo::Queue(name) => {
                let name = strip_cr_lf(name);
                let queue = self.queue(name.as_bytes());
                let queue =
                    queue.ok_or_else(|| faults::missing(faults::queue(&name, &self.vhost)))?;
                Ok(Destination::Queue(queue.id()))
            }
        }
    }

    /// What the source's kind has to say.
    fn check_new_binding(
        &self,
        source: &ExchangeState,
        destination: Destination,
        request: &BindRequest<'_>,
    ) -> Result<(), Fault> {
        let spec = source.spec();
        let queue_type = match destination {
            Destination::Queue(id) => self.queues.get(&id),
            Destination::Exchange(_) => None,
        };
        (spec.kind.check_binding)(&NewBinding {
            source_arguments: spec.arguments.view(),
            routing_key: request.routing_key,
            arguments: request.arguments,
            queue_type: queue_type.map(|queue| QueueType::of(queue.spec().arguments.view())),
        })
    }

    /// A binding is durable when both its ends are (DUR-01, DUR-07).
    fn with_id(&self, source: &ExchangeState, binding: Binding) -> Binding {
        let leads_on = match binding.destination() {
            Destination::Queue(id) => self.queues.get(&id).is_some_and(|to| to.spec().durable),
            Destination::Exchange(id) => {
                let exchange = self.exchanges.get(&id);
                exchange.is_some_and(|to| to.spec().durable)
            }
        };
        match source.spec().durable && leads_on {
            true => binding.durable_as(BindingId(self.ids.take())),
            false => binding,
        }
    }

    fn check_destination_access(
        &self,
        destination: Destination,
        connection: ConnectionId,
    ) -> Result<(), Fault> {
        match destination {
            Destination::Queue(id) => match self.queues.get(&id) {
                Some(queue) => self.check_access(queue, connection),
                None => Ok(()),
            },
            Destination::Exchange(_) => Ok(()),
        }
    }
}

fn binding(source: &ExchangeState, destination: Destination, request: &BindRequest<'_>) -> Binding {
    let source = source.spec().id;
    Binding::new(source, destination, request.routing_key, request.arguments)
}

impl Binding {
    fn standing(&self) -> Standing {
        match self.durable_id() {
            Some(_) => Standing::Recorded,
            None => Standing::Transient,
        }
    }
}
