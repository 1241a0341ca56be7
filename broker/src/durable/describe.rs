//! What lies in a data directory, in words: for `leveret store dump`.
//!
//! What it is not: a format for machines, or reading from disk; it is given keys, values and bytes.
//!
//! Invariant: every entry and every message is one line, whatever is in it; what cannot be read says
//! so in its line.

use std::collections::HashMap;
use std::sync::Arc;

use leveret_storage::LogId;

use super::account::AccountEntry;
use super::catalog::{self, Entry};
use crate::config::{PermissionConfig, TopicPermissionConfig};
use crate::core::binding::{Binding, Destination};
use crate::core::exchange::ExchangeId;
use crate::core::policy::Policy;
use crate::core::queue::QueueId;
use crate::core::queue_handle::QueueSpec;
use crate::core::stored_message;
use crate::core::topology::ExchangeSpec;

/// The names in a catalog, by which ids are told.
#[derive(Clone, Debug, Default)]
pub struct Names {
    exchanges: HashMap<ExchangeId, Arc<str>>,
    queues: HashMap<QueueId, (Arc<str>, Arc<str>)>,
}

impl Names {
    /// Collects the names of all entries that can be read.
    pub fn of(catalog: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let mut names = Self::default();
        for (key, value) in catalog {
            match catalog::decode(key, value) {
                Ok(Entry::Exchange(_, spec)) => {
                    names.exchanges.insert(spec.id, spec.name);
                }
                Ok(Entry::Queue(vhost, spec)) => {
                    names.queues.insert(spec.id, (vhost, spec.name));
                }
                Ok(_) | Err(_) => {}
            }
        }
        names
    }

    /// The queue of a log, with its vhost, or the exchange whose own queue it belongs to.
    pub fn log(&self, log: LogId) -> String {
        match self.queues.get(&QueueId(log.0)) {
            Some((vhost, name)) => format!("queue {name:?} in vhost {vhost:?}"),
            None => match self.exchanges.get(&ExchangeId(log.0)) {
                Some(name) => format!("messages held by exchange {name:?}"),
                None => format!("log {} of no queue", log.0),
            },
        }
    }

    /// One entry of the catalog.
    pub fn entry(&self, key: &[u8], value: &[u8]) -> String {
        match catalog::decode(key, value) {
            Ok(Entry::NextId(next)) => format!("next id {next}"),
            Ok(Entry::Exchange(vhost, spec)) => exchange(&vhost, &spec),
            Ok(Entry::Queue(vhost, spec)) => queue(&vhost, &spec),
            Ok(Entry::Binding(vhost, binding)) => self.binding(&vhost, &binding),
            Ok(Entry::Policy(vhost, described)) => policy(&vhost, &described),
            Ok(Entry::Account(entry)) => account(&entry),
            Err(error) => format!("unreadable: {error}"),
        }
    }

    fn binding(&self, vhost: &str, binding: &Binding) -> String {
        let source = self.exchange(binding.source());
        let destination = match binding.destination() {
            Destination::Exchange(id) => self.exchange(id),
            Destination::Queue(id) => match self.queues.get(&id) {
                Some((_, name)) => format!("queue {name:?}"),
                None => format!("queue {} (not in the catalog)", id.0),
            },
        };
        let key = String::from_utf8_lossy(binding.routing_key());
        let arguments = binding.arguments();
        format!(
            "binding in vhost {vhost:?}: {source} to {destination}, key {key:?}, \
             arguments {arguments:?}"
        )
    }

    fn exchange(&self, id: ExchangeId) -> String {
        match self.exchanges.get(&id) {
            Some(name) => format!("exchange {name:?}"),
            None => format!("exchange {} (not in the catalog)", id.0),
        }
    }
}

fn exchange(vhost: &str, spec: &ExchangeSpec) -> String {
    let (id, name, kind) = (spec.id.0, &spec.name, spec.kind.name);
    let auto_delete = if spec.auto_delete {
        ", auto-delete"
    } else {
        ""
    };
    let internal = if spec.internal { ", internal" } else { "" };
    let arguments = &spec.arguments;
    format!(
        "exchange {id} {name:?} in vhost {vhost:?}: {kind}{auto_delete}{internal}, \
         arguments {arguments:?}"
    )
}

fn queue(vhost: &str, spec: &QueueSpec) -> String {
    let (id, name, arguments) = (spec.id.0, &spec.name, &spec.arguments);
    let auto_delete = if spec.auto_delete {
        "auto-delete, "
    } else {
        ""
    };
    format!("queue {id} {name:?} in vhost {vhost:?}: {auto_delete}arguments {arguments:?}")
}

fn policy(vhost: &str, policy: &Policy) -> String {
    let (noun, name) = (policy.kind().noun(), policy.name());
    let (pattern, apply_to) = (policy.pattern().as_str(), policy.apply_to().as_str());
    let (priority, definition) = (policy.priority(), policy.definition());
    format!(
        "{noun} {name:?} in vhost {vhost:?}: pattern {pattern:?}, applies to {apply_to}, \
         priority {priority}, definition {definition:?}"
    )
}

/// A password is told by how it was hashed alone.
fn account(entry: &AccountEntry) -> String {
    match entry {
        AccountEntry::Begun => "accounts begun".to_owned(),
        AccountEntry::User(user) => {
            let hash = user.password.hash();
            let password = hash.map_or("none", |hash| hash.algorithm().name());
            let (name, tags) = (&user.name, &user.tags);
            let limits = limits(&[
                ("max-connections", user.connections_max),
                ("max-channels", user.channels_max),
            ]);
            format!("user {name:?}: password {password}, tags {tags:?}{limits}")
        }
        AccountEntry::Permission { user, permission } => {
            let PermissionConfig {
                vhost,
                configure,
                write,
                read,
            } = permission;
            format!(
                "permission of user {user:?} in vhost {vhost:?}: configure {configure:?}, \
                 write {write:?}, read {read:?}"
            )
        }
        AccountEntry::TopicPermission { user, permission } => {
            let TopicPermissionConfig {
                vhost,
                exchange,
                write,
                read,
            } = permission;
            format!(
                "topic permission of user {user:?} on exchange {exchange:?} in vhost {vhost:?}: \
                 write {write:?}, read {read:?}"
            )
        }
        AccountEntry::Vhost(vhost) => {
            let (name, description, tags) = (&vhost.name, &vhost.description, &vhost.tags);
            let queue_type = vhost.default_queue_type.map_or("", |one| one.as_str());
            let limits = limits(&[
                ("max-connections", vhost.connections_max),
                ("max-queues", vhost.queues_max),
                ("max-exchanges", vhost.exchanges_max),
                ("max-bindings", vhost.bindings_max),
            ]);
            format!(
                "vhost {name:?}: description {description:?}, tags {tags:?}, \
                 default queue type {queue_type:?}{limits}"
            )
        }
    }
}

fn limits(limits: &[(&str, Option<u32>)]) -> String {
    let set = limits
        .iter()
        .filter_map(|(name, most)| Some((name, (*most)?)));
    set.map(|(name, most)| format!(", {name} {most}")).collect()
}

/// The head of a stored message; its body is only measured.
pub fn message(bytes: &[u8]) -> String {
    let (message, expires_at) = match stored_message::decode(bytes.to_vec()) {
        Ok(decoded) => decoded,
        Err(error) => return format!("unreadable: {error}"),
    };
    let exchange = String::from_utf8_lossy(message.exchange());
    let key = String::from_utf8_lossy(message.routing_key());
    let (properties, body) = (message.properties().len(), message.body_len());
    let expires = expires_at.map(|at| format!(", expires at {} ms", at.unix_ms()));
    let expires = expires.unwrap_or_default();
    format!(
        "exchange {exchange:?}, routing key {key:?}, properties {properties} bytes, \
         body {body} bytes{expires}"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::content::Body;

    use super::*;
    use crate::config::{Password, PasswordHash, PasswordHashing, UserConfig, VhostConfig};
    use crate::core::queue_handle::QueueHandle;
    use crate::core::topology::tests::{allow, counting, queue, to_queue};
    use crate::core::topology::{Applied, Change, QueueDeclare};
    use crate::core::vhost::Vhost;
    use crate::core::{Message, MessageParts, Moment};
    use crate::durable::account;

    type Catalog = Vec<(Vec<u8>, Vec<u8>)>;

    fn put(applied: &Applied, catalog: &mut Catalog) {
        for change in catalog::changes("/", applied, 100) {
            if let leveret_storage::CatalogChange::Put { key, value } = change {
                catalog.push((key, value));
            }
        }
    }

    /// A new vhost with one queue bound to one exchange.
    fn filled() -> (Catalog, Arc<QueueHandle>) {
        let vhost = Vhost::new("/", counting());
        let mut catalog = Vec::new();
        let request = QueueDeclare {
            durable: true,
            ..queue("line\nbreak")
        };
        let (queue, applied) = vhost.declare_queue(&request, &mut allow).unwrap();
        put(&applied, &mut catalog);
        let bind = to_queue("amq.topic", "linebreak", "a.#");
        put(&vhost.bind(&bind, &mut allow).unwrap(), &mut catalog);
        let exchange = Arc::clone(vhost.topology().exchange(b"amq.topic").unwrap().spec());
        let applied = Applied {
            changes: vec![Change::ExchangeDeclared(exchange)],
            durable_at: None,
            ..Applied::default()
        };
        put(&applied, &mut catalog);
        (catalog, queue)
    }

    #[test]
    fn entries_are_told_by_the_names_of_what_they_mean() {
        let (catalog, queue) = filled();
        let names = Names::of(&catalog);
        let lines: Vec<_> = catalog
            .iter()
            .map(|(key, value)| names.entry(key, value))
            .collect();
        let id = queue.id().0;
        let expected = [
            &*format!("queue {id} \"linebreak\" in vhost \"/\": arguments {{}}"),
            "next id 100",
            "binding in vhost \"/\": exchange \"amq.topic\" to queue \"linebreak\", key \"a.#\", \
             arguments {}",
            "next id 100",
            "exchange 4 \"amq.topic\" in vhost \"/\": topic, arguments {}",
            "next id 100",
        ];
        assert_eq!(lines, expected);
        assert_eq!(names.log(LogId(id)), "queue \"linebreak\" in vhost \"/\"");
        assert_eq!(names.log(LogId(99)), "log 99 of no queue");
    }

    #[test]
    fn accounts_are_told_without_passwords() {
        let hash = PasswordHash::of("hush", PasswordHashing::Sha256, [7; 16]).unwrap();
        let secret = hash.to_base64();
        let user = UserConfig {
            password: Password::hashed(hash),
            tags: vec!["a\nb".to_owned()],
            connections_max: Some(3),
            permissions: vec![PermissionConfig::all("/")],
            ..UserConfig::named("ada")
        };
        let vhost = VhostConfig {
            queues_max: Some(0),
            ..VhostConfig::named("/")
        };
        let images = [account::user_image(&user), account::vhost_image(&vhost)];
        let names = Names::default();
        let entries = images.iter().flatten();
        let lines: Vec<_> = entries
            .map(|(key, value)| names.entry(key, value))
            .collect();
        let expected = [
            "permission of user \"ada\" in vhost \"/\": configure \".*\", write \".*\", read \".*\"",
            "user \"ada\": password rabbit_password_hashing_sha256, tags [\"a\\nb\"], max-connections 3",
            "vhost \"/\": description \"\", tags [], default queue type \"\", max-queues 0",
        ];
        assert_eq!(lines, expected);
        assert!(!lines.concat().contains(&secret));
    }

    #[test]
    fn what_cannot_be_read_says_so_in_one_line() {
        let (mut catalog, _) = filled();
        catalog[0].1[0] = 7;
        let names = Names::of(&catalog);
        let line = names.entry(&catalog[0].0, &catalog[0].1);
        assert!(
            line.starts_with("unreadable: catalog entry of queue "),
            "{line}"
        );
        let line = names.entry(&catalog[2].0, &catalog[2].1);
        assert!(line.contains("(not in the catalog), key \"a.#\""), "{line}");
        assert!(message(b"\x09").starts_with("unreadable: "));
    }

    #[test]
    fn a_message_is_told_by_its_head() {
        let parts = MessageParts {
            exchange: b"e",
            routing_key: b"a\nb",
            properties: &[0, 0],
            body: Body::Whole(b"secret"),
            persistent: true,
            priority: 0,
            expiration_ms: None,
        };
        let stored = Message::new(parts, &mut Vec::new());
        let expires_at = Some(Moment::from_unix_ms(5));
        let bytes = stored_message::pieces(&stored, expires_at, |pieces| pieces.concat());
        assert_eq!(
            message(&bytes),
            "exchange \"e\", routing key \"a\\nb\", properties 2 bytes, body 6 bytes, \
             expires at 5 ms"
        );
    }
}
