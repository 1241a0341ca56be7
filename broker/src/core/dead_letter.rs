//! What a message looks like after it died in one queue and before it is routed to another.
//!
//! ```text
//! queue ─▶ dies ─▶ next_life(): address = dead-letter exchange and key
//!                               headers: x-death, x-first-death-*, x-last-death-*; CC if no key is set
//!                               expiration gone, kept in x-death
//!                ─▶ routing_keys() ─▶ target queues without those for which is_cycle() ─▶ queue
//! ```
//!
//! `x-death` has one entry per queue and reason, the most recent death first. A publisher may send one
//! of its own: it is extended if it is an array and replaced if not, and whatever it holds is
//! tolerated (DLX-15).
//!
//! What it is not: a router, and not a queue; it decides neither who dies nor where a letter goes.
//!
//! Invariant: a history never outgrows [`HISTORY_ENTRIES_MAX`] and [`HISTORY_BYTES_MAX`] by more
//! than its newest entry.

use leveret_protocol::{Array, ArrayBuf, Malformed, Properties, ShortStr, Table, TableBuf, Value};

use crate::core::message::{Message, MessageParts};
use crate::core::moment::Moment;
use crate::core::publishing::{CC, visible_routing_keys};
use crate::core::queue::DeathReason;

/// The most entries of `x-death`; the oldest are forgotten. Honest histories have one entry for each
/// queue and reason on a message's way, and no useful way is that long.
pub const HISTORY_ENTRIES_MAX: usize = 128;
/// How much of a history that a publisher has sent is looked at.
const HISTORY_VALUES_MAX: usize = 1024;

/// The most bytes of older entries in `x-death`; the oldest are forgotten. Each entry repeats all the
/// keys of the CC header, so that a long CC header would otherwise grow a message by its own size
/// with every death.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024;

/// How a message died.
#[derive(Clone, Copy, Debug)]
pub struct Death<'a> {
    /// The name of the queue that it died in.
    pub queue: &'a [u8],
    /// Why.
    pub reason: DeathReason,
    /// When; `x-death` keeps whole seconds.
    pub at: Moment,
}

/// Where a queue sends its dead.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetterAddress<'a> {
    /// The dead-letter exchange's name.
    pub exchange: &'a [u8],
    /// The queue's dead-letter routing key; without one a letter keeps its keys (DLX-03).
    pub routing_key: Option<&'a [u8]>,
}

/// The dead message as it is published to the dead-letter exchange (DLX-04 to DLX-14, DLX-25). Route
/// it with [`routing_keys`](crate::core::publishing::routing_keys). `scratch` is as in
/// [`Message::new`].
///
/// # Errors
/// When the message's properties cannot be read, which publishing rules out.
pub fn next_life(
    message: &Message,
    death: Death<'_>,
    address: DeadLetterAddress<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Message, Malformed> {
    let properties = Properties::parse(message.properties())?;
    let headers = headers(message, &properties, death, address);
    let properties = Properties {
        headers: Some(headers.view()),
        expiration: None,
        ..properties
    };
    let parts = MessageParts {
        exchange: address.exchange,
        routing_key: address.routing_key.unwrap_or_else(|| message.routing_key()),
        properties: &properties.to_bytes(),
        expiration_ms: None,
        ..message.parts()
    };
    let keeps_keys = address.routing_key.is_none();
    let blind_keys = message.blind_keys().filter(|_| keeps_keys);
    Ok(Message::with_blind_keys(parts, blind_keys, scratch))
}

/// True if dead-lettering into this queue would close a circle that nobody's rejection is part of
/// (DLX-17, DLX-18). `headers` are those of the message's next life. A message that was just
/// rejected never runs in such a circle, so its newest entry answers for it.
pub fn is_cycle(headers: Option<Table<'_>>, queue: &[u8]) -> bool {
    let Some(Value::Array(deaths)) = headers.and_then(|headers| headers.get(X_DEATH)) else {
        return false;
    };
    for death in deaths.values() {
        let Value::Table(death) = death else {
            return false;
        };
        if death.get("reason") == Some(Value::LongStr(DeathReason::Rejected.as_str().as_bytes())) {
            return false;
        }
        if death.get("queue") == Some(Value::LongStr(queue)) {
            return true;
        }
    }
    false
}

const X_DEATH: &str = "x-death";

/// The headers of the next life, sorted by name (TABLE-07).
fn headers(
    message: &Message,
    properties: &Properties<'_>,
    death: Death<'_>,
    address: DeadLetterAddress<'_>,
) -> TableBuf {
    let old = properties.headers.unwrap_or_default();
    let history = history(message, properties, death);
    let mut changed = vec![(X_DEATH, Value::Array(history.view()))];
    let summary = [
        death.reason.as_str().as_bytes(),
        death.queue,
        message.exchange(),
    ];
    if old.get(X_DEATH).is_none() {
        changed.extend(FIRST_DEATH.into_iter().zip(summary.map(Value::LongStr)));
    }
    changed.extend(LAST_DEATH.into_iter().zip(summary.map(Value::LongStr)));
    let dropped = address.routing_key.map(|_| CC);
    let replaced = changed.iter().map(|(name, _)| *name);
    let gone: Vec<&str> = replaced.chain(dropped).collect();
    let kept = old
        .entries()
        .filter(|(key, _)| !gone.iter().any(|name| key.0 == name.as_bytes()));
    let changed = changed.iter().map(|(key, v)| (ShortStr::from(*key), *v));
    TableBuf::from_raw_entries(kept.chain(changed)).sorted()
}

/// Reason, queue and exchange of the first death; never changed afterwards (DLX-13).
const FIRST_DEATH: [&str; 3] = [
    "x-first-death-reason",
    "x-first-death-queue",
    "x-first-death-exchange",
];
/// Reason, queue and exchange of the last death (DLX-14).
const LAST_DEATH: [&str; 3] = [
    "x-last-death-reason",
    "x-last-death-queue",
    "x-last-death-exchange",
];

/// The new `x-death`: this death in front, then the others as they were (DLX-08, DLX-11).
fn history(message: &Message, properties: &Properties<'_>, death: Death<'_>) -> ArrayBuf {
    let found = properties.headers.and_then(|headers| headers.get(X_DEATH));
    let Some(Value::Array(found)) = found else {
        let first = first_entry(message, properties, death);
        return [Value::Table(first.view())].into_iter().collect();
    };
    let mut older = entries_of(found);
    let queue = Some(Value::LongStr(death.queue));
    let reason = Some(Value::LongStr(death.reason.as_str().as_bytes()));
    let newest = match older.iter().position(|e| e.is_of(queue, reason)) {
        Some(index) => older.remove(index).counted_again(),
        None => first_entry(message, properties, death).sorted(),
    };
    let older = older.iter().map(Entry::counted).collect();
    collect(&newest, older)
}

fn collect(newest: &TableBuf, mut older: Vec<TableBuf>) -> ArrayBuf {
    older.truncate(HISTORY_ENTRIES_MAX - 1);
    let mut bytes = 0;
    let fitting = older.iter().take_while(|entry| {
        bytes += entry.view().as_bytes().len();
        bytes <= HISTORY_BYTES_MAX
    });
    std::iter::once(newest)
        .chain(fitting)
        .map(|entry| Value::Table(entry.view()))
        .collect()
}

/// The entry of a death that has not happened before, in RabbitMQ's order (DLX-09).
fn first_entry(message: &Message, properties: &Properties<'_>, death: Death<'_>) -> TableBuf {
    let keys: ArrayBuf = visible_routing_keys(message, properties.headers)
        .map(Value::LongStr)
        .collect();
    let entry = TableBuf::from_entries([
        (COUNT, Value::I64(1)),
        ("reason", Value::LongStr(death.reason.as_str().as_bytes())),
        ("queue", Value::LongStr(death.queue)),
        ("time", Value::Timestamp(death.at.unix_ms() / 1000)),
        ("exchange", Value::LongStr(message.exchange())),
        ("routing-keys", Value::Array(keys.view())),
    ]);
    match properties.expiration {
        Some(expiration) => entry.with("original-expiration", Value::LongStr(expiration.0)),
        None => entry,
    }
}

const COUNT: &str = "count";

/// An entry of a history as it was found.
struct Entry<'a> {
    table: Table<'a>,
    queue: Option<Value<'a>>,
    reason: Option<Value<'a>>,
    /// How many entries had this queue and reason; histories of long ago have one for each death.
    times_found: i64,
}

/// The entries that are tables, one for each queue and reason. Anything else is no death.
fn entries_of(history: Array<'_>) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    // A publisher may send any history; ours never has more entries than this.
    for value in history.values().take(HISTORY_VALUES_MAX) {
        let Value::Table(table) = value else { continue };
        let (queue, reason) = (table.get("queue"), table.get("reason"));
        let same = entries.iter_mut().find(|e| e.is_of(queue, reason));
        if same.map(|entry| entry.times_found += 1).is_some() {
            continue;
        }
        if entries.len() == HISTORY_ENTRIES_MAX {
            break;
        }
        entries.push(Entry {
            table,
            queue,
            reason,
            times_found: 1,
        });
    }
    entries
}

impl<'a> Entry<'a> {
    fn is_of(&self, queue: Option<Value<'_>>, reason: Option<Value<'_>>) -> bool {
        self.queue == queue && self.reason == reason
    }

    /// The entry as it stays when another death is counted.
    fn counted(&self) -> TableBuf {
        match self.table.get(COUNT) {
            Some(_) => self.table.to_owned(),
            None => self.with_count(self.times_found),
        }
    }

    /// The entry after the same death once more; time, exchange and keys stay the first ones.
    fn counted_again(&self) -> TableBuf {
        let count = self.table.get(COUNT).and_then(|v| v.as_integer());
        let count = count.unwrap_or(self.times_found);
        self.with_count(count.saturating_add(1)).sorted()
    }

    fn with_count(&self, count: i64) -> TableBuf {
        let others = self
            .table
            .entries()
            .filter(|(key, _)| key.0 != COUNT.as_bytes());
        let count = (ShortStr::from(COUNT), Value::I64(count));
        TableBuf::from_raw_entries(std::iter::once(count).chain(others))
    }
}

#[cfg(test)]
mod tests;
