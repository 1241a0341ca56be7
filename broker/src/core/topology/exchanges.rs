//! Declaring and deleting exchanges: the rules EXCH-01..31.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret_protocol::{Fault, Table, TableBuf, Value};

use super::{Command, Planned, Standing, Topology, faults, names, strip_cr_lf};
use crate::core::equivalence::inequivalent_argument;
use crate::core::exchange::{self, Exchange, ExchangeId, Kind};
use crate::core::permission::{Part, Permitted, Resource};

/// The argument that names the exchange for what cannot be routed.
const ALTERNATE: &str = "alternate-exchange";

/// What `exchange.declare` asks for. Passive declares are [`Topology::check_exchange`].
#[derive(Clone, Copy, Debug)]
pub struct ExchangeDeclare<'a> {
    /// The name as it came.
    pub name: &'a str,
    /// The type's name.
    pub kind: &'a str,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted when its last binding as a source goes (EXCH-25).
    pub auto_delete: bool,
    /// Not for publishers (EXCH-28).
    pub internal: bool,
    /// The arguments.
    pub arguments: Table<'a>,
}

/// What `exchange.delete` asks for.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeDelete<'a> {
    /// The name as it came.
    pub name: &'a str,
    /// Only if it is the source of no binding (EXCH-22, EXCH-23).
    pub if_unused: bool,
}

/// What an exchange was declared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSpec {
    /// Its identity, unlike the name never used again.
    pub id: ExchangeId,
    /// Its name, without CR and LF; "" for the default exchange.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static Kind,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted when its last binding as a source goes.
    pub auto_delete: bool,
    /// Not for publishers.
    pub internal: bool,
    /// Its arguments as they were declared.
    pub arguments: TableBuf,
}

impl ExchangeSpec {
    pub(super) fn predeclared(
        id: u64,
        name: &'static str,
        kind: &'static Kind,
        internal: bool,
    ) -> Self {
        Self {
            id: ExchangeId(id),
            name: Arc::from(name),
            kind,
            durable: true,
            auto_delete: false,
            internal,
            arguments: TableBuf::new(),
        }
    }

    /// What a declaration that finds it has to wait for.
    pub(crate) fn standing(&self) -> Standing {
        match self.durable {
            true => Standing::Recorded,
            false => Standing::Transient,
        }
    }

    /// The alternate exchange that the arguments name (AE-01).
    fn alternate(&self) -> Option<Arc<str>> {
        let value = self.arguments.view().get(ALTERNATE)?;
        let name = std::str::from_utf8(value.as_long_str()?).ok()?;
        Some(Arc::from(name))
    }
}

/// One exchange of a vhost.
#[derive(Debug)]
pub struct ExchangeState {
    spec: Arc<ExchangeSpec>,
    pub(super) rules: Box<dyn Exchange>,
    argument_alternate: Option<Arc<str>>,
    policy_alternate: Option<Arc<str>>,
    routes_by_key: bool,
    generation: Arc<AtomicU64>,
}

impl ExchangeState {
    pub(super) fn new(spec: ExchangeSpec, policy_alternate: Option<Arc<str>>) -> Self {
        let rules = exchange::make(spec.kind, spec.arguments.view());
        Self {
            routes_by_key: spec.kind.routes_by_key && !rules.looks_at_messages(),
            rules,
            argument_alternate: spec.alternate(),
            policy_alternate,
            generation: Arc::default(),
            spec: Arc::new(spec),
        }
    }

    /// What it was declared with.
    pub fn spec(&self) -> &Arc<ExchangeSpec> {
        &self.spec
    }

    /// How it finds destinations.
    pub fn rules(&self) -> &dyn Exchange {
        &*self.rules
    }

    /// True when exchange and routing key alone decide where a message goes.
    pub fn routes_by_key(&self) -> bool {
        self.routes_by_key
    }

    /// The name of its alternate exchange, which need not exist (AE-03, AE-07).
    pub fn alternate(&self) -> Option<&str> {
        let argument = self.argument_alternate.as_deref();
        argument.or(self.policy_alternate.as_deref())
    }

    /// Takes the alternate that policies name now.
    pub(super) fn set_policy_alternate(&mut self, name: Option<&str>) {
        if self.policy_alternate.as_deref() != name {
            self.policy_alternate = name.map(Arc::from);
            self.next_generation();
        }
    }

    /// Counts the changes that may alter where it sends messages, its deletion included.
    pub fn generation(&self) -> &Arc<AtomicU64> {
        &self.generation
    }

    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Topology {
    /// `exchange.declare` with the passive bit: nothing but existence counts (EXCH-07, EXCH-08).
    ///
    /// # Errors
    /// 403 for the default exchange, 404 for a missing one.
    pub fn check_exchange(&self, name: &str) -> Result<&ExchangeState, Fault> {
        let name = strip_cr_lf(name);
        check_not_default(&name)?;
        self.existing_exchange(&name)
    }

    /// `exchange.declare`. Asks about the exchange, and when it is new and has an alternate,
    /// about it once more and about the alternate (PERM-09, PERM-12).
    ///
    /// # Errors
    /// 406 for an unknown type, a declaration that differs or arguments that the type refuses, 403 for a
    /// reserved name, and whatever `permitted` answers.
    pub fn plan_declare_exchange(
        &self,
        request: &ExchangeDeclare<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Planned<Standing>, Fault> {
        let kind = exchange::kind(request.kind)
            .ok_or_else(|| faults::unknown_exchange_type(request.kind))?;
        let name = strip_cr_lf(request.name);
        check_not_default(&name)?;
        permitted(Part::Exchange, Resource::Exchange(&name))?;
        if let Some(current) = self.exchange(name.as_bytes()) {
            self.check_equivalent_exchange(current.spec(), kind, request)?;
            return Ok(Planned::Answer(current.spec().standing()));
        }
        if names::is_reserved(&name) {
            return Err(faults::reserved_name("exchange", &name));
        }
        if let Some(limit) = faults::reached(self.limits.exchanges_max, self.exchanges.len()) {
            return Err(faults::exchange_limit(&name, &self.vhost, limit));
        }
        self.check_alternate(&name, request.arguments, permitted)?;
        exchange::check_arguments(kind, request.arguments)?;
        Ok(Planned::Apply(Command::DeclareExchange(ExchangeSpec {
            id: ExchangeId(self.ids.take()),
            name: Arc::from(&*name),
            kind,
            durable: request.durable,
            auto_delete: request.auto_delete,
            internal: request.internal,
            arguments: request.arguments.to_owned(),
        })))
    }

    /// `exchange.delete`. Asks about the exchange; a missing one is deleted already
    /// (EXCH-19).
    ///
    /// # Errors
    /// 403 for the default exchange and system exchanges, 406 for one in use, and whatever `permitted`
    /// answers.
    pub fn plan_delete_exchange(
        &self,
        request: &ExchangeDelete<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Planned<Standing>, Fault> {
        let name = strip_cr_lf(request.name);
        check_not_default(&name)?;
        let resource = faults::exchange(&name, &self.vhost);
        if names::is_reserved(&name) {
            return Err(faults::system_exchange(resource));
        }
        permitted(Part::Exchange, Resource::Exchange(&name))?;
        match self.exchange(name.as_bytes()) {
            None => Ok(Planned::Answer(Standing::Recorded)),
            Some(current) if request.if_unused && self.bindings.has_source(current.spec.id) => {
                Err(faults::in_use(resource))
            }
            Some(current) => Ok(Planned::Apply(Command::DeleteExchange(current.spec.id))),
        }
    }

    /// The exchange that a client publishes to, known by the name as it came.
    ///
    /// # Errors
    /// 404 if it is missing (PUB-01), 403 if it is internal (EXCH-28).
    pub fn exchange_for_publish(&self, name: &[u8]) -> Result<&ExchangeState, Fault> {
        let Some(exchange) = self.exchange(name) else {
            let name = String::from_utf8_lossy(name);
            return Err(faults::missing(faults::exchange(&name, &self.vhost)));
        };
        match exchange.spec.internal {
            true => Err(faults::internal_exchange(faults::exchange(
                &exchange.spec.name,
                &self.vhost,
            ))),
            false => Ok(exchange),
        }
    }

    pub(super) fn existing_exchange(&self, name: &str) -> Result<&ExchangeState, Fault> {
        self.exchange(name.as_bytes())
            .ok_or_else(|| faults::missing(faults::exchange(name, &self.vhost)))
    }

    /// Compares in the order of EXCH-13.
    fn check_equivalent_exchange(
        &self,
        current: &ExchangeSpec,
        kind: &Kind,
        request: &ExchangeDeclare<'_>,
    ) -> Result<(), Fault> {
        let resource = faults::exchange(&current.name, &self.vhost);
        if kind != current.kind {
            let (received, current) = (kind.name, current.kind.name);
            return Err(faults::inequivalent("type", resource, received, current));
        }
        let flags = [
            ("durable", request.durable, current.durable),
            ("auto_delete", request.auto_delete, current.auto_delete),
            ("internal", request.internal, current.internal),
        ];
        faults::check_flags(resource, &flags)?;
        let (current, received) = (current.arguments.view(), request.arguments);
        match inequivalent_argument(current, received, [ALTERNATE], &resource) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn check_alternate(
        &self,
        name: &str,
        arguments: Table<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<(), Fault> {
        match arguments.get(ALTERNATE) {
            None => Ok(()),
            Some(Value::LongStr(alternate)) => {
                let alternate = String::from_utf8_lossy(alternate);
                permitted(Part::DivertingExchange, Resource::Exchange(name))?;
                permitted(Part::AlternateExchange, Resource::Exchange(&alternate))
            }
            Some(other) => {
                let resource = faults::exchange(name, &self.vhost);
                Err(faults::invalid_argument_type(&other, ALTERNATE, resource))
            }
        }
    }
}

/// The default exchange can be published to and nothing else (EXCH-31).
pub(super) fn check_not_default(name: &str) -> Result<(), Fault> {
    match name.is_empty() {
        true => Err(faults::default_exchange()),
        false => Ok(()),
    }
}
