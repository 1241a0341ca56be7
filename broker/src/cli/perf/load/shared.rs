//! What all threads of a run know of each other.
//!
//! Invariant: `stopped` never goes back; `complete` is told once the last expected delivery has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::clock::Clock;

/// The state of a run.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    stopped: AtomicBool,
    /// Deliveries after which the run is complete; none if they are not counted.
    expected: Option<u64>,
    received: AtomicU64,
    complete: CancellationToken,
    blocked: Mutex<Option<String>>,
}

impl Shared {
    /// A run that is complete after so many deliveries, or ends otherwise.
    pub(super) fn new(clock: Clock, expected: Option<u64>) -> Self {
        let shared = Self {
            clock,
            stopped: AtomicBool::new(false),
            expected,
            received: AtomicU64::new(0),
            complete: CancellationToken::new(),
            blocked: Mutex::new(None),
        };
        shared.receive(0);
        shared
    }

    /// Tells everybody to stop.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether everybody is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Counts deliveries towards the end.
    pub(super) fn receive(&self, more: u64) {
        let Some(expected) = self.expected else {
            return;
        };
        if self.received.fetch_add(more, Ordering::Relaxed) + more >= expected {
            self.complete.cancel();
        }
    }

    /// Waits until the last expected delivery has come: forever if none is.
    pub(super) async fn completed(&self) {
        self.complete.cancelled().await;
    }

    /// How many deliveries complete the run.
    pub(super) fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Notes why a broker holds publishers up, or that it does not any more.
    pub(super) fn note_blocked(&self, reason: Option<&str>) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked.as_deref() != reason {
            *blocked = reason.map(str::to_owned);
        }
    }

    /// Why the broker holds publishers up, if it does.
    pub(super) fn blocked(&self) -> Option<String> {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_complete_with_its_last_delivery() {
        let shared = Shared::new(Clock::start(), Some(5));
        shared.receive(4);
        assert!(!shared.complete.is_cancelled());
        shared.receive(1);
        assert!(shared.complete.is_cancelled());
    }

    #[test]
    fn a_run_that_expects_nothing_is_complete_and_one_without_a_count_never() {
        assert!(Shared::new(Clock::start(), Some(0)).complete.is_cancelled());
        let endless = Shared::new(Clock::start(), None);
        endless.receive(u64::MAX);
        assert!(!endless.complete.is_cancelled());
    }
}
