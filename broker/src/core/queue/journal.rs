//! [`Journal`]: what a durable queue needs of the store.
//!
//! What it is not: it does not read; what a queue wants back comes by
//! [`Queue::loaded`](super::Queue::loaded).

use leveret_storage::{CommitState, Epoch, Records, Store};

/// Where a durable queue's records go. Called under the queue's lock, so that their order is the
/// order of what happened; must neither block nor call the queue.
pub trait Journal: Send + Sync {
    /// Appends records and leaves the buffer empty. Returns the epoch that makes them last.
    fn submit(&self, records: &mut Records) -> Epoch;

    /// The latest epoch that lasts.
    fn committed(&self) -> Epoch;

    /// True once no further epoch will ever be known to last.
    fn has_failed(&self) -> bool;
}

impl Journal for Store {
    fn submit(&self, records: &mut Records) -> Epoch {
        Self::submit(self, records)
    }

    fn committed(&self) -> Epoch {
        self.commits().committed()
    }

    fn has_failed(&self) -> bool {
        // No epoch is as high as this one, so it is never reached.
        self.commits().state(Epoch(u64::MAX)) == CommitState::Failed
    }
}
