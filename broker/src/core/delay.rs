//! `x-delay`: how long a message asks to be held back, and what it looks like when it goes on.
//!
//! ```text
//!   x-delay: 5000 ──▶ held for 5 s ──▶ x-delay: -5000 ──▶ routed, and not held again
//! ```
//!
//! The header of a message that was held is negated, as in the RabbitMQ plugin: a consumer can tell
//! that the message was held, and a further exchange of the kind does not hold it once more.
//!
//! What it is not: the exchange ([`crate::core::exchange`]) or the queue in which messages wait
//! ([`crate::core::queue`]).

use leveret_protocol::{Malformed, Properties, ShortStr, Table, TableBuf, Value};

use super::{Message, MessageParts, Moment};

/// The header.
const HEADER: &str = "x-delay";

/// For how many milliseconds a message with these headers is to be held; `None` if it is routed at
/// once: without the header, with one that is zero or negative, and with one that is no number.
///
/// As in the plugin, a number may come as any integer, as a fraction, which is cut off, and as a text. A
/// text or fraction that 64 bits do not hold is none; the plugin's own limit of 32 bits is not kept.
pub fn delay_ms(headers: Option<Table<'_>>) -> Option<u64> {
    let asked_ms = match headers?.get(HEADER)? {
        Value::F32(number) => truncated(f64::from(number)),
        Value::F64(number) => truncated(number),
        Value::LongStr(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        other => other.as_integer(),
    };
    u64::try_from(asked_ms?).ok().filter(|ms| *ms > 0)
}

fn truncated(number: f64) -> Option<i64> {
    // The largest float below 2^63; from there on the cast would not be exact.
    const LARGEST: f64 = 9_223_372_036_854_774_784.0;
    (-LARGEST..=LARGEST)
        .contains(&number)
        .then_some(number as i64)
}

/// When a message that comes now is to be released.
pub fn release_at(message: &Message, now: Moment) -> Moment {
    let properties = Properties::parse(message.properties());
    let headers = properties.ok().and_then(|properties| properties.headers);
    now.after_ms(delay_ms(headers).unwrap_or_default())
}

/// The message as it goes on: with its header negated, sorted by name as the plugin leaves them.
/// `scratch` is as in [`Message::new`].
///
/// # Errors
/// When the message's properties cannot be read, which publishing rules out.
pub fn released(message: &Message, scratch: &mut Vec<u8>) -> Result<Message, Malformed> {
    let properties = Properties::parse(message.properties())?;
    let (Some(headers), Some(delay_ms)) = (properties.headers, delay_ms(properties.headers)) else {
        return Ok(message.clone());
    };
    let headers = negated(headers, delay_ms);
    let properties = Properties {
        headers: Some(headers.view()),
        ..properties
    };
    let parts = MessageParts {
        properties: &properties.to_bytes(),
        ..message.parts()
    };
    let blind_keys = message.blind_keys();
    Ok(Message::with_blind_keys(parts, blind_keys, scratch))
}

fn negated(headers: Table<'_>, delay_ms: u64) -> TableBuf {
    let others = headers.entries();
    let others = others.filter(|(key, _)| key.0 != HEADER.as_bytes());
    // 64 bits whatever they came as, like RabbitMQ 3.13.
    let delay = Value::I64(0_i64.saturating_sub_unsigned(delay_ms));
    TableBuf::from_raw_entries(others.chain([(ShortStr::from(HEADER), delay)])).sorted()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::content::Body;

    use super::*;

    fn delay_of(value: Value<'_>) -> Option<u64> {
        let headers = TableBuf::new().with(HEADER, value);
        delay_ms(Some(headers.view()))
    }

    #[test]
    fn a_delay_is_any_number_above_zero() {
        let delays = [
            Value::I8(7),
            Value::U8(7),
            Value::I16(7),
            Value::U16(7),
            Value::I32(7),
            Value::U32(7),
            Value::I64(7),
            Value::F32(7.9),
            Value::F64(7.9),
            Value::LongStr(b"7"),
            Value::LongStr(b"+7"),
        ];
        for value in delays {
            assert_eq!(delay_of(value), Some(7), "{value:?}");
        }
        assert_eq!(delay_of(Value::I64(i64::MAX)), Some(i64::MAX as u64));
        assert_eq!(
            delay_of(Value::LongStr(b"4294967296")),
            Some(4_294_967_296),
            "more than the plugin takes"
        );
    }

    #[test]
    fn anything_else_is_no_delay() {
        let others = [
            Value::I32(0),
            Value::I32(-7),
            Value::I64(i64::MIN),
            Value::F64(0.9),
            Value::F64(f64::NAN),
            Value::F64(f64::INFINITY),
            Value::F64(1e19),
            Value::LongStr(b""),
            Value::LongStr(b"7s"),
            Value::LongStr(b" 7"),
            Value::LongStr(b"-7"),
            Value::LongStr(b"9223372036854775808"),
            Value::LongStr(b"\xff"),
            Value::ByteArray(b"7"),
            Value::Timestamp(7),
            Value::Decimal { scale: 0, bits: 7 },
            Value::Bool(true),
            Value::Void,
        ];
        for value in others {
            assert_eq!(delay_of(value), None, "{value:?}");
        }
        let other = TableBuf::new().with("X-Delay", Value::I32(7));
        assert_eq!(delay_ms(Some(other.view())), None);
        assert_eq!(delay_ms(None), None);
    }

    fn held(headers: &TableBuf, body: Body<'_>) -> Message {
        let properties = Properties {
            headers: Some(headers.view()),
            content_type: Some(ShortStr::from("text/plain")),
            ..Properties::default()
        };
        let parts = MessageParts {
            exchange: b"x",
            routing_key: b"k",
            properties: &properties.to_bytes(),
            body,
            persistent: true,
            priority: 3,
            expiration_ms: Some(9),
        };
        Message::with_blind_keys(parts, [&b"blind"[..]], &mut Vec::new())
    }

    #[test]
    fn a_released_message_is_the_same_but_for_its_negated_header() {
        let large = [b'x'; 100_000];
        for body in [&b"small"[..], &large] {
            let headers = TableBuf::from_entries([
                ("z", Value::Void),
                (HEADER, Value::LongStr(b"5000")),
                ("a", Value::Bool(true)),
            ]);
            let message = held(&headers, Body::Whole(body));
            assert_eq!(
                release_at(&message, Moment::from_unix_ms(1)),
                Moment::from_unix_ms(5001)
            );
            let released = released(&message, &mut Vec::new()).unwrap();
            let properties = Properties::parse(released.properties()).unwrap();
            let expected = TableBuf::from_entries([
                ("a", Value::Bool(true)),
                (HEADER, Value::I64(-5000)),
                ("z", Value::Void),
            ]);
            assert_eq!(properties.headers, Some(expected.view()));
            assert_eq!(properties.content_type, Some(ShortStr::from("text/plain")));
            let address = |m: &Message| (m.exchange().to_vec(), m.routing_key().to_vec());
            assert_eq!(address(&released), address(&message));
            assert_eq!(released.body_parts().collect::<Vec<_>>().concat(), body);
            assert_eq!(released.blind_keys().collect::<Vec<_>>(), [b"blind"]);
            assert!(released.is_persistent() && released.priority() == 3);
            assert_eq!(released.expiration_ms(), Some(9));
            assert_eq!(
                release_at(&released, Moment::from_unix_ms(1)),
                Moment::from_unix_ms(1)
            );
        }
    }

    #[test]
    fn the_longest_delay_ends_with_time() {
        let headers = TableBuf::new().with(HEADER, Value::I64(i64::MAX));
        let message = held(&headers, Body::Whole(b""));
        let late = Moment::from_unix_ms(u64::MAX - 5);
        assert_eq!(release_at(&message, late), Moment::from_unix_ms(u64::MAX));
        let released = released(&message, &mut Vec::new()).unwrap();
        let properties = Properties::parse(released.properties()).unwrap();
        let header = properties.headers.unwrap().get(HEADER);
        assert_eq!(header, Some(Value::I64(-i64::MAX)));
    }
}
