//! Which keys a user may use on topic exchanges (PERM-13, PERM-14).
//!
//! What it is not: the check whether an exchange is a topic exchange; whoever asks knows.
//!
//! Invariant: an exchange without a record allows every key.

use std::collections::HashMap;

use super::permissions::{Pattern, PatternError};
use crate::config::TopicPermissionConfig;

/// The topic permissions of one user in one vhost, by exchange.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicPermissions(HashMap<String, Keys>);

#[derive(Clone, Debug)]
struct Keys {
    write: Pattern,
    read: Pattern,
}

impl TopicPermissions {
    /// Compiles what a user has in one vhost; an error comes with the name of the permission.
    pub(super) fn new(
        user: &str,
        here: &[&TopicPermissionConfig],
    ) -> Result<Self, (String, PatternError)> {
        let compiled = here.iter().map(|entry| {
            let exchange = &entry.exchange;
            let compile = |which: &str, pattern: &str| {
                let named = |error| (format!("topic {which} on exchange {exchange:?}"), error);
                Pattern::of_keys(pattern, user, &entry.vhost).map_err(named)
            };
            let keys = Keys {
                write: compile("write", &entry.write)?,
                read: compile("read", &entry.read)?,
            };
            Ok((exchange.clone(), keys))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn knows(&self, exchange: &str) -> bool {
        self.0.contains_key(exchange)
    }

    pub(super) fn may_write(&self, exchange: &str, key: &[u8]) -> bool {
        self.allow(exchange, key, |keys| &keys.write)
    }

    pub(super) fn may_read(&self, exchange: &str, key: &[u8]) -> bool {
        self.allow(exchange, key, |keys| &keys.read)
    }

    fn allow(&self, exchange: &str, key: &[u8], which: fn(&Keys) -> &Pattern) -> bool {
        let record = self.0.get(exchange);
        record.is_none_or(|keys| which(keys).matches(&String::from_utf8_lossy(key)))
    }
}
