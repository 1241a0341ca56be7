//! [`Reserve`]: the memory for everything but queued messages, as one account with an end.
//!
//! ```text
//!   queued messages ──▶ memory_high_watermark_bytes      publishers wait (see `memory`)
//!   all the rest    ──▶ memory_reserve_bytes             whoever asks for more is refused
//!     connections, channels, consumers, incomplete messages, transactions,
//!     direct replies that wait, queues, exchanges, bindings, what exchanges remember
//! ```
//!
//! Whoever holds memory for a peer has a [`Share`], which grows before the memory is taken and returns what it
//! has when it is dropped. The figures are estimates from measurements (see [`crate::limits`]); what they
//! are for is that no number of small things is free.
//!
//! What it is not: an allocator, or a count of messages. A share says nothing about who it belongs to.
//!
//! Invariant: what is held is the sum of all shares. It is above the end only by what was there when the
//! broker started, and by what [`Share::cover`] could not refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret_protocol::{Fault, ReplyCode};
use thiserror::Error;

/// The account of one broker.
#[derive(Debug)]
pub struct Reserve {
    bytes_max: u64,
    held_bytes: AtomicU64,
}

/// The reserve is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the broker's memory reserve of {bytes_max} bytes is used up")]
pub struct Exhausted {
    bytes_max: u64,
}

impl From<Exhausted> for Fault {
    fn from(exhausted: Exhausted) -> Self {
        Self::new(ReplyCode::ResourceError, exhausted.to_string())
    }
}

impl Reserve {
    /// A reserve that ends here; 0: nowhere.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let bytes_max = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Arc::new(Self {
            bytes_max,
            held_bytes: AtomicU64::new(0),
        })
    }

    /// A share with nothing in it.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            reserve: Arc::clone(self),
            bytes: AtomicU64::new(0),
        }
    }

    /// A share that begins with so much.
    ///
    /// # Errors
    /// When there is not that much.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Share, Exhausted> {
        let share = self.share();
        share.take(bytes)?;
        Ok(share)
    }

    /// The bytes of all shares.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }
}

/// A part of the reserve. It returns with its owner.
#[derive(Debug)]
pub struct Share {
    reserve: Arc<Reserve>,
    bytes: AtomicU64,
}

impl Share {
    /// Grows by so much.
    ///
    /// # Errors
    /// When there is not that much; then nothing has changed.
    pub fn take(&self, bytes: u64) -> Result<(), Exhausted> {
        let bytes_max = self.reserve.bytes_max;
        let grown = |held: u64| held.checked_add(bytes).filter(|grown| *grown <= bytes_max);
        let held = &self.reserve.held_bytes;
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| Exhausted { bytes_max })?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Grows by so much, whatever is left.
    pub fn cover(&self, bytes: u64) {
        self.reserve.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Shrinks by so much, at most to nothing.
    pub fn give_back(&self, bytes: u64) {
        let shrunk = |has: u64| Some(has.saturating_sub(bytes));
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrunk)
            .unwrap_or_default();
        let given = before.min(bytes);
        self.reserve.held_bytes.fetch_sub(given, Ordering::Relaxed);
    }

    /// Grows or shrinks to so much.
    ///
    /// # Errors
    /// When there is not that much; then nothing has changed.
    pub fn set(&self, bytes: u64) -> Result<(), Exhausted> {
        let has = self.bytes();
        if bytes > has {
            return self.take(bytes - has);
        }
        self.give_back(has - bytes);
        Ok(())
    }

    /// Whether there is so much left now.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self, bytes: u64) -> Result<(), Exhausted> {
        self.sibling().take(bytes)
    }

    /// Another share of the same reserve, with nothing in it.
    #[must_use]
    pub fn sibling(&self) -> Self {
        self.reserve.share()
    }

    /// What it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_add_up_and_come_back() {
        let reserve = Reserve::new(100);
        let one = reserve.take(60).unwrap();
        let other = reserve.take(40).unwrap();
        assert_eq!(reserve.held_bytes(), 100);
        assert_eq!(one.take(1), Err(Exhausted { bytes_max: 100 }));
        other.set(10).unwrap();
        assert_eq!(one.set(91), Err(Exhausted { bytes_max: 100 }));
        one.set(90).unwrap();
        one.give_back(1_000);
        assert_eq!((one.bytes(), reserve.held_bytes()), (0, 10));
        drop(other);
        assert_eq!(reserve.held_bytes(), 0);
    }

    #[test]
    fn what_has_to_be_is_counted_and_leaves_nothing_for_others() {
        let reserve = Reserve::new(10);
        let share = reserve.share();
        share.cover(11);
        assert!(reserve.take(0).is_err());
        drop(share);
        assert!(reserve.take(10).is_ok());
    }

    #[test]
    fn zero_is_no_end_and_no_sum_wraps() {
        let reserve = Reserve::new(0);
        let share = reserve.take(u64::MAX).unwrap();
        assert!(share.take(1).is_err());
        share.give_back(1);
        assert!(share.take(1).is_ok());
    }

    #[test]
    fn the_fault_says_what_is_used_up() {
        let fault = Fault::from(Reserve::new(5).take(6).unwrap_err());
        assert_eq!(fault.code, ReplyCode::ResourceError);
        assert!(
            fault
                .explanation
                .contains("memory reserve of 5 bytes is used up")
        );
    }
}
