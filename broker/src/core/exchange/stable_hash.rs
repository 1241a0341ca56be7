//! [`StableHash`]: the hash by which exchanges divide messages among queues.
//!
//! It says the same on every machine, in every run and in every version: what it says decides which
//! queue a key belongs to, and queues outlive the process. So it is written out here instead of being
//! borrowed from a library that is free to change its own.
//!
//! What it is not: safe against somebody who looks for keys that collide. Such keys would only go to
//! one queue, where their publisher could send them anyway.

use leveret_protocol::{TableBuf, Value};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over the bytes, and then a mixer, so that the high bits depend on all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct StableHash(u64);

impl StableHash {
    pub(super) fn new() -> Self {
        Self(OFFSET)
    }

    #[must_use]
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        Self(bytes.iter().fold(self.0, step))
    }

    /// A header's value; its type counts.
    #[must_use]
    pub(super) fn with_value(self, value: &Value<'_>) -> Self {
        match value {
            Value::LongStr(text) => self.with(b"S").with(text),
            other => self.with(TableBuf::from_entries([("", *other)]).view().as_bytes()),
        }
    }

    pub(super) fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// The finalizer of SplitMix64: every bit of the answer depends on every bit given.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_said_in_every_version_before() {
        let hash = |bytes: &[u8]| StableHash::new().with(bytes).finish();
        assert_eq!(hash(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash(b"orders.42"), 0x940e_b478_b494_78b8);
        assert_eq!(
            StableHash::new().with(b"orders").with(b".42").finish(),
            hash(b"orders.42")
        );
    }
}
