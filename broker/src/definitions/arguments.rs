//! Arguments of queues, exchanges and bindings: field tables as JSON and back, by RabbitMQ's conventions.
//!
//! ```text
//!   JSON      whole number  fraction  true/false  string   object  array  null
//!   AMQP      long          double    bool        longstr  table   array  void
//! ```
//!
//! Back, every integer type and a timestamp become a number, a decimal its value, void the string
//! `undefined`, and bytes that are no UTF-8 a string that begins with `Not UTF-8, base64 is: `. So what
//! JSON cannot tell apart comes back as the type in the first table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leveret_protocol::{Array, ArrayBuf, ShortStr, Table, TableBuf, Value};
use serde_json::Value as Json;

use super::entry::Object;

/// Tables and arrays within each other, the outermost included: what AMQP peers can be sent.
const NESTING_DEPTH_MAX: usize = 16;

/// Reads a table.
///
/// # Errors
/// The path within it and what is wrong there.
pub(super) fn table_of(object: &Object) -> Result<TableBuf, String> {
    table_at(object, 1)
}

fn table_at(object: &Object, depth: usize) -> Result<TableBuf, String> {
    object
        .iter()
        .try_fold(TableBuf::new(), |table, (key, value)| {
            if key.len() > ShortStr::LEN_MAX {
                return Err(format!("a key has more than {} bytes", ShortStr::LEN_MAX));
            }
            let inside = |error| format!("{key}: {error}");
            value_at(value, depth, |value| table.with(key, value)).map_err(inside)
        })
}

fn array_at(items: &[Json], depth: usize) -> Result<ArrayBuf, String> {
    // An array is built at once from borrowed values, so what they borrow is made first.
    let owned: Result<Vec<TableBuf>, String> = items
        .iter()
        .map(|item| value_at(item, depth, |value| TableBuf::new().with("", value)))
        .collect();
    let owned = owned?;
    Ok(owned.iter().filter_map(|one| one.view().get("")).collect())
}

fn value_at<T>(json: &Json, depth: usize, take: impl FnOnce(Value<'_>) -> T) -> Result<T, String> {
    let is_nested = matches!(json, Json::Array(_) | Json::Object(_));
    if is_nested && depth >= NESTING_DEPTH_MAX {
        return Err(format!("more than {NESTING_DEPTH_MAX} levels"));
    }
    Ok(match json {
        Json::Null => take(Value::Void),
        Json::Bool(flag) => take(Value::Bool(*flag)),
        Json::String(text) => take(Value::LongStr(text.as_bytes())),
        Json::Array(items) => take(Value::Array(array_at(items, depth + 1)?.view())),
        Json::Object(object) => take(Value::Table(table_at(object, depth + 1)?.view())),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => take(Value::I64(whole)),
            (None, Some(fraction)) if number.is_f64() => take(Value::F64(fraction)),
            _ => return Err(format!("{number} has more than 63 bits")),
        },
    })
}

/// Writes a table. Of a key that is there twice the first counts, as everywhere.
pub(super) fn object_of(table: Table<'_>) -> Object {
    let mut object = Object::new();
    for (key, value) in table.entries() {
        let entry = object.entry(key.to_text().into_owned());
        entry.or_insert_with(|| json_of(&value));
    }
    object
}

fn json_of(value: &Value<'_>) -> Json {
    match *value {
        Value::Bool(flag) => Json::Bool(flag),
        Value::F32(number) => Json::from(f64::from(number)),
        Value::F64(number) => Json::from(number),
        Value::Decimal { scale, bits } => {
            let unscaled = f64::from(bits.cast_signed());
            Json::from(unscaled / 10_f64.powi(scale.into()))
        }
        Value::Timestamp(seconds) => Json::from(seconds),
        Value::LongStr(bytes) | Value::ByteArray(bytes) => Json::String(text(bytes)),
        Value::Array(array) => array_json(array),
        Value::Table(table) => Json::Object(object_of(table)),
        Value::Void => Json::from("undefined"),
        ref integer => Json::from(integer.as_integer()),
    }
}

fn array_json(array: Array<'_>) -> Json {
    Json::Array(array.values().map(|value| json_of(&value)).collect())
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("Not UTF-8, base64 is: {}", STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<TableBuf, String> {
        let Json::Object(object) = serde_json::from_str(text).unwrap() else {
            panic!("{text} is no object");
        };
        table_of(&object)
    }

    #[test]
    fn json_becomes_the_types_that_rabbitmq_gives_it() {
        let table =
            read(r#"{"a": 1, "b": 1.0, "c": true, "d": "é", "e": {"f": [null, -1]}}"#).unwrap();
        let array = ArrayBuf::from_iter([Value::Void, Value::I64(-1)]);
        let inner = TableBuf::new().with("f", Value::Array(array.view()));
        let expected = TableBuf::new()
            .with("a", Value::I64(1))
            .with("b", Value::F64(1.0))
            .with("c", Value::Bool(true))
            .with("d", Value::LongStr("é".as_bytes()))
            .with("e", Value::Table(inner.view()));
        assert_eq!(table, expected);
    }

    /// What RabbitMQ 3.10.8 exports of such arguments; only its decimals differ (it writes 2.314).
    #[test]
    fn types_that_json_lacks_are_written_as_rabbitmq_writes_them() {
        let table = TableBuf::new()
            .with("b", Value::ByteArray(&[0, 255]))
            .with("bs", Value::ByteArray(b"text"))
            .with("by", Value::I8(3))
            .with(
                "d",
                Value::Decimal {
                    scale: 2,
                    bits: 314,
                },
            )
            .with("f", Value::F32(1.5))
            .with("t", Value::Timestamp(1_577_836_800))
            .with("t", Value::Timestamp(1))
            .with("v", Value::Void);
        let expected = r#"{"b":"Not UTF-8, base64 is: AP8=","bs":"text","by":3,"d":3.14,"f":1.5,"t":1577836800,"v":"undefined"}"#;
        assert_eq!(Json::Object(object_of(table.view())).to_string(), expected);
    }

    #[test]
    fn what_no_peer_could_be_sent_is_refused() {
        let error = read(r#"{"a": {"b": 9223372036854775808}}"#).unwrap_err();
        assert_eq!(error, "a: b: 9223372036854775808 has more than 63 bits");
        let long = format!(r#"{{"{}": 1}}"#, "k".repeat(256));
        assert_eq!(read(&long).unwrap_err(), "a key has more than 255 bytes");
        let nested =
            |levels: usize| format!("{{\"a\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        let table = read(&nested(NESTING_DEPTH_MAX - 1)).unwrap();
        Table::parse(table.view().as_bytes()).unwrap();
        assert!(
            read(&nested(NESTING_DEPTH_MAX))
                .unwrap_err()
                .ends_with("more than 16 levels")
        );
    }
}
