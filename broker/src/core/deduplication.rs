//! What exchanges and queues that drop duplicates have in common: what may be asked for, what makes two
//! messages the same, and [`Cache`], the memory of what was seen.
//!
//! Two vocabularies ask for it: that of the RabbitMQ plugin `rabbitmq_message_deduplication` (an
//! exchange of type `x-message-deduplication`, a queue with the argument of that name) and that of
//! LavinMQ, which has the argument on every exchange, and `x-deduplication-header` to name the header.
//!
//! Two messages are the same if a header, `x-deduplication-header` unless another was named, has the
//! same value in both. A message without it is like no other.
//!
//! What it is not: it drops nothing itself; see [`crate::core::exchange`] and [`crate::core::queue`].

mod cache;

use leveret_protocol::{Fault, Table, TableBuf, Value};

pub use cache::{CACHE_BYTES_MAX, Cache};

use crate::core::argument_checks::precondition_failed;

/// The argument that asks for it.
pub(crate) const ASKED_FOR: &str = "x-message-deduplication";
/// How many messages are remembered.
pub(crate) const SIZE: &str = "x-cache-size";
/// For how long, in milliseconds; a header of this name says it for one message.
pub(crate) const TTL: &str = "x-cache-ttl";
/// Where the plugin keeps its cache; see [`check_persistence`].
const PERSISTENCE: &str = "x-cache-persistence";
/// The header that is compared; as an argument it names another one.
pub(crate) const HEADER: &str = "x-deduplication-header";

/// How many messages are remembered if that is not said; LavinMQ's number.
const SIZE_DEFAULT: u64 = 128;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deduplication {
    header: Box<str>,
    /// How many messages are remembered, if that was said.
    pub size_max: Option<u64>,
    /// For how long, if not for as long as there is room.
    pub ttl_ms: Option<u64>,
}

/// One message as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What makes it the same as another.
    pub key: Box<[u8]>,
    /// For how long it is remembered; the cache's own time if the message says nothing.
    pub ttl_ms: Option<u64>,
}

impl Deduplication {
    /// Reads what the arguments ask for; what cannot be read counts as not said.
    pub fn read(arguments: Table<'_>) -> Self {
        let number = |key| arguments.get(key).as_ref().and_then(positive);
        let header = arguments.get(HEADER).and_then(|value| value.as_long_str());
        let header = header.and_then(|header| std::str::from_utf8(header).ok());
        Self {
            header: Box::from(header.unwrap_or(HEADER)),
            size_max: number(SIZE),
            ttl_ms: number(TTL),
        }
    }

    /// The same, if `x-message-deduplication` is true.
    pub fn asked_by(arguments: Table<'_>) -> Option<Self> {
        is_asked_for(arguments).then(|| Self::read(arguments))
    }

    /// An empty cache of the size that was asked for.
    pub fn cache(&self) -> Cache {
        Cache::new(self.size_max.unwrap_or(SIZE_DEFAULT))
    }

    /// The message that has these headers; `None` if it is like no other.
    pub fn sighting(&self, headers: Option<Table<'_>>) -> Option<Sighting> {
        let headers = headers?;
        let own = headers.get(TTL).and_then(|ttl| ttl.as_integer());
        let own = own.and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
        Some(Sighting {
            key: key(&headers.get(&self.header)?),
            ttl_ms: own.or(self.ttl_ms),
        })
    }
}

/// True when the arguments ask for deduplication.
pub(crate) fn is_asked_for(arguments: Table<'_>) -> bool {
    arguments
        .get(ASKED_FOR)
        .is_some_and(|value| value.is_true())
}

/// Values are compared, and not the wire types of numbers and texts: integers of any width are one
/// type, as are long strings and byte arrays, and timestamps count as integers.
fn key(value: &Value<'_>) -> Box<[u8]> {
    let integer = match value {
        Value::Timestamp(seconds) => Some(*seconds as i64),
        other => other.as_integer(),
    };
    match (integer, value) {
        (Some(integer), _) => [&b"I"[..], &integer.to_be_bytes()].concat().into(),
        (None, Value::LongStr(text) | Value::ByteArray(text)) => [b"S", *text].concat().into(),
        (None, other) => TableBuf::from_entries([("", *other)])
            .view()
            .as_bytes()
            .into(),
    }
}

/// A positive integer, also one that is written as text.
pub(crate) fn positive(value: &Value<'_>) -> Option<u64> {
    let number = match value {
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        other => other.as_integer()?,
    };
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// Judges the arguments of an exchange of type `x-message-deduplication`.
pub(crate) fn check_required(arguments: Table<'_>) -> Result<(), Fault> {
    match arguments.get(SIZE) {
        None => Err(invalid_size()),
        Some(_) => check(arguments),
    }
}

/// Judges the arguments of an exchange that is asked to drop duplicates.
pub(crate) fn check(arguments: Table<'_>) -> Result<(), Fault> {
    let is_positive = |key| arguments.get(key).is_none_or(|n| positive(&n).is_some());
    if !is_positive(SIZE) {
        return Err(invalid_size());
    }
    if !is_positive(TTL) {
        return Err(precondition_failed(format!(
            "Invalid argument, '{TTL}' must be an integer greater than 0"
        )));
    }
    check_header(arguments)?;
    check_persistence(arguments)
}

fn invalid_size() -> Fault {
    precondition_failed(format!(
        "Missing or invalid argument, '{SIZE}' must be an integer greater than 0"
    ))
}

fn check_header(arguments: Table<'_>) -> Result<(), Fault> {
    match arguments.get(HEADER) {
        None | Some(Value::LongStr(_)) => Ok(()),
        Some(_) => Err(precondition_failed(format!(
            "Invalid argument, '{HEADER}' must be the name of a header"
        ))),
    }
}

/// A cache on disk is not refused, so that programs which ask for one still work; it is in memory all
/// the same, and the log says so.
fn check_persistence(arguments: Table<'_>) -> Result<(), Fault> {
    match arguments.get(PERSISTENCE) {
        None | Some(Value::LongStr(b"memory")) => Ok(()),
        Some(Value::LongStr(b"disk")) => {
            tracing::warn!(
                "{PERSISTENCE} 'disk': duplicates are forgotten with a restart all the same"
            );
            Ok(())
        }
        Some(_) => Err(precondition_failed(format!(
            "Invalid argument, '{PERSISTENCE}' must be either 'disk' or 'memory'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sighting(
        arguments: &[(&str, Value<'_>)],
        headers: &[(&str, Value<'_>)],
    ) -> Option<Sighting> {
        let arguments = TableBuf::from_entries(arguments.iter().copied());
        let headers = TableBuf::from_entries(headers.iter().copied());
        Deduplication::read(arguments.view()).sighting(Some(headers.view()))
    }

    fn key_of(value: Value<'_>) -> Box<[u8]> {
        sighting(&[], &[(HEADER, value)]).unwrap().key
    }

    #[test]
    fn values_are_compared_and_not_the_types_of_numbers_and_texts() {
        assert_eq!(key_of(Value::I8(5)), key_of(Value::U32(5)));
        assert_eq!(key_of(Value::I64(5)), key_of(Value::Timestamp(5)));
        assert_eq!(key_of(Value::LongStr(b"5")), key_of(Value::ByteArray(b"5")));
        let all = [
            Value::I8(5),
            Value::LongStr(b"5"),
            Value::F64(5.0),
            Value::Bool(true),
            Value::Bool(false),
            Value::Void,
            Value::LongStr(b""),
        ];
        for (index, one) in all.iter().enumerate() {
            let same = all
                .iter()
                .filter(|other| key_of(**other) == key_of(*one))
                .count();
            assert_eq!(same, 1, "{index}");
        }
    }

    #[test]
    fn a_message_without_the_header_is_like_no_other() {
        assert_eq!(sighting(&[], &[("other", Value::I8(1))]), None);
        assert_eq!(Deduplication::read(Table::default()).sighting(None), None);
    }

    #[test]
    fn another_header_can_be_named() {
        let named = [(HEADER, Value::LongStr(b"order"))];
        assert!(sighting(&named, &[("order", Value::I8(1))]).is_some());
        assert!(sighting(&named, &[(HEADER, Value::I8(1))]).is_none());
    }

    #[test]
    fn the_message_s_own_time_goes_before_the_cache_s() {
        let ttl = |arguments: &[_], own: &[_]| {
            let headers = [&[(HEADER, Value::I8(1))], own].concat();
            sighting(arguments, &headers).unwrap().ttl_ms
        };
        let cache = [(TTL, Value::I32(1000))];
        assert_eq!(ttl(&[], &[]), None);
        assert_eq!(ttl(&cache, &[]), Some(1000));
        assert_eq!(ttl(&cache, &[(TTL, Value::I64(5))]), Some(5));
        assert_eq!(ttl(&cache, &[(TTL, Value::LongStr(b"x"))]), Some(1000));
        assert_eq!(ttl(&cache, &[(TTL, Value::I8(-1))]), Some(1000));
    }

    #[test]
    fn arguments_are_judged_in_the_plugin_s_words() {
        let judged = |entries: &[(&str, Value<'_>)]| {
            let table = TableBuf::from_entries(entries.iter().copied());
            let text = |fault: Fault| fault.reply_text().replace("PRECONDITION_FAILED - ", "");
            check_required(table.view()).map_err(text)
        };
        let (size, ttl) = (|value| (SIZE, value), |value| (TTL, value));
        let one = size(Value::I32(1));
        let bad_size =
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0";
        let bad_ttl = "Invalid argument, 'x-cache-ttl' must be an integer greater than 0";
        let bad_place = "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'";
        assert_eq!(judged(&[one]), Ok(()));
        assert_eq!(
            judged(&[size(Value::LongStr(b"12")), ttl(Value::I64(1))]),
            Ok(())
        );
        assert_eq!(
            judged(&[one, (PERSISTENCE, Value::LongStr(b"disk"))]),
            Ok(())
        );
        assert_eq!(judged(&[]), Err(bad_size.to_owned()));
        for value in [
            Value::I8(0),
            Value::I64(-1),
            Value::LongStr(b"x"),
            Value::Bool(true),
        ] {
            assert_eq!(judged(&[size(value)]), Err(bad_size.to_owned()));
            assert_eq!(judged(&[one, ttl(value)]), Err(bad_ttl.to_owned()));
        }
        let place = judged(&[one, (PERSISTENCE, Value::LongStr(b"x"))]);
        assert_eq!(place, Err(bad_place.to_owned()));
        assert!(judged(&[one, (HEADER, Value::I8(1))]).is_err());
    }
}
