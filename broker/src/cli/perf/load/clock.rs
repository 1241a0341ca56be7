//! The clock that publishers and consumers of one process share.
//!
//! A stamp is the nanoseconds since the clock was started, plus one, so that zero can say that a message
//! bears none.
//!
//! What it is not: a time of day. A stamp means nothing to another process, which is why latencies are
//! measured only where publishers and consumers are in one.

use std::time::{Duration, Instant};

/// Bytes of a stamp, at the front of a body.
pub(super) const STAMP_LEN: usize = 8;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The stamp of a moment.
    pub(super) fn stamp(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).map_or(u64::MAX, |ns| ns.saturating_add(1))
    }

    /// How long before `now` a stamp was made; `None` if it is not one of this clock.
    pub(super) fn age(&self, stamp: u64, now: Instant) -> Option<Duration> {
        let since = self.stamp(now).checked_sub(stamp)?;
        (stamp > 0).then_some(Duration::from_nanos(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_its_age() {
        let clock = Clock::start();
        let at = |micros| clock.start + Duration::from_micros(micros);
        let stamp = clock.stamp(at(5));
        assert_eq!(clock.age(stamp, at(12)), Some(Duration::from_micros(7)));
        assert_eq!(clock.age(stamp, at(5)), Some(Duration::ZERO));
        assert_eq!(clock.stamp(clock.start), 1);
    }

    #[test]
    fn nothing_and_the_future_are_no_stamps() {
        let clock = Clock::start();
        assert_eq!(clock.age(0, clock.start), None);
        let later = clock.stamp(clock.start + Duration::from_secs(1));
        assert_eq!(clock.age(later, clock.start), None);
    }
}
