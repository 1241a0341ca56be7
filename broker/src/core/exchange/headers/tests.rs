//! The headers exchange: its rules by number, and random bindings against a naive matcher.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::core::exchange::tests::{binding, routed};
use leveret_protocol::ArrayBuf;
use proptest::prelude::*;

const ONE: Value<'_> = Value::I32(1);

fn table<'v>(entries: &[(&str, Value<'v>)]) -> TableBuf {
    TableBuf::from_entries(entries.iter().copied())
}

fn matches(arguments: &TableBuf, headers: Option<&TableBuf>) -> bool {
    let mut exchange = Headers::default();
    exchange.bind(&binding(1, "ignored", arguments));
    !routed(&exchange, &[b"k"], headers.map(TableBuf::view)).is_empty()
}

fn check(arguments: &[(&str, Value<'_>)], headers: &[(&str, Value<'_>)], expected: bool) {
    let found = matches(&table(arguments), Some(&table(headers)));
    assert_eq!(found, expected, "{arguments:?} against {headers:?}");
}

fn mode(word: &str) -> (&'static str, Value<'_>) {
    (MATCH_KEY, Value::LongStr(word.as_bytes()))
}

#[test]
fn headers_01_all_is_the_default_and_any_needs_one() {
    let (a, b) = (("a", ONE), ("b", ONE));
    check(&[a, b], &[a, b], true);
    check(&[a, b], &[a], false);
    check(&[mode("all"), a, b], &[b], false);
    check(&[mode("any"), a, b], &[b], true);
    check(&[mode("any"), a, b], &[("c", ONE)], false);
}

#[test]
fn headers_02_x_arguments_count_only_with_x() {
    let (a, x) = (("a", ONE), ("x-b", ONE));
    check(&[mode("all"), a, x], &[a], true);
    check(&[mode("all-with-x"), a, x], &[a], false);
    check(&[mode("all-with-x"), a, x], &[a, x], true);
    check(&[mode("any"), x], &[x], false);
    check(&[mode("any-with-x"), x], &[x], true);
    check(&[mode("any-with-x")], &[mode("any-with-x")], false);
}

#[test]
fn headers_03_and_04_nothing_to_compare() {
    for all in [table(&[]), table(&[mode("all"), ("x-a", ONE)])] {
        assert!(matches(&all, None) && matches(&all, Some(&table(&[("z", ONE)]))));
    }
    let any = table(&[mode("any")]);
    assert!(!matches(&any, None) && !matches(&any, Some(&table(&[("z", ONE)]))));
}

#[test]
fn headers_05_void_wants_any_value() {
    let wanted = [("a", Value::Void)];
    for sent in [ONE, Value::Void, Value::LongStr(b"s"), Value::F64(0.5)] {
        check(&wanted, &[("a", sent)], true);
    }
    check(&wanted, &[("b", ONE)], false);
    check(&[mode("any"), wanted[0]], &[("b", ONE)], false);
}

#[test]
fn headers_06_values_are_compared_and_not_their_widths() {
    let integers = [
        Value::I8(1),
        Value::U8(1),
        Value::I16(1),
        Value::U16(1),
        Value::I32(1),
        Value::U32(1),
        Value::I64(1),
    ];
    for wanted in integers {
        for sent in integers {
            check(&[("a", wanted)], &[("a", sent)], true);
        }
        check(&[("a", wanted)], &[("a", Value::LongStr(b"1"))], false);
        check(&[("a", wanted)], &[("a", Value::I64(2))], false);
        check(&[("a", wanted)], &[("a", Value::Bool(true))], false);
    }
    let (text, bytes) = (Value::LongStr(b"s"), Value::ByteArray(b"s"));
    check(&[("a", text)], &[("a", bytes)], true);
    check(&[("a", Value::F32(1.5))], &[("a", Value::F64(1.5))], true);
    check(
        &[("a", Value::Bool(true))],
        &[("a", Value::Bool(false))],
        false,
    );
}

#[test]
fn headers_06_arrays_and_tables_are_compared_inside() {
    let array = |n| -> ArrayBuf { [Value::I32(n), Value::Void].into_iter().collect() };
    let inner = |n| table(&[("k", Value::I32(n))]);
    let (one, two) = (array(1), array(2));
    let value = |array: &'static str, buf: &ArrayBuf, headers: bool| {
        let wanted = table(&[(array, Value::Array(one.view()))]);
        let sent = table(&[(array, Value::Array(buf.view()))]);
        assert_eq!(matches(&wanted, Some(&sent)), headers);
    };
    value("a", &array(1), true);
    value("a", &two, false);
    let (same, other) = (inner(1), inner(2));
    let wanted = inner(1);
    check(
        &[("t", Value::Table(wanted.view()))],
        &[("t", Value::Table(same.view()))],
        true,
    );
    check(
        &[("t", Value::Table(wanted.view()))],
        &[("t", Value::Table(other.view()))],
        false,
    );
    let longer = same.clone().with("l", Value::Void);
    check(
        &[("t", Value::Table(wanted.view()))],
        &[("t", Value::Table(longer.view()))],
        false,
    );
}

#[test]
fn headers_07_an_integer_is_not_a_double() {
    check(&[("a", ONE)], &[("a", Value::F64(1.0))], false);
    check(&[("a", Value::F64(1.0))], &[("a", ONE)], false);
}

#[test]
fn headers_08_timestamps_match() {
    let noon = Value::Timestamp(u64::MAX);
    check(&[("a", noon)], &[("a", noon)], true);
    check(&[("a", noon)], &[("a", Value::Timestamp(1))], false);
}

#[test]
fn headers_09_other_modes_are_refused() {
    for word in ["all", "any", "all-with-x", "any-with-x"] {
        assert_eq!(check_binding(table(&[mode(word)]).view()), Ok(()));
    }
    assert_eq!(check_binding(table(&[("a", ONE)]).view()), Ok(()));
    let text = |entry| {
        check_binding(table(&[entry]).view())
            .unwrap_err()
            .reply_text()
    };
    assert_eq!(
        text(mode("foo")),
        "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; \
         expected all, any, all-with-x, or any-with-x"
    );
    assert!(text(mode("ALL")).contains("<<\"ALL\">>"));
    assert_eq!(
        text((MATCH_KEY, ONE)),
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr"
    );
}

#[test]
fn headers_10_and_11_other_headers_and_keys_are_irrelevant() {
    check(&[("a", ONE)], &[("z", Value::Void), ("a", ONE)], true);
    check(&[("A", ONE)], &[("a", ONE)], false);
    let mut exchange = Headers::default();
    exchange.bind(&binding(1, "one", &table(&[("a", ONE)])));
    let sent = table(&[("a", ONE)]);
    assert_eq!(routed(&exchange, &[b"two"], Some(sent.view())), [1]);
}

#[test]
fn headers_12_void_sent_is_not_any_value() {
    check(&[("a", ONE)], &[("a", Value::Void)], false);
}

#[test]
fn bindings_with_the_same_table_share_a_matcher_until_the_last_goes() {
    let (arguments, sent) = (table(&[("a", ONE)]), table(&[("a", ONE)]));
    let mut exchange = Headers::default();
    for (queue, key) in [(1, "k"), (1, "l"), (2, "k")] {
        exchange.bind(&binding(queue, key, &arguments));
    }
    assert_eq!(exchange.by_arguments.len(), 1);
    exchange.unbind(&binding(1, "k", &arguments));
    assert_eq!(routed(&exchange, &[b""], Some(sent.view())), [1, 2]);
    exchange.unbind(&binding(1, "l", &arguments));
    assert_eq!(routed(&exchange, &[b""], Some(sent.view())), [2]);
    exchange.unbind(&binding(2, "k", &arguments));
    assert!(exchange.by_arguments.is_empty());
}

/// A value of few kinds and few sizes, so that equal ones meet often.
fn few_values() -> impl Strategy<Value = Value<'static>> {
    proptest::sample::select(vec![
        Value::I32(1),
        Value::I64(1),
        Value::I64(2),
        Value::F64(1.0),
        Value::LongStr(b"1"),
        Value::ByteArray(b"1"),
        Value::Bool(true),
        Value::Void,
    ])
}

fn few_entries() -> impl Strategy<Value = Vec<(&'static str, Value<'static>)>> {
    let keys = vec!["a", "b", "c", "x-d"];
    proptest::collection::vec((proptest::sample::select(keys), few_values()), 0..4)
}

/// The rules as they are written, over plain lists.
fn naive(word: Option<&str>, wanted: &[(&str, Value<'_>)], sent: &[(&str, Value<'_>)]) -> bool {
    let with_x = word.is_some_and(|word| word.ends_with("-with-x"));
    let any = word.is_some_and(|word| word.starts_with("any"));
    let results: Vec<bool> = wanted
        .iter()
        .filter(|(key, _)| with_x || !key.starts_with("x-"))
        .map(|(key, value)| {
            let last = sent.iter().rev().find(|(other, _)| other == key);
            last.is_some_and(|(_, sent)| naive_agree(value, sent))
        })
        .collect();
    match any {
        true => results.contains(&true),
        false => !results.contains(&false),
    }
}

fn naive_agree(wanted: &Value<'_>, sent: &Value<'_>) -> bool {
    let class = |value: &Value<'_>| match value {
        Value::LongStr(bytes) | Value::ByteArray(bytes) => format!("bytes {bytes:?}"),
        other => other.as_integer().map_or_else(
            || format!("{other:?}"),
            |number| format!("integer {number}"),
        ),
    };
    *wanted == Value::Void || class(wanted) == class(sent)
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_rules(
        word in proptest::option::of(proptest::sample::select(
            vec!["all", "any", "all-with-x", "any-with-x"],
        )),
        wanted in few_entries(),
        sent in few_entries(),
    ) {
        let arguments = word.map(mode).into_iter().chain(wanted.iter().copied());
        let arguments = TableBuf::from_entries(arguments);
        let found = matches(&arguments, Some(&table(&sent)));
        prop_assert_eq!(found, naive(word, &wanted, &sent));
    }
}
