//! When each message of a constant rate is due.
//!
//! ```text
//!   phase      phase + 1/rate    phase + 2/rate
//!     0              1                 2            ...
//! ```
//!
//! What it is not: it reads no clock; the time since the start is given to it.
//!
//! Invariant: the schedule does not move when a broker holds a publisher up. What could not be sent in
//! time stays due, and [`Schedule::moment_of`] says since when, so that a latency can be counted from
//! the time when the message should have been sent.

use std::time::Duration;

/// A message that is sent this much after it was due counts from when it was due; below that it counts
/// from when it was sent. It is more than a timer of the system is late, and less than a broker
/// that holds up a publisher costs.
pub(super) const LATE: Duration = Duration::from_millis(1);

const NS_PER_S: u128 = 1_000_000_000;

/// A constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Messages per second, at least one.
    rate: u64,
    phase: Duration,
}

impl Schedule {
    /// `rate` messages per second for the `index`-th of `publishers`, which take turns.
    pub(super) fn new(rate: u32, index: usize, publishers: u32) -> Self {
        let rate = u64::from(rate.max(1));
        let turns = u128::from(rate) * u128::from(publishers.max(1));
        Self {
            rate,
            phase: nanos(index as u128 * NS_PER_S / turns),
        }
    }

    /// How many messages are due after this time in all.
    pub(super) fn due(&self, elapsed: Duration) -> u64 {
        match elapsed.checked_sub(self.phase) {
            None => 0,
            Some(since) => {
                let due = since.as_nanos() * u128::from(self.rate) / NS_PER_S + 1;
                u64::try_from(due).unwrap_or(u64::MAX)
            }
        }
    }

    /// When the message with this index, counted from zero, is due.
    pub(super) fn moment(&self, index: u64) -> Duration {
        let after = (u128::from(index) * NS_PER_S).div_ceil(u128::from(self.rate));
        self.phase.saturating_add(nanos(after))
    }

    /// When a message that is sent now counts as sent.
    pub(super) fn moment_of(&self, index: u64, now: Duration) -> Duration {
        let due = self.moment(index);
        match now.saturating_sub(due) > LATE {
            true => due,
            false => now,
        }
    }
}

fn nanos(ns: u128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_due_at_its_moment_and_not_before() {
        for (rate, publishers, publisher) in [(1, 1, 0), (3, 1, 0), (7, 3, 2), (1_000_000, 2, 1)] {
            let schedule = Schedule::new(rate, publisher, publishers);
            for index in [0, 1, 2, 1_000_003] {
                let moment = schedule.moment(index);
                assert_eq!(schedule.due(moment), index + 1, "{rate}: {index}");
                let before = moment.saturating_sub(Duration::from_nanos(1));
                let earlier = schedule.due(before);
                assert!(earlier <= index || moment.is_zero(), "{rate}: {index}");
            }
        }
    }

    #[test]
    fn a_rate_is_kept_over_any_time() {
        let schedule = Schedule::new(3, 0, 1);
        let seconds = |seconds| schedule.due(Duration::from_secs(seconds));
        assert_eq!([seconds(0), seconds(1), seconds(86_400)], [1, 4, 259_201]);
    }

    #[test]
    fn publishers_take_turns() {
        let moments = [0, 1].map(|index| Schedule::new(10, index, 2).moment(0).as_millis());
        assert_eq!(moments, [0, 50]);
        assert_eq!(Schedule::new(10, 1, 2).due(Duration::from_millis(49)), 0);
    }

    #[test]
    fn a_message_that_was_held_up_counts_from_when_it_was_due() {
        let schedule = Schedule::new(1000, 0, 1);
        let micros = Duration::from_micros;
        assert_eq!(schedule.moment_of(2, micros(2_900)), micros(2_900));
        assert_eq!(schedule.moment_of(2, micros(3_001)), micros(2_000));
    }
}
