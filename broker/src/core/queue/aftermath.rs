//! [`Aftermath`]: what a call to a queue leaves to be done once the queue's lock is gone.
//!
//! Waking a task and freeing messages cost more than moving them, and a bell must never be rung
//! under a lock. So a machine only collects both here, and whoever holds the lock deals with them
//! after it let go. The records of a durable queue are gathered here too, but leave before the lock
//! does. The buffers are reused: a call allocates nothing in the steady state.

use leveret_storage::Records;

use super::consumers::Consumers;
use super::ready::Blocks;
use super::{Effects, Port};
use crate::core::{Message, Moment};

/// A buffer that grew beyond this many elements is given back: a long queue that expired at once
/// does not cost each worker thread its size for ever.
const KEEP_ELEMENTS_MAX: usize = 4096;

/// What one call works with: its time, what its caller must do, and what is left for after the lock.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The time of the call.
    pub(super) now: Moment,
    /// What the caller is asked to do.
    pub(super) effects: &'a mut Effects,
    /// What is done once the lock is gone.
    pub(super) aftermath: &'a mut Aftermath,
}

/// Bells to ring and things to free.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// The consumers to wake.
    pub(super) rings: Vec<Port>,
    /// Messages that are done with.
    pub(super) dropped: Vec<Message>,
    /// The ready messages of a queue that was emptied.
    pub(super) purged: Blocks,
    /// The consumers of a queue that was deleted, with what they were handed.
    pub(super) retired: Option<Box<Consumers>>,
    /// What a durable queue has to write.
    pub(super) records: Records,
    /// Somebody may wait for the records to be on disk.
    pub(super) is_awaited: bool,
}

impl Aftermath {
    /// Rings and frees. No lock may be held.
    pub(super) fn settle(&mut self) {
        self.rings
            .drain(..)
            .for_each(|port| port.bell.ring(port.token));
        self.dropped.clear();
        drop(std::mem::take(&mut self.purged));
        drop(self.retired.take());
        self.rings.shrink_to(KEEP_ELEMENTS_MAX);
        self.dropped.shrink_to(KEEP_ELEMENTS_MAX);
    }
}
