//! An entry of `users` as it is written, where a password stands in clear text or as a hash.
//!
//! What it is not: a user (see [`UserConfig`]).
//!
//! Invariant: no error tells what was written of a password.

use serde::Deserialize;

use super::password::Password;
use super::password_hash::PasswordHash;
use super::password_hashing::{HashingAlgorithm, PasswordHashing};
use super::user::{PermissionConfig, TopicPermissionConfig, UserConfig};

/// The keys; [`UserConfig`] says what they mean.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UserKeys {
    name: Option<String>,
    password: Option<Password>,
    password_hash: Option<String>,
    hashing_algorithm: Option<String>,
    tags: Vec<String>,
    connections_max: Option<u32>,
    channels_max: Option<u32>,
    permissions: Vec<PermissionConfig>,
    topic_permissions: Vec<TopicPermissionConfig>,
}

impl TryFrom<UserKeys> for UserConfig {
    type Error = String;

    fn try_from(keys: UserKeys) -> Result<Self, String> {
        let name = keys.name.ok_or("missing field `name`")?;
        let password = match (keys.password, keys.password_hash) {
            (Some(_), Some(_)) => {
                return Err("expected either password or password_hash, found both".to_owned());
            }
            (None, Some(hash)) => hashed(&hash, keys.hashing_algorithm.as_deref())?,
            (_, None) if keys.hashing_algorithm.is_some() => {
                return Err("hashing_algorithm is of no use without password_hash".to_owned());
            }
            (password, None) => password.unwrap_or_default(),
        };
        Ok(Self {
            name,
            password,
            tags: keys.tags,
            connections_max: keys.connections_max,
            channels_max: keys.channels_max,
            permissions: keys.permissions,
            topic_permissions: keys.topic_permissions,
        })
    }
}

/// The hash of an empty text is none: no password is right, as in definitions.
fn hashed(hash: &str, algorithm: Option<&str>) -> Result<Password, String> {
    let algorithm = algorithm.map(named).transpose()?;
    if hash.is_empty() {
        return Ok(Password::default());
    }
    let hash = PasswordHash::from_text(hash, algorithm);
    let expected = "password_hash is not a hash, expected what `leveret hash-password` prints or \
                    definitions have; a hashing_algorithm has to be its own";
    hash.map(Password::hashed)
        .ok_or_else(|| expected.to_owned())
}

/// The algorithm by the value of `password_hashing` or by its name in definitions.
fn named(name: &str) -> Result<HashingAlgorithm, String> {
    let short = PasswordHashing::ALL.into_iter();
    let mut short = short.filter(|one| one.as_str() == name);
    let short = short.next().map(PasswordHashing::algorithm);
    let known = short.or_else(|| HashingAlgorithm::from_name(name));
    known.ok_or_else(|| {
        "hashing_algorithm is not known, expected sha256, sha512, argon2id or a name of definitions"
            .to_owned()
    })
}
