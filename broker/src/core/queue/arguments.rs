//! The arguments of `queue.declare`: which there are, what they may say, and what they come to.
//!
//! One table, `KNOWN`, lists every argument with its check and the types of queue that know it.
//! Validation, refusal of another type's arguments and the comparison on redeclaration all read it.
//!
//! ```text
//! x-dead-letter-exchange is a string?  ▶ type known?  ▶ values of this type's arguments
//!     ▶ arguments of other types only  ▶ can this broker make the type?  ▶ QueueArguments
//! ```
//!
//! What it is not: it sees neither permissions nor whether the dead-letter exchange exists.
//!
//! Invariant: [`QueueArguments`] holds only values that passed their checks.

use leveret_protocol::{Fault, ReplyCode, Table, Value};

use crate::core::argument_checks::{
    Check, Culprit, EXPIRY_MS_MAX, Why, anything, as_text, as_unsigned, boolean, not_negative,
    precondition_failed, unacceptable_type,
};
use crate::core::deduplication;
use crate::core::equivalence::inequivalent_argument;
use crate::core::erlang_text::{pair, string};
use crate::core::queue::Overflow;

/// How a queue keeps its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueueType {
    /// One node's queue with every classic feature.
    #[default]
    Classic,
    /// Replicated by consensus.
    Quorum,
    /// A log that consumers read at their own place.
    Stream,
}

impl QueueType {
    /// The type's name in `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }

    /// The type's name in RabbitMQ's reply texts (QARG-12).
    pub fn module_name(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
            Self::Stream => "rabbit_stream_queue",
        }
    }

    /// The type of this name in `x-queue-type`.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Classic, Self::Quorum, Self::Stream]
            .into_iter()
            .find(|kind| kind.as_str().as_bytes() == name)
    }

    /// What a vhost's metadata say about queues that name no type: none is said by nothing and by the
    /// word that exports have for it (QARG-14). `None` for a word that is no type.
    pub fn default_from_name(name: &str) -> Option<Self> {
        match name {
            "" | "undefined" => Some(Self::Classic),
            name => Self::from_name(name.as_bytes()),
        }
    }

    /// The type that a queue's arguments ask for; classic if they name none.
    pub fn of(table: Table<'_>) -> Self {
        table
            .get(QUEUE_TYPE)
            .and_then(|value| value.as_long_str())
            .and_then(Self::from_name)
            .unwrap_or_default()
    }
}

pub(crate) fn overflow_from_name(name: &[u8]) -> Option<Overflow> {
    match name {
        b"drop-head" => Some(Overflow::DropHead),
        b"reject-publish" => Some(Overflow::RejectPublish),
        b"reject-publish-dlx" => Some(Overflow::RejectPublishDeadLetter),
        _ => None,
    }
}

/// What a queue's arguments come to, by themselves or under policies. Limits and times that were not
/// given are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueArguments {
    /// `x-queue-type`
    pub queue_type: QueueType,
    /// `x-message-ttl`, at most [`EXPIRY_MS_MAX`]
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`, never zero
    pub expires_ms: Option<u64>,
    /// `x-max-length`: ready messages
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`: body bytes of ready messages
    pub length_bytes_max: Option<u64>,
    /// `x-overflow`
    pub overflow: Option<Overflow>,
    /// `x-consumer-timeout`: how long deliveries may stay unsettled; zero is for ever (DELIV-13)
    pub consumer_timeout_ms: Option<u64>,
    /// `x-dead-letter-exchange`; empty for the default exchange. It need not exist (QARG-07).
    pub dead_letter_exchange: Option<Box<[u8]>>,
    /// `x-dead-letter-routing-key`; without an exchange it means nothing, and only a policy can leave it so
    /// (QARG-08)
    pub dead_letter_routing_key: Option<Box<[u8]>>,
    /// `x-max-priority`; 0 means a single level (PRIO-04)
    pub max_priority: Option<u8>,
    /// `x-single-active-consumer`
    pub single_active_consumer: bool,
    /// `x-delivery-limit`
    pub delivery_limit: Option<u64>,
    /// `x-dead-letter-strategy`: whether it is `at-least-once`
    pub asks_at_least_once: Option<bool>,
}

impl QueueArguments {
    /// Judges the arguments of a queue that is about to be created.
    ///
    /// # Errors
    /// 406 for an argument that is wrong or belongs to another type of queue (QARG-01 to QARG-12);
    /// 540 for a type that this broker cannot make.
    pub fn check(table: Table<'_>, queue: &str, vhost: &str) -> Result<Self, Fault> {
        let culprit = Culprit { queue, vhost };
        dead_letter_exchange(table, queue, vhost)?;
        culprit.check(table, &[("x-queue-type", queue_type as Check)])?;
        let queue_type = QueueType::of(table);
        culprit.check(table, checks_of(queue_type))?;
        refuse_arguments_of_other_types(table, culprit, queue_type)?;
        refuse_unavailable(culprit, queue_type)?;
        Ok(Self::read(table))
    }

    /// Reads values that have passed their checks.
    fn read(table: Table<'_>) -> Self {
        let number = |key: &str| table.get(key).and_then(|v| as_unsigned(&v).ok());
        let text = |key: &str| table.get(key).and_then(|v| v.as_long_str());
        Self {
            queue_type: QueueType::of(table),
            message_ttl_ms: number("x-message-ttl"),
            expires_ms: number("x-expires"),
            length_max: number("x-max-length"),
            length_bytes_max: number("x-max-length-bytes"),
            overflow: text("x-overflow").and_then(overflow_from_name),
            consumer_timeout_ms: number(CONSUMER_TIMEOUT),
            dead_letter_exchange: text(DEAD_LETTER_EXCHANGE).map(Box::from),
            dead_letter_routing_key: text("x-dead-letter-routing-key").map(Box::from),
            max_priority: number("x-max-priority").and_then(|n| u8::try_from(n).ok()),
            single_active_consumer: table
                .get("x-single-active-consumer")
                .is_some_and(|v| v.is_true()),
            delivery_limit: number("x-delivery-limit"),
            asks_at_least_once: text("x-dead-letter-strategy").map(|s| s == AT_LEAST_ONCE),
        }
    }

    /// True when dead letters are to be held until they have arrived. As in RabbitMQ that takes an
    /// exchange for them and `reject-publish`: a queue that drops its head to make room cannot hold
    /// what it drops.
    pub fn holds_dead_letters(&self) -> bool {
        self.asks_at_least_once == Some(true)
            && self.dead_letter_exchange.is_some()
            && self.overflow == Some(Overflow::RejectPublish)
    }
}

/// The dead-letter exchange that the arguments name. Asked for before anything else is checked,
/// because the permissions on it are checked before the other arguments (QARG-15, PERM-08).
///
/// # Errors
/// 406 when it is not a string (QARG-07).
pub fn dead_letter_exchange<'a>(
    table: Table<'a>,
    queue: &str,
    vhost: &str,
) -> Result<Option<&'a [u8]>, Fault> {
    let culprit = Culprit { queue, vhost };
    match table.get(DEAD_LETTER_EXCHANGE) {
        None => Ok(None),
        Some(Value::LongStr(name)) => Ok(Some(name)),
        Some(other) => Err(precondition_failed(format!(
            "invalid type '{}' for arg '{DEAD_LETTER_EXCHANGE}' in {culprit}",
            other.type_name()
        ))),
    }
}

/// What tells a second declaration's arguments from the existing queue's, if anything does
/// (QARG-30 to QARG-36). Only arguments that the existing queue's type knows are compared.
pub fn arguments_inequivalence(
    current: Table<'_>,
    received: Table<'_>,
    queue: &str,
    vhost: &str,
) -> Option<Fault> {
    let queue_type = QueueType::of(current);
    let keys = known_to(queue_type).map(|known| known.argument.0);
    inequivalent_argument(current, received, keys, &Culprit { queue, vhost })
}

fn refuse_arguments_of_other_types(
    table: Table<'_>,
    culprit: Culprit<'_>,
    queue_type: QueueType,
) -> Result<(), Fault> {
    let stranger = table
        .entries()
        .filter_map(|(key, _)| KNOWN.iter().find(|k| k.argument.0.as_bytes() == key.0))
        .find(|known| !known.types.contains(&queue_type));
    match stranger {
        Some(known) => Err(culprit.not_for_type(known.argument.0, queue_type)),
        None => Ok(()),
    }
}

/// Streams are known by name, so that their arguments are judged, but not made.
fn refuse_unavailable(culprit: Culprit<'_>, queue_type: QueueType) -> Result<(), Fault> {
    if queue_type != QueueType::Stream {
        return Ok(());
    }
    let explanation = format!(
        "queue type '{}' of {culprit} is not available",
        queue_type.as_str()
    );
    Err(Fault::new(ReplyCode::NotImplemented, explanation))
}

fn known_to(queue_type: QueueType) -> impl Iterator<Item = &'static Known> {
    KNOWN
        .iter()
        .filter(move |known| known.types.contains(&queue_type))
}

fn checks_of(queue_type: QueueType) -> impl Iterator<Item = &'static (&'static str, Check)> {
    known_to(queue_type).map(|known| &known.argument)
}

fn queue_type(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    one_of(value, "type", |name| QueueType::from_name(name).is_some())
}

fn queue_mode(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    one_of(value, "mode", |name| matches!(name, b"default" | b"lazy"))
}

fn one_of(value: &Value<'_>, what: &str, is_known: fn(&[u8]) -> bool) -> Result<(), Why> {
    let name = as_text(value)?;
    if is_known(name) {
        return Ok(());
    }
    Err(unsupported(what, name))
}

fn queue_version(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    match as_unsigned(value)? {
        1 | 2 => Ok(()),
        other => Err(unsupported("version", other.to_string().as_bytes())),
    }
}

fn unsupported(what: &str, name: &[u8]) -> Why {
    let text = [format!("unsupported queue {what} '").as_bytes(), name, b"'"].concat();
    string(&text)
}

fn expires(value: &Value<'_>, table: Table<'_>) -> Result<(), Why> {
    not_zero(value)?;
    message_ttl(value, table)
}

fn message_ttl(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    match as_unsigned(value)? {
        0..=EXPIRY_MS_MAX => Ok(()),
        more => Err(pair("value_too_large", more)),
    }
}

fn not_zero(value: &Value<'_>) -> Result<(), Why> {
    match as_unsigned(value)? {
        0 => Err(pair("value_zero", 0)),
        _ => Ok(()),
    }
}

fn positive(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    not_zero(value)
}

fn max_priority(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    match as_unsigned(value)? {
        0..=255 => Ok(()),
        more => Err(pair("max_value_exceeded", more)),
    }
}

fn overflow(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    named(value, "invalid_overflow", |name| {
        overflow_from_name(name).is_some()
    })
}

fn dead_letter_strategy(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    named(value, "invalid_dlx_strategy", |name| {
        matches!(name, b"at-most-once" | AT_LEAST_ONCE)
    })
}

fn leader_locator(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    named(value, "invalid_queue_locator_arg", |name| {
        matches!(
            name,
            b"client-local" | b"balanced" | b"random" | b"least-leaders"
        )
    })
}

/// A number and one of `Y M D h m s`.
fn max_age(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    named(value, "invalid_max_age", is_max_age)
}

pub(crate) fn is_max_age(age: &[u8]) -> bool {
    match age.split_last() {
        Some((b'Y' | b'M' | b'D' | b'h' | b'm' | b's', digits)) => {
            digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|digit| *digit != b'0')
        }
        _ => false,
    }
}

fn named(value: &Value<'_>, why: &str, is_known: fn(&[u8]) -> bool) -> Result<(), Why> {
    if is_known(as_text(value)?) {
        Ok(())
    } else {
        Err(why.to_owned())
    }
}

fn dead_letter_routing_key(value: &Value<'_>, table: Table<'_>) -> Result<(), Why> {
    as_text(value)?;
    match table.get(DEAD_LETTER_EXCHANGE) {
        Some(_) => Ok(()),
        None => Err("routing_key_but_no_dlx_defined".to_owned()),
    }
}

/// Of no interest to a queue that keeps duplicates.
fn deduplication_number(value: &Value<'_>, table: Table<'_>) -> Result<(), Why> {
    match deduplication::positive(value) {
        None if deduplication::is_asked_for(table) => Err(string(b"expected positive integer")),
        _ => Ok(()),
    }
}

fn deduplication_header(value: &Value<'_>, table: Table<'_>) -> Result<(), Why> {
    match deduplication::is_asked_for(table) {
        true => text(value, table),
        false => Ok(()),
    }
}

fn text(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    match value {
        Value::LongStr(_) => Ok(()),
        other => Err(unacceptable_type(other)),
    }
}

/// One argument, its check, and the types of queue that know it.
struct Known {
    argument: (&'static str, Check),
    types: &'static [QueueType],
}

const fn known(key: &'static str, check: Check, types: &'static [QueueType]) -> Known {
    Known {
        argument: (key, check),
        types,
    }
}

/// The argument that names a queue's type.
pub const QUEUE_TYPE: &str = "x-queue-type";

const AT_LEAST_ONCE: &[u8] = b"at-least-once";

const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";

const CLASSIC: &[QueueType] = &[QueueType::Classic];
const QUORUM: &[QueueType] = &[QueueType::Quorum];
const STREAM: &[QueueType] = &[QueueType::Stream];
const NOT_STREAM: &[QueueType] = &[QueueType::Classic, QueueType::Quorum];
const NOT_CLASSIC: &[QueueType] = &[QueueType::Quorum, QueueType::Stream];
const EVERY: &[QueueType] = &[QueueType::Classic, QueueType::Quorum, QueueType::Stream];

/// Every argument in the order in which RabbitMQ checks and compares them (QARG-15, QARG-30); those that
/// it has from a plugin come last.
static KNOWN: &[Known] = &[
    known("x-expires", expires, NOT_STREAM),
    known("x-message-ttl", message_ttl, NOT_STREAM),
    known(DEAD_LETTER_EXCHANGE, text, NOT_STREAM),
    known(
        "x-dead-letter-routing-key",
        dead_letter_routing_key,
        NOT_STREAM,
    ),
    // RabbitMQ's classic queues do not know these two (QARG-12); ours do.
    known("x-dead-letter-strategy", dead_letter_strategy, NOT_STREAM),
    known("x-max-length", not_negative, NOT_STREAM),
    known("x-max-length-bytes", not_negative, EVERY),
    known("x-max-in-memory-length", not_negative, QUORUM),
    known("x-max-in-memory-bytes", not_negative, QUORUM),
    known("x-max-priority", max_priority, CLASSIC),
    known("x-overflow", overflow, NOT_STREAM),
    known("x-queue-mode", queue_mode, CLASSIC),
    known("x-queue-version", queue_version, CLASSIC),
    known("x-single-active-consumer", boolean, NOT_STREAM),
    known("x-queue-type", queue_type, EVERY),
    known("x-quorum-initial-group-size", positive, QUORUM),
    known("x-max-age", max_age, STREAM),
    known("x-stream-max-segment-size-bytes", not_negative, STREAM),
    known("x-stream-filter-size-bytes", not_negative, STREAM),
    known("x-initial-cluster-size", positive, STREAM),
    known("x-queue-leader-locator", leader_locator, NOT_CLASSIC),
    known(CONSUMER_TIMEOUT, not_negative, EVERY),
    known("x-delivery-limit", not_negative, NOT_STREAM),
    known("x-queue-master-locator", anything, CLASSIC),
    known(deduplication::ASKED_FOR, boolean, NOT_STREAM),
    known(deduplication::SIZE, deduplication_number, NOT_STREAM),
    known(deduplication::TTL, deduplication_number, NOT_STREAM),
    known(deduplication::HEADER, deduplication_header, NOT_STREAM),
];

#[cfg(test)]
mod tests;
