//! Exchange types and arguments beyond the protocol's own, as a client sees them.
//!
//! With `REFERENCE_AMQP_URL` set, the tests of what RabbitMQ's own plugins have run against that broker
//! instead, so that it can be shown to behave like this one.

#![allow(clippy::unwrap_used, missing_docs)]

mod peer;

use std::collections::BTreeMap;
use std::path::Path;

use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions, ExchangeBindOptions};
use lapin::types::{AMQPValue, FieldTable};

use peer::{Peer, any, is_reference, ours, table, text};

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("key.{number}"))
}

#[tokio::test]
async fn consistent_hash_divides_by_weight_and_keeps_keys_together() {
    let peer = any().await;
    let exchange = peer.exchange("x-consistent-hash", &[]).await;
    let mut queues = Vec::new();
    for weight in ["1", "2", "3"] {
        queues.push(peer.bound(&exchange, weight).await);
    }
    peer.publish_keys(&exchange, keys(1200)).await;
    let counts = peer.counts(&queues).await;
    for (count, due) in counts.iter().zip([200, 400, 600_usize]) {
        assert!(count.abs_diff(due) < 100, "{counts:?}");
    }
    peer.publish_keys(&exchange, (0..50).map(|_| "one".to_owned()))
        .await;
    let mut counts = peer.counts(&queues).await;
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 50]);
    peer.stop().await;
}

#[tokio::test]
async fn consistent_hash_takes_a_header_or_a_property_instead() {
    let peer = any().await;
    let by_header = peer
        .exchange("x-consistent-hash", &[("hash-header", text("customer"))])
        .await;
    let property = [("hash-property", text("message_id"))];
    let by_property = peer.exchange("x-consistent-hash", &property).await;
    for exchange in [by_header, by_property] {
        let queues = [
            peer.bound(&exchange, "1").await,
            peer.bound(&exchange, "1").await,
        ];
        let with = |customer: &str| {
            BasicProperties::default()
                .with_headers(table(&[("customer", text(customer))]))
                .with_message_id(customer.into())
        };
        let same: Vec<_> = keys(40).map(|key| (key, with("one"))).collect();
        peer.publish(&exchange, &same).await;
        let mut counts = peer.counts(&queues).await;
        counts.sort_unstable();
        assert_eq!(counts, [0, 40]);
        let others: Vec<_> = keys(40)
            .map(|key| ("same".to_owned(), with(&key)))
            .collect();
        peer.publish(&exchange, &others).await;
        let counts = peer.counts(&queues).await;
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    peer.stop().await;
}

#[tokio::test]
async fn consistent_hash_refuses_what_the_plugin_refuses() {
    let mut peer = any().await;
    let kind = "x-consistent-hash";
    let both = [
        ("hash-header", text("h")),
        ("hash-property", text("message_id")),
    ];
    let said = peer.refused(kind, &both).await;
    assert!(
        said.contains("PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive"),
        "{said}"
    );
    let said = peer
        .refused(kind, &[("hash-property", text("app_id"))])
        .await;
    assert!(
        said.contains("PRECONDITION_FAILED - Unsupported property: app_id"),
        "{said}"
    );
    let exchange = peer.exchange(kind, &[]).await;
    let queue = peer.queue_with(&[]).await;
    for (key, why) in [
        ("0", "The binding key must be greater than 0"),
        ("-3", "The binding key must be greater than 0"),
        ("abc", "The binding key must be an integer: <<\"abc\">>"),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", "The binding key must be an integer: <<\"1.5\">>"),
        (" 1", "The binding key must be an integer: <<\" 1\">>"),
    ] {
        let said = peer.refused_binding(&queue, &exchange, key).await;
        assert!(
            said.contains(&format!("PRECONDITION_FAILED - {why}")),
            "'{key}': {said}"
        );
    }
    for key in ["1", "+2", "003"] {
        peer.bind(&queue, &exchange, key).await;
    }
    peer.stop().await;
}

#[tokio::test]
async fn random_gives_each_message_to_one_queue() {
    let peer = any().await;
    let mut kinds = vec!["x-random"];
    kinds.extend((!is_reference()).then_some("x-local-random"));
    for kind in kinds {
        let exchange = peer.exchange(kind, &[]).await;
        let nowhere = [("k".to_owned(), BasicProperties::default())];
        assert_eq!(peer.publish(&exchange, &nowhere).await, [true]);
        let mut queues = Vec::new();
        for _ in 0..3 {
            queues.push(peer.bound(&exchange, "").await);
        }
        peer.publish_keys(&exchange, (0..600).map(|_| "same".to_owned()))
            .await;
        let counts = peer.counts(&queues).await;
        assert_eq!(counts.iter().sum::<usize>(), 600);
        assert!(
            counts.iter().all(|count| (120..280).contains(count)),
            "{counts:?}"
        );
    }
    peer.stop().await;
}

#[tokio::test]
async fn local_random_takes_queues_without_a_key() {
    let mut peer = ours(None).await;
    let exchange = peer.exchange("x-local-random", &[]).await;
    let queue = peer.queue_with(&[]).await;
    let said = peer.refused_binding(&queue, &exchange, "k").await;
    assert!(
        said.contains("Non empty binding 'k' key not permitted"),
        "{said}"
    );
    let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
    let (to, from) = ("amq.fanout".into(), exchange.as_str().into());
    let bound = peer
        .channel
        .exchange_bind(to, from, "".into(), options, arguments)
        .await;
    let said = peer.reopened(bound).await;
    assert!(said.contains("Destination not found"), "{said}");
    peer.stop().await;
}

#[tokio::test]
async fn modulus_hash_keeps_keys_together() {
    let peer = any().await;
    let exchange = peer.exchange("x-modulus-hash", &[]).await;
    let mut queues = Vec::new();
    for key in ["", "b", "c"] {
        queues.push(peer.bound(&exchange, key).await);
    }
    peer.publish_keys(&exchange, keys(600)).await;
    let counts = peer.counts(&queues).await;
    assert!(
        counts.iter().all(|count| (120..280).contains(count)),
        "{counts:?}"
    );
    peer.publish_keys(&exchange, (0..50).map(|_| "one".to_owned()))
        .await;
    let mut counts = peer.counts(&queues).await;
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 50]);
    peer.stop().await;
}

#[tokio::test]
async fn recent_history_goes_to_new_bindings() {
    let mut peer = any().await;
    let length = ("x-recent-history-length", AMQPValue::LongInt(3));
    let exchange = peer.exchange("x-recent-history", &[length]).await;
    let early = peer.bound(&exchange, "").await;
    peer.publish_keys(&exchange, keys(5)).await;
    let no_store = table(&[("x-recent-history-no-store", AMQPValue::Boolean(true))]);
    let hidden = BasicProperties::default().with_headers(no_store);
    peer.publish(&exchange, &[("hidden".to_owned(), hidden)])
        .await;
    let late = peer.bound(&exchange, "any").await;
    assert_eq!(peer.take_all(&late).await, ["key.2", "key.3", "key.4"]);
    assert_eq!(peer.take_all(&early).await.len(), 6);
    peer.bind(&late, &exchange, "another").await;
    assert_eq!(
        peer.take_all(&late).await.len(),
        3,
        "every new binding brings them"
    );
    peer.bind(&late, &exchange, "another").await;
    assert_eq!(
        peer.take_all(&late).await.len(),
        0,
        "one that is there is not new"
    );

    let direct = peer.exchange("direct", &[]).await;
    let behind = peer.bound(&direct, "key.4").await;
    // The plugin fails if one of the messages finds no queue there.
    for key in ["key.2", "key.3"] {
        peer.bind(&late, &direct, key).await;
    }
    let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
    let (to, from) = (direct.as_str().into(), exchange.as_str().into());
    let bound = peer
        .channel
        .exchange_bind(to, from, "".into(), options, arguments);
    bound.await.unwrap();
    assert_eq!(peer.take_all(&behind).await, ["key.4"]);

    for (value, shown) in [(AMQPValue::LongInt(0), "0"), (text("many"), "<<\"many\">>")] {
        let said = peer
            .refused("x-recent-history", &[("x-recent-history-length", value)])
            .await;
        let why = format!(
            "PRECONDITION_FAILED - Invalid argument {shown}, 'x-recent-history-length' must be a positive \
             integer"
        );
        assert!(said.contains(&why), "{said}");
    }
    peer.stop().await;
}

fn with_id(id: &str) -> (String, BasicProperties) {
    let headers = table(&[("x-deduplication-header", text(id))]);
    (
        id.to_owned(),
        BasicProperties::default().with_headers(headers),
    )
}

#[tokio::test]
async fn duplicates_are_confirmed_and_neither_routed_nor_returned() {
    let mut peer = ours(None).await;
    let alternate = peer.exchange("fanout", &[]).await;
    let unroutable = peer.bound(&alternate, "").await;
    let by_type = [
        ("x-cache-size", text("100")),
        ("alternate-exchange", text(&alternate)),
    ];
    let by_argument = [
        ("x-message-deduplication", AMQPValue::Boolean(true)),
        ("alternate-exchange", text(&alternate)),
    ];
    for exchange in [
        peer.exchange("x-message-deduplication", &by_type).await,
        peer.exchange("topic", &by_argument).await,
    ] {
        let queue = peer.bound(&exchange, "#").await;
        let sent = ["a", "b", "a", "b", "c"].map(with_id);
        assert_eq!(peer.publish(&exchange, &sent).await, [false; 5]);
        assert_eq!(peer.take_all(&queue).await, ["a", "b", "c"]);
        let plain = ["a", "a"].map(|key| (key.to_owned(), BasicProperties::default()));
        peer.publish(&exchange, &plain).await;
        assert_eq!(peer.take_all(&queue).await, ["a", "a"]);
    }
    assert!(peer.take_all(&unroutable).await.is_empty());
    let said = peer.refused("x-message-deduplication", &[]).await;
    let why = "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0";
    assert!(said.contains(why), "{said}");
    peer.stop().await;
}

#[tokio::test]
async fn a_queue_drops_duplicates_of_what_it_has() {
    let peer = ours(None).await;
    let asked = ("x-message-deduplication", AMQPValue::Boolean(true));
    let queue = peer.queue_with(&[asked]).await;
    let sent = ["a", "b", "a"].map(|id| (queue.clone(), with_id(id).1));
    assert_eq!(peer.publish("", &sent).await, [false; 3]);
    let options = BasicGetOptions::default();
    let got = peer
        .channel
        .basic_get(queue.as_str().into(), options)
        .await
        .unwrap()
        .unwrap();
    peer.publish("", &sent[..1]).await;
    assert_eq!(peer.take_all(&queue).await.len(), 1, "a is unsettled");
    got.delivery.ack(BasicAckOptions::default()).await.unwrap();
    peer.publish("", &sent).await;
    assert_eq!(peer.take_all(&queue).await.len(), 2);
    peer.stop().await;
}

/// Which queue has which of the messages.
async fn places(peer: &Peer, queues: &[String]) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (number, queue) in queues.iter().enumerate() {
        let bodies = peer.take_all(queue).await;
        places.extend(bodies.into_iter().map(|body| (body, number)));
    }
    places
}

#[tokio::test]
async fn durable_exchanges_of_every_type_come_back_as_they_were() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("extensions");
    let _ = std::fs::remove_dir_all(&directory);
    let peer = ours(Some(&directory)).await;
    let size = || ("x-cache-size", AMQPValue::LongInt(10));
    let hashing = peer.exchange("x-consistent-hash", &[]).await;
    let modulus = peer.exchange("x-modulus-hash", &[]).await;
    let random = peer.exchange("x-random", &[]).await;
    let length = ("x-recent-history-length", AMQPValue::LongInt(2));
    let history = peer
        .exchange("x-recent-history", std::slice::from_ref(&length))
        .await;
    let unique = peer.exchange("x-message-deduplication", &[size()]).await;
    let mut queues = Vec::new();
    for _ in 0..3 {
        queues.push(peer.queue_with(&[]).await);
    }
    // Not in the order of their ids.
    for (number, weight) in [(2, "1"), (0, "3"), (1, "2")] {
        for exchange in [&hashing, &modulus, &random, &history, &unique] {
            peer.bind(&queues[number], exchange, weight).await;
        }
    }
    let mut before = Vec::new();
    for exchange in [&hashing, &modulus] {
        peer.publish_keys(exchange, keys(100)).await;
        before.push(places(&peer, &queues).await);
    }
    peer.publish(&unique, &[with_id("a")]).await;
    peer.publish_keys(&history, keys(3)).await;
    places(&peer, &queues).await;
    peer.stop().await;

    let peer = ours(Some(&directory)).await;
    peer.try_declare(&history, "x-recent-history", table(&[length]))
        .await
        .unwrap();
    for (exchange, before) in [&hashing, &modulus].into_iter().zip(before) {
        assert_eq!(before.len(), 100);
        peer.publish_keys(exchange, keys(100)).await;
        assert_eq!(places(&peer, &queues).await, before);
    }
    peer.publish_keys(&random, keys(100)).await;
    assert_eq!(places(&peer, &queues).await.len(), 100);
    let late = peer.bound(&history, "").await;
    assert!(
        peer.take_all(&late).await.is_empty(),
        "the history is of this life"
    );
    peer.publish_keys(&history, keys(5)).await;
    let later = peer.bound(&history, "").await;
    assert_eq!(peer.take_all(&later).await, ["key.3", "key.4"]);
    peer.publish(&unique, &["a", "a"].map(with_id)).await;
    assert_eq!(peer.take_all(&queues[0]).await.last().unwrap(), "a");
    peer.stop().await;
}
