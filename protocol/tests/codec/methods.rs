//! Every method against the specification's list: numbers, names, order and types of the arguments,
//! order of the bits; and any arguments there and back.

use leveret_protocol::{Malformed, Method};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::grammar::{Argument, Row, long_str, rows, short_str};
use crate::model::table_bytes;

/// Every method parses from bytes laid out by the list, to fields with the list's names, in its
/// order, with their values. The fields are compared by their `Debug` text, so that one loop sees
/// them all.
#[test]
fn every_method_is_what_the_list_says() {
    for row in rows() {
        for flags in 0..flag_combinations(&row) {
            let (payload, fields) = distinct_arguments(&row, flags);
            let method = Method::parse(&payload).unwrap_or_else(|e| panic!("{}: {e}", row.name));
            assert_eq!(format!("{method:?}"), debug_text(&row, &fields));
            assert_eq!(written(&method), payload, "{}", row.name);
        }
    }
}

#[test]
fn every_method_has_the_numbers_name_and_content_of_the_list() {
    for row in rows() {
        let (payload, _) = distinct_arguments(&row, 0);
        let method = Method::parse(&payload).unwrap();
        let id = method.id();
        assert_eq!((id.class_id, id.method_id), (row.class_id, row.method_id));
        let (class, name) = row.name.split_once('.').unwrap();
        assert_eq!(method.name(), format!("{class}.{}", camel(name)));
        assert_eq!(
            method.carries_content(),
            row.carries_content,
            "{}",
            row.name
        );
    }
}

#[test]
fn there_is_no_method_beyond_the_list() {
    let listed: Vec<_> = rows().iter().map(|r| (r.class_id, r.method_id)).collect();
    assert_eq!(listed.len(), 66);
    for class_id in 0..=300 {
        for method_id in 0..=300 {
            let unknown = Malformed::UnknownMethod {
                class_id,
                method_id,
            };
            let payload = [class_id.to_be_bytes(), method_id.to_be_bytes()].concat();
            let is_unknown = Method::parse(&payload) == Err(unknown);
            assert_eq!(is_unknown, !listed.contains(&(class_id, method_id)));
        }
    }
}

#[test]
fn frame_05_too_few_or_too_many_argument_bytes_are_refused() {
    for row in rows() {
        let (mut payload, _) = distinct_arguments(&row, 0);
        for len in 0..payload.len() {
            let cut = Method::parse(&payload[..len]);
            assert_eq!(cut, Err(Malformed::Truncated), "{} to {len}", row.name);
        }
        payload.push(0);
        let longer = Method::parse(&payload);
        assert_eq!(longer, Err(Malformed::TrailingBytes), "{}", row.name);
    }
}

#[test]
fn frame_06_a_short_string_that_is_not_utf_8_is_seen_wherever_it_stands() {
    for row in rows() {
        let (payload, _) = distinct_arguments(&row, 0);
        assert!(Method::parse(&payload).unwrap().is_text(), "{}", row.name);
        for argument in &row.arguments {
            if let Argument::ShortStr(name) = argument {
                let spoiled = spoil(&payload, name);
                let method = Method::parse(&spoiled).unwrap();
                assert!(!method.is_text(), "{}: {name}", row.name);
            }
        }
    }
}

/// The payload with the first byte of the argument that holds its own name made invalid.
fn spoil(payload: &[u8], name: &str) -> Vec<u8> {
    let field = short_str(name.as_bytes());
    let at = payload
        .windows(field.len())
        .position(|window| window == field)
        .unwrap();
    let mut spoiled = payload.to_vec();
    spoiled[at + 1] = 0xFF;
    spoiled
}

fn written(method: &Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    method.write(&mut out);
    out
}

fn flag_combinations(row: &Row) -> u8 {
    let bits = row.arguments.iter().find_map(|argument| match argument {
        Argument::Bits(names) => Some(names.len()),
        _ => None,
    });
    1 << bits.unwrap_or(0)
}

/// A payload whose arguments all differ, and the text of each field in order.
fn distinct_arguments(row: &Row, flags: u8) -> (Vec<u8>, Vec<String>) {
    let (bytes, fields): (Vec<_>, Vec<_>) = row
        .arguments
        .iter()
        .zip(1..)
        .map(|(argument, number)| distinct(argument, number, flags))
        .unzip();
    let payload = row.payload(bytes.iter().map(Vec::as_slice));
    (payload, fields.concat())
}

/// Integers differ in every octet; texts and tables hold the field's own name.
fn distinct(argument: &Argument, number: u8, flags: u8) -> (Vec<u8>, Vec<String>) {
    let octets = |len: u8| -> Vec<u8> { (0..len).map(|n| number * 16 + n).collect() };
    let integer = |name: &str, len: u8| {
        let value = octets(len)
            .iter()
            .fold(0, |n: u64, o| n << 8 | u64::from(*o));
        (octets(len), vec![format!("{}: {value}", snake(name))])
    };
    let text = |name: &str, bytes: Vec<u8>| (bytes, vec![format!("{}: {name:?}", snake(name))]);
    match argument {
        Argument::Octet(name) => integer(name, 1),
        Argument::Short(name) => integer(name, 2),
        Argument::Long(name) => integer(name, 4),
        Argument::LongLong(name) => integer(name, 8),
        Argument::ShortStr(name) => text(name, short_str(name.as_bytes())),
        Argument::LongStr(name) => text(name, long_str(name.as_bytes())),
        Argument::Table(name) => {
            let entry = [short_str(name.as_bytes()), b"V".to_vec()].concat();
            let field = format!("{}: {{{name:?}: Void}}", snake(name));
            (long_str(&entry), vec![field])
        }
        Argument::Bits(names) => {
            let set = |bit: usize| flags & (1 << bit) != 0;
            let fields = names.iter().enumerate();
            let fields = fields.map(|(bit, name)| format!("{}: {}", snake(name), set(bit)));
            (vec![flags], fields.collect())
        }
    }
}

fn debug_text(row: &Row, fields: &[String]) -> String {
    let (class, name) = row.name.split_once('.').unwrap();
    let (class, name) = (camel(class), camel(name));
    let fields = match fields {
        [] => String::new(),
        fields => format!(" {{ {} }}", fields.join(", ")),
    };
    format!("{class}({name}({name}{fields}))")
}

/// `unbind-ok` as the name of a type.
fn camel(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect()
}

/// `auto-delete` as the name of a field; `type` is a keyword and called `kind`.
fn snake(name: &str) -> String {
    match name {
        "type" => "kind".to_owned(),
        name => name.replace('-', "_"),
    }
}

fn any_argument(argument: &Argument) -> BoxedStrategy<Vec<u8>> {
    match argument {
        Argument::Octet(_) => vec(any::<u8>(), 1).boxed(),
        Argument::Short(_) => vec(any::<u8>(), 2).boxed(),
        Argument::Long(_) => vec(any::<u8>(), 4).boxed(),
        Argument::LongLong(_) => vec(any::<u8>(), 8).boxed(),
        Argument::ShortStr(_) => vec(any::<u8>(), 0..=255)
            .prop_map(|text| short_str(&text))
            .boxed(),
        Argument::LongStr(_) => vec(any::<u8>(), 0..600)
            .prop_map(|text| long_str(&text))
            .boxed(),
        Argument::Table(_) => table_bytes().prop_map(|entries| long_str(&entries)).boxed(),
        Argument::Bits(names) => (0..1_u8 << names.len()).prop_map(|bits| vec![bits]).boxed(),
    }
}

/// A method of the list with any arguments.
pub(crate) fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(rows()).prop_flat_map(|row| {
        let arguments: Vec<_> = row.arguments.iter().map(any_argument).collect();
        arguments.prop_map(move |bytes| row.payload(bytes.iter().map(Vec::as_slice)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_method_is_written_as_it_was_read(payload in any_payload()) {
        let method = Method::parse(&payload).unwrap();
        let bytes = written(&method);
        prop_assert_eq!(&bytes, &payload);
        prop_assert_eq!(Method::parse(&bytes).unwrap(), method);
    }
}

/// Bits that the list does not name are ignored when read and zero when written.
#[test]
fn bits_beyond_the_list_are_cleared() {
    for row in rows().iter().filter(|row| flag_combinations(row) > 1) {
        let (named, _) = distinct_arguments(row, flag_combinations(row) - 1);
        let (every, _) = distinct_arguments(row, 0xFF);
        let method = Method::parse(&every).unwrap();
        assert_eq!(written(&method), named, "{}", row.name);
    }
}
