//! Whether the arguments of a second declaration are the first one's (QARG-30 to QARG-36).
//!
//! Values are compared, not tags: any integer type stands for its number, a byte array for its bytes.
//! Nothing is validated here, so a value that could never have been declared is merely different.

use leveret_protocol::{Fault, Table, Value};

use crate::core::argument_checks::precondition_failed;
use crate::core::erlang_text;

/// The first of `keys` whose values differ, told as RabbitMQ tells it; `resource` names the queue or
/// exchange, as in `queue 'q' in vhost '/'`.
pub fn inequivalent_argument<'k>(
    current: Table<'_>,
    received: Table<'_>,
    keys: impl IntoIterator<Item = &'k str>,
    resource: &impl std::fmt::Display,
) -> Option<Fault> {
    keys.into_iter().find_map(|key| {
        let (old, new) = (current.get(key), received.get(key));
        let (new, old) = difference(key, old.as_ref(), new.as_ref())?;
        Some(precondition_failed(format!(
            "inequivalent arg '{key}' for {resource}: received {new} but current is {old}"
        )))
    })
}

/// What was received and what is current, in words; nothing if they are equivalent.
fn difference(
    key: &str,
    current: Option<&Value<'_>>,
    received: Option<&Value<'_>>,
) -> Option<(String, String)> {
    match (current, received) {
        (None, None) => None,
        (Some(old), Some(new)) if is_same(old, new) => None,
        (Some(old), Some(new)) => Some((bare(new), bare(old))),
        (Some(one), None) | (None, Some(one)) if is_default(key, one) => None,
        _ => Some((with_type(received), with_type(current))),
    }
}

/// A queue of no named type is a classic one (QARG-34).
fn is_default(key: &str, value: &Value<'_>) -> bool {
    key == "x-queue-type" && value.as_long_str() == Some(b"classic")
}

/// QARG-31; a timestamp counts as its number too.
fn is_same(one: &Value<'_>, other: &Value<'_>) -> bool {
    whole_number(one)
        .zip(whole_number(other))
        .map(equal)
        .or_else(|| float(one).zip(float(other)).map(equal))
        .or_else(|| bytes(one).zip(bytes(other)).map(equal))
        .unwrap_or(one == other)
}

fn equal<T: PartialEq>((one, other): (T, T)) -> bool {
    one == other
}

/// Wide enough for every signed integer and for an unsigned timestamp.
fn whole_number(value: &Value<'_>) -> Option<i128> {
    match *value {
        Value::Timestamp(seconds) => Some(seconds.into()),
        _ => value.as_integer().map(i128::from),
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match *value {
        Value::F32(number) => Some(number.into()),
        Value::F64(number) => Some(number),
        _ => None,
    }
}

fn bytes<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match *value {
        Value::LongStr(bytes) | Value::ByteArray(bytes) => Some(bytes),
        _ => None,
    }
}

/// QARG-32
fn bare(value: &Value<'_>) -> String {
    match value {
        Value::Void => "none".to_owned(),
        value => format!("'{}'", erlang_text::value(value)),
    }
}

/// QARG-33
fn with_type(value: Option<&Value<'_>>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => format!(
            "the value '{}' of type '{}'",
            erlang_text::value(value),
            value.type_name()
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leveret_protocol::TableBuf;

    const KEY: &str = "x-max-length";

    fn table(value: Option<Value<'_>>) -> TableBuf {
        TableBuf::from_entries(value.map(|value| (KEY, value)))
    }

    fn said(current: Option<Value<'_>>, received: Option<Value<'_>>) -> Option<String> {
        let (current, received) = (table(current), table(received));
        inequivalent_argument(current.view(), received.view(), [KEY], &"queue 'q'")
            .map(|fault| fault.explanation)
    }

    #[test]
    fn qarg_31_values_are_compared_and_not_tags() {
        let same = [
            (Value::I32(100), Value::U8(100)),
            (Value::I32(100), Value::Timestamp(100)),
            (Value::F32(1.5), Value::F64(1.5)),
            (Value::LongStr(b"lazy"), Value::ByteArray(b"lazy")),
        ];
        for (current, received) in same {
            assert_eq!(said(Some(current), Some(received)), None);
        }
    }

    #[test]
    fn qarg_31_an_integer_is_not_a_float() {
        assert_eq!(
            said(Some(Value::I32(100)), Some(Value::F64(100.0))).unwrap(),
            "inequivalent arg 'x-max-length' for queue 'q': received '100.0' but current is '100'"
        );
    }

    #[test]
    fn qarg_32_void_reads_as_none_beside_a_value() {
        assert_eq!(
            said(Some(Value::I32(100)), Some(Value::Void)).unwrap(),
            "inequivalent arg 'x-max-length' for queue 'q': received none but current is '100'"
        );
    }

    #[test]
    fn qarg_33_an_absent_side_is_none_and_the_other_says_its_type() {
        assert_eq!(
            said(None, Some(Value::I32(100))).unwrap(),
            "inequivalent arg 'x-max-length' for queue 'q': received the value '100' of type \
             'signedint' but current is none"
        );
        assert_eq!(
            said(Some(Value::LongStr(b"lazy")), None).unwrap(),
            "inequivalent arg 'x-max-length' for queue 'q': received none but current is the value \
             'lazy' of type 'longstr'"
        );
        assert_eq!(said(None, None), None);
    }
}
