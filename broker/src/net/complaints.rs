//! [`Complaints`]: how often the log tells of strangers who are turned away.
//!
//! Whoever is turned away can come again at once, and each time costs him less than a line of the log
//! costs a disk. So in a second only so many are told of one by one, and the next line after that says how
//! many were not.
//!
//! What it is not: a limit on strangers. It reads no clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::COMPLAINTS_PER_S_MAX;

const SECOND: Duration = Duration::from_secs(1);

/// What has been told in the second that runs.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Complaints {
    /// Whether to tell of one more: then how many before it were not told of.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        // Numbers stay whole whatever happens.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if told.since.is_none_or(is_over) {
            told.since = Some(now);
            told.lines = 0;
        }
        if told.lines >= COMPLAINTS_PER_S_MAX {
            told.untold += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_of_in_a_second_and_the_rest_is_counted() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        for _ in 0..COMPLAINTS_PER_S_MAX {
            assert_eq!(complaints.admit(start), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(complaints.admit(start + SECOND / 2), None);
        }
        assert_eq!(complaints.admit(start + SECOND), Some(1_000));
        assert_eq!(complaints.admit(start + SECOND), Some(0));
        // A clock that is read by several threads may seem to go back a little.
        assert_eq!(complaints.admit(start), Some(0));
    }
}
