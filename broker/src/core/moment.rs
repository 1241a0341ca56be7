//! [`Moment`]: the one kind of time that the core knows.
//!
//! A moment is a number handed in by whoever drives a machine, so that a machine is a function of
//! its inputs: tests jump ahead at will, and a logged command replays the same on any day. The shell
//! makes moments from a clock that never runs backwards.

/// Milliseconds since the Unix epoch, by a clock that never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    unix_ms: u64,
}

impl Moment {
    /// The moment `unix_ms` milliseconds after the epoch.
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    /// Milliseconds since the epoch.
    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// The moment `ms` milliseconds later; the end of time if that is past it.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self {
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }

    /// How many milliseconds lie between `earlier` and this moment; zero if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.unix_ms.saturating_sub(earlier.unix_ms)
    }
}
