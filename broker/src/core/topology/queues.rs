//! Declaring, finding and deleting queues: the rules QUEUE-01..30 and EXCL-01..10 as far as they
//! concern names, owners and arguments.

use std::sync::Arc;

use leveret_protocol::{Fault, ReplyCode, Table};

use super::{Command, Planned, Topology, faults, names, queue_type, strip_cr_lf};
use crate::core::permission::{Part, Permitted, Resource};
use crate::core::queue::QueueId;
use crate::core::queue::arguments::{
    QueueArguments, QueueType, arguments_inequivalence, dead_letter_exchange,
};
use crate::core::queue_handle::{ConnectionId, QueueHandle, QueueSpec};

/// What `queue.declare` asks for. Passive declares are [`Topology::check_queue`].
#[derive(Clone, Copy, Debug)]
pub struct QueueDeclare<'a> {
    /// The name as it came; if nothing is left of it without CR and LF, the queue is server-named
    /// (QUEUE-05, TABLE-12).
    pub name: &'a str,
    /// The name of a server-named queue: `amq.gen-` and 22 random characters. Only looked at when
    /// `name` is empty.
    pub generated_name: &'a str,
    /// Survives a restart; without effect for an exclusive queue (EXCL-05).
    pub durable: bool,
    /// Only for this connection, and deleted with it.
    pub exclusive: bool,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// The arguments.
    pub arguments: Table<'a>,
    /// Who asks.
    pub connection: ConnectionId,
    /// The most queues that the vhost may have, if it is limited (QUEUE-30).
    pub queues_max: Option<usize>,
}

impl QueueDeclare<'_> {
    fn is_durable(&self) -> bool {
        self.durable && !self.exclusive
    }

    fn owner(&self) -> Option<ConnectionId> {
        self.exclusive.then_some(self.connection)
    }
}

impl Topology {
    /// The queue that a client gets from, consumes from or purges, known by the name as it came.
    ///
    /// # Errors
    /// 404 if it is missing, then 405 if it is another connection's (PERM-17).
    pub fn queue_for(
        &self,
        name: &[u8],
        connection: ConnectionId,
    ) -> Result<Arc<QueueHandle>, Fault> {
        let Some(queue) = self.queue(name) else {
            let name = String::from_utf8_lossy(name);
            return Err(faults::missing(faults::queue(&name, &self.vhost)));
        };
        self.check_access(queue, connection)?;
        Ok(Arc::clone(queue))
    }

    /// `queue.declare` with the passive bit (QUEUE-06, QUEUE-08, QUEUE-09).
    ///
    /// # Errors
    /// 404 if it is missing, 405 if it is another connection's.
    pub fn check_queue(
        &self,
        name: &str,
        connection: ConnectionId,
    ) -> Result<Arc<QueueHandle>, Fault> {
        self.queue_for(strip_cr_lf(name).as_bytes(), connection)
    }

    /// `queue.declare`. Asks about the queue, and when it is new and has a dead-letter
    /// exchange, about it once more and about that exchange (PERM-03, PERM-08).
    ///
    /// # Errors
    /// 403 for a reserved name, 405 for a queue that is locked, 406 for a declaration that differs, an
    /// invalid argument, a property that the type cannot have or a full vhost, 540 for a stream, and whatever `permitted` answers.
    pub fn plan_declare_queue(
        &self,
        request: &QueueDeclare<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Planned<Arc<QueueHandle>>, Fault> {
        let arguments = queue_type::with_default_type(request, self.default_queue_type);
        let request = &QueueDeclare {
            arguments: arguments.view(),
            ..*request
        };
        let stripped = strip_cr_lf(request.name);
        let name = match &*stripped {
            "" => {
                queue_type::check_server_named(QueueType::of(request.arguments))?;
                request.generated_name
            }
            reserved if names::is_reserved(reserved) => {
                return Err(faults::reserved_name("queue", reserved));
            }
            name => name,
        };
        permitted(Part::Queue, Resource::Queue(name))?;
        if let Some(current) = self.queue(name.as_bytes()) {
            self.check_equivalent_queue(current.spec(), request)?;
            return Ok(Planned::Answer(Arc::clone(current)));
        }
        self.check_new_queue(name, request, permitted)?;
        Ok(Planned::Apply(Command::DeclareQueue(QueueSpec {
            id: QueueId(self.ids.take()),
            name: Arc::from(name),
            durable: request.is_durable(),
            auto_delete: request.auto_delete,
            exclusive_owner: request.owner(),
            arguments: request.arguments.to_owned(),
            of_exchange: None,
        })))
    }

    /// `queue.delete` up to the queue's own conditions: the queue to be retired, or `None` if it is
    /// missing, which is no error (QUEUE-20). Asks about the queue.
    ///
    /// # Errors
    /// 405 if it is another connection's, and whatever `permitted` answers.
    pub fn check_delete_queue(
        &self,
        name: &str,
        connection: ConnectionId,
        permitted: &mut Permitted<'_>,
    ) -> Result<Option<Arc<QueueHandle>>, Fault> {
        let name = strip_cr_lf(name);
        permitted(Part::Queue, Resource::Queue(&name))?;
        let Some(queue) = self.queue(name.as_bytes()) else {
            return Ok(None);
        };
        self.check_access(queue, connection)?;
        Ok(Some(Arc::clone(queue)))
    }

    /// The exclusive queues of a connection, in the order in which they were declared.
    pub fn exclusive_queues(&self, owner: ConnectionId) -> Vec<Arc<QueueHandle>> {
        let ids = self.exclusive.get(&owner).into_iter().flatten();
        ids.filter_map(|id| self.queues.get(id).cloned()).collect()
    }

    /// An exclusive queue is for its owner alone (EXCL-03).
    pub(super) fn check_access(
        &self,
        queue: &QueueHandle,
        connection: ConnectionId,
    ) -> Result<(), Fault> {
        match queue.spec().exclusive_owner {
            Some(owner) if owner != connection => Err(self.locked(queue.name())),
            _ => Ok(()),
        }
    }

    fn locked(&self, name: &str) -> Fault {
        faults::locked(faults::queue(name, &self.vhost))
    }

    /// Compares in the order of QUEUE-14.
    fn check_equivalent_queue(
        &self,
        current: &QueueSpec,
        request: &QueueDeclare<'_>,
    ) -> Result<(), Fault> {
        if current.exclusive_owner != request.owner() {
            return Err(self.locked(&current.name));
        }
        let flags = [
            ("durable", request.is_durable(), current.durable),
            ("auto_delete", request.auto_delete, current.auto_delete),
        ];
        faults::check_flags(faults::queue(&current.name, &self.vhost), &flags)?;
        let (name, vhost) = (&current.name, &self.vhost);
        let arguments = current.arguments.view();
        match arguments_inequivalence(arguments, request.arguments, name, vhost) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn check_new_queue(
        &self,
        name: &str,
        request: &QueueDeclare<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<(), Fault> {
        if let Some(limit) = request.queues_max
            && self.queues.len() >= limit
        {
            return Err(faults::queue_limit(name, &self.vhost, limit));
        }
        self.check_dead_letter_exchange(name, request.arguments, permitted)?;
        let arguments = QueueArguments::check(request.arguments, name, &self.vhost)?;
        queue_type::check_properties(request, arguments.queue_type, name, &self.vhost)
    }

    /// Comes before every other argument is looked at (QARG-15, PERM-08).
    fn check_dead_letter_exchange(
        &self,
        name: &str,
        arguments: Table<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<(), Fault> {
        let Some(exchange) = dead_letter_exchange(arguments, name, &self.vhost)? else {
            return Ok(());
        };
        permitted(Part::DeadLetteringQueue, Resource::Queue(name))?;
        let exchange = String::from_utf8_lossy(exchange);
        permitted(Part::DeadLetterExchange, Resource::Exchange(&exchange))
    }
}

/// What `queue.delete` says when the queue has consumers (QUEUE-21).
pub(crate) fn queue_in_use(name: &str, vhost: &str) -> Fault {
    faults::in_use(faults::queue(name, vhost))
}

/// What `queue.delete` says when the queue has ready messages (QUEUE-22).
pub(crate) fn queue_not_empty(name: &str, vhost: &str) -> Fault {
    faults::not_empty(faults::queue(name, vhost))
}

/// "Last declared queue" of a channel that has declared none (QUEUE-17).
pub fn no_previously_declared_queue() -> Fault {
    Fault::new(ReplyCode::NotFound, "no previously declared queue")
}
