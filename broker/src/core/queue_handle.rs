//! [`QueueHandle`]: one declared queue as the rest of the broker holds it, and [`QueueSpec`], the
//! plain data it was declared with. What that comes to under policies may change while the queue lives.
//!
//! A handle outlives its queue: a publisher may hold it in a route cache after the queue is deleted.
//! [`QueueHandle::is_gone`] tells without a lock; offering to the body tells for certain.
//!
//! What it is not: messages and consumers (see [`crate::core::queue`]).
//!
//! Invariant: once gone, a handle is never in a topology again; a queue of the same name is another
//! handle with another id.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use leveret_protocol::TableBuf;

use super::exchange::ExchangeId;
use super::queue::arguments::{QueueArguments, QueueType};
use super::queue::{Queue, QueueId};

/// Names one client connection: the owner of exclusive queues (EXCL-01). Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a queue was declared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its identity, unlike the name never used again.
    pub id: QueueId,
    /// Its name, without CR and LF.
    pub name: Arc<str>,
    /// Survives a restart. Never true for an exclusive queue (EXCL-05).
    pub durable: bool,
    /// Deleted with its last consumer (AUTODEL-01).
    pub auto_delete: bool,
    /// The only connection that may use it, for an exclusive queue.
    pub exclusive_owner: Option<ConnectionId>,
    /// Its arguments as they were declared, unknown ones included (QARG-13).
    pub arguments: TableBuf,
    /// The exchange whose own queue it is; `None` for a queue that was declared. It has the exchange's
    /// id, is in no list of queues, and goes with the exchange.
    pub of_exchange: Option<ExchangeId>,
}

impl QueueSpec {
    /// The own queue of an exchange. Its name is for logs only, and may be that of a declared queue.
    pub(super) fn of_exchange(id: ExchangeId, exchange: &str, durable: bool) -> Self {
        Self {
            id: QueueId(id.0),
            name: Arc::from(format!("held by exchange '{exchange}'")),
            durable,
            auto_delete: false,
            exclusive_owner: None,
            arguments: TableBuf::new(),
            of_exchange: Some(id),
        }
    }
}

/// One declared queue.
#[derive(Debug)]
pub struct QueueHandle {
    spec: QueueSpec,
    arguments: RwLock<Arc<QueueArguments>>,
    body: Box<dyn Queue>,
    queue_type: QueueType,
    gone: AtomicBool,
}

impl QueueHandle {
    /// A queue that has just been declared, with what its arguments and the policies come to.
    pub fn new(spec: QueueSpec, arguments: QueueArguments, body: Box<dyn Queue>) -> Self {
        Self {
            queue_type: QueueType::of(spec.arguments.view()),
            spec,
            arguments: RwLock::new(Arc::new(arguments)),
            body,
            gone: AtomicBool::new(false),
        }
    }

    /// What the queue was declared with.
    pub fn spec(&self) -> &QueueSpec {
        &self.spec
    }

    /// The queue's identity.
    pub fn id(&self) -> QueueId {
        self.spec.id
    }

    /// The queue's name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// What its arguments and the policies come to now.
    pub fn arguments(&self) -> Arc<QueueArguments> {
        let arguments = self.arguments.read();
        Arc::clone(&arguments.unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether these arguments differ from those it had.
    pub(super) fn set_arguments(&self, arguments: QueueArguments) -> bool {
        let current = self.arguments.write();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        let differs = **current != arguments;
        if differs {
            *current = Arc::new(arguments);
        }
        differs
    }

    /// The queue's type.
    pub fn queue_type(&self) -> QueueType {
        self.queue_type
    }

    /// The queue itself: offer, attach, pull, settle.
    pub fn body(&self) -> &dyn Queue {
        &*self.body
    }

    /// True once the queue has left its vhost. A cheap look that may lag behind by an instant; what
    /// is offered in that instant is lost with the queue (ROUTE-04).
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Says that the queue has left its vhost.
    pub(super) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }
}
