//! What one connection counts, read by somebody else while it runs.
//!
//! ```text
//!   thread of a connection ──▶ counters, latencies ◀── collected once per interval
//! ```
//!
//! Invariant: what was collected is not there any more, so that every latency is collected once;
//! counters only grow.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::histogram::Histogram;

/// What a latency of a meter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From publish to confirm.
    Confirm,
    /// From publish to delivery.
    EndToEnd,
}

/// The counters and latencies of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    kind: Kind,
    pub(super) published: AtomicU64,
    pub(super) confirmed: AtomicU64,
    pub(super) nacked: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) redelivered: AtomicU64,
    latencies: Mutex<Histogram>,
}

impl Meter {
    /// A meter that has counted nothing.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            nacked: AtomicU64::new(0),
            received: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
            latencies: Mutex::default(),
        }
    }

    /// Where latencies go. Nobody holds it for longer than one read from a socket takes in.
    pub(super) fn latencies(&self) -> MutexGuard<'_, Histogram> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            published: load(&self.published),
            confirmed: load(&self.confirmed),
            nacked: load(&self.nacked),
            received: load(&self.received),
            redelivered: load(&self.redelivered),
        }
    }

    fn drain_into(&self, collected: &mut Latencies) {
        let mut latencies = self.latencies();
        if latencies.count() > 0 {
            match self.kind {
                Kind::Confirm => collected.confirm.merge(&latencies),
                Kind::EndToEnd => collected.end_to_end.merge(&latencies),
            }
            latencies.clear();
        }
    }
}

/// Adds to a counter that one thread writes.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What all meters have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) nacked: u64,
    pub(super) received: u64,
    pub(super) redelivered: u64,
}

impl Counts {
    /// The sum of all meters.
    pub(super) fn of<'m>(meters: impl IntoIterator<Item = &'m Meter>) -> Self {
        let counts = meters.into_iter().map(Meter::counts);
        counts.fold(Self::default(), Add::add)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            confirmed: self.confirmed + other.confirmed,
            nacked: self.nacked + other.nacked,
            received: self.received + other.received,
            redelivered: self.redelivered + other.redelivered,
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            published: self.published.saturating_sub(before.published),
            confirmed: self.confirmed.saturating_sub(before.confirmed),
            nacked: self.nacked.saturating_sub(before.nacked),
            received: self.received.saturating_sub(before.received),
            redelivered: self.redelivered.saturating_sub(before.redelivered),
        }
    }
}

/// Latencies of both kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    pub(super) confirm: Histogram,
    pub(super) end_to_end: Histogram,
}

impl Latencies {
    /// Takes them out of all meters.
    pub(super) fn collect<'m>(meters: impl IntoIterator<Item = &'m Meter>) -> Self {
        let mut collected = Self::default();
        for meter in meters {
            meter.drain_into(&mut collected);
        }
        collected
    }

    /// Takes in all that others hold.
    pub(super) fn merge(&mut self, other: &Self) {
        self.confirm.merge(&other.confirm);
        self.end_to_end.merge(&other.end_to_end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn latencies_are_collected_once_and_by_kind() {
        let meters = [Meter::new(Kind::Confirm), Meter::new(Kind::EndToEnd)];
        meters[0].latencies().record(Duration::from_micros(5));
        meters[1].latencies().record(Duration::from_micros(7));
        meters[1].latencies().record(Duration::from_micros(9));
        let first = Latencies::collect(&meters);
        let counts = |of: &Latencies| (of.confirm.count(), of.end_to_end.count());
        assert_eq!(counts(&first), (1, 2));
        assert_eq!(first.end_to_end.max(), Duration::from_micros(9));
        assert_eq!(counts(&Latencies::collect(&meters)), (0, 0));
    }

    #[test]
    fn counts_are_summed_and_compared() {
        let meters = [Meter::new(Kind::Confirm), Meter::new(Kind::EndToEnd)];
        count(&meters[0].published, 5);
        count(&meters[1].received, 4);
        let before = Counts::of(&meters);
        count(&meters[0].published, 2);
        let since = Counts::of(&meters) - before;
        assert_eq!((before.published, before.received), (5, 4));
        assert_eq!((since.published, since.received), (2, 0));
    }
}
