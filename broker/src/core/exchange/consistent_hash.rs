//! `x-consistent-hash`: a message goes to one destination, chosen by a hash of its routing key, of a
//! header or of a property; a binding's key is its weight.
//!
//! Each binding brings as many buckets as it weighs, in the order in which the bindings were made, and
//! the jump consistent hash (Lamping and Veach, 2014) chooses a bucket:
//!
//! ```text
//!   buckets   0 1 2 │ 3 │ 4 5          a binding that is added gets the next buckets: only the keys
//!             q1 "3"  q2  q3 "2"       that go there move, each share by what it is due
//! ```
//!
//! When one goes, those behind it move up, as in RabbitMQ; keys of buckets behind it move with them or
//! to their neighbours.
//!
//! A destination counts once, by its earliest binding, as in RabbitMQ; here a later one takes its place
//! when that goes.
//!
//! Invariant: durable bindings are in the order of their ids, and what is bound later is behind what was
//! bound before; so a restart, which brings back the durable bindings in any order, changes nothing for
//! an exchange that has no others.

use leveret_protocol::{Fault, Properties, Table, Value};

use super::stable_hash::StableHash;
use super::{Destinations, Exchange, NewBinding, Routing};
use crate::core::argument_checks::precondition_failed;
use crate::core::binding::{Binding, BindingId, Destination};
use crate::core::erlang_text;

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";

/// The most that one binding weighs: buckets are counted, not stored, but their number has to stay one
/// that a double holds exactly, whatever the number of bindings.
const WEIGHT_MAX: u64 = u32::MAX as u64;

/// What is hashed.
#[derive(Debug, Default)]
enum HashOn {
    #[default]
    RoutingKey,
    Header(Box<str>),
    Property(Property),
}

#[derive(Clone, Copy, Debug)]
enum Property {
    CorrelationId,
    MessageId,
    Timestamp,
}

impl Property {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"correlation_id" => Some(Self::CorrelationId),
            b"message_id" => Some(Self::MessageId),
            b"timestamp" => Some(Self::Timestamp),
            _ => None,
        }
    }
}

impl HashOn {
    fn asked_by(arguments: Table<'_>) -> Self {
        let text = |key| arguments.get(key).and_then(|value| value.as_long_str());
        let header = || std::str::from_utf8(text(HASH_HEADER)?).ok().map(Box::from);
        match text(HASH_PROPERTY).and_then(Property::named) {
            Some(property) => Self::Property(property),
            None => header().map_or(Self::RoutingKey, Self::Header),
        }
    }

    /// Messages without the header or property are all alike.
    fn hash(&self, routing: &Routing<'_>) -> u64 {
        let hash = StableHash::new();
        match self {
            Self::RoutingKey => hash.with(routing.routing_key()),
            Self::Header(name) => match routing.headers.and_then(|headers| headers.get(name)) {
                Some(value) => hash.with_value(&value),
                None => hash,
            },
            Self::Property(property) => with_property(hash, *property, routing),
        }
        .finish()
    }
}

fn with_property(hash: StableHash, property: Property, routing: &Routing<'_>) -> StableHash {
    let properties = routing
        .message
        .and_then(|message| Properties::parse(message.properties()).ok())
        .unwrap_or_default();
    let text = match property {
        Property::CorrelationId => properties.correlation_id,
        Property::MessageId => properties.message_id,
        Property::Timestamp => {
            let seconds = properties.timestamp.map(u64::to_be_bytes);
            return seconds.map_or(hash, |seconds| hash.with(&seconds));
        }
    };
    text.map_or(hash, |text| hash.with(text.0))
}

/// One binding, and where its buckets end.
#[derive(Debug)]
struct Weighed {
    destination: Destination,
    durable_id: Option<BindingId>,
    weight: u64,
    /// Behind its last bucket; that of the one before if it has none.
    end: u64,
}

/// The bindings and their buckets.
#[derive(Debug, Default)]
pub(super) struct ConsistentHash {
    hash_on: HashOn,
    bindings: Vec<Weighed>,
}

impl ConsistentHash {
    pub(super) fn new(arguments: Table<'_>) -> Self {
        Self {
            hash_on: HashOn::asked_by(arguments),
            bindings: Vec::new(),
        }
    }

    /// Before the first durable binding that was made later; usually at the end.
    fn place_of(&self, durable_id: Option<BindingId>) -> usize {
        let is_later = |other: &Weighed| durable_id.is_some() && other.durable_id > durable_id;
        let later = self.bindings.iter().position(is_later);
        later.unwrap_or(self.bindings.len())
    }

    fn number_buckets(&mut self) {
        let mut end = 0;
        let mut counted = rustc_hash::FxHashSet::default();
        for binding in &mut self.bindings {
            if counted.insert(binding.destination) {
                end += binding.weight;
            }
            binding.end = end;
        }
    }
}

impl Exchange for ConsistentHash {
    fn bind(&mut self, binding: &Binding) {
        let weighed = Weighed {
            destination: binding.destination(),
            durable_id: binding.durable_id(),
            weight: weight_of(binding.routing_key()),
            end: 0,
        };
        let place = self.place_of(weighed.durable_id);
        self.bindings.insert(place, weighed);
        self.number_buckets();
    }

    fn unbind(&mut self, binding: &Binding) {
        let weight = weight_of(binding.routing_key());
        let is_it = |other: &Weighed| {
            other.destination == binding.destination()
                && other.durable_id == binding.durable_id()
                && other.weight == weight
        };
        if let Some(place) = self.bindings.iter().position(is_it) {
            self.bindings.remove(place);
            self.number_buckets();
        }
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        let buckets = self.bindings.last().map_or(0, |last| last.end);
        if buckets == 0 {
            return;
        }
        let bucket = jump(self.hash_on.hash(routing), buckets);
        let place = self.bindings.partition_point(|one| one.end <= bucket);
        if let Some(chosen) = self.bindings.get(place) {
            found.push(chosen.destination);
        }
    }

    fn looks_at_messages(&self) -> bool {
        !matches!(self.hash_on, HashOn::RoutingKey)
    }
}

/// The bucket of a hash, below `buckets`, which is not zero. With one bucket more, of `n` hashes that
/// `buckets` had, one in `buckets + 1` moves, and to the new one.
fn jump(mut hash: u64, buckets: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let drawn = ((hash >> 33) + 1) as f64 / (1_u64 << 31) as f64;
        next = ((bucket + 1) as f64 / drawn) as u64;
    }
    bucket
}

/// A key that is no weight came from a catalog; it gets nothing.
fn weight_of(key: &[u8]) -> u64 {
    match Weight::read(key) {
        Weight::Positive(weight) => weight,
        Weight::TooSmall | Weight::NoInteger => 0,
    }
}

enum Weight {
    Positive(u64),
    TooSmall,
    NoInteger,
}

impl Weight {
    /// A sign, if any, and digits, as many as there are.
    fn read(key: &[u8]) -> Self {
        let (is_negative, digits) = match key {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Self::NoInteger;
        }
        let ten_times = |number: u64, digit: &u8| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        };
        match digits.iter().fold(0, ten_times) {
            0 => Self::TooSmall,
            _ if is_negative => Self::TooSmall,
            weight => Self::Positive(weight.min(WEIGHT_MAX)),
        }
    }
}

/// Judges the arguments of a new exchange.
pub(super) fn check_arguments(arguments: Table<'_>) -> Result<(), Fault> {
    let header = text_argument(arguments, HASH_HEADER)?;
    let property = text_argument(arguments, HASH_PROPERTY)?;
    match (header, property) {
        (None, Some(name)) if Property::named(name).is_none() => Err(precondition_failed(format!(
            "Unsupported property: {}",
            String::from_utf8_lossy(name)
        ))),
        (Some(_), Some(_)) => Err(precondition_failed(format!(
            "{HASH_HEADER} and {HASH_PROPERTY} are mutually exclusive"
        ))),
        _ => Ok(()),
    }
}

fn text_argument<'a>(arguments: Table<'a>, key: &str) -> Result<Option<&'a [u8]>, Fault> {
    match arguments.get(key) {
        None => Ok(None),
        Some(Value::LongStr(text)) => Ok(Some(text)),
        Some(other) => Err(precondition_failed(format!(
            "invalid type '{}' for arg '{key}': expected longstr",
            other.type_name()
        ))),
    }
}

/// Judges a binding: its key must be a weight.
pub(super) fn check_binding(binding: &NewBinding<'_>) -> Result<(), Fault> {
    match Weight::read(binding.routing_key) {
        Weight::Positive(_) => Ok(()),
        Weight::TooSmall => Err(precondition_failed(
            "The binding key must be greater than 0".to_owned(),
        )),
        Weight::NoInteger => Err(precondition_failed(format!(
            "The binding key must be an integer: {}",
            erlang_text::term(&Value::LongStr(binding.routing_key))
        ))),
    }
}

#[cfg(test)]
mod tests;
