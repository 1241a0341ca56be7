//! [`Held`] and [`HeadSize`]: what a queue's messages take of memory.
//!
//! Limits and figures of queues know bodies only (LEN-02). A message may also have 128 KiB of headers and no body,
//! so what memory is watched by counts heads as well: everything of a message but its body.
//!
//! What it is not: exact. The head of a usual message is a part of what every message is counted with
//! (`MESSAGE_OVERHEAD_BYTES`), and larger ones are rounded up by an eighth at most, so that an entry has room for
//! their size.
//!
//! Invariant: what an entry adds is what it takes away, however long it stays.

use super::entry::Entry;
use crate::core::Message;

/// Heads up to this many bytes count nothing beside their message.
const USUAL_BYTES: usize = 128;
/// What sizes are counted in.
const UNIT_BYTES: usize = 16;
/// Eight sizes between each power of two and the next.
const STEPS: usize = 8;

/// The size of a message's head in seven bits: four of exponent, three of mantissa.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeadSize(u8);

impl HeadSize {
    /// The seven bits.
    pub(super) const BITS: u8 = 0x7f;

    /// The length of the body as it is counted, and the size of the head: found in one go, for it is done for
    /// every message.
    #[inline(always)]
    pub(super) fn beside_body(message: &Message) -> (u32, Self) {
        let body_len = message.body_len();
        let head = Self::of_bytes(message.total_len() - body_len);
        // A body that does not fit is counted as the largest that does, going in and out alike.
        (u32::try_from(body_len).unwrap_or(u32::MAX), head)
    }

    #[inline(always)]
    fn of_bytes(bytes: usize) -> Self {
        if bytes <= USUAL_BYTES {
            return Self(0);
        }
        Self::of_unusual(bytes)
    }

    #[cold]
    fn of_unusual(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT_BYTES);
        let exponent = (units.ilog2() - STEPS.ilog2()) as usize;
        // The largest mantissa rounded up is the smallest one of the next power.
        let mantissa = units.div_ceil(1 << exponent) - STEPS;
        let code = exponent * STEPS + mantissa;
        Self(u8::try_from(code).map_or(Self::BITS, |code| code.min(Self::BITS)))
    }

    #[inline(always)]
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(bits & Self::BITS)
    }

    #[inline(always)]
    pub(super) fn to_bits(self) -> u8 {
        self.0
    }

    /// At least what it was made of, and at most an eighth more; 0 for usual ones.
    #[inline(always)]
    pub(super) fn bytes(self) -> u64 {
        match self.0 {
            0 => 0,
            _ => self.unusual_bytes(),
        }
    }

    #[cold]
    fn unusual_bytes(self) -> u64 {
        let code = usize::from(self.0);
        (((STEPS + code % STEPS) * UNIT_BYTES) << (code / STEPS)) as u64
    }
}

/// The bodies of all messages of a queue, wherever they are, and the heads of those in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) bodies: u64,
    pub(super) heads: u64,
}

impl Held {
    /// Counts a message in.
    #[inline(always)]
    pub(super) fn add(&mut self, entry: &Entry) {
        self.bodies += u64::from(entry.body_bytes());
        self.heads += entry.head_bytes();
    }

    /// Counts a message out.
    #[inline(always)]
    pub(super) fn sub(&mut self, entry: &Entry) {
        self.bodies -= u64::from(entry.body_bytes());
        self.heads -= entry.head_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_heads_count_nothing() {
        assert_eq!(HeadSize::of_bytes(0).bytes(), 0);
        assert_eq!(HeadSize::of_bytes(USUAL_BYTES).bytes(), 0);
        assert_eq!(HeadSize::of_bytes(USUAL_BYTES + 1).bytes(), 144);
    }

    #[test]
    fn what_is_larger_than_any_frame_counts_as_the_largest() {
        assert_eq!(HeadSize::of_bytes(usize::MAX).to_bits(), HeadSize::BITS);
        assert!(HeadSize::from_bits(HeadSize::BITS).bytes() > 7 << 20);
    }

    proptest! {
        #[test]
        fn sizes_are_rounded_up_by_an_eighth_at_most(bytes in USUAL_BYTES + 1..7 << 20) {
            let size = HeadSize::of_bytes(bytes);
            prop_assert!(size.bytes() >= bytes as u64);
            prop_assert!(size.bytes() <= (bytes + bytes / STEPS + UNIT_BYTES) as u64);
            prop_assert_eq!(HeadSize::from_bits(size.to_bits()), size);
        }
    }
}
