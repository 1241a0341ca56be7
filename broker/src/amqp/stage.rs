//! [`Stage`]: messages that are routed but not yet handed to their queues.
//!
//! A queue's lock is taken once per batch, not once per message: a turn gathers here what it has
//! published, by queue, and hands it over when the stage is full, when a method comes whose answer
//! could depend on it, or when the turn ends.
//!
//! Invariant: messages of one queue keep the order in which they were staged (PUB-18).

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::core::Message;
use crate::core::queue::QueueId;
use crate::core::queue_handle::QueueHandle;
use crate::limits::{STAGE_BYTES_MAX, STAGE_MESSAGES_MAX};

/// Which publish a staged message belongs to, for its confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) channel: u16,
    /// The publish's number on its channel; zero when the channel is not in confirm mode.
    pub(crate) sequence: u64,
}

/// One queue's part of the stage.
#[derive(Debug)]
pub(crate) struct StagedQueue {
    pub(crate) queue: Arc<QueueHandle>,
    pub(crate) batch: Vec<Message>,
    pub(crate) tickets: Vec<Ticket>,
    /// What the messages of the batch take.
    pub(crate) bytes: usize,
}

/// Routed messages, by queue.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    queues: Vec<StagedQueue>,
    places: FxHashMap<QueueId, usize>,
    latest: usize,
    messages: usize,
    bytes: usize,
}

/// Places are kept for this many queues between two flushes, so that a publisher to few queues
/// allocates nothing; one to many does not keep deleted queues alive.
const PLACES_KEPT_MAX: usize = 16;

impl Stage {
    /// Adds a message for one queue.
    pub(crate) fn push(&mut self, queue: &Arc<QueueHandle>, message: Message, ticket: Ticket) {
        self.messages += 1;
        let bytes = message.total_len();
        self.bytes += bytes;
        let place = self.place(queue);
        place.bytes += bytes;
        place.batch.push(message);
        place.tickets.push(ticket);
    }

    fn place(&mut self, queue: &Arc<QueueHandle>) -> &mut StagedQueue {
        let hit = self
            .queues
            .get(self.latest)
            .is_some_and(|at| Arc::ptr_eq(&at.queue, queue));
        if !hit {
            self.latest = self.find_or_add(queue);
        }
        &mut self.queues[self.latest]
    }

    fn find_or_add(&mut self, queue: &Arc<QueueHandle>) -> usize {
        *self.places.entry(queue.id()).or_insert_with(|| {
            let queue = Arc::clone(queue);
            self.queues.push(StagedQueue {
                queue,
                batch: Vec::new(),
                tickets: Vec::new(),
                bytes: 0,
            });
            self.queues.len() - 1
        })
    }

    /// True when the stage must be flushed before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.messages >= STAGE_MESSAGES_MAX || self.bytes >= STAGE_BYTES_MAX
    }

    /// True when there is nothing to flush.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes the queues' parts out; give them back with [`Stage::put_back`].
    pub(crate) fn take(&mut self) -> Vec<StagedQueue> {
        self.messages = 0;
        self.bytes = 0;
        std::mem::take(&mut self.queues)
    }

    /// Returns the emptied parts, so that their room is used again.
    pub(crate) fn put_back(&mut self, queues: Vec<StagedQueue>) {
        let keep = queues.len() <= PLACES_KEPT_MAX && !queues.iter().any(|at| at.queue.is_gone());
        if keep && self.queues.is_empty() {
            self.queues = queues;
        } else {
            self.clear();
        }
    }

    /// Forgets all places; called when the connection falls idle.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
