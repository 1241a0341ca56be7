//! [`Vhost`]: a [`Topology`] under its lock, the dealings between it and the queues, and the sink that
//! takes down what outlives a restart.
//!
//! The lock's rules:
//!
//! * It is held for one plan, one command or one walk, and never while a queue's lock is taken. So a
//!   queue is deleted in two steps: it is *retired* by its own rules first (it then refuses offers and
//!   consumers), and leaves the topology second. Whoever declares it in between sees it as it was;
//!   that declaration counts as earlier than the deletion, whose answer is yet to come. Whoever
//!   publishes to it in between loses the message with the queue (ROUTE-04).
//! * A change is planned under the read lock first, since most declarations find what they declare;
//!   if something has to change, it is planned again under the write lock, for it may have changed
//!   meanwhile.
//! * Whoever publishes takes a part of the lock ([`ShardedLock`]), whoever changes something all of it:
//!   publishers on many cores would else count each other in and out in one place, which is what takes
//!   the time of a look that lasts less than a microsecond.
//! * A change is handed to the [`CatalogSink`] before the write lock is released. So whoever sees a
//!   durable thing can ask when it is safe, and is never told an earlier time than its change got.
//!
//! What it is not: a keeper of rules; those are in [`crate::core::topology`].
//!
//! Invariants: a queue that has left the topology is retired, or is about to be by who removed it. A vhost
//! that was sealed (see `deletion.rs`) writes nothing down any more.

mod deletion;
mod holding;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

use leveret_protocol::Fault;
use leveret_storage::Epoch;

use super::exchange::{ExchangeId, Kind, Routing};
use super::permission::Permitted;
use super::queue::arguments::QueueType;
use super::queue::{DeleteConditions, DeleteRefused, QueueId};
use super::queue_handle::{ConnectionId, QueueHandle};
use super::reserve::{Reserve, Share};
use super::route::{NoExchange, Targets};
use super::topology::{
    Applied, BindRequest, CatalogSink, Change, Command, ExchangeDeclare, ExchangeDelete, Ids,
    MakeQueue, Planned, QueueDeclare, Standing, Topology, TopologyLimits, check_delete_conditions,
    queue_in_use, queue_not_empty,
};

/// One vhost.
#[derive(Debug)]
pub struct Vhost {
    name: Arc<str>,
    topology: ShardedLock<Topology>,
    sink: Option<Arc<dyn CatalogSink>>,
    changing_policies: Mutex<()>,
    /// Set under the topology's write lock.
    is_sealed: AtomicBool,
    /// What is in it, of the broker's reserve.
    share: Share,
}

/// A vhost that nobody else can change or look at meanwhile.
#[derive(Debug)]
pub struct VhostChange<'v> {
    vhost: &'v Vhost,
    topology: ShardedLockWriteGuard<'v, Topology>,
}

impl VhostChange<'_> {
    /// The topology as it is now.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Carries out a command that was planned on this topology.
    pub fn apply(&mut self, command: Command) -> Applied {
        self.vhost
            .changed(&mut self.topology, |topology| topology.apply(command))
    }

    /// When everything durable that can be seen now is safe, if that needs waiting for.
    pub fn recorded(&self) -> Option<Epoch> {
        self.vhost.recorded()
    }
}

/// Why a queue was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has consumers (QUEUE-21).
    InUse,
    /// It has ready messages (QUEUE-22).
    NotEmpty,
}

/// What a deletion led to.
#[derive(Clone, Debug, Default)]
pub struct Deleted {
    /// How many messages were ready (QUEUE-19).
    pub ready: u64,
    /// What has changed; nothing if the queue was missing.
    pub applied: Applied,
}

impl Vhost {
    /// A vhost with the predeclared exchanges (EXCH-01) and ids of its own, which keeps nothing.
    pub fn new(name: impl Into<Arc<str>>, make_queue: MakeQueue) -> Self {
        Self::with(Topology::new(name, Ids::default(), make_queue), None)
    }

    /// A vhost that begins with this, restored or empty. Predeclared exchanges that it lacks are added
    /// and taken down.
    pub fn with(topology: Topology, sink: Option<Arc<dyn CatalogSink>>) -> Self {
        Self::within(&Reserve::new(0), topology, sink)
    }

    /// The same, whose exchanges, queues and bindings come out of this reserve. What there is already is
    /// counted, whatever is left.
    pub fn within(
        reserve: &Arc<Reserve>,
        topology: Topology,
        sink: Option<Arc<dyn CatalogSink>>,
    ) -> Self {
        let vhost = Self::bare(reserve, topology, sink);
        vhost.changed(&mut vhost.topology_mut(), Topology::declare_predeclared);
        vhost
    }

    /// A new vhost, and its predeclared exchanges, which are for the caller to take down before anybody else
    /// knows of the vhost.
    pub fn unrecorded(
        reserve: &Arc<Reserve>,
        mut topology: Topology,
        sink: Option<Arc<dyn CatalogSink>>,
    ) -> (Self, Applied) {
        let applied = topology.declare_predeclared();
        (Self::bare(reserve, topology, sink), applied)
    }

    fn bare(
        reserve: &Arc<Reserve>,
        topology: Topology,
        sink: Option<Arc<dyn CatalogSink>>,
    ) -> Self {
        let share = reserve.share();
        share.cover(holding::of_all(&topology));
        Self {
            share,
            name: Arc::clone(topology.vhost()),
            topology: ShardedLock::new(topology),
            sink,
            changing_policies: Mutex::default(),
            is_sealed: AtomicBool::new(false),
        }
    }

    /// The vhost's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Sets which type a queue is of that is declared without one (QARG-35).
    pub fn set_default_queue_type(&self, queue_type: QueueType) {
        self.topology_mut().set_default_queue_type(queue_type);
    }

    /// Sets how much there may be in it from now on.
    pub fn set_limits(&self, limits: TopologyLimits) {
        self.topology_mut().set_limits(limits);
    }

    /// The topology, to be looked at. Do not call into a queue while holding it.
    pub fn topology(&self) -> ShardedLockReadGuard<'_, Topology> {
        // Commands are applied by code that does not panic; should it ever, the state it leaves is
        // still one that routes, and refusing every publisher would be worse.
        self.topology.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while policies change and the queues are told, by whoever does so. It comes before every
    /// other lock.
    pub(super) fn changing_policies(&self) -> MutexGuard<'_, ()> {
        self.changing_policies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a command from elsewhere. For policies there is [`super::policy::change`], which tells
    /// the queues too.
    pub fn apply(&self, command: Command) -> Applied {
        let applied = self.changed(&mut self.topology_mut(), |topology| topology.apply(command));
        retire_own_queues(&applied);
        applied
    }

    /// Several commands as one change. Who begins changes of several vhosts does so in the order of their
    /// names, and calls no queue meanwhile.
    pub fn begin_change(&self) -> VhostChange<'_> {
        VhostChange {
            vhost: self,
            topology: self.topology_mut(),
        }
    }

    /// When everything durable that can be seen in the vhost now is safe, if that needs waiting for.
    pub fn recorded(&self) -> Option<Epoch> {
        self.sink.as_ref()?.recorded()
    }

    /// `exchange.declare`, passive (EXCH-07).
    ///
    /// # Errors
    /// As [`Topology::check_exchange`].
    pub fn check_exchange(&self, name: &str) -> Result<Applied, Fault> {
        let topology = self.topology();
        let standing = topology
            .check_exchange(name)
            .map(|exchange| exchange.spec().standing());
        Ok(self.unchanged(self.or_deleted(standing)?))
    }

    /// `exchange.declare`.
    ///
    /// # Errors
    /// As [`Topology::plan_declare_exchange`].
    pub fn declare_exchange(
        &self,
        request: &ExchangeDeclare<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Applied, Fault> {
        self.change(|topology| topology.plan_declare_exchange(request, permitted))
    }

    /// `exchange.delete`.
    ///
    /// # Errors
    /// As [`Topology::plan_delete_exchange`].
    pub fn delete_exchange(
        &self,
        request: &ExchangeDelete<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Applied, Fault> {
        self.change(|topology| topology.plan_delete_exchange(request, permitted))
    }

    /// `queue.bind` and `exchange.bind`. Whoever publishes after this returns is routed by it
    /// (BIND-21).
    ///
    /// # Errors
    /// As [`Topology::plan_bind`].
    pub fn bind(
        &self,
        request: &BindRequest<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Applied, Fault> {
        self.change(|topology| topology.plan_bind(request, permitted))
    }

    /// `queue.unbind` and `exchange.unbind`.
    ///
    /// # Errors
    /// As [`Topology::plan_unbind`].
    pub fn unbind(
        &self,
        request: &BindRequest<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<Applied, Fault> {
        self.change(|topology| topology.plan_unbind(request, permitted))
    }

    /// `queue.declare`, passive (QUEUE-08, QUEUE-09). Ask the queue for its counts.
    ///
    /// # Errors
    /// As [`Topology::check_queue`].
    pub fn check_queue(
        &self,
        name: &str,
        connection: ConnectionId,
    ) -> Result<(Arc<QueueHandle>, Applied), Fault> {
        let queue = self.topology().check_queue(name, connection);
        Ok(self.found(self.or_deleted(queue)?))
    }

    /// `queue.declare`: the queue, found or made, and what has changed. Ask the queue for its counts.
    ///
    /// # Errors
    /// As [`Topology::plan_declare_queue`].
    pub fn declare_queue(
        &self,
        request: &QueueDeclare<'_>,
        permitted: &mut Permitted<'_>,
    ) -> Result<(Arc<QueueHandle>, Applied), Fault> {
        if let Planned::Answer(queue) = self.topology().plan_declare_queue(request, permitted)? {
            return Ok(self.found(queue));
        }
        let mut topology = self.unsealed_mut()?;
        match topology.plan_declare_queue(request, permitted)? {
            Planned::Answer(queue) => Ok(self.found(queue)),
            Planned::Apply(command) => {
                self.share.check(holding::of_command(&command))?;
                let applied = self.changed(&mut topology, |topology| topology.apply(command));
                let declared = applied.changes.iter().find_map(|change| match change {
                    Change::QueueDeclared(queue) => Some(Arc::clone(queue)),
                    _ => None,
                });
                let fault = || Fault::new(leveret_protocol::ReplyCode::InternalError, "");
                Ok((declared.ok_or_else(fault)?, applied))
            }
        }
    }

    /// The queue that a client gets from, consumes from or purges; ask for read first (PERM-10).
    ///
    /// # Errors
    /// As [`Topology::queue_for`].
    pub fn queue_for(
        &self,
        name: &[u8],
        connection: ConnectionId,
    ) -> Result<Arc<QueueHandle>, Fault> {
        self.or_deleted(self.topology().queue_for(name, connection))
    }

    /// `queue.delete`; a missing queue is deleted already (QUEUE-20).
    ///
    /// # Errors
    /// As [`Topology::check_delete_queue`], 406 when the queue's conditions do not hold, and 540 when its
    /// type allows none (QQ-09).
    pub fn delete_queue(
        &self,
        name: &str,
        connection: ConnectionId,
        conditions: DeleteConditions,
        permitted: &mut Permitted<'_>,
    ) -> Result<Deleted, Fault> {
        let found = self
            .topology()
            .check_delete_queue(name, connection, permitted)?;
        let Some(queue) = found else {
            return Ok(Deleted {
                ready: 0,
                applied: self.unchanged(Standing::Recorded),
            });
        };
        check_delete_conditions(&queue, conditions, &self.name)?;
        self.remove_queue(&queue, conditions)
            .map_err(|refused| match refused {
                Refused::InUse => queue_in_use(queue.name(), &self.name),
                Refused::NotEmpty => queue_not_empty(queue.name(), &self.name),
            })
    }

    /// Retires a queue if its conditions hold now, and takes it out of the topology. This is also how
    /// auto-delete and expiring queues go, with `if_unused`: a consumer that came meanwhile keeps the
    /// queue.
    ///
    /// # Errors
    /// When a condition does not hold; then nothing has changed.
    pub fn remove_queue(
        &self,
        queue: &QueueHandle,
        conditions: DeleteConditions,
    ) -> Result<Deleted, Refused> {
        let ready = match queue.body().retire(conditions) {
            Ok(ready) => ready,
            // Somebody else retired it and may not have taken it out yet; when this returns, it is
            // out whoever did it.
            Err(DeleteRefused::Gone) => 0,
            Err(DeleteRefused::InUse) => return Err(Refused::InUse),
            Err(DeleteRefused::NotEmpty) => return Err(Refused::NotEmpty),
        };
        let mut applied = self.apply(Command::DeleteQueue(queue.id()));
        if queue.spec().durable {
            applied.durable_at = applied.durable_at.max(self.recorded());
        }
        Ok(Deleted { ready, applied })
    }

    /// Deletes an auto-delete queue that has lost its last consumer (AUTODEL-01), unless another has
    /// come meanwhile.
    pub fn auto_delete_queue(&self, queue: &QueueHandle) -> Applied {
        let unused = DeleteConditions {
            if_unused: true,
            if_empty: false,
        };
        match self.remove_queue(queue, unused) {
            Ok(deleted) => deleted.applied,
            Err(_) => Applied::default(),
        }
    }

    /// Deletes the exclusive queues of a connection that ends (EXCL-02).
    pub fn delete_exclusive_queues(&self, owner: ConnectionId) -> Applied {
        let queues = self.topology().exclusive_queues(owner);
        let mut applied = Applied::default();
        for queue in queues {
            // One lock each, so that a connection with very many does not stop everybody else.
            if let Ok(deleted) = self.remove_queue(&queue, DeleteConditions::default()) {
                applied.add(deleted.applied);
            }
        }
        applied
    }

    /// The kind of the exchange that a client publishes to.
    ///
    /// # Errors
    /// As [`Topology::exchange_for_publish`].
    pub fn check_publish(&self, exchange: &[u8]) -> Result<&'static Kind, Fault> {
        let topology = self.topology();
        let kind = topology
            .exchange_for_publish(exchange)
            .map(|found| found.spec().kind);
        self.or_deleted(kind)
    }

    /// Routes what a client publishes.
    ///
    /// # Errors
    /// As [`Topology::exchange_for_publish`].
    pub fn route_publish(&self, exchange: &[u8], routing: &Routing<'_>) -> Result<Targets, Fault> {
        self.or_deleted(self.topology().route_publish(exchange, routing))
    }

    /// Routes a dead letter.
    ///
    /// # Errors
    /// As [`Topology::route`].
    pub fn route(&self, exchange: &[u8], routing: &Routing<'_>) -> Result<Targets, NoExchange> {
        self.topology().route(exchange, routing)
    }

    /// Routes a message that this exchange has held until now.
    ///
    /// # Errors
    /// When the exchange is gone.
    pub fn route_held(
        &self,
        exchange: ExchangeId,
        routing: &Routing<'_>,
    ) -> Result<Targets, NoExchange> {
        self.topology().route_held(exchange, routing)
    }

    /// The queue of this id, if it has not left.
    pub fn queue_by_id(&self, id: QueueId) -> Option<Arc<QueueHandle>> {
        self.topology().queue_by_id(id).cloned()
    }

    fn topology_mut(&self) -> ShardedLockWriteGuard<'_, Topology> {
        self.topology
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        mut plan: impl FnMut(&Topology) -> Result<Planned<Standing>, Fault>,
    ) -> Result<Applied, Fault> {
        let planned = plan(&self.topology());
        if let Planned::Answer(standing) = self.or_deleted(planned)? {
            return Ok(self.unchanged(standing));
        }
        let mut topology = self.unsealed_mut()?;
        match plan(&topology)? {
            Planned::Answer(standing) => Ok(self.unchanged(standing)),
            Planned::Apply(command) => {
                self.share.check(holding::of_command(&command))?;
                let applied = self.changed(&mut topology, |topology| topology.apply(command));
                drop(topology);
                retire_own_queues(&applied);
                Ok(applied)
            }
        }
    }

    /// Changes the topology and has that taken down. The write lock in the caller's hand makes the two
    /// one step.
    fn changed(
        &self,
        topology: &mut Topology,
        change: impl FnOnce(&mut Topology) -> Applied,
    ) -> Applied {
        if self.is_sealed() {
            // It goes with the vhost, whatever it is.
            return Applied::default();
        }
        let mut applied = change(topology);
        holding::account(&self.share, &applied);
        if let Some(sink) = &self.sink {
            applied.durable_at = sink.record(&self.name, &applied);
        }
        applied
    }

    fn found(&self, queue: Arc<QueueHandle>) -> (Arc<QueueHandle>, Applied) {
        let standing = match queue.spec().durable {
            true => Standing::Recorded,
            false => Standing::Transient,
        };
        (queue, self.unchanged(standing))
    }

    fn unchanged(&self, standing: Standing) -> Applied {
        Applied::unchanged(match standing {
            Standing::Recorded => self.recorded(),
            Standing::Transient => None,
        })
    }
}

/// What exchanges held is dropped with them, when no lock is held: it may be much.
fn retire_own_queues(applied: &Applied) {
    for change in &applied.changes {
        if let Change::OwnQueueGone(queue) = change {
            // It has no consumers and no conditions, and nobody else retires it.
            let _ = queue.body().retire(DeleteConditions::default());
        }
    }
}

#[cfg(test)]
mod tests;
