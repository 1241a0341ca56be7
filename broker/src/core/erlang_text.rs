//! Values as RabbitMQ prints them in its reply texts, which clients and their tests match on.
//!
//! RabbitMQ formats what was wrong as Erlang terms: a string in double quotes, a tuple in braces.
//! Long terms are broken into lines there; here they stay on one line (ERR-10).
//!
//! What it is not: a reader of Erlang terms, nor a log format.

use leveret_protocol::{Table, Value};

/// A string term: quoted and escaped, or a list of numbers when it is not printable.
pub(crate) fn string(bytes: &[u8]) -> String {
    if bytes.iter().copied().all(is_printable) {
        quoted(bytes)
    } else {
        list(bytes)
    }
}

/// An argument's value as it stands between the quotes of a reply text: a string as it is, anything
/// else as a term (QARG-32).
pub(crate) fn value(value: &Value<'_>) -> String {
    match value {
        Value::LongStr(bytes) | Value::ByteArray(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => term(other),
    }
}

/// Any value as a term. Nesting is bounded by the parser that made the value.
pub(crate) fn term(value: &Value<'_>) -> String {
    match *value {
        Value::Bool(flag) => flag.to_string(),
        Value::F32(number) => float(number.into()),
        Value::F64(number) => float(number),
        Value::Decimal { scale, bits } => format!("{{{scale},{bits}}}"),
        Value::LongStr(bytes) | Value::ByteArray(bytes) => binary(bytes),
        Value::Timestamp(seconds) => seconds.to_string(),
        Value::Void => "undefined".to_owned(),
        Value::Table(table) => table_term(table),
        Value::Array(array) => join(array.values().map(|v| tuple(&[v.type_name(), &term(&v)]))),
        _ => value.as_integer().unwrap_or_default().to_string(),
    }
}

fn table_term(table: Table<'_>) -> String {
    join(
        table
            .entries()
            .map(|(key, v)| tuple(&[&binary(key.0), v.type_name(), &term(&v)])),
    )
}

fn tuple(parts: &[&str]) -> String {
    format!("{{{}}}", parts.join(","))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(","))
}

/// Erlang always prints a decimal point, also before an exponent.
fn float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}

fn binary(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "<<>>".to_owned()
    } else if bytes.iter().copied().all(is_printable) {
        format!("<<{}>>", quoted(bytes))
    } else {
        let numbers = list(bytes);
        format!("<<{}>>", numbers.trim_matches(['[', ']']))
    }
}

fn list(bytes: &[u8]) -> String {
    join(bytes.iter().map(u8::to_string))
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Printable in Latin-1, which is how Erlang looks at bytes.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | b'\t' | 32..=126 | 160..=255)
}

/// `{name,what}`, the shape of most reasons.
pub(crate) fn pair(name: &str, what: impl std::fmt::Display) -> String {
    format!("{{{name},{what}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_protocol::{ArrayBuf, TableBuf};

    #[test]
    fn pub_05_strings_are_quoted_or_listed() {
        assert_eq!(string(b".5"), "\".5\"");
        assert_eq!(string(b"\"\\x\n"), "\"\\\"\\\\x\\n\"");
        assert_eq!(string("é".as_bytes()), "\"é\"");
        assert_eq!(string(&[1]), "[1]");
        assert_eq!(string(&[127]), "[127]");
    }

    #[test]
    fn qarg_32_values_print_as_the_reference_does() {
        let array: ArrayBuf = [Value::LongStr(b"a"), Value::I32(1)].into_iter().collect();
        let table = TableBuf::from_entries([("a", Value::LongStr(b"b"))]);
        let printed = [
            (Value::I64(-1), "-1"),
            (Value::Bool(true), "true"),
            (Value::F64(100.0), "100.0"),
            (Value::F64(1e300), "1.0e300"),
            (Value::F32(1.1), "1.100000023841858"),
            (Value::Void, "undefined"),
            (Value::LongStr(b"lazy"), "lazy"),
            (
                Value::Array(array.view()),
                "[{longstr,<<\"a\">>},{signedint,1}]",
            ),
            (
                Value::Table(table.view()),
                "[{<<\"a\">>,longstr,<<\"b\">>}]",
            ),
            (Value::ByteArray(b"x"), "x"),
        ];
        for (given, text) in printed {
            assert_eq!(value(&given), text);
        }
    }

    #[test]
    fn headers_09_terms_show_their_type() {
        let printed = [
            (Value::LongStr(b""), "<<>>"),
            (Value::LongStr(b"a\"b"), "<<\"a\\\"b\">>"),
            (Value::LongStr(&[0, 255]), "<<0,255>>"),
            (Value::ByteArray(b"all"), "<<\"all\">>"),
            (Value::I32(1), "1"),
        ];
        for (given, text) in printed {
            assert_eq!(term(&given), text);
        }
    }

    #[test]
    fn a_pair_is_a_tuple() {
        assert_eq!(pair("value_negative", -1), "{value_negative,-1}");
    }
}
