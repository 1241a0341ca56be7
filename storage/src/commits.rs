//! [`Commits`]: how far the store has got, and who wants to know.
//!
//! It is the only source of confirms: what was submitted under an epoch may be promised to a client
//! once that epoch is reached, and never before.
//!
//! Invariants: the committed epoch only grows; once failed, it never grows again; a bell that asked
//! for an epoch is rung exactly once, when the epoch is reached or can never be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Epoch;

/// Whether an epoch is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// It is.
    Reached,
    /// It is not yet.
    Waiting,
    /// It never will be known to be: the store has failed.
    Failed,
}

/// Wakes whoever waits for a commit. Called with no lock held.
pub trait CommitBell: Send + Sync {
    /// The epoch that was asked for is reached, or never will be: look at [`Commits::state`].
    fn on_commit(&self);
}

/// The committed epoch of one store.
#[derive(Default)]
pub struct Commits {
    committed: AtomicU64,
    failed: AtomicBool,
    waiting: Mutex<Vec<(Epoch, Arc<dyn CommitBell>)>>,
}

impl Commits {
    /// Commits that have reached nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this epoch is on disk.
    pub fn state(&self, epoch: Epoch) -> CommitState {
        if self.committed.load(Ordering::Acquire) >= epoch.0 {
            CommitState::Reached
        } else if self.failed.load(Ordering::Acquire) {
            CommitState::Failed
        } else {
            CommitState::Waiting
        }
    }

    /// The latest epoch that is on disk.
    pub fn committed(&self) -> Epoch {
        Epoch(self.committed.load(Ordering::Acquire))
    }

    /// Rings once when the epoch is reached or the store fails; at once if that has happened.
    pub fn ring_at(&self, epoch: Epoch, bell: Arc<dyn CommitBell>) {
        let mut waiting = self.lock();
        // Asked again under the lock: an advance that was missed before takes it after us.
        if self.state(epoch) == CommitState::Waiting {
            waiting.push((epoch, bell));
            return;
        }
        drop(waiting);
        bell.on_commit();
    }

    /// Everything up to this epoch is on disk. Without effect after [`Commits::fail`].
    pub fn advance(&self, epoch: Epoch) {
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        self.committed.fetch_max(epoch.0, Ordering::AcqRel);
        self.ring(|asked| asked <= epoch);
    }

    /// Nothing more will be committed.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.ring(|_| true);
    }

    fn ring(&self, is_due: impl Fn(Epoch) -> bool) {
        let due: Vec<_> = self
            .lock()
            .extract_if(.., |(asked, _)| is_due(*asked))
            .collect();
        due.into_iter().for_each(|(_, bell)| bell.on_commit());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Epoch, Arc<dyn CommitBell>)>> {
        // Pushing and taking out leave the list whole whatever happens.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commits")
            .field("committed", &self.committed())
            .field("failed", &self.failed.load(Ordering::Acquire))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl CommitBell for Counted {
        fn on_commit(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rings(bell: &Counted) -> u64 {
        bell.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_bell_rings_once_and_not_before_its_epoch() {
        let (commits, bell) = (Commits::new(), Arc::new(Counted::default()));
        commits.ring_at(Epoch(2), bell.clone());
        commits.advance(Epoch(1));
        assert_eq!(rings(&bell), 0);
        assert_eq!(commits.state(Epoch(2)), CommitState::Waiting);
        commits.advance(Epoch(3));
        commits.advance(Epoch(4));
        assert_eq!(rings(&bell), 1);
        assert_eq!(commits.state(Epoch(2)), CommitState::Reached);
        commits.ring_at(Epoch(4), bell.clone());
        assert_eq!(rings(&bell), 2, "what is reached rings at once");
    }

    #[test]
    fn a_failed_store_keeps_what_it_had_reached_and_promises_no_more() {
        let (commits, bell) = (Commits::new(), Arc::new(Counted::default()));
        commits.advance(Epoch(5));
        commits.ring_at(Epoch(6), bell.clone());
        commits.fail();
        assert_eq!(rings(&bell), 1);
        assert_eq!(commits.state(Epoch(5)), CommitState::Reached);
        assert_eq!(commits.state(Epoch(6)), CommitState::Failed);
    }
}
