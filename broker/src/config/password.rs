//! [`Password`]: in clear text or as one of RabbitMQ's salted hashes, and never shown.
//!
//! ```text
//!   hash   salt (4 bytes) | digest of salt and password       in base64 where it is written
//! ```
//!
//! What it is not: a key-derivation function. These hashes are as quick to guess as RabbitMQ's; they
//! are here because definitions have them.
//!
//! Invariants: neither a password nor its hash is in `Debug` or in what is serialised; how long a
//! comparison takes depends on the length of what was presented alone, whatever is kept of the password.

use std::fmt;
use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256, Sha512};

/// The bytes of a hash before the digest.
const SALT_BYTES: usize = 4;

/// A password that shows itself neither in `Debug` nor when it is serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Kept);

/// What is known of a password.
#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Clear(String),
    Hashed(PasswordHash),
}

/// How a password was hashed. All three are salted by four bytes in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashingAlgorithm {
    /// `rabbit_password_hashing_sha256`, RabbitMQ's own since 3.6.
    Sha256,
    /// `rabbit_password_hashing_sha512`
    Sha512,
    /// `rabbit_password_hashing_md5`, of users who have not changed their password since 3.5.
    Md5,
}

impl HashingAlgorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Md5];

    /// The name in definitions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
        }
    }
}

/// A salted hash as RabbitMQ makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    algorithm: HashingAlgorithm,
    salt: [u8; SALT_BYTES],
    digest: Box<[u8]>,
}

impl PasswordHash {
    /// Reads base64; without an algorithm the length tells which one it was. `None` if the text is not
    /// base64 or not as long as salt and digest are.
    #[must_use]
    pub fn from_base64(text: &str, algorithm: Option<HashingAlgorithm>) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (salt, digest) = bytes.split_first_chunk()?;
        let fits = |one: &HashingAlgorithm| one.digest_bytes() == digest.len();
        let algorithm = match algorithm {
            Some(one) => Some(one).filter(fits),
            None => HashingAlgorithm::ALL.into_iter().find(fits),
        };
        Some(Self {
            algorithm: algorithm?,
            salt: *salt,
            digest: Box::from(digest),
        })
    }

    /// The SHA-256 of a password with this salt, which should be random.
    #[must_use]
    pub fn of(password: &str, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            algorithm: HashingAlgorithm::Sha256,
            salt,
            digest: Box::from(Digests::of(salt, password.as_bytes()).sha256.as_slice()),
        }
    }

    /// Salt and digest in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode([&self.salt, &*self.digest].concat())
    }

    /// How the password was hashed.
    #[must_use]
    pub fn algorithm(&self) -> HashingAlgorithm {
        self.algorithm
    }

    fn matches(&self, presented: &[u8]) -> bool {
        let digests = Digests::of(self.salt, presented);
        let ours = match self.algorithm {
            HashingAlgorithm::Sha256 => digests.sha256.as_slice(),
            HashingAlgorithm::Sha512 => digests.sha512.as_slice(),
            HashingAlgorithm::Md5 => digests.md5.as_slice(),
        };
        is_same(&self.digest, ours)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Password::MASK)
    }
}

/// Every digest of a presented password. All are made whichever is wanted, so that it takes the same
/// time for every user, and for none.
struct Digests {
    sha256: [u8; 32],
    sha512: [u8; 64],
    md5: [u8; 16],
}

impl Digests {
    fn of(salt: [u8; SALT_BYTES], password: &[u8]) -> Self {
        Self {
            sha256: digest::<Sha256>(salt, password).into(),
            sha512: digest::<Sha512>(salt, password).into(),
            md5: digest::<Md5>(salt, password).into(),
        }
    }
}

fn digest<D: Digest>(salt: [u8; SALT_BYTES], password: &[u8]) -> sha2::digest::Output<D> {
    black_box(D::new_with_prefix(salt).chain_update(password).finalize())
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

    /// The password as a hash; one in clear text is hashed with this salt. `None` if no password is
    /// right.
    #[must_use]
    pub fn to_hash(&self, salt: [u8; SALT_BYTES]) -> Option<PasswordHash> {
        match &self.0 {
            Kept::Clear(text) if text.is_empty() => None,
            Kept::Clear(text) => Some(PasswordHash::of(text, salt)),
            Kept::Hashed(hash) => Some(hash.clone()),
        }
    }

    /// Whether `presented` is this password. An empty password matches nothing, not even the empty
    /// one. The time depends on the length of `presented` alone.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        match &self.0 {
            Kept::Hashed(hash) => hash.matches(presented) & !presented.is_empty(),
            Kept::Clear(text) => {
                Digests::of([0; SALT_BYTES], presented);
                is_same(text.as_bytes(), presented)
            }
        }
    }
}

impl Default for Password {
    fn default() -> Self {
        Self::new("")
    }
}

/// Compares without a look at where they differ; an empty secret equals nothing.
fn is_same(secret: &[u8], presented: &[u8]) -> bool {
    let mut difference = usize::from(secret.is_empty()) | (secret.len() ^ presented.len());
    let endless = secret.iter().chain(std::iter::repeat(&0));
    for (ours, theirs) in endless.zip(presented) {
        difference |= black_box(usize::from(ours ^ theirs));
    }
    black_box(difference) == 0
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

    /// Written by RabbitMQ 3.10.8 for the user `guest` with the password `guest`.
    const GUEST: &str = "7kXQweaCDSPJukErigQJP9js9+cuMC9gbpsVyZgf5wOXZ2ZE";

    #[test]
    fn a_hash_that_rabbitmq_wrote_matches_its_password_and_nothing_else() {
        let hash = PasswordHash::from_base64(GUEST, None).unwrap();
        assert_eq!(hash.algorithm(), HashingAlgorithm::Sha256);
        assert_eq!(hash.to_base64(), GUEST);
        let password = Password::hashed(hash);
        assert!(password.matches(b"guest"));
        for wrong in [&b""[..], b"guesT", b"guest ", GUEST.as_bytes()] {
            assert!(!password.matches(wrong));
        }
    }

    #[test]
    fn all_algorithms_put_the_salt_in_front() {
        let salt = [1, 2, 3, 4];
        let digests = Digests::of(salt, b"secret");
        let all: [&[u8]; 3] = [&digests.sha256, &digests.sha512, &digests.md5];
        for (algorithm, digest) in HashingAlgorithm::ALL.into_iter().zip(all) {
            let text = STANDARD.encode([&salt, digest].concat());
            let hash = PasswordHash::from_base64(&text, None).unwrap();
            assert_eq!(hash.algorithm(), algorithm);
            assert!(Password::hashed(hash).matches(b"secret"));
            let wrong = PasswordHash::from_base64(&STANDARD.encode(digest), Some(algorithm));
            assert!(wrong.is_none());
            let named = HashingAlgorithm::from_name(algorithm.name());
            assert_eq!(named, Some(algorithm));
        }
        // md5("\x01\x02\x03\x04secret")
        assert_eq!(digests.md5[..2], MD5_OF_SALTED_SECRET);
    }

    const MD5_OF_SALTED_SECRET: [u8; 2] = [0x38, 0x24];

    #[test]
    fn the_hash_of_an_empty_password_matches_nothing() {
        let empty = Password::hashed(PasswordHash::of("", [0; 4]));
        assert!(!empty.matches(b""));
        assert_eq!(Password::default().to_hash([0; 4]), None);
    }

    #[test]
    fn neither_is_shown() {
        let hash = PasswordHash::of("hush", [9; 4]);
        let shown = format!("{:?} {hash:?}", Password::hashed(hash.clone()));
        assert_eq!(shown, "*** ***");
    }
}
