//! Users, their permissions and vhosts as keys and values of the catalog.
//!
//! ```text
//!   key   'a'                                      value  version u8
//!   key   'u' | user                               value  version u8 | algorithm | hash | limits | tag ...
//!   key   'r' | user | vhost                       value  version u8 | configure | write | read
//!   key   't' | user | vhost | exchange            value  version u8 | write | read
//!   key   'v' | vhost                              value  version u8 | queue type | description | limits
//!                                                         | tag ...
//! ```
//!
//! Everything but the version is *bytes* as in [`super::catalog`]. 'a' says that a broker has begun on this
//! data directory before. The hash of a password is written as definitions write it, by an algorithm of the
//! name that definitions give it; both are empty where no password is right. Limits are a field table of
//! 64-bit integers by RabbitMQ's names; one that is not there is no limit. The queue type is empty where the
//! vhost leaves that to the broker. Tags go on to the end.
//!
//! What it is not: the whole of the accounts; what belongs to the configuration is never in here. Patterns
//! are judged where they are compiled.
//!
//! Invariant: the entries of a user or vhost say all of it, and differ where it differs: a change is what
//! stands in the one image and not in the other.

use std::collections::BTreeMap;

use leveret_protocol::{Table, TableBuf, Value};
use leveret_storage::CatalogChange;

use super::bytes::{Reader, put_bytes};
use super::catalog::{VERSION, Why};
use crate::config::{
    DefaultQueueType, HashingAlgorithm, NAME_BYTES_MAX, Password, PasswordHash, PermissionConfig,
    TopicPermissionConfig, UserConfig, VhostConfig,
};

const BEGUN: u8 = b'a';
const USER: u8 = b'u';
const PERMISSION: u8 = b'r';
const TOPIC_PERMISSION: u8 = b't';
const VHOST: u8 = b'v';

const CONNECTIONS_MAX: &str = "max-connections";
const CHANNELS_MAX: &str = "max-channels";
const QUEUES_MAX: &str = "max-queues";
const EXCHANGES_MAX: &str = "max-exchanges";
const BINDINGS_MAX: &str = "max-bindings";

/// Catalog entries by their keys.
pub(crate) type Image = BTreeMap<Vec<u8>, Vec<u8>>;

/// An entry about accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountEntry {
    /// A broker has begun on this data directory before: neither the default user nor the default vhost is
    /// made any more.
    Begun,
    /// A user, without permissions.
    User(UserConfig),
    /// What a user may do in a vhost.
    Permission {
        /// The user.
        user: String,
        /// The vhost and the patterns.
        permission: PermissionConfig,
    },
    /// Which keys a user may use on a topic exchange.
    TopicPermission {
        /// The user.
        user: String,
        /// The vhost, the exchange and the patterns.
        permission: TopicPermissionConfig,
    },
    /// A vhost, without what is in it.
    Vhost(VhostConfig),
}

/// What a key is about, before its value is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountKey<'k> {
    Begun,
    User(&'k str),
    Permission(&'k str, &'k str),
    TopicPermission(&'k str, &'k str, &'k str),
    Vhost(&'k str),
}

/// That a broker has begun on the data directory.
pub(crate) fn begun_image() -> Image {
    Image::from([(vec![BEGUN], vec![VERSION])])
}

/// Everything there is to say of a user.
pub(crate) fn user_image(user: &UserConfig) -> Image {
    let name = &*user.name;
    let mut image = Image::from([(key(USER, &[name]), user_value(user))]);
    for one in &user.permissions {
        let patterns = [&*one.configure, &one.write, &one.read];
        image.insert(key(PERMISSION, &[name, &one.vhost]), texts(&patterns));
    }
    for one in &user.topic_permissions {
        let key = key(TOPIC_PERMISSION, &[name, &one.vhost, &one.exchange]);
        image.insert(key, texts(&[&one.write, &one.read]));
    }
    image
}

/// Everything there is to say of a vhost, without what is in it.
pub(crate) fn vhost_image(vhost: &VhostConfig) -> Image {
    let queue_type = vhost.default_queue_type.map_or("", |one| one.as_str());
    let limits = [
        (CONNECTIONS_MAX, vhost.connections_max),
        (QUEUES_MAX, vhost.queues_max),
        (EXCHANGES_MAX, vhost.exchanges_max),
        (BINDINGS_MAX, vhost.bindings_max),
    ];
    let mut value = texts(&[queue_type, &vhost.description]);
    put_limits(&mut value, &limits);
    put_tags(&mut value, &vhost.tags);
    Image::from([(key(VHOST, &[&vhost.name]), value)])
}

/// Whether an entry is one of those that images consist of.
pub(crate) fn is_account_key(key: &[u8]) -> bool {
    decode_key(key).is_some()
}

/// What leads from one image to another.
pub(crate) fn differences(before: &Image, after: &Image, out: &mut Vec<CatalogChange>) {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    out.extend(gone.map(|key| CatalogChange::Delete { key: key.clone() }));
    let changed = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value));
    out.extend(changed.map(|(key, value)| CatalogChange::Put {
        key: key.clone(),
        value: value.clone(),
    }));
}

fn key(kind: u8, names: &[&str]) -> Vec<u8> {
    let mut key = vec![kind];
    names
        .iter()
        .for_each(|name| put_bytes(&mut key, name.as_bytes()));
    key
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let mut value = vec![VERSION];
    texts
        .iter()
        .for_each(|text| put_bytes(&mut value, text.as_bytes()));
    value
}

fn user_value(user: &UserConfig) -> Vec<u8> {
    // A password that is kept is a hash already.
    let hash = user.password.hash();
    let algorithm = hash.map_or("", |hash| hash.algorithm().name());
    let hash = hash.map_or_else(String::new, PasswordHash::to_base64);
    let limits = [
        (CHANNELS_MAX, user.channels_max),
        (CONNECTIONS_MAX, user.connections_max),
    ];
    let mut value = texts(&[algorithm, &hash]);
    put_limits(&mut value, &limits);
    put_tags(&mut value, &user.tags);
    value
}

fn put_limits(value: &mut Vec<u8>, limits: &[(&str, Option<u32>)]) {
    let limits = limits.iter();
    let table = limits.fold(TableBuf::new(), |table, (name, limit)| match limit {
        Some(limit) => table.with(name, Value::I64(i64::from(*limit))),
        None => table,
    });
    put_bytes(value, table.view().as_bytes());
}

fn put_tags(value: &mut Vec<u8>, tags: &[String]) {
    tags.iter().for_each(|tag| put_bytes(value, tag.as_bytes()));
}

/// What a key is about; `None` if it is not about accounts.
pub(super) fn decode_key(key: &[u8]) -> Option<AccountKey<'_>> {
    let mut from = Reader(key);
    let key = match from.u8()? {
        BEGUN => AccountKey::Begun,
        USER => AccountKey::User(from.text()?),
        PERMISSION => AccountKey::Permission(from.text()?, from.text()?),
        TOPIC_PERMISSION => AccountKey::TopicPermission(from.text()?, from.text()?, from.text()?),
        VHOST => AccountKey::Vhost(from.text()?),
        _ => return None,
    };
    from.is_at_end().then_some(key)
}

impl std::fmt::Display for AccountKey<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begun => out.write_str("the beginning of the accounts"),
            Self::User(user) => write!(out, "user '{user}'"),
            Self::Permission(user, vhost) => {
                write!(out, "permission of user '{user}' in vhost '{vhost}'")
            }
            Self::TopicPermission(user, vhost, exchange) => write!(
                out,
                "topic permission of user '{user}' on exchange '{exchange}' in vhost '{vhost}'"
            ),
            Self::Vhost(vhost) => write!(out, "vhost '{vhost}'"),
        }
    }
}

impl<'k> AccountKey<'k> {
    /// Reads the value of this key.
    pub(super) fn decode(self, value: &[u8]) -> Result<AccountEntry, Why> {
        let mut from = Reader(value);
        match from.u8() {
            Some(VERSION) => {}
            Some(version) => return Err(Why::Version(version)),
            None => return Err(Why::Malformed),
        }
        let names_fit = self
            .names()
            .iter()
            .all(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
        let entry = self.decode_fields(&mut from)?;
        match names_fit && from.is_at_end() {
            true => Ok(entry),
            false => Err(Why::Malformed),
        }
    }

    fn names(self) -> Vec<&'k str> {
        match self {
            Self::Begun => Vec::new(),
            Self::User(name) | Self::Vhost(name) => vec![name],
            Self::Permission(user, vhost) => vec![user, vhost],
            Self::TopicPermission(user, vhost, exchange) => vec![user, vhost, exchange],
        }
    }

    fn decode_fields(self, from: &mut Reader<'_>) -> Result<AccountEntry, Why> {
        Ok(match self {
            Self::Begun => AccountEntry::Begun,
            Self::User(name) => AccountEntry::User(decode_user(name, from)?),
            Self::Vhost(name) => AccountEntry::Vhost(decode_vhost(name, from)?),
            Self::Permission(user, vhost) => AccountEntry::Permission {
                user: user.to_owned(),
                permission: PermissionConfig {
                    vhost: vhost.to_owned(),
                    configure: text(from)?,
                    write: text(from)?,
                    read: text(from)?,
                },
            },
            Self::TopicPermission(user, vhost, exchange) => AccountEntry::TopicPermission {
                user: user.to_owned(),
                permission: TopicPermissionConfig {
                    vhost: vhost.to_owned(),
                    exchange: exchange.to_owned(),
                    write: text(from)?,
                    read: text(from)?,
                },
            },
        })
    }
}

fn decode_user(name: &str, from: &mut Reader<'_>) -> Result<UserConfig, Why> {
    let password = decode_password(&text(from)?, &text(from)?)?;
    let mut user = UserConfig {
        password,
        ..UserConfig::named(name)
    };
    for (limit, most) in decode_limits(from)? {
        match &*limit {
            CONNECTIONS_MAX => user.connections_max = Some(most),
            CHANNELS_MAX => user.channels_max = Some(most),
            _ => return Err(Why::Limit(limit)),
        }
    }
    user.tags = decode_tags(from)?;
    Ok(user)
}

fn decode_password(algorithm: &str, hash: &str) -> Result<Password, Why> {
    if algorithm.is_empty() && hash.is_empty() {
        return Ok(Password::default());
    }
    let known = HashingAlgorithm::from_name(algorithm);
    let known = known.ok_or_else(|| Why::HashingAlgorithm(algorithm.to_owned()))?;
    let hash = PasswordHash::from_base64(hash, Some(known)).ok_or(Why::Malformed)?;
    Ok(Password::hashed(hash))
}

fn decode_vhost(name: &str, from: &mut Reader<'_>) -> Result<VhostConfig, Why> {
    let queue_type = match &*text(from)? {
        "" => None,
        other => {
            let known = DefaultQueueType::from_name(other);
            Some(known.ok_or_else(|| Why::QueueType(other.to_owned()))?)
        }
    };
    let mut vhost = VhostConfig {
        default_queue_type: queue_type,
        description: text(from)?,
        ..VhostConfig::named(name)
    };
    for (limit, most) in decode_limits(from)? {
        match &*limit {
            CONNECTIONS_MAX => vhost.connections_max = Some(most),
            QUEUES_MAX => vhost.queues_max = Some(most),
            EXCHANGES_MAX => vhost.exchanges_max = Some(most),
            BINDINGS_MAX => vhost.bindings_max = Some(most),
            _ => return Err(Why::Limit(limit)),
        }
    }
    vhost.tags = decode_tags(from)?;
    Ok(vhost)
}

fn decode_limits(from: &mut Reader<'_>) -> Result<Vec<(String, u32)>, Why> {
    let table = Table::parse(from.bytes().ok_or(Why::Malformed)?).map_err(|_| Why::Malformed)?;
    let limits = table.entries().map(|(name, value)| {
        let name = std::str::from_utf8(name.0).map_err(|_| Why::Malformed)?;
        let Value::I64(most) = value else {
            return Err(Why::Malformed);
        };
        let most = u32::try_from(most).map_err(|_| Why::Malformed)?;
        Ok((name.to_owned(), most))
    });
    limits.collect()
}

fn decode_tags(from: &mut Reader<'_>) -> Result<Vec<String>, Why> {
    let mut tags = Vec::new();
    while !from.is_at_end() {
        tags.push(text(from)?);
    }
    Ok(tags)
}

fn text(from: &mut Reader<'_>) -> Result<String, Why> {
    from.text().map(str::to_owned).ok_or(Why::Malformed)
}

#[cfg(test)]
mod tests;
