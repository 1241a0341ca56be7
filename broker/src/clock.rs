//! [`Clock`]: turns the system's monotonic time into the core's [`Moment`]s.
//!
//! The wall clock is read once, when the broker starts; from then on time only moves forward, so a
//! clock that is set back or forth expires nothing by mistake.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Moment;

/// A clock that never runs backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    /// A clock that agrees with the wall clock now.
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_unix_ms: since_epoch.as_millis() as u64,
        }
    }

    /// The moment of this instant.
    pub(crate) fn moment(&self, now: Instant) -> Moment {
        let elapsed = now.saturating_duration_since(self.start);
        Moment::from_unix_ms(self.start_unix_ms + elapsed.as_millis() as u64)
    }

    /// The instant of this moment, as near as milliseconds can say; never before the start.
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        let ms = moment.unix_ms().saturating_sub(self.start_unix_ms);
        // A deadline further away than this is as good as never.
        const LONGEST_MS: u64 = 400 * 24 * 3_600 * 1_000;
        self.start + Duration::from_millis(ms.min(LONGEST_MS))
    }
}
