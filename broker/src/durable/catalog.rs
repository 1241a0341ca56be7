//! The catalog: which durable exchanges, queues, bindings and policies there are, as keys and values.
//!
//! ```text
//!   key    'n'                                        value  version u8 | next id u64
//!   key    kind u8 | vhost bytes | id u64 (big-endian)
//!     'e'  exchange   version u8 | flags u8 | name bytes | type bytes | arguments bytes
//!     'q'  queue      version u8 | flags u8 | name bytes | arguments bytes
//!     'b'  binding    version u8 | flags u8 | source u64 | to u8 | destination u64 | key bytes
//!                     | arguments bytes
//! ```
//!
//! *Bytes* are a length (u32) and that many bytes; numbers are little-endian but for the id in a key,
//! which is big-endian so that keys sort by it. Flag 1 is auto-delete, flag 2 internal; *to* is 0 for
//! a queue and 1 for an exchange. Arguments are a field table as it came (DUR-08). A queue's messages
//! are in the log of its id, and so are those that an exchange holds in its own queue.
//!
//! What it is not: no checksum and no atomicity; the store has both. Bytes that pass the store's
//! checks are still taken for hostile here.
//!
//! Invariants: what [`changes`] writes, [`decode`] reads back equal; whatever was durable once had an
//! id below the *next id* that was written with it, so no id comes back after a restart.
//!
//! Policies are in the catalog too, and users and vhosts; the files `policy.rs` and `account.rs` beside this
//! one say how.

use std::sync::Arc;

use leveret_protocol::{Table, TableBuf};
use leveret_storage::{CatalogChange, LogId};
use thiserror::Error;

use super::account::{self, AccountEntry};
use super::bytes::{Reader, put_bytes};
use super::policy;
use crate::core::binding::{Binding, BindingId, Destination};
use crate::core::exchange::{self, ExchangeId};
use crate::core::policy::Policy;
use crate::core::queue::QueueId;
use crate::core::queue_handle::QueueSpec;
use crate::core::topology::{Applied, Change, ExchangeSpec};

/// The version of all values.
pub(super) const VERSION: u8 = 1;
const AUTO_DELETE: u8 = 1;
const INTERNAL: u8 = 2;
const TO_QUEUE: u8 = 0;
const TO_EXCHANGE: u8 = 1;
const NEXT_ID: u8 = b'n';

/// One entry of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing durable has had this id or a higher one.
    NextId(u64),
    /// An exchange of a vhost.
    Exchange(Arc<str>, ExchangeSpec),
    /// A queue of a vhost.
    Queue(Arc<str>, QueueSpec),
    /// A binding of a vhost.
    Binding(Arc<str>, Binding),
    /// A policy of a vhost.
    Policy(Arc<str>, Policy),
    /// A user, a permission or a vhost.
    Account(AccountEntry),
}

/// An entry that this broker cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("catalog entry of {what}: {why}")]
pub struct BadEntry {
    what: String,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Why {
    #[error("it is of version {0}, and only version {VERSION} is known")]
    Version(u8),
    #[error("it has flags {0:#04x} that are not known")]
    Flags(u8),
    #[error("its exchange type '{0}' is not known")]
    ExchangeType(String),
    #[error("{0}")]
    Policy(String),
    #[error("its password was hashed by '{0}', which is not known")]
    HashingAlgorithm(String),
    #[error("its default queue type '{0}' is not known")]
    QueueType(String),
    #[error("its limit '{0}' is not known")]
    Limit(String),
    #[error("its bytes contradict each other")]
    Malformed,
}

/// What a change of a vhost's topology means for the catalog: only what is durable, and nothing if
/// nothing is. No id up to `next_id` is free.
pub fn changes(vhost: &str, applied: &Applied, next_id: u64) -> Vec<CatalogChange> {
    let mut changes = Vec::new();
    for change in &applied.changes {
        put_change(vhost, change, &mut changes);
    }
    if !changes.is_empty() {
        changes.push(CatalogChange::Put {
            key: vec![NEXT_ID],
            value: [&[VERSION], &next_id.to_le_bytes()[..]].concat(),
        });
    }
    changes
}

fn put_change(vhost: &str, change: &Change, out: &mut Vec<CatalogChange>) {
    match change {
        Change::ExchangeDeclared(spec) if spec.durable => {
            let (key, value) = (Kind::Exchange.key(vhost, spec.id.0), exchange_value(spec));
            out.push(CatalogChange::Put { key, value });
            out.extend(own_log(spec).map(CatalogChange::CreateLog));
        }
        Change::ExchangeDeleted(spec) if spec.durable => {
            let key = Kind::Exchange.key(vhost, spec.id.0);
            out.push(CatalogChange::Delete { key });
            out.extend(own_log(spec).map(CatalogChange::DropLog));
        }
        Change::QueueDeclared(queue) if queue.spec().is_kept() => {
            let (key, value) = (
                Kind::Queue.key(vhost, queue.id().0),
                queue_value(queue.spec()),
            );
            out.push(CatalogChange::Put { key, value });
            out.push(CatalogChange::CreateLog(LogId(queue.id().0)));
        }
        Change::QueueDeleted(queue) if queue.spec().is_kept() => {
            let key = Kind::Queue.key(vhost, queue.id().0);
            out.push(CatalogChange::Delete { key });
            out.push(CatalogChange::DropLog(LogId(queue.id().0)));
        }
        Change::Bound(binding) => out.extend(binding.durable_id().map(|id| CatalogChange::Put {
            key: Kind::Binding.key(vhost, id.0),
            value: binding_value(binding),
        })),
        Change::Unbound(binding) => {
            out.extend(binding.durable_id().map(|id| CatalogChange::Delete {
                key: Kind::Binding.key(vhost, id.0),
            }));
        }
        Change::PolicySet(set) => out.push(CatalogChange::Put {
            key: policy::key(vhost, set),
            value: policy::value(set),
        }),
        Change::PolicyCleared(cleared) => out.push(CatalogChange::Delete {
            key: policy::key(vhost, cleared),
        }),
        Change::QueueChanged(_)
        | Change::ExchangeDeclared(_)
        | Change::ExchangeDeleted(_)
        | Change::OwnQueueGone(_)
        | Change::QueueDeclared(_)
        | Change::QueueDeleted(_) => {}
    }
}

/// The log of an exchange's own queue, if it has one; it has the exchange's id.
fn own_log(spec: &ExchangeSpec) -> Option<LogId> {
    spec.kind.holds_messages.then_some(LogId(spec.id.0))
}

fn exchange_value(spec: &ExchangeSpec) -> Vec<u8> {
    let auto_delete = if spec.auto_delete { AUTO_DELETE } else { 0 };
    let internal = if spec.internal { INTERNAL } else { 0 };
    let mut value = vec![VERSION, auto_delete | internal];
    put_bytes(&mut value, spec.name.as_bytes());
    put_bytes(&mut value, spec.kind.name.as_bytes());
    put_bytes(&mut value, spec.arguments.view().as_bytes());
    value
}

fn queue_value(spec: &QueueSpec) -> Vec<u8> {
    let mut value = vec![VERSION, if spec.auto_delete { AUTO_DELETE } else { 0 }];
    put_bytes(&mut value, spec.name.as_bytes());
    put_bytes(&mut value, spec.arguments.view().as_bytes());
    value
}

fn binding_value(binding: &Binding) -> Vec<u8> {
    let (to, destination) = match binding.destination() {
        Destination::Queue(id) => (TO_QUEUE, id.0),
        Destination::Exchange(id) => (TO_EXCHANGE, id.0),
    };
    let mut value = vec![VERSION, 0];
    value.extend_from_slice(&binding.source().0.to_le_bytes());
    value.push(to);
    value.extend_from_slice(&destination.to_le_bytes());
    put_bytes(&mut value, binding.routing_key());
    put_bytes(&mut value, binding.arguments().view().as_bytes());
    value
}

/// Reads one entry.
///
/// # Errors
/// When it was written by a newer broker, or is none at all.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Entry, BadEntry> {
    if key == [NEXT_ID] {
        return decode_next_id(value).map_err(|why| BadEntry {
            what: "the next id".to_owned(),
            why,
        });
    }
    if let Some((kind, vhost, name)) = policy::decode_key(key) {
        let decoded = policy::decode(kind, name, value).map_err(|why| BadEntry {
            what: format!("{} '{name}' in vhost '{vhost}'", kind.noun()),
            why,
        });
        return decoded.map(|policy| Entry::Policy(Arc::from(vhost), policy));
    }
    if let Some(account) = account::decode_key(key) {
        let decoded = account.decode(value).map_err(|why| BadEntry {
            what: account.to_string(),
            why,
        });
        return decoded.map(Entry::Account);
    }
    let Some((kind, vhost, id)) = decode_key(key) else {
        return Err(BadEntry {
            what: format!("unknown kind, key {:?}", String::from_utf8_lossy(key)),
            why: Why::Malformed,
        });
    };
    kind.decode(&vhost, id, value).map_err(|why| BadEntry {
        what: format!("{} {id} in vhost '{vhost}'", kind.noun()),
        why,
    })
}

/// The kinds of entries that belong to a vhost.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Kind {
    Exchange = b'e',
    Queue = b'q',
    Binding = b'b',
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Queue => "queue",
            Self::Binding => "binding",
        }
    }

    fn key(self, vhost: &str, id: u64) -> Vec<u8> {
        let mut key = vec![self as u8];
        put_bytes(&mut key, vhost.as_bytes());
        key.extend_from_slice(&id.to_be_bytes());
        key
    }

    fn decode(self, vhost: &Arc<str>, id: u64, value: &[u8]) -> Result<Entry, Why> {
        let mut from = Reader(value);
        match from.u8() {
            Some(VERSION) => {}
            Some(version) => return Err(Why::Version(version)),
            None => return Err(Why::Malformed),
        }
        let flags = from.u8().ok_or(Why::Malformed)?;
        let vhost = Arc::clone(vhost);
        let entry = match self {
            Self::Exchange => Entry::Exchange(vhost, decode_exchange(id, flags, &mut from)?),
            Self::Queue => Entry::Queue(vhost, decode_queue(id, flags, &mut from)?),
            Self::Binding => Entry::Binding(vhost, decode_binding(id, flags, &mut from)?),
        };
        match from.is_at_end() {
            true => Ok(entry),
            false => Err(Why::Malformed),
        }
    }
}

fn decode_key(key: &[u8]) -> Option<(Kind, Arc<str>, u64)> {
    let mut from = Reader(key);
    let byte = from.u8()?;
    let kinds = [Kind::Exchange, Kind::Queue, Kind::Binding];
    let kind = kinds.into_iter().find(|kind| *kind as u8 == byte)?;
    let vhost = from.text()?;
    let id = u64::from_be_bytes(from.array()?);
    from.is_at_end().then(|| (kind, Arc::from(vhost), id))
}

fn decode_next_id(value: &[u8]) -> Result<Entry, Why> {
    match value {
        [VERSION, id @ ..] => match id.try_into() {
            Ok(id) => Ok(Entry::NextId(u64::from_le_bytes(id))),
            Err(_) => Err(Why::Malformed),
        },
        [version, ..] => Err(Why::Version(*version)),
        [] => Err(Why::Malformed),
    }
}

fn decode_exchange(id: u64, flags: u8, from: &mut Reader<'_>) -> Result<ExchangeSpec, Why> {
    check_flags(flags, AUTO_DELETE | INTERNAL)?;
    let name = from.text().ok_or(Why::Malformed)?;
    let kind = from.text().ok_or(Why::Malformed)?;
    Ok(ExchangeSpec {
        id: ExchangeId(id),
        name: Arc::from(name),
        kind: exchange::kind(kind).ok_or_else(|| Why::ExchangeType(kind.to_owned()))?,
        durable: true,
        auto_delete: flags & AUTO_DELETE != 0,
        internal: flags & INTERNAL != 0,
        arguments: decode_arguments(from)?,
    })
}

fn decode_queue(id: u64, flags: u8, from: &mut Reader<'_>) -> Result<QueueSpec, Why> {
    check_flags(flags, AUTO_DELETE)?;
    Ok(QueueSpec {
        id: QueueId(id),
        name: Arc::from(from.text().ok_or(Why::Malformed)?),
        durable: true,
        auto_delete: flags & AUTO_DELETE != 0,
        exclusive_owner: None,
        arguments: decode_arguments(from)?,
        of_exchange: None,
    })
}

fn decode_binding(id: u64, flags: u8, from: &mut Reader<'_>) -> Result<Binding, Why> {
    check_flags(flags, 0)?;
    let source = ExchangeId(from.u64().ok_or(Why::Malformed)?);
    let to = from.u8().ok_or(Why::Malformed)?;
    let destination = from.u64().ok_or(Why::Malformed)?;
    let destination = match to {
        TO_QUEUE => Destination::Queue(QueueId(destination)),
        TO_EXCHANGE => Destination::Exchange(ExchangeId(destination)),
        _ => return Err(Why::Malformed),
    };
    let key = from.bytes().ok_or(Why::Malformed)?;
    let arguments = decode_arguments(from)?;
    let binding = Binding::new(source, destination, key, arguments.view());
    Ok(binding.durable_as(BindingId(id)))
}

fn decode_arguments(from: &mut Reader<'_>) -> Result<TableBuf, Why> {
    let bytes = from.bytes().ok_or(Why::Malformed)?;
    let table = Table::parse(bytes).map_err(|_| Why::Malformed)?;
    Ok(table.to_owned())
}

fn check_flags(flags: u8, known: u8) -> Result<(), Why> {
    match flags & !known {
        0 => Ok(()),
        unknown => Err(Why::Flags(unknown)),
    }
}

impl QueueSpec {
    /// True for a queue that the catalog has (DUR-01, DUR-05).
    pub(crate) fn is_kept(&self) -> bool {
        self.durable && self.exclusive_owner.is_none()
    }
}
