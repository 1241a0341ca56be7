//! [`Password`]: in clear text or as a hash, and never shown.
//!
//! What it is not: a login (see [`crate::access`]), or the hash itself (see [`super::password_hash`]).
//!
//! Invariants: neither a password nor its hash is in `Debug` or in what is serialised. An empty password is
//! never right.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::argon2id::HashingMemory;
use super::password_hash::{PasswordHash, Presented, Salt, is_same};
use super::password_hashing::PasswordHashing;

/// A password that shows itself neither in `Debug` nor when it is serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Kept);

/// What is known of a password.
#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Clear(String),
    Hashed(PasswordHash),
}

impl Password {
    /// What stands in for a password wherever a configuration is shown.
    pub const MASK: &'static str = "***";

    /// Wraps a password in clear text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Kept::Clear(text.into()))
    }

    /// Keeps a hash, from which the password cannot be read.
    #[must_use]
    pub fn hashed(hash: PasswordHash) -> Self {
        Self(Kept::Hashed(hash))
    }

    /// The hash, if it is all that is known.
    #[must_use]
    pub fn hash(&self) -> Option<&PasswordHash> {
        match &self.0 {
            Kept::Clear(_) => None,
            Kept::Hashed(hash) => Some(hash),
        }
    }

    /// The password as a hash; one in clear text is hashed in this way with this salt. `None` if no password
    /// is right, or if there is no memory to hash it.
    #[must_use]
    pub fn to_hash(&self, hashing: PasswordHashing, salt: Salt) -> Option<PasswordHash> {
        match &self.0 {
            Kept::Clear(text) if text.is_empty() => None,
            Kept::Clear(text) => PasswordHash::of(text, hashing, salt),
            Kept::Hashed(hash) => Some(hash.clone()),
        }
    }

    /// Whether this is a password in clear text, which is not to be kept so.
    pub(crate) fn is_clear(&self) -> bool {
        matches!(&self.0, Kept::Clear(text) if !text.is_empty())
    }

    /// Hands on everything that is known of the password, for a hash of it.
    pub(crate) fn put_into(&self, put: &mut impl FnMut(&[u8])) {
        match &self.0 {
            Kept::Clear(text) => {
                put(b"clear");
                put(text.as_bytes());
            }
            Kept::Hashed(hash) => {
                put(b"hashed");
                put(hash.algorithm().name().as_bytes());
                put(hash.to_base64().as_bytes());
            }
        }
    }

    /// Whether `presented` is this password. An empty password matches nothing, not even the empty
    /// one. Takes what the hash takes, which for argon2id is long.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let mut memory = HashingMemory::default();
        Self::verify(Some(self), presented, PasswordHashing::Sha256, &mut memory)
    }

    /// Whether `presented` is the known password, if there is any. How long that takes depends on the length of
    /// `presented`, on how new hashes are made, and, if the known password is kept by argon2id, on what its hash
    /// says that it costs; not on whether it is known, nor on whether it is right.
    pub(crate) fn verify(
        known: Option<&Self>,
        presented: &[u8],
        hashing: PasswordHashing,
        memory: &mut HashingMemory,
    ) -> bool {
        let hash = known.and_then(Self::hash);
        let made = Presented::of(presented, hash, hashing, memory);
        let is_right = match known.map(|known| &known.0) {
            Some(Kept::Hashed(hash)) => made.is(hash),
            Some(Kept::Clear(text)) => is_same(text.as_bytes(), presented),
            None => is_same(b"", presented),
        };
        is_right & !presented.is_empty()
    }
}

impl Default for Password {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::MASK)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(Self::MASK)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hash_of_an_empty_password_matches_nothing() {
        for hashing in PasswordHashing::ALL {
            let empty = PasswordHash::of("", hashing, [0; 16]).unwrap();
            assert!(!Password::hashed(empty).matches(b""));
            assert_eq!(Password::default().to_hash(hashing, [0; 16]), None);
        }
        assert!(!Password::default().matches(b""));
    }

    #[test]
    fn nobodys_password_is_none() {
        let mut memory = HashingMemory::default();
        for hashing in PasswordHashing::ALL {
            for presented in [&b""[..], b"hush", b"\0"] {
                assert!(!Password::verify(None, presented, hashing, &mut memory));
            }
        }
    }

    #[test]
    fn neither_is_shown() {
        let hash = PasswordHash::of("hush", PasswordHashing::Sha256, [9; 16]).unwrap();
        let shown = format!("{:?} {hash:?}", Password::hashed(hash.clone()));
        assert_eq!(shown, "*** ***");
    }
}
