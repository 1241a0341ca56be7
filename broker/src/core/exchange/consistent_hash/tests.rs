//! Weights, stability, and what is refused.

#![allow(clippy::unwrap_used)]
use leveret_protocol::TableBuf;
use leveret_protocol::content::Body;
use proptest::prelude::*;

use super::*;
use crate::core::exchange::tests::{binding, routed};
use crate::core::{Message, MessageParts};

const KEYS: u64 = 20_000;

fn empty() -> ConsistentHash {
    ConsistentHash::default()
}

fn weighed(queue: u64, weight: u64) -> Binding {
    binding(queue, weight.to_string(), &TableBuf::new())
}

fn bound(weights: &[(u64, u64)]) -> ConsistentHash {
    let mut exchange = empty();
    for (queue, weight) in weights {
        exchange.bind(&weighed(*queue, *weight));
    }
    exchange
}

fn queue_of(exchange: &ConsistentHash, key: u64) -> u64 {
    let queues = routed(exchange, &[format!("key.{key}").as_bytes()], None);
    assert_eq!(queues.len(), 1, "exactly one gets it");
    queues[0]
}

fn map_of(exchange: &ConsistentHash) -> Vec<u64> {
    (0..KEYS).map(|key| queue_of(exchange, key)).collect()
}

#[test]
fn keys_spread_by_weight() {
    let map = map_of(&bound(&[(1, 1), (2, 2), (3, 5), (4, 2)]));
    for (queue, tenths) in [(1, 1), (2, 2), (3, 5), (4, 2)] {
        let got = map.iter().filter(|to| **to == queue).count() as u64;
        let due = KEYS * tenths / 10;
        assert!(
            got.abs_diff(due) < KEYS / 50,
            "queue {queue}: {got} instead of {due}"
        );
    }
}

#[test]
fn keys_that_a_new_queue_does_not_get_stay_where_they_are() {
    let mut exchange = bound(&[(1, 2), (2, 2), (3, 2), (4, 2)]);
    let before = map_of(&exchange);
    exchange.bind(&weighed(5, 2));
    let moved: Vec<_> = map_of(&exchange)
        .into_iter()
        .zip(before)
        .filter(|(after, before)| after != before)
        .collect();
    assert!(moved.iter().all(|(after, _)| *after == 5));
    assert!(
        (moved.len() as u64).abs_diff(KEYS / 5) < KEYS / 50,
        "{}",
        moved.len()
    );
}

#[test]
fn the_queue_that_was_bound_last_goes_without_moving_others() {
    let mut exchange = bound(&[(1, 3), (2, 1)]);
    let before = map_of(&exchange);
    exchange.bind(&weighed(3, 4));
    exchange.unbind(&weighed(3, 4));
    assert_eq!(map_of(&exchange), before);
}

#[test]
fn a_queue_counts_once_by_its_earliest_binding() {
    let mut exchange = bound(&[(1, 1), (2, 1)]);
    let before = map_of(&exchange);
    exchange.bind(&weighed(1, 1000));
    assert_eq!(map_of(&exchange), before);
    exchange.unbind(&weighed(1, 1));
    let map = map_of(&exchange);
    let second = map.iter().filter(|queue| **queue == 2).count();
    assert!(
        (1..100).contains(&second),
        "the later one took its place: {second}"
    );
}

#[test]
fn a_message_goes_where_it_went_in_every_version_before() {
    let exchange = bound(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let map: Vec<_> = (0..16).map(|key| queue_of(&exchange, key)).collect();
    assert_eq!(map, [4, 1, 4, 2, 1, 3, 3, 3, 4, 3, 2, 2, 3, 1, 3, 1]);
}

fn hashing_on(argument: &str, name: &str) -> ConsistentHash {
    let arguments = TableBuf::from_entries([(argument, Value::LongStr(name.as_bytes()))]);
    assert_eq!(check_arguments(arguments.view()), Ok(()));
    let mut exchange = ConsistentHash::new(arguments.view());
    assert!(exchange.looks_at_messages());
    (1..=8).for_each(|queue| exchange.bind(&weighed(queue, 1)));
    exchange
}

/// How many queues messages with these properties and different keys go to.
fn queues_of<'p>(
    exchange: &ConsistentHash,
    properties: impl IntoIterator<Item = Properties<'p>>,
) -> usize {
    let mut queues = Vec::new();
    for (number, properties) in properties.into_iter().enumerate() {
        let message = Message::new(
            MessageParts {
                exchange: b"x",
                routing_key: number.to_string().as_bytes(),
                properties: &properties.to_bytes(),
                body: Body::Whole(b""),
                persistent: false,
                priority: 0,
                expiration_ms: None,
            },
            &mut Vec::new(),
        );
        let mut found = Destinations::default();
        exchange.route(
            &Routing {
                routing_keys: &[message.routing_key()],
                headers: properties.headers,
                message: Some(&message),
                ..Routing::default()
            },
            &mut found,
        );
        queues.extend(found.iter());
    }
    queues.sort_unstable();
    queues.dedup();
    queues.len()
}

#[test]
fn a_header_is_hashed_instead_of_the_key() {
    let exchange = hashing_on(HASH_HEADER, "customer");
    let headers = |customer: Value<'_>| TableBuf::from_entries([("customer", customer)]);
    let with = |headers: &TableBuf, times| {
        let properties = Properties {
            headers: Some(headers.view()),
            ..Properties::default()
        };
        queues_of(&exchange, std::iter::repeat_n(properties, times))
    };
    assert_eq!(with(&headers(Value::LongStr(b"a")), 50), 1);
    assert_eq!(
        with(&TableBuf::from_entries([("other", Value::Void)]), 50),
        1
    );
    let many: Vec<_> = (0..50).map(|n| headers(Value::I32(n))).collect();
    let many = many.iter().map(|headers| Properties {
        headers: Some(headers.view()),
        ..Properties::default()
    });
    assert_eq!(queues_of(&exchange, many), 8);
}

#[test]
fn a_property_is_hashed_instead_of_the_key() {
    let texts: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    let text = |n: usize| Some(texts[n].as_str().into());
    type Make<'m> = &'m dyn Fn(usize) -> Properties<'m>;
    let cases: [(&str, Make<'_>); 3] = [
        ("correlation_id", &|n| Properties {
            correlation_id: text(n),
            ..Properties::default()
        }),
        ("message_id", &|n| Properties {
            message_id: text(n),
            ..Properties::default()
        }),
        ("timestamp", &|n| Properties {
            timestamp: Some(n as u64),
            ..Properties::default()
        }),
    ];
    for (name, make) in cases {
        let exchange = hashing_on(HASH_PROPERTY, name);
        assert_eq!(queues_of(&exchange, (0..50).map(make)), 8, "{name}");
        assert_eq!(queues_of(&exchange, (0..50).map(|_| make(7))), 1, "{name}");
        assert_eq!(
            queues_of(&exchange, (0..50).map(|_| Properties::default())),
            1,
            "{name}"
        );
    }
}

#[test]
fn arguments_are_refused_in_the_plugin_s_words() {
    let refused = |entries: &[(&str, Value<'_>)]| {
        let table = TableBuf::from_entries(entries.iter().copied());
        check_arguments(table.view()).unwrap_err().reply_text()
    };
    let (header, property) = (
        (HASH_HEADER, Value::LongStr(b"h")),
        |name: &'static [u8]| (HASH_PROPERTY, Value::LongStr(name)),
    );
    assert_eq!(
        refused(&[property(b"app_id")]),
        "PRECONDITION_FAILED - Unsupported property: app_id"
    );
    assert_eq!(
        refused(&[header, property(b"message_id")]),
        "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive"
    );
    assert!(refused(&[(HASH_HEADER, Value::I32(1))]).contains("invalid type 'signedint'"));
}

#[test]
fn a_weight_is_a_positive_integer() {
    let judged = |key: &str| {
        let checked = check_binding(&NewBinding {
            source_arguments: Table::default(),
            routing_key: key.as_bytes(),
            arguments: Table::default(),
            queue_type: None,
        });
        checked.map_err(|fault| fault.reply_text().replace("PRECONDITION_FAILED - ", ""))
    };
    for key in ["1", "+2", "0010", "99999999999999999999999999"] {
        assert_eq!(judged(key), Ok(()), "{key}");
    }
    for key in ["0", "-1", "-99999999999999999999999"] {
        let why = "The binding key must be greater than 0";
        assert_eq!(judged(key), Err(why.to_owned()), "{key}");
    }
    for key in ["a", "", "1.5", " 1", "1 ", "+", "--1"] {
        let why = format!("The binding key must be an integer: <<\"{key}\">>");
        let why = why.replace("<<\"\">>", "<<>>");
        assert_eq!(judged(key), Err(why), "{key}");
    }
}

#[test]
fn the_largest_weights_leave_room_for_each_other() {
    let exchange = bound(&[(1, u64::MAX), (2, u64::MAX), (3, 1)]);
    let map = map_of(&exchange);
    let first = map.iter().filter(|queue| **queue == 1).count() as u64;
    assert!(first.abs_diff(KEYS / 2) < KEYS / 50, "{first}");
}

proptest! {
    #[test]
    fn a_rebuild_from_durable_bindings_in_another_order_changes_nothing(
        weights in proptest::collection::vec(1..20_u64, 1..12),
        seed in any::<prop::sample::Index>(),
        key in ".{0,20}",
    ) {
        let durable = |(number, weight): (usize, &u64)| {
            weighed(100 - number as u64, *weight).durable_as(BindingId(number as u64 + 1))
        };
        let mut bindings: Vec<_> = weights.iter().enumerate().map(durable).collect();
        let (mut in_order, mut rebuilt) = (empty(), empty());
        bindings.iter().for_each(|binding| in_order.bind(binding));
        let len = bindings.len();
        bindings.rotate_left(seed.index(len));
        bindings.reverse();
        bindings.iter().for_each(|binding| rebuilt.bind(binding));
        let keys = [key.as_bytes()];
        prop_assert_eq!(routed(&in_order, &keys, None), routed(&rebuilt, &keys, None));
    }

    #[test]
    fn a_hash_that_moves_to_more_buckets_moves_to_a_new_one(
        hash in any::<u64>(),
        buckets in 1..1000_u64,
        more in 1..1000_u64,
    ) {
        let (before, after) = (jump(hash, buckets), jump(hash, buckets + more));
        prop_assert!(before < buckets && after < buckets + more);
        prop_assert!(after == before || after >= buckets);
    }
}
