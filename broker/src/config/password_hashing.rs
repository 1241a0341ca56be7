//! By what passwords are hashed: [`PasswordHashing`] for new hashes, [`HashingAlgorithm`] for those that
//! there are.
//!
//! What it is not: a hash (see [`super::PasswordHash`]).

use serde::{Deserialize, Serialize};

/// How a password was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashingAlgorithm {
    /// `rabbit_password_hashing_sha256`, RabbitMQ's own since 3.6.
    Sha256,
    /// `rabbit_password_hashing_sha512`
    Sha512,
    /// `rabbit_password_hashing_md5`, of users who have not changed their password since 3.5. Nothing new is
    /// hashed so.
    Md5,
    /// `leveret_password_hashing_argon2id`, which RabbitMQ does not know: a function that is made to be slow and
    /// to need much memory (RFC 9106).
    Argon2id,
}

impl HashingAlgorithm {
    pub(super) const ALL: [Self; 4] = [Self::Sha256, Self::Sha512, Self::Md5, Self::Argon2id];

    /// The name in definitions. RabbitMQ's are the names of its modules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
            Self::Argon2id => "leveret_password_hashing_argon2id",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// The key `password_hashing`: how passwords are hashed that are new to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordHashing {
    /// As RabbitMQ does: a salt of four bytes, and quick to guess.
    #[default]
    Sha256,
    /// The same with SHA-512.
    Sha512,
    /// Slow to guess: each guess takes 19 MiB and some 20 ms of a CPU. So does each login.
    Argon2id,
}

impl PasswordHashing {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Argon2id];

    /// The value of the key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Argon2id => "argon2id",
        }
    }

    /// What its hashes say that they are.
    #[must_use]
    pub fn algorithm(self) -> HashingAlgorithm {
        match self {
            Self::Sha256 => HashingAlgorithm::Sha256,
            Self::Sha512 => HashingAlgorithm::Sha512,
            Self::Argon2id => HashingAlgorithm::Argon2id,
        }
    }
}
