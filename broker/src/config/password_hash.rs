//! [`PasswordHash`]: what is kept of a password, and its texts.
//!
//! ```text
//!   RabbitMQ's   salt (4 bytes) | digest of salt and password        in base64 where it is written
//!   argon2id     $argon2id$v=19$m=…,t=…,p=…$salt$tag                 as it is, or in base64
//! ```
//!
//! Definitions have everything in base64: RabbitMQ reads a whole file only if each hash in it is base64, also
//! those that it can do nothing with.
//!
//! What it is not: a decision about a login. RabbitMQ's hashes are as quick to guess here as there.
//!
//! Invariant: a hash is not in `Debug`.

use std::fmt;
use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use super::Password;
use super::argon2id::{Argon2idHash, HashingMemory};
use super::password_hashing::{HashingAlgorithm, PasswordHashing};

/// What a new hash needs of random bytes. RabbitMQ's take the first four of them.
pub type Salt = [u8; 16];

/// The bytes of RabbitMQ's hashes before the digest.
const SALT_BYTES: usize = 4;

/// A hash from which the password cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Salted {
        algorithm: HashingAlgorithm,
        salt: [u8; SALT_BYTES],
        digest: Box<[u8]>,
    },
    Argon2id(Argon2idHash),
}

impl PasswordHash {
    /// Hashes a password with this salt, which should be random. `None` if there is no memory for it.
    #[must_use]
    pub fn of(password: &str, hashing: PasswordHashing, salt: Salt) -> Option<Self> {
        let [first, second, third, fourth, ..] = salt;
        let short = [first, second, third, fourth];
        let digests = || Digests::of(short, password.as_bytes());
        let salted = |digest: &[u8]| Kind::Salted {
            algorithm: hashing.algorithm(),
            salt: short,
            digest: Box::from(digest),
        };
        Some(Self(match hashing {
            PasswordHashing::Sha256 => salted(&digests().sha256),
            PasswordHashing::Sha512 => salted(&digests().sha512),
            PasswordHashing::Argon2id => {
                Kind::Argon2id(Argon2idHash::of(password.as_bytes(), salt)?)
            }
        }))
    }

    /// Reads a hash in any of its texts. Without an algorithm the text tells which one it was; one that is
    /// named must be it. `None` if it is no hash.
    #[must_use]
    pub fn from_text(text: &str, algorithm: Option<HashingAlgorithm>) -> Option<Self> {
        let hash = match text.starts_with('$') {
            true => Self::from_phc(text),
            false => Self::from_base64(text, algorithm),
        };
        hash.filter(|hash| algorithm.is_none_or(|named| named == hash.algorithm()))
    }

    /// Reads base64 as definitions have it; without an algorithm the length tells which one it was. `None` if
    /// the text is not base64, or of something else.
    #[must_use]
    pub fn from_base64(text: &str, algorithm: Option<HashingAlgorithm>) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        match algorithm {
            Some(HashingAlgorithm::Argon2id) => Self::from_phc(str::from_utf8(&bytes).ok()?),
            None if bytes.starts_with(b"$argon2id$") => {
                Self::from_phc(str::from_utf8(&bytes).ok()?)
            }
            algorithm => Self::salted(&bytes, algorithm),
        }
    }

    fn from_phc(text: &str) -> Option<Self> {
        Argon2idHash::from_phc(text).map(Kind::Argon2id).map(Self)
    }

    fn salted(bytes: &[u8], algorithm: Option<HashingAlgorithm>) -> Option<Self> {
        let (salt, digest) = bytes.split_first_chunk()?;
        let fits = |one: &HashingAlgorithm| digest_bytes(*one) == Some(digest.len());
        let algorithm = match algorithm {
            Some(one) => Some(one).filter(fits),
            None => HashingAlgorithm::ALL.into_iter().find(fits),
        };
        Some(Self(Kind::Salted {
            algorithm: algorithm?,
            salt: *salt,
            digest: Box::from(digest),
        }))
    }

    /// The hash as definitions have it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        match &self.0 {
            Kind::Salted { salt, digest, .. } => STANDARD.encode([salt, &**digest].concat()),
            Kind::Argon2id(hash) => STANDARD.encode(hash.to_phc()),
        }
    }

    /// The hash as people have it: argon2id's as a PHC string, any other as in definitions.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.0 {
            Kind::Salted { .. } => self.to_base64(),
            Kind::Argon2id(hash) => hash.to_phc(),
        }
    }

    /// How the password was hashed.
    #[must_use]
    pub fn algorithm(&self) -> HashingAlgorithm {
        match &self.0 {
            Kind::Salted { algorithm, .. } => *algorithm,
            Kind::Argon2id(_) => HashingAlgorithm::Argon2id,
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Password::MASK)
    }
}

fn digest_bytes(algorithm: HashingAlgorithm) -> Option<usize> {
    match algorithm {
        HashingAlgorithm::Sha256 => Some(32),
        HashingAlgorithm::Sha512 => Some(64),
        HashingAlgorithm::Md5 => Some(16),
        HashingAlgorithm::Argon2id => None,
    }
}

/// What is made of a presented password to compare it with what is known. All digests are made whichever is
/// wanted, and argon2id runs for every user where new hashes are made by it, so that it takes the same time
/// for every user, and for none.
pub(super) struct Presented {
    digests: Digests,
    tag: Option<Box<[u8]>>,
}

impl Presented {
    pub(super) fn of(
        password: &[u8],
        known: Option<&PasswordHash>,
        hashing: PasswordHashing,
        memory: &mut HashingMemory,
    ) -> Self {
        let (salt, slow) = match known.map(|hash| &hash.0) {
            Some(Kind::Salted { salt, .. }) => (*salt, None),
            Some(Kind::Argon2id(hash)) => ([0; SALT_BYTES], Some(hash)),
            None => ([0; SALT_BYTES], None),
        };
        let decoy = (hashing == PasswordHashing::Argon2id && slow.is_none())
            .then(|| Argon2idHash::decoy([0; 16]));
        let slow = slow.or(decoy.as_ref());
        Self {
            digests: Digests::of(salt, password),
            tag: black_box(slow.and_then(|hash| hash.tag_of(password, memory))),
        }
    }

    /// Whether it is the password of this hash, which it was made for.
    pub(super) fn is(&self, hash: &PasswordHash) -> bool {
        match &hash.0 {
            Kind::Salted {
                algorithm, digest, ..
            } => is_same(digest, self.digests.by(*algorithm)),
            Kind::Argon2id(hash) => {
                let tag = self.tag.as_deref().unwrap_or_default();
                is_same(&hash.tag, tag)
            }
        }
    }
}

/// RabbitMQ's digests of a password.
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

    fn by(&self, algorithm: HashingAlgorithm) -> &[u8] {
        match algorithm {
            HashingAlgorithm::Sha256 => &self.sha256,
            HashingAlgorithm::Sha512 => &self.sha512,
            HashingAlgorithm::Md5 => &self.md5,
            HashingAlgorithm::Argon2id => &[],
        }
    }
}

fn digest<D: Digest>(salt: [u8; SALT_BYTES], password: &[u8]) -> sha2::digest::Output<D> {
    black_box(D::new_with_prefix(salt).chain_update(password).finalize())
}

/// Compares without a look at where they differ; an empty secret equals nothing.
pub(super) fn is_same(secret: &[u8], presented: &[u8]) -> bool {
    let mut difference = usize::from(secret.is_empty()) | (secret.len() ^ presented.len());
    let endless = secret.iter().chain(std::iter::repeat(&0));
    for (ours, theirs) in endless.zip(presented) {
        difference |= black_box(usize::from(ours ^ theirs));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Written by RabbitMQ 3.10.8 for the user `guest` with the password `guest`.
    const GUEST: &str = "7kXQweaCDSPJukErigQJP9js9+cuMC9gbpsVyZgf5wOXZ2ZE";
    /// The password `hush`.
    const SLOW: &str = "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$\
                        L1q3YlZz5QV14Kpd1y3ihou6hLdt6cgE9PKfOVGtLUE";

    #[test]
    fn a_hash_that_rabbitmq_wrote_matches_its_password_and_nothing_else() {
        let hash = PasswordHash::from_base64(GUEST, None).unwrap();
        assert_eq!(hash.algorithm(), HashingAlgorithm::Sha256);
        assert_eq!(
            (hash.to_base64(), hash.to_text()),
            (GUEST.to_owned(), GUEST.to_owned())
        );
        let password = Password::hashed(hash);
        assert!(password.matches(b"guest"));
        for wrong in [&b""[..], b"guesT", b"guest ", GUEST.as_bytes()] {
            assert!(!password.matches(wrong));
        }
    }

    #[test]
    fn rabbitmqs_algorithms_put_the_salt_in_front() {
        let salt = [1, 2, 3, 4];
        let digests = Digests::of(salt, b"secret");
        for algorithm in [
            HashingAlgorithm::Sha256,
            HashingAlgorithm::Sha512,
            HashingAlgorithm::Md5,
        ] {
            let digest = digests.by(algorithm);
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
    fn every_way_of_hashing_makes_hashes_that_can_be_written_and_read() {
        for hashing in PasswordHashing::ALL {
            let hash = PasswordHash::of("secret", hashing, [7; 16]).unwrap();
            let algorithm = hash.algorithm();
            assert_eq!(algorithm, hashing.algorithm());
            for named in [None, Some(algorithm)] {
                for text in [hash.to_base64(), hash.to_text()] {
                    assert!(PasswordHash::from_text(&text, named).unwrap() == hash);
                }
                assert!(PasswordHash::from_base64(&hash.to_base64(), named).unwrap() == hash);
            }
            let password = Password::hashed(hash);
            assert!(password.matches(b"secret") && !password.matches(b"secreT"));
        }
    }

    #[test]
    fn a_hash_is_read_only_as_what_it_is_said_to_be() {
        assert!(PasswordHash::from_text(SLOW, None).is_some());
        for algorithm in HashingAlgorithm::ALL {
            let is_slow = algorithm == HashingAlgorithm::Argon2id;
            assert_eq!(
                PasswordHash::from_text(SLOW, Some(algorithm)).is_some(),
                is_slow
            );
            let is_guests = algorithm == HashingAlgorithm::Sha256;
            assert_eq!(
                PasswordHash::from_text(GUEST, Some(algorithm)).is_some(),
                is_guests
            );
        }
        assert!(PasswordHash::from_base64(SLOW, None).is_none());
        assert!(PasswordHash::from_text("", None).is_none());
    }

    #[test]
    fn only_what_is_presented_is_compared_whatever_else_is_computed() {
        let slow = PasswordHash::from_text(SLOW, None).unwrap();
        let quick = PasswordHash::from_base64(GUEST, None).unwrap();
        let mut memory = HashingMemory::default();
        for hashing in PasswordHashing::ALL {
            let mut is = |known: &PasswordHash, password: &[u8]| {
                Presented::of(password, Some(known), hashing, &mut memory).is(known)
            };
            assert!(is(&slow, b"hush") && !is(&slow, b"guest"));
            assert!(is(&quick, b"guest") && !is(&quick, b"hush"));
        }
    }

    #[test]
    fn argon2id_runs_for_everybody_where_new_hashes_are_made_by_it() {
        let quick = PasswordHash::from_base64(GUEST, None).unwrap();
        let mut memory = HashingMemory::default();
        for known in [None, Some(&quick)] {
            let mut runs = |hashing| {
                let presented = Presented::of(b"guest", known, hashing, &mut memory);
                presented.tag.is_some()
            };
            assert!(!runs(PasswordHashing::Sha256));
            assert!(runs(PasswordHashing::Argon2id));
        }
    }
}
