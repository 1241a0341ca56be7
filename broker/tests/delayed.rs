//! Exchanges of type `x-delayed-message` as a client sees them, and what they hold across restarts.
//!
//! What it is not: crashes (see the test `crash`), or the rules of holding, which are tested in virtual time
//! beside the code.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/keeping_broker.rs"]
mod keeping_broker;
mod support;

use std::time::{Duration, Instant};

use futures_lite::StreamExt as _;
use keeping_broker::KeepingBroker as Bench;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, ExchangeKind};
use support::PATIENCE;

/// A delay that is not over while a test runs.
const AN_HOUR_MS: i64 = 3_600_000;
const X: &str = "later";

impl Bench {
    /// A broker on an empty directory with a durable exchange, of which a durable queue `q` gets all.
    async fn new(test: &str) -> Self {
        let bench = Self::on_empty_directory(&format!("delayed-{test}")).await;
        bench.declare(X, "fanout", true).await.unwrap();
        bench.declare_queue("q", &[]).await;
        bench.bind("q").await;
        bench
    }

    async fn declare(&self, name: &str, kind: &str, durable: bool) -> lapin::Result<()> {
        let arguments = table(&[("x-delayed-type", text(kind))]);
        declare(&self.channel, name, durable, arguments).await
    }

    async fn declare_queue(&self, name: &str, arguments: &[(&str, AMQPValue)]) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let arguments = table(arguments);
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }

    async fn bind(&self, queue: &str) {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self
            .channel
            .queue_bind(queue.into(), X.into(), "".into(), options, none);
        bound.await.unwrap();
    }

    /// Publishes with `mandatory` and awaits the confirm; true if the message was not returned.
    async fn publish(&self, body: &str, delay: AMQPValue, persistent: bool) -> bool {
        let properties = BasicProperties::default()
            .with_headers(table(&[("x-delay", delay)]))
            .with_delivery_mode(if persistent { 2 } else { 1 });
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let body = body.as_bytes();
        let sent = self
            .channel
            .basic_publish(X.into(), "k".into(), options, body, properties);
        match sent.await.unwrap().await.unwrap() {
            Confirmation::Ack(returned) => returned.is_none(),
            other => panic!("{other:?}"),
        }
    }

    async fn consume(&self) -> Consumer {
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumed =
            self.channel
                .basic_consume("q".into(), "".into(), options, FieldTable::default());
        consumed.await.unwrap()
    }
}

async fn declare(
    channel: &Channel,
    name: &str,
    durable: bool,
    arguments: FieldTable,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Custom("x-delayed-message".to_owned());
    channel
        .exchange_declare(name.into(), kind, options, arguments)
        .await
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// The next message's body and its `x-delay`.
async fn next(consumer: &mut Consumer) -> (String, Option<AMQPValue>) {
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await;
    let delivery = delivery.unwrap().unwrap().unwrap();
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let delay = headers.inner().get("x-delay").cloned();
    (String::from_utf8(delivery.data).unwrap(), delay)
}

#[tokio::test]
async fn a_delayed_message_comes_late_and_with_its_delay_negated() {
    let bench = Bench::new("late").await;
    let mut consumer = bench.consume().await;
    let begin = Instant::now();
    assert!(
        bench.publish("slow", AMQPValue::LongInt(300), true).await,
        "not returned, though nobody has it yet"
    );
    assert!(bench.publish("quick", text("100"), false).await);
    assert!(bench.publish("at once", AMQPValue::LongInt(0), true).await);
    let at_once = ("at once".to_owned(), Some(AMQPValue::LongInt(0)));
    assert_eq!(next(&mut consumer).await, at_once);
    let quick = ("quick".to_owned(), Some(AMQPValue::LongLongInt(-100)));
    assert_eq!(next(&mut consumer).await, quick);
    let slow = ("slow".to_owned(), Some(AMQPValue::LongLongInt(-300)));
    assert_eq!(next(&mut consumer).await, slow);
    // Moments are whole milliseconds.
    assert!(begin.elapsed() >= Duration::from_millis(299));
}

#[tokio::test]
async fn a_burst_at_one_deadline_comes_in_order() {
    let bench = Bench::new("burst").await;
    let mut consumer = bench.consume().await;
    let mut confirms = Vec::new();
    for number in 0..5_000_u32 {
        let properties = BasicProperties::default()
            .with_headers(table(&[("x-delay", AMQPValue::LongInt(400))]))
            .with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), number.to_string());
        let body = body.as_bytes();
        let sent = bench
            .channel
            .basic_publish(X.into(), "".into(), options, body, properties);
        confirms.push(sent.await.unwrap());
    }
    for confirm in confirms {
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(_)));
    }
    for number in 0..5_000_u32 {
        assert_eq!(next(&mut consumer).await.0, number.to_string());
    }
}

#[tokio::test]
async fn what_is_held_survives_a_restart_if_it_is_persistent() {
    let bench = Bench::new("restart").await;
    let an_hour = AMQPValue::LongLongInt(AN_HOUR_MS);
    bench.publish("2", AMQPValue::LongInt(250), true).await;
    bench.publish("1", AMQPValue::LongInt(200), true).await;
    bench.publish("lost", AMQPValue::LongInt(200), false).await;
    bench.publish("much later", an_hour.clone(), true).await;
    let bench = bench.restart().await;
    let mut consumer = bench.consume().await;
    assert_eq!(next(&mut consumer).await.0, "1");
    assert_eq!(next(&mut consumer).await.0, "2");
    bench.publish("3", AMQPValue::LongInt(1), true).await;
    assert_eq!(next(&mut consumer).await.0, "3");
    // Once more: what has been delivered does not come again, and the exchange is what it was.
    let bench = bench.restart().await;
    assert!(bench.broker.health().is_ok());
    bench.declare(X, "fanout", true).await.unwrap();
    let mut consumer = bench.consume().await;
    bench.publish("4", AMQPValue::LongInt(1), true).await;
    assert_eq!(next(&mut consumer).await.0, "4");
}

#[tokio::test]
async fn an_exchange_that_is_deleted_takes_with_it_what_it_held() {
    let bench = Bench::new("deleted").await;
    bench.publish("gone", AMQPValue::LongInt(300), true).await;
    let options = ExchangeDeleteOptions::default();
    let deleted = bench.channel.exchange_delete(X.into(), options);
    deleted.await.unwrap();
    bench.declare(X, "fanout", true).await.unwrap();
    bench.bind("q").await;
    let bench = bench.restart().await;
    assert!(bench.broker.health().is_ok());
    let mut consumer = bench.consume().await;
    bench.publish("kept", AMQPValue::LongInt(400), true).await;
    assert_eq!(next(&mut consumer).await.0, "kept", "and nothing before it");
}

#[tokio::test]
async fn a_transient_exchange_holds_persistent_messages_as_well() {
    let bench = Bench::new("transient").await;
    let options = ExchangeDeleteOptions::default();
    let deleted = bench.channel.exchange_delete(X.into(), options);
    deleted.await.unwrap();
    bench.declare(X, "fanout", false).await.unwrap();
    bench.bind("q").await;
    let mut consumer = bench.consume().await;
    bench.publish("m", AMQPValue::LongInt(50), true).await;
    assert_eq!(next(&mut consumer).await.0, "m");
}

#[tokio::test]
async fn dead_letters_are_delayed_too() {
    let bench = Bench::new("dead").await;
    let dying = [
        ("x-dead-letter-exchange", text(X)),
        ("x-message-ttl", AMQPValue::LongInt(1)),
    ];
    bench.declare_queue("dying", &dying).await;
    let mut consumer = bench.consume().await;
    let properties = BasicProperties::default()
        .with_headers(table(&[("x-delay", AMQPValue::LongInt(50))]))
        .with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = bench
        .channel
        .basic_publish("".into(), "dying".into(), options, b"m", properties);
    sent.await.unwrap().await.unwrap();
    let expected = ("m".to_owned(), Some(AMQPValue::LongLongInt(-50)));
    assert_eq!(next(&mut consumer).await, expected);
}

#[tokio::test]
async fn a_declaration_has_to_name_a_type() {
    let bench = Bench::new("arguments").await;
    let refused = [
        (
            table(&[]),
            "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange \
             type",
        ),
        (
            table(&[("x-delayed-type", text("fanuot"))]),
            "PRECONDITION_FAILED - unknown exchange type 'fanuot'",
        ),
        (
            table(&[("x-delayed-type", text("x-delayed-message"))]),
            "PRECONDITION_FAILED - Invalid argument, 'x-delayed-message' can't be used for \
             'x-delayed-type'",
        ),
    ];
    for (arguments, expected) in refused {
        let channel = bench.connection.create_channel().await.unwrap();
        let error = declare(&channel, "bad", true, arguments).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let channel = bench.connection.create_channel().await.unwrap();
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, none) = (ExchangeKind::Direct, FieldTable::default());
        let found = channel.exchange_declare("bad".into(), kind, passive, none);
        assert!(found.await.is_err(), "nothing is left behind");
    }
}
