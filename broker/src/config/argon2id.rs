//! [`Argon2idHash`]: a hash of argon2id (RFC 9106) and its text, the PHC string.
//!
//! ```text
//!   $argon2id$v=19$m=19456,t=2,p=1$ salt in base64 $ tag in base64          without padding
//!                    │     │   └ lanes
//!                    │     └ passes over the memory
//!                    └ memory in KiB
//! ```
//!
//! What it is not: argon2id itself, which is the crate `argon2`.
//!
//! Invariant: what a hash costs is bounded by the constants below, whoever wrote it: it can come from a file
//! of definitions, and is paid for at each login.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Memory of a new hash in KiB. With two passes and one lane it is what OWASP's cheat sheet on storing
/// passwords recommends at least.
pub(super) const MEMORY_KIB: u32 = 19_456;
/// Passes of a new hash.
pub(super) const PASSES: u32 = 2;
/// Lanes of a new hash: as many as threads work at one login.
pub(super) const LANES: u32 = 1;
/// Largest memory of a hash that is taken over, in KiB: a few logins at once must not be the end of a broker.
pub(super) const MEMORY_KIB_MAX: u32 = 262_144;
/// Most passes of a hash that is taken over; with the most memory a login takes some seconds.
pub(super) const PASSES_MAX: u32 = 16;
/// Most lanes of a hash that is taken over.
pub(super) const LANES_MAX: u32 = 16;

/// What `$v=19` stands for: version 1.3, the only one in use.
const VERSION: Version = Version::V0x13;
const TAG_BYTES: usize = 32;
/// How long salt and tag may be in bytes; the least is the function's own, or a tag that could be met by
/// chance.
const SALT_RANGE: std::ops::RangeInclusive<usize> = 8..=64;
const TAG_RANGE: std::ops::RangeInclusive<usize> = 16..=64;

/// A salt, a tag and what it costs to make the tag.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2idHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Box<[u8]>,
    pub(super) tag: Box<[u8]>,
}

/// The memory that hashing works in. It stays as large as the largest hash that has used it.
#[derive(Debug, Default)]
pub(crate) struct HashingMemory(Vec<Block>);

impl Argon2idHash {
    /// What a new hash with this salt costs, and no password is right for.
    pub(super) fn decoy(salt: [u8; 16]) -> Self {
        Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: Box::from(salt),
            tag: Box::from([0; TAG_BYTES]),
        }
    }

    /// Hashes a password; `None` if there is no memory for it.
    pub(super) fn of(password: &[u8], salt: [u8; 16]) -> Option<Self> {
        let mut hash = Self::decoy(salt);
        hash.tag = hash.tag_of(password, &mut HashingMemory::default())?;
        Some(hash)
    }

    /// The tag that this password has with the salt and at the cost of this hash; `None` if there is no memory
    /// for it, or if it is of 4 GiB and more.
    pub(super) fn tag_of(&self, password: &[u8], memory: &mut HashingMemory) -> Option<Box<[u8]>> {
        let params = self.params()?;
        let blocks = memory.blocks(params.block_count())?;
        let mut tag = vec![0; self.tag.len()];
        Argon2::new(Algorithm::Argon2id, VERSION, params)
            .hash_password_into_with_memory(password, &self.salt, &mut tag, blocks)
            .ok()?;
        Some(tag.into())
    }

    /// What the function takes, if it is within the bounds. They are looked at first: `Params::new` multiplies the
    /// lanes without a look at how many there are.
    fn params(&self) -> Option<Params> {
        let Self {
            memory_kib,
            passes,
            lanes,
            ..
        } = *self;
        let is_bounded = memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && lanes <= LANES_MAX;
        is_bounded
            .then(|| Params::new(memory_kib, passes, lanes, Some(self.tag.len())).ok())
            .flatten()
    }

    /// Reads a PHC string. `None` if it is none of argon2id in version 1.3, or one beyond the bounds.
    pub(super) fn from_phc(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs = costs.split(',');
        let hash = Self {
            memory_kib: cost(costs.next()?, "m=")?,
            passes: cost(costs.next()?, "t=")?,
            lanes: cost(costs.next()?, "p=")?,
            salt: bytes(salt, SALT_RANGE)?,
            tag: bytes(tag, TAG_RANGE)?,
        };
        let is_all = parts.next().is_none() && costs.next().is_none();
        (is_all && hash.params().is_some()).then_some(hash)
    }

    /// The PHC string.
    pub(super) fn to_phc(&self) -> String {
        let Self {
            memory_kib,
            passes,
            lanes,
            ..
        } = self;
        let (salt, tag) = (
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(&self.tag),
        );
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${tag}")
    }
}

impl HashingMemory {
    /// So many blocks, whatever is in them; `None` if there are not so many to be had.
    fn blocks(&mut self, count: usize) -> Option<&mut [Block]> {
        let missing = count.saturating_sub(self.0.len());
        self.0.try_reserve_exact(missing).ok()?;
        self.0.resize(self.0.len().max(count), Block::default());
        self.0.get_mut(..count)
    }
}

/// A number as it is written: without a sign or zeros in front.
fn cost(text: &str, name: &str) -> Option<u32> {
    let digits = text.strip_prefix(name)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn bytes(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<Box<[u8]>> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    lengths.contains(&bytes.len()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Written by libargon2 20171227 for the password `hush`.
    const OTHERS: &str = "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$\
                          L1q3YlZz5QV14Kpd1y3ihou6hLdt6cgE9PKfOVGtLUE";

    #[test]
    fn a_hash_that_another_program_wrote_matches_its_password() {
        let hash = Argon2idHash::from_phc(OTHERS).unwrap();
        let mut memory = HashingMemory::default();
        assert_eq!(hash.tag_of(b"hush", &mut memory).unwrap(), hash.tag);
        assert_ne!(hash.tag_of(b"hus", &mut memory).unwrap(), hash.tag);
        assert_eq!(hash.to_phc(), OTHERS);
    }

    #[test]
    fn a_new_hash_says_what_it_costs() {
        let hash = Argon2idHash::of(b"hush", *b"0123456789abcdef").unwrap();
        let text = hash.to_phc();
        let head = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$";
        assert!(text.starts_with(head), "{text}");
        assert!(Argon2idHash::from_phc(&text).unwrap() == hash);
    }

    #[test]
    fn memory_that_was_used_before_changes_nothing() {
        let (small, large) = (
            Argon2idHash::from_phc(OTHERS).unwrap(),
            Argon2idHash::decoy([7; 16]),
        );
        let mut memory = HashingMemory::default();
        large.tag_of(b"other", &mut memory).unwrap();
        assert_eq!(small.tag_of(b"hush", &mut memory).unwrap(), small.tag);
    }

    #[test]
    fn what_costs_too_much_or_is_written_otherwise_is_refused() {
        let (salt, tag) = ("MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZg");
        let with = |costs: &str| format!("$argon2id$v=19${costs}${salt}${tag}");
        assert!(Argon2idHash::from_phc(&with("m=262144,t=16,p=16")).is_some());
        for costs in [
            "m=262145,t=1,p=1",
            "m=4294967295,t=1,p=1",
            "m=64,t=17,p=1",
            "m=1024,t=1,p=17",
            "m=64,t=1,p=536870912",
            "m=64,t=4294967295,p=4294967295",
            "m=7,t=1,p=1",
            "m=64,t=0,p=1",
            "m=64,t=1,p=0",
            "m=64,p=1,t=1",
            "m=064,t=1,p=1",
            "m=+64,t=1,p=1",
            "m=64,t=1,p=1,keyid=AAAA",
            "m=64,t=1",
            "",
        ] {
            assert!(Argon2idHash::from_phc(&with(costs)).is_none(), "{costs}");
        }
        for text in [
            "",
            "$",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg",
            "$argon2i$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
            "$argon2id$v=16$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
            "$argon2id$v=19$m=64,t=1,p=1$c2hvcnQ$MDEyMzQ1Njc4OWFiY2RlZg",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$c2hvcnQ",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg==$MDEyMzQ1Njc4OWFiY2RlZg",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg$",
        ] {
            assert!(Argon2idHash::from_phc(text).is_none(), "{text}");
        }
    }
}
