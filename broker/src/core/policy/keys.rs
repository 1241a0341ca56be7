//! The keys of a policy's definition: which there are, what they may say, and what comes of them here.
//!
//! One table, `KEYS`, lists every key with its check. The texts are RabbitMQ's.
//!
//! What it is not: it applies nothing (see [`super::merge`]).
//!
//! Invariant: a definition that has no [`refusals`] holds only values that its keys take.

use std::collections::BTreeMap;

use self::KeyEffect::{Needless, NotHonoured};
use super::{PolicyError, PolicyKind, PolicyValue, mirroring};
use crate::core::queue::arguments::{QueueType, is_max_age, overflow_from_name};

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    /// It is done as it says.
    Applied,
    /// It says how to do what a broker on one node need not do, such as where replicas go; nothing is
    /// missing without it.
    Needless,
    /// It asks for something that this broker does not do.
    NotHonoured,
}

/// The definition of a policy.
pub type Definition = BTreeMap<Box<str>, PolicyValue>;

/// Why a definition was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) key: Option<Box<str>>,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn of(self, kind: PolicyKind, name: &str) -> PolicyError {
        PolicyError {
            kind,
            name: Box::from(name),
            key: self.key,
            reason: self.reason,
        }
    }
}

/// Everything that is wrong with a definition: every key first, then whether all are known, as RabbitMQ
/// does, which tells the first of these alone.
pub(super) fn refusals(kind: PolicyKind, definition: &Definition) -> Vec<Refused> {
    if definition.is_empty() {
        let reason = "no policy provided".to_owned();
        return vec![Refused { key: None, reason }];
    }
    let entries = definition.iter();
    let mut found: Vec<_> = entries
        .filter_map(|(name, value)| wrong_value(kind, name, value))
        .collect();
    // What the keys of mirroring ask of one another says nothing new about a value that is wrong.
    if found.is_empty() {
        found.extend(wrong_mirroring(definition));
    }
    found.extend(unknown(kind, definition));
    found
}

fn wrong_value(kind: PolicyKind, name: &str, value: &PolicyValue) -> Option<Refused> {
    let key = Key::of(kind, name).filter(|key| !(key.allows)(value))?;
    Some(Refused {
        key: Some(Box::from(name)),
        reason: key.refusal(value),
    })
}

fn wrong_mirroring(definition: &Definition) -> Option<Refused> {
    let reason = mirroring::check(definition).err()?;
    let key = Some(Box::from(mirroring::MODE));
    Some(Refused { key, reason })
}

/// All keys that this kind of policy does not have, in one reason.
fn unknown(kind: PolicyKind, definition: &Definition) -> Option<Refused> {
    let unknown = definition
        .iter()
        .filter(|(name, _)| Key::of(kind, name).is_none());
    let (keys, terms): (Vec<_>, Vec<_>) =
        unknown.map(|(key, value)| (key, pair(key, value))).unzip();
    let first = (*keys.first()?).clone();
    let terms = terms.join(",");
    Some(Refused {
        key: Some(first),
        reason: format!("[{terms}] are not recognised policy settings"),
    })
}

fn pair(key: &str, value: &PolicyValue) -> String {
    let (key, value) = (PolicyValue::from(key).to_term(), value.to_term());
    format!("{{{key},{value}}}")
}

/// Whether policies can have a key of this name; operator policies have fewer.
pub fn is_known(name: &str) -> bool {
    Key::named(name).is_some()
}

/// What comes of a key that passed its check; one that is not known is not honoured.
pub fn effect(name: &str) -> KeyEffect {
    Key::named(name).map_or(KeyEffect::NotHonoured, |key| key.effect)
}

/// Whether queues of this type know the key. A policy with a key that they do not know is not for them
/// at all, whatever else it says.
pub(super) fn is_known_to(name: &str, queue_type: QueueType) -> bool {
    Key::named(name).is_none_or(|key| key.types.contains(&queue_type))
}

/// One key.
struct Key {
    name: &'static str,
    /// What a wrong value is not.
    noun: &'static str,
    allows: fn(&PolicyValue) -> bool,
    /// Whether operator policies may have it.
    operators: bool,
    effect: KeyEffect,
    types: &'static [QueueType],
}

impl Key {
    fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    fn of(kind: PolicyKind, name: &str) -> Option<&'static Self> {
        Self::named(name).filter(|key| key.operators || kind == PolicyKind::User)
    }

    fn refusal(&self, value: &PolicyValue) -> String {
        let value = value.to_term();
        if self.name == MASTER_LOCATOR {
            return format!("{value} invalid {MASTER_LOCATOR} value");
        }
        let usual = || format!("{value} is not a valid {}", self.noun);
        mirroring::refusal(self.name, &value).unwrap_or_else(usual)
    }

    const fn for_operators(mut self) -> Self {
        self.operators = true;
        self
    }

    const fn having(mut self, effect: KeyEffect) -> Self {
        self.effect = effect;
        self
    }

    const fn of_types(mut self, types: &'static [QueueType]) -> Self {
        self.types = types;
        self
    }
}

const fn key(name: &'static str, noun: &'static str, allows: fn(&PolicyValue) -> bool) -> Key {
    Key {
        name,
        noun,
        allows,
        operators: false,
        effect: KeyEffect::Applied,
        types: EVERY,
    }
}

const MASTER_LOCATOR: &str = "queue-master-locator";

const EVERY: &[QueueType] = &[QueueType::Classic, QueueType::Quorum, QueueType::Stream];
const CLASSIC: &[QueueType] = &[QueueType::Classic];
const NOT_STREAM: &[QueueType] = &[QueueType::Classic, QueueType::Quorum];
const STREAM: &[QueueType] = &[QueueType::Stream];

/// Every key that RabbitMQ 3.13 takes, those of its mirroring and federation plugins included.
static KEYS: &[Key] = &[
    key("alternate-exchange", "alternate exchange name", text),
    key("dead-letter-exchange", "dead letter exchange name", text).of_types(NOT_STREAM),
    key("dead-letter-routing-key", "dead letter routing key", text).of_types(NOT_STREAM),
    key("dead-letter-strategy", "dead letter strategy", strategy).of_types(NOT_STREAM),
    key("delivery-limit", "delivery limit", unsigned)
        .for_operators()
        .of_types(NOT_STREAM),
    key("consumer-timeout", "consumer timeout", unsigned),
    key("message-ttl", "message TTL", unsigned)
        .for_operators()
        .of_types(NOT_STREAM),
    key("expires", "queue expiry", positive)
        .for_operators()
        .of_types(NOT_STREAM),
    key("max-length", "maximum length", unsigned)
        .for_operators()
        .of_types(NOT_STREAM),
    key("max-length-bytes", "maximum length in bytes", unsigned).for_operators(),
    key("overflow", "overflow value", overflow)
        .for_operators()
        .of_types(NOT_STREAM),
    // How a queue uses memory and disk is decided by the broker.
    key("max-in-memory-length", "maximum memory in bytes", unsigned)
        .for_operators()
        .having(Needless),
    key("max-in-memory-bytes", "maximum memory in bytes", unsigned)
        .for_operators()
        .having(Needless),
    key("queue-mode", "queue-mode value", queue_mode)
        .having(Needless)
        .of_types(CLASSIC),
    key("queue-version", "queue-version value", queue_version)
        .for_operators()
        .having(Needless),
    // Where replicas go, and how many there are.
    key(
        "queue-leader-locator",
        "queue leader locator value",
        leader_locator,
    )
    .having(Needless),
    key(MASTER_LOCATOR, "", master_locator)
        .having(Needless)
        .of_types(CLASSIC),
    key("initial-cluster-size", "cluster size", unsigned)
        .having(Needless)
        .of_types(STREAM),
    key("target-group-size", "target group size", positive)
        .for_operators()
        .having(Needless),
    key(mirroring::MODE, "", mirroring::is_mode)
        .for_operators()
        .having(Needless)
        .of_types(CLASSIC),
    key(mirroring::PARAMS, "", anything)
        .for_operators()
        .having(Needless)
        .of_types(CLASSIC),
    key(mirroring::SYNC_MODE, "", mirroring::is_sync_mode)
        .for_operators()
        .having(Needless)
        .of_types(CLASSIC),
    key(mirroring::SYNC_BATCH_SIZE, "", positive)
        .having(Needless)
        .of_types(CLASSIC),
    key(mirroring::PROMOTE_ON_SHUTDOWN, "", mirroring::is_promotion)
        .having(Needless)
        .of_types(CLASSIC),
    key(mirroring::PROMOTE_ON_FAILURE, "", mirroring::is_promotion)
        .having(Needless)
        .of_types(CLASSIC),
    key("max-age", "max age", max_age)
        .having(NotHonoured)
        .of_types(STREAM),
    key("stream-max-segment-size-bytes", "segment size", unsigned)
        .having(NotHonoured)
        .of_types(STREAM),
    key("stream-filter-size-bytes", "filter size", unsigned)
        .having(NotHonoured)
        .of_types(STREAM),
    key("federation-upstream", "federation upstream name", text).having(NotHonoured),
    key(
        "federation-upstream-set",
        "federation upstream set name",
        text,
    )
    .having(NotHonoured),
    key(
        "federation-upstream-pattern",
        "federation upstream pattern",
        text,
    )
    .having(NotHonoured),
];

fn anything(_: &PolicyValue) -> bool {
    true
}

fn text(value: &PolicyValue) -> bool {
    value.as_text().is_some()
}

fn unsigned(value: &PolicyValue) -> bool {
    value.as_unsigned().is_some()
}

fn positive(value: &PolicyValue) -> bool {
    value.as_unsigned().is_some_and(|number| number > 0)
}

fn strategy(value: &PolicyValue) -> bool {
    is_one_of(value, &["at-most-once", "at-least-once"])
}

fn overflow(value: &PolicyValue) -> bool {
    let known = |name: &str| overflow_from_name(name.as_bytes()).is_some();
    value.as_text().is_some_and(known)
}

fn queue_mode(value: &PolicyValue) -> bool {
    is_one_of(value, &["default", "lazy"])
}

fn queue_version(value: &PolicyValue) -> bool {
    matches!(value, PolicyValue::Number(1 | 2))
}

fn leader_locator(value: &PolicyValue) -> bool {
    is_one_of(
        value,
        &["client-local", "balanced", "random", "least-leaders"],
    )
}

fn master_locator(value: &PolicyValue) -> bool {
    is_one_of(value, &["client-local", "min-masters", "random"])
}

fn max_age(value: &PolicyValue) -> bool {
    value
        .as_text()
        .is_some_and(|age| is_max_age(age.as_bytes()))
}

pub(super) fn is_one_of(value: &PolicyValue, names: &[&str]) -> bool {
    value.as_text().is_some_and(|name| names.contains(&name))
}
