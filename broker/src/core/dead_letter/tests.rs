//! Dead letters, compared with what a RabbitMQ 3.10.8 was seen to deliver.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::publishing::routing_keys;
use bytes::Bytes;
use leveret_protocol::content::Body;
use proptest::prelude::*;

const AT: Moment = Moment::from_unix_ms(1_795_350_452_999);

struct Letter<'a> {
    exchange: &'a [u8],
    key: &'a [u8],
    properties: Properties<'a>,
    blind: Vec<&'a [u8]>,
}

fn letter<'a>(key: &'a str, headers: Option<Table<'a>>) -> Letter<'a> {
    Letter {
        exchange: b"",
        key: key.as_bytes(),
        properties: Properties {
            headers,
            ..Properties::default()
        },
        blind: Vec::new(),
    }
}

impl Letter<'_> {
    fn publish(&self) -> Message {
        let parts = MessageParts {
            exchange: self.exchange,
            routing_key: self.key,
            properties: &self.properties.to_bytes(),
            body: Body::Whole(b"x"),
            persistent: self.properties.delivery_mode == Some(2),
            priority: self.properties.priority.unwrap_or(0),
            expiration_ms: self.properties.expiration.map(|_| 60_000),
        };
        Message::with_blind_keys(parts, self.blind.iter().copied(), &mut Vec::new())
    }
}

/// Dies in `queue` and goes on to the default exchange, with a dead-letter key if one is given.
fn die(message: &Message, queue: &str, reason: DeathReason, key: Option<&str>) -> Message {
    let death = Death {
        queue: queue.as_bytes(),
        reason,
        at: AT,
    };
    let address = DeadLetterAddress {
        exchange: b"",
        routing_key: key.map(str::as_bytes),
    };
    next_life(message, death, address, &mut Vec::new()).unwrap()
}

fn reject(message: &Message, queue: &str, key: &str) -> Message {
    die(message, queue, DeathReason::Rejected, Some(key))
}

fn expire(message: &Message, queue: &str) -> Message {
    die(message, queue, DeathReason::Expired, None)
}

fn headers_of(message: &Message) -> Table<'_> {
    Properties::parse(message.properties())
        .unwrap()
        .headers
        .unwrap()
}

fn deaths_of(message: &Message) -> Vec<Table<'_>> {
    let Some(Value::Array(deaths)) = headers_of(message).get("x-death") else {
        panic!("no x-death");
    };
    deaths
        .values()
        .map(|death| match death {
            Value::Table(death) => death,
            other => panic!("{other:?} is no death"),
        })
        .collect()
}

fn field(table: Table<'_>, key: &str) -> String {
    match table.get(key) {
        Some(Value::LongStr(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(Value::I64(number)) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    }
}

/// Queue, reason and count of every entry.
fn told(message: &Message) -> Vec<String> {
    deaths_of(message)
        .into_iter()
        .map(|d| [field(d, "queue"), field(d, "reason"), field(d, "count")].join(" "))
        .collect()
}

fn key_list(table: Table<'_>) -> Vec<String> {
    let Some(Value::Array(keys)) = table.get("routing-keys") else {
        panic!("no routing keys");
    };
    keys.values()
        .map(|key| String::from_utf8_lossy(key.as_long_str().unwrap()).into_owned())
        .collect()
}

fn names(table: Table<'_>) -> Vec<String> {
    table
        .entries()
        .map(|(key, _)| key.to_text().into_owned())
        .collect()
}

fn longs(keys: &[&str]) -> ArrayBuf {
    keys.iter()
        .map(|key| Value::LongStr(key.as_bytes()))
        .collect()
}

/// `x-death` of a message with two rejections, as RabbitMQ wrote it.
const TWO_DEATHS: &str = "460000006305636f756e746c00000000000000010865786368616e676553000000000571\
    7565756553000000014206726561736f6e530000000872656a65637465640c726f7574696e672d6b657973410000\
    00065300000001420474696d6554000000006b02dfb4460000006305636f756e746c000000000000000106726561\
    736f6e530000000872656a65637465640571756575655300000001410474696d6554000000006b02dfb408657863\
    68616e676553000000000c726f7574696e672d6b657973410000000653000000014116";

#[test]
fn dlx_09_dlx_10_entries_are_those_of_the_reference_to_the_byte() {
    let first = reject(&letter("A", None).publish(), "A", "B");
    let second = reject(&first, "B", "C");
    let hex: String = second
        .properties()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(hex.starts_with("2000000001"), "{hex}");
    let expected: String = TWO_DEATHS.split_whitespace().collect();
    assert!(hex.contains(&expected), "{hex}");
}

#[test]
fn dlx_01_reasons_have_their_words() {
    let message = letter("q", None).publish();
    let reasons = [
        (DeathReason::Rejected, "q rejected 1"),
        (DeathReason::Expired, "q expired 1"),
        (DeathReason::MaxLength, "q maxlen 1"),
        (DeathReason::DeliveryLimit, "q delivery_limit 1"),
    ];
    for (reason, entry) in reasons {
        assert_eq!(told(&die(&message, "q", reason, None)), [entry]);
    }
}

fn routed(message: &Message) -> Vec<String> {
    routing_keys(message, Some(headers_of(message)))
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .collect()
}

#[test]
fn dlx_03_without_a_key_a_letter_keeps_its_key_its_copies_and_its_blind_ones() {
    let copies = longs(&["c1", "c2"]);
    let headers = TableBuf::from_entries([("CC", Value::Array(copies.view()))]);
    let mut letter = letter("own", Some(headers.view()));
    letter.blind = vec![b"hidden"];
    let once = expire(&letter.publish(), "A");
    assert_eq!(routed(&once), ["own", "c1", "c2", "hidden"]);
    let twice = expire(&once, "B");
    assert_eq!(routed(&twice), ["own", "c1", "c2", "hidden"]);
    assert_eq!(key_list(deaths_of(&twice)[0]), ["own", "c1", "c2"]);
}

#[test]
fn dlx_03_dlx_04_with_a_key_all_other_keys_are_gone() {
    let copies = longs(&["c1"]);
    let headers = TableBuf::from_entries([("CC", Value::Array(copies.view()))]);
    let mut letter = letter("own", Some(headers.view()));
    letter.blind = vec![b"hidden"];
    let dead = reject(&letter.publish(), "A", "B");
    assert_eq!(routed(&dead), ["B"]);
    assert_eq!(headers_of(&dead).get("CC"), None);
    assert_eq!(key_list(deaths_of(&dead)[0]), ["own", "c1"]);
}

#[test]
fn dlx_05_the_address_is_the_dead_letter_exchange_and_key() {
    let death = Death {
        queue: b"q",
        reason: DeathReason::Expired,
        at: AT,
    };
    let send = |routing_key| {
        let address = DeadLetterAddress {
            exchange: b"dlx",
            routing_key,
        };
        let message = letter("own", None).publish();
        next_life(&message, death, address, &mut Vec::new()).unwrap()
    };
    let (with_key, without) = (send(Some(&b"dead"[..])), send(None));
    assert_eq!(with_key.address(), b"\x03dlx\x04dead");
    assert_eq!(without.address(), b"\x03dlx\x03own");
}

#[test]
fn dlx_06_expiration_moves_into_the_entry() {
    let mut letter = letter("q", None);
    letter.properties.expiration = Some("60000".into());
    let dead = expire(&letter.publish(), "q");
    assert_eq!(dead.expiration_ms(), None);
    let properties = Properties::parse(dead.properties()).unwrap();
    assert_eq!(properties.expiration, None);
    let entry = deaths_of(&dead)[0];
    assert_eq!(field(entry, "original-expiration"), "60000");
    let again = expire(&dead, "p");
    let entry = deaths_of(&again)[0];
    assert_eq!(entry.get("original-expiration"), None);
}

#[test]
fn dlx_07_dlx_25_everything_else_survives() {
    let headers = TableBuf::from_entries([("b", Value::I32(1)), ("a", Value::Bool(true))]);
    let mut letter = letter("q", Some(headers.view()));
    letter.properties.delivery_mode = Some(2);
    letter.properties.priority = Some(3);
    letter.properties.message_id = Some("id".into());
    let dead = expire(&letter.publish(), "q");
    assert!(dead.is_persistent());
    assert_eq!(dead.priority(), 3);
    assert_eq!(dead.small_body(), Some(&b"x"[..]));
    let after = Properties::parse(dead.properties()).unwrap();
    let expected = Properties {
        headers: after.headers,
        ..letter.properties
    };
    assert_eq!(after, expected);
    assert_eq!(headers_of(&dead).get("b"), Some(Value::I32(1)));
}

#[test]
fn dlx_07_large_bodies_are_not_copied() {
    let part = Bytes::from(vec![7; 10_000]);
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0, 0],
        body: Body::Parts(vec![part.clone()]),
        persistent: false,
        priority: 0,
        expiration_ms: None,
    };
    let dead = expire(&Message::new(parts, &mut Vec::new()), "q");
    assert_eq!(dead.large_body()[0].as_ptr(), part.as_ptr());
}

#[test]
fn dlx_08_the_most_recent_death_comes_first() {
    let mut message = letter("A", None).publish();
    for queue in ["A", "B", "C"] {
        message = reject(&message, queue, "next");
    }
    assert_eq!(
        told(&message),
        ["C rejected 1", "B rejected 1", "A rejected 1"]
    );
}

#[test]
fn dlx_11_the_same_death_is_counted_and_moves_to_the_front() {
    let mut message = letter("A", None).publish();
    for queue in ["A", "B", "A"] {
        message = reject(&message, queue, queue);
    }
    assert_eq!(told(&message), ["A rejected 2", "B rejected 1"]);
    message = expire(&message, "A");
    assert_eq!(
        told(&message),
        ["A expired 1", "A rejected 2", "B rejected 1"]
    );
}

#[test]
fn dlx_11_time_exchange_and_keys_stay_those_of_the_first_time() {
    let mut letter = letter("own", None);
    letter.exchange = b"origin";
    let once = reject(&letter.publish(), "A", "B");
    let death = Death {
        queue: b"A",
        reason: DeathReason::Rejected,
        at: AT.after_ms(60_000),
    };
    let address = DeadLetterAddress {
        exchange: b"elsewhere",
        routing_key: None,
    };
    let twice = next_life(&once, death, address, &mut Vec::new()).unwrap();
    let entry = deaths_of(&twice)[0];
    assert_eq!(entry.get("time"), Some(Value::Timestamp(1_795_350_452)));
    assert_eq!(field(entry, "exchange"), "origin");
    assert_eq!(key_list(entry), ["own"]);
}

#[test]
fn dlx_13_dlx_14_first_and_last_death_are_summed_up() {
    let once = expire(&letter("A", None).publish(), "A");
    let twice = reject(&once, "B", "C");
    let headers = headers_of(&twice);
    assert_eq!(field(headers, "x-first-death-reason"), "expired");
    assert_eq!(field(headers, "x-first-death-queue"), "A");
    assert_eq!(field(headers, "x-first-death-exchange"), "");
    assert_eq!(field(headers, "x-last-death-reason"), "rejected");
    assert_eq!(field(headers, "x-last-death-queue"), "B");
}

#[test]
fn table_07_headers_leave_sorted() {
    let headers = TableBuf::from_entries([("z", Value::Void), ("a", Value::Void)]);
    let dead = expire(&letter("q", Some(headers.view())).publish(), "q");
    let names = names(headers_of(&dead));
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 9);
}

fn publish_with_history(history: Value<'_>) -> Message {
    let headers = TableBuf::from_entries([("x-death", history)]);
    letter("A", Some(headers.view())).publish()
}

#[test]
fn dlx_15_a_publishers_array_is_kept_and_extended() {
    let rejected = [
        ("queue", Value::LongStr(b"A")),
        ("reason", Value::LongStr(b"rejected")),
    ];
    let uncounted = TableBuf::from_entries(rejected);
    let stranger = TableBuf::from_entries([("foo", Value::I32(1))]);
    let history: ArrayBuf = [
        Value::Table(uncounted.view()),
        Value::I8(1),
        Value::Table(uncounted.view()),
        Value::Table(stranger.view()),
    ]
    .into_iter()
    .collect();
    let dead = reject(
        &publish_with_history(Value::Array(history.view())),
        "A",
        "B",
    );
    let deaths = deaths_of(&dead);
    assert_eq!(deaths.len(), 2, "what is no table is no death");
    assert_eq!(
        field(deaths[0], "count"),
        "3",
        "two were found and one was added"
    );
    assert_eq!(names(deaths[1]), ["count", "foo"]);
    assert_eq!(headers_of(&dead).get("x-first-death-queue"), None);
}

#[test]
fn dlx_15_counts_of_any_type_are_tolerated() {
    let counts = [
        (Value::I32(4), "5"),
        (Value::I64(i64::MAX), "9223372036854775807"),
        (Value::LongStr(b"many"), "2"),
    ];
    for (count, after) in counts {
        let entry = TableBuf::from_entries([
            ("queue", Value::LongStr(b"A")),
            ("reason", Value::LongStr(b"rejected")),
            ("count", count),
        ]);
        let history: ArrayBuf = [Value::Table(entry.view())].into_iter().collect();
        let dead = reject(
            &publish_with_history(Value::Array(history.view())),
            "A",
            "B",
        );
        assert_eq!(field(deaths_of(&dead)[0], "count"), after);
    }
}

#[test]
fn dlx_15_anything_but_an_array_is_replaced() {
    let dead = reject(&publish_with_history(Value::LongStr(b"boo")), "A", "B");
    assert_eq!(told(&dead), ["A rejected 1"]);
    assert_eq!(headers_of(&dead).get("x-first-death-queue"), None);
}

#[test]
fn dlx_15_histories_are_bounded() {
    let mut message = letter("A", None).publish();
    for n in 0..HISTORY_ENTRIES_MAX + 10 {
        message = reject(&message, &format!("queue {n}"), "next");
    }
    let deaths = deaths_of(&message);
    assert_eq!(deaths.len(), HISTORY_ENTRIES_MAX);
    assert_eq!(field(deaths[0], "queue"), "queue 137", "the newest stays");

    let keys: Vec<String> = (0..200).map(|n| format!("{n:0250}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let copies = longs(&keys);
    let headers = TableBuf::from_entries([("CC", Value::Array(copies.view()))]);
    let mut message = letter("A", Some(headers.view())).publish();
    for queue in ["A", "B", "C", "D"] {
        message = expire(&message, queue);
    }
    assert_eq!(told(&message), ["D expired 1", "C expired 1"]);
}

#[test]
fn dlx_17_a_circle_without_a_rejection_is_one() {
    let message = expire(&letter("A", None).publish(), "A");
    let message = expire(&message, "B");
    let headers = Some(headers_of(&message));
    assert!(is_cycle(headers, b"A"));
    assert!(is_cycle(headers, b"B"), "a queue may feed itself (DLX-18)");
    assert!(!is_cycle(headers, b"C"));
    assert!(!is_cycle(None, b"A"));
}

#[test]
fn dlx_17_dlx_19_a_rejection_anywhere_on_the_way_breaks_it() {
    let mut message = letter("work", None).publish();
    for _ in 0..3 {
        message = reject(&message, "work", "retry");
        assert!(!is_cycle(Some(headers_of(&message)), b"retry"));
        message = expire(&message, "retry");
        assert!(!is_cycle(Some(headers_of(&message)), b"work"));
    }
    assert_eq!(told(&message), ["retry expired 3", "work rejected 3"]);
    let elsewhere = expire(&message, "delay");
    assert!(is_cycle(Some(headers_of(&elsewhere)), b"retry"));
}

#[test]
fn dlx_17_malformed_histories_are_no_circle() {
    let message = publish_with_history(Value::LongStr(b"A"));
    assert!(!is_cycle(Some(headers_of(&message)), b"A"));
    let history: ArrayBuf = [Value::I8(1)].into_iter().collect();
    let message = publish_with_history(Value::Array(history.view()));
    assert!(!is_cycle(Some(headers_of(&message)), b"A"));
}

#[test]
fn unreadable_properties_are_an_error_and_no_panic() {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0x80, 0],
        body: Body::Whole(b""),
        persistent: false,
        priority: 0,
        expiration_ms: None,
    };
    let message = Message::new(parts, &mut Vec::new());
    let death = Death {
        queue: b"q",
        reason: DeathReason::Expired,
        at: AT,
    };
    let address = DeadLetterAddress {
        exchange: b"",
        routing_key: None,
    };
    let next = next_life(&message, death, address, &mut Vec::new());
    assert_eq!(next.unwrap_err(), Malformed::Truncated);
}

/// A value that a publisher might put where an `x-death` entry or one of its fields belongs.
fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::LongStr(b"A")),
        Just(Value::LongStr(b"rejected")),
        Just(Value::ByteArray(b"A")),
        Just(Value::Void),
        Just(Value::F64(f64::NAN)),
        any::<i64>().prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
    ]
}

fn any_entry() -> impl Strategy<Value = TableBuf> {
    let key = prop_oneof![Just("queue"), Just("reason"), Just("count"), Just("other")];
    proptest::collection::vec((key, any_value()), 0..5).prop_map(TableBuf::from_entries)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dlx_15_any_history_is_survived(
        entries in proptest::collection::vec(any_entry(), 0..200),
        stray in any_value(),
    ) {
        let tables = entries.iter().map(|entry| Value::Table(entry.view()));
        let history: ArrayBuf = std::iter::once(stray).chain(tables).collect();
        let dead = reject(&publish_with_history(Value::Array(history.view())), "A", "B");
        let deaths = deaths_of(&dead);
        prop_assert!(deaths.len() <= HISTORY_ENTRIES_MAX);
        prop_assert_eq!(field(deaths[0], "queue"), "A");
        prop_assert_eq!(field(deaths[0], "reason"), "rejected");
        prop_assert!(!is_cycle(Some(headers_of(&dead)), b"A"));
    }
}
