//! [`LogLimit`]: keeps what strangers can cause from filling the log.
//!
//! What it is not: a log. Whoever asks writes the line, or does not.
//!
//! Invariant: what was left out is told with the next line that is written.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines at once, and as many in each second.
#[derive(Debug)]
pub(crate) struct LogLimit {
    lines_per_s: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When as many lines as are allowed at once are free again.
    all_free_at: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    pub(crate) fn new(lines_per_s: u32) -> Self {
        Self {
            lines_per_s,
            state: Mutex::default(),
        }
    }

    /// Whether a line may be written now: then with how many were left out before it.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let one = Duration::from_secs(1) / self.lines_per_s.max(1);
        // Two numbers, of which either is as good as the other.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let from = state.all_free_at.map_or(now, |at| at.max(now));
        if from + one > now + Duration::from_secs(1) {
            state.left_out += 1;
            return None;
        }
        state.all_free_at = Some(from + one);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn so_many_at_once_and_so_many_a_second_and_the_others_are_counted() {
        let (limit, start) = (LogLimit::new(10), Instant::now());
        let written = |from: Instant| {
            let tried = (0..1000).map(|_| limit.admit(from));
            let written: Vec<u64> = tried.flatten().collect();
            (written.len(), written.iter().sum())
        };
        assert_eq!(written(start), (10, 0));
        assert_eq!(limit.admit(start + SECOND / 20), None);
        assert_eq!(limit.admit(start + SECOND / 10), Some(991));
        assert_eq!(written(start + 3 * SECOND), (10, 0));
        assert_eq!(limit.admit(start + 60 * SECOND), Some(990));
    }
}
