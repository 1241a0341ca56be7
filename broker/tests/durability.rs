//! What is there after a broker was stopped and started again on the same directory: the DUR rules.
//!
//! What it is not: crashes, which the test `crash` makes.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/keeping_broker.rs"]
mod keeping_broker;
mod support;

use keeping_broker::KeepingBroker as Bench;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ExchangeBindOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString};
use lapin::{BasicProperties, Confirmation, ErrorKind, ExchangeKind};
use leveret::{Broker, Config};

const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

const PASSIVE: QueueDeclareOptions = QueueDeclareOptions {
    passive: true,
    ..DURABLE
};

const TRANSIENT: QueueDeclareOptions = QueueDeclareOptions {
    durable: false,
    ..DURABLE
};

impl Bench {
    async fn new(test: &str) -> Self {
        Self::on_empty_directory(&format!("durability-{test}")).await
    }

    async fn declare(&self, queue: &str, options: QueueDeclareOptions) {
        let arguments = FieldTable::default();
        let declared = self.channel.queue_declare(queue.into(), options, arguments);
        declared.await.unwrap();
    }

    async fn declare_exchange(&self, exchange: &str, durable: bool) {
        let options = ExchangeDeclareOptions {
            durable,
            ..Default::default()
        };
        let (kind, arguments) = (ExchangeKind::Direct, FieldTable::default());
        let declared = self
            .channel
            .exchange_declare(exchange.into(), kind, options, arguments);
        declared.await.unwrap();
    }

    async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, exchange) = (queue.into(), exchange.into());
        let bound = self
            .channel
            .queue_bind(queue, exchange, key.into(), options, arguments);
        bound.await.unwrap();
    }

    /// Publishes and awaits the confirm; true if the message was routed.
    async fn publish(&self, exchange: &str, key: &str, mode: u8, body: &str) -> bool {
        let properties = BasicProperties::default().with_delivery_mode(mode);
        self.publish_with(exchange, key, properties, body).await
    }

    async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &str,
    ) -> bool {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let (exchange, body) = (exchange.into(), body.as_bytes());
        let sent = self
            .channel
            .basic_publish(exchange, key.into(), options, body, properties);
        match sent.await.unwrap().await.unwrap() {
            Confirmation::Ack(returned) => returned.is_none(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes a message and keeps it unacked.
    async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        let options = BasicGetOptions::default();
        let got = self.channel.basic_get(queue.into(), options).await;
        got.unwrap()
    }

    /// Takes everything there is: each body, with whether it is marked as redelivered.
    async fn take_all(&self, queue: &str) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(got) = self.get(queue).await {
            let delivery = got.delivery;
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            let redelivered = delivery.redelivered;
            all.push((String::from_utf8(delivery.data).unwrap(), redelivered));
        }
        all
    }

    async fn has_queue(&self, queue: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        let arguments = FieldTable::default();
        let found = channel.queue_declare(queue.into(), PASSIVE, arguments);
        exists(found.await)
    }

    async fn has_exchange(&self, exchange: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        let options = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let (kind, arguments) = (ExchangeKind::Direct, FieldTable::default());
        let found = channel.exchange_declare(exchange.into(), kind, options, arguments);
        exists(found.await)
    }
}

/// False for a 404; any other refusal fails the test.
#[track_caller]
fn exists<T>(found: lapin::Result<T>) -> bool {
    refusal(found).is_none_or(|code| {
        assert_eq!(code, 404);
        false
    })
}

#[track_caller]
fn refusal<T>(outcome: lapin::Result<T>) -> Option<u16> {
    let error = outcome.err()?;
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => panic!("{error}"),
    }
}

fn unmarked(bodies: &[&str]) -> Vec<(String, bool)> {
    let unmarked = |body: &&str| ((*body).to_owned(), false);
    bodies.iter().map(unmarked).collect()
}

#[tokio::test]
async fn dur_01_durable_objects_and_their_bindings_survive_and_transient_ones_do_not() {
    let bench = Bench::new("01").await;
    bench.declare("durable", DURABLE).await;
    bench.declare("transient", TRANSIENT).await;
    bench.declare_exchange("kept", true).await;
    bench.declare_exchange("behind", true).await;
    bench.declare_exchange("lost", false).await;
    bench.bind("durable", "kept", "a").await;
    bench.bind("durable", "behind", "b").await;
    bench.bind("transient", "kept", "c").await;
    let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
    let (from, to) = ("kept".into(), "behind".into());
    let bound = bench
        .channel
        .exchange_bind(to, from, "b".into(), options, arguments);
    bound.await.unwrap();

    let bench = bench.restart().await;
    assert!(bench.has_queue("durable").await && !bench.has_queue("transient").await);
    assert!(bench.has_exchange("kept").await && !bench.has_exchange("lost").await);
    assert!(bench.publish("kept", "a", 2, "straight").await);
    assert!(bench.publish("kept", "b", 2, "over the other").await);
    assert!(!bench.publish("kept", "c", 2, "to nobody").await);
    let came = bench.take_all("durable").await;
    assert_eq!(came, unmarked(&["straight", "over the other"]));
}

#[tokio::test]
async fn what_was_deleted_unbound_or_purged_does_not_come_back() {
    let bench = Bench::new("deleted").await;
    bench.declare("deleted", DURABLE).await;
    bench.declare("purged", DURABLE).await;
    bench.declare_exchange("keys", true).await;
    bench.bind("purged", "keys", "kept").await;
    bench.bind("purged", "keys", "unbound").await;
    bench.publish("", "deleted", 2, "old").await;
    bench.publish("", "purged", 2, "old").await;
    let channel = &bench.channel;
    let purged = channel.queue_purge("purged".into(), QueuePurgeOptions::default());
    purged.await.unwrap();
    let arguments = FieldTable::default();
    let (queue, exchange) = ("purged".into(), "keys".into());
    let unbound = channel.queue_unbind(queue, exchange, "unbound".into(), arguments);
    unbound.await.unwrap();
    let deleted = channel.queue_delete("deleted".into(), QueueDeleteOptions::default());
    deleted.await.unwrap();

    let bench = bench.restart().await;
    assert!(!bench.has_queue("deleted").await);
    assert_eq!(bench.take_all("purged").await, []);
    assert!(bench.publish("keys", "kept", 1, "").await);
    assert!(!bench.publish("keys", "unbound", 1, "").await);
    bench.declare("deleted", DURABLE).await;
    assert_eq!(bench.take_all("deleted").await, []);
}

#[tokio::test]
async fn dur_02_only_persistent_messages_in_durable_queues_survive() {
    let bench = Bench::new("02").await;
    bench.declare("durable", DURABLE).await;
    bench.declare("transient", TRANSIENT).await;
    bench.publish("", "durable", 1, "transient").await;
    bench.publish("", "durable", 2, "persistent").await;
    bench.publish("", "durable", 1, "transient").await;
    bench.publish("", "transient", 2, "persistent").await;
    let no_mode = BasicProperties::default();
    bench.publish_with("", "durable", no_mode, "no mode").await;

    let bench = bench.restart().await;
    assert_eq!(bench.take_all("durable").await, unmarked(&["persistent"]));
    bench.declare("transient", TRANSIENT).await;
    assert_eq!(bench.take_all("transient").await, []);
}

#[tokio::test]
async fn dur_03_unacked_messages_come_back_marked_and_acked_ones_do_not() {
    let bench = Bench::new("03").await;
    bench.declare("q", DURABLE).await;
    for body in ["acked", "unacked", "never delivered"] {
        bench.publish("", "q", 2, body).await;
    }
    let acked = bench.get("q").await.unwrap().delivery;
    let unacked = bench.get("q").await.unwrap().delivery;
    assert_eq!(unacked.data, b"unacked");
    acked.ack(BasicAckOptions::default()).await.unwrap();
    // Its answer shows that the ack was taken.
    assert!(bench.has_queue("q").await);

    let bench = bench.restart().await;
    let came = bench.take_all("q").await;
    let expected = [("unacked", true), ("never delivered", false)];
    assert_eq!(came, expected.map(|(body, mark)| (body.to_owned(), mark)));
    let bench = bench.restart().await;
    assert_eq!(bench.take_all("q").await, []);
}

#[tokio::test]
async fn dur_04_messages_keep_their_order() {
    let bench = Bench::new("04").await;
    bench.declare("q", DURABLE).await;
    let bodies: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for body in &bodies {
        bench.publish("", "q", 2, body).await;
    }
    // Some are sent back, some are still out; all return to their places.
    for number in 0..20 {
        let delivery = bench.get("q").await.unwrap().delivery;
        if number % 3 == 0 {
            let options = BasicNackOptions {
                requeue: true,
                ..Default::default()
            };
            delivery.nack(options).await.unwrap();
        }
    }
    let bench = bench.restart().await;
    let came = bench.take_all("q").await;
    let came: Vec<_> = came.into_iter().map(|(body, _)| body).collect();
    assert_eq!(came, bodies);
}

#[tokio::test]
async fn dur_05_exclusive_queues_are_gone_and_auto_delete_queues_stay() {
    let bench = Bench::new("05").await;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..DURABLE
    };
    let auto_delete = QueueDeclareOptions {
        auto_delete: true,
        ..DURABLE
    };
    bench.declare("exclusive", exclusive).await;
    bench.declare("auto-delete", auto_delete).await;
    bench.publish("", "exclusive", 2, "lost").await;
    bench.publish("", "auto-delete", 2, "kept").await;

    let bench = bench.restart().await;
    assert!(!bench.has_queue("exclusive").await);
    assert_eq!(bench.take_all("auto-delete").await, unmarked(&["kept"]));
}

#[tokio::test]
async fn dur_06_confirmed_messages_survive_in_every_queue() {
    let bench = Bench::new("06").await;
    let queues = ["one", "two", "three"];
    for queue in queues {
        bench.declare(queue, DURABLE).await;
        bench.bind(queue, "amq.fanout", "").await;
    }
    assert!(bench.publish("amq.fanout", "", 2, "to all").await);
    let large = "x".repeat(300_000);
    assert!(bench.publish("", "one", 2, &large).await);

    let bench = bench.restart().await;
    assert_eq!(bench.take_all("one").await, unmarked(&["to all", &large]));
    for queue in ["two", "three"] {
        assert_eq!(bench.take_all(queue).await, unmarked(&["to all"]));
    }
}

#[tokio::test]
async fn dur_07_a_binding_to_a_transient_exchange_goes_with_it() {
    let bench = Bench::new("07").await;
    bench.declare("q", DURABLE).await;
    bench.declare_exchange("lost", false).await;
    bench.bind("q", "lost", "k").await;
    assert!(bench.publish("lost", "k", 1, "").await);

    let bench = bench.restart().await;
    bench.declare_exchange("lost", false).await;
    assert!(!bench.publish("lost", "k", 2, "").await);
}

#[tokio::test]
async fn dur_08_properties_headers_and_arguments_are_the_same_afterwards() {
    let bench = Bench::new("08").await;
    let arguments = arguments(1_000_000);
    let channel = &bench.channel;
    let declared = channel.queue_declare("q".into(), DURABLE, arguments.clone());
    declared.await.unwrap();
    let properties = all_properties();
    bench
        .publish_with("", "q", properties.clone(), "body")
        .await;

    let bench = bench.restart().await;
    let same = bench.channel.queue_declare("q".into(), DURABLE, arguments);
    same.await.unwrap();
    let other_channel = bench.connection.create_channel().await.unwrap();
    let other = self::arguments(1_000_001);
    let declared = other_channel
        .queue_declare("q".into(), DURABLE, other)
        .await;
    assert_eq!(refusal(declared), Some(406));
    let delivery = bench.get("q").await.unwrap().delivery;
    assert_eq!(delivery.properties, properties);
    let origin = (delivery.exchange.as_str(), delivery.routing_key.as_str());
    assert_eq!((origin, &*delivery.data), (("", "q"), &b"body"[..]));
}

fn arguments(ttl_ms: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(ttl_ms));
    let exchange = LongString::from("amq.direct");
    let exchange = AMQPValue::LongString(exchange);
    arguments.insert("x-dead-letter-exchange".into(), exchange);
    arguments
}

fn all_properties() -> BasicProperties {
    let mut inner = FieldTable::default();
    inner.insert("".into(), AMQPValue::Void);
    inner.insert("float".into(), AMQPValue::Double(-0.0));
    let mut headers = FieldTable::default();
    let bytes = LongString::from(vec![0, 255, 128, 10]);
    headers.insert("bytes".into(), AMQPValue::LongString(bytes));
    headers.insert("small".into(), AMQPValue::ShortShortInt(-1));
    headers.insert("large".into(), AMQPValue::LongLongInt(i64::MIN));
    headers.insert("time".into(), AMQPValue::Timestamp(1));
    let array = FieldArray::from(vec![AMQPValue::Boolean(true), AMQPValue::Void]);
    headers.insert("array".into(), AMQPValue::FieldArray(array));
    headers.insert("table".into(), AMQPValue::FieldTable(inner));
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_headers(headers)
        .with_content_type("text/plain".into())
        .with_content_encoding("identity".into())
        .with_priority(3)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("900000".into())
        .with_message_id("m".into())
        .with_timestamp(u64::MAX >> 1)
        .with_type("t".into())
        .with_user_id("guest".into())
        .with_app_id("a".into())
        .with_cluster_id("".into())
}

#[tokio::test]
async fn dur_09_predeclared_exchanges_are_durable_after_a_restart_too() {
    let bench = Bench::new("09").await.restart().await;
    for exchange in [
        "amq.direct",
        "amq.fanout",
        "amq.topic",
        "amq.headers",
        "amq.match",
    ] {
        assert!(bench.has_exchange(exchange).await, "{exchange}");
    }
    bench.declare("q", DURABLE).await;
    bench.bind("q", "amq.direct", "k").await;
    let bench = bench.restart().await;
    assert!(bench.publish("amq.direct", "k", 1, "").await);
}

#[tokio::test]
async fn two_brokers_do_not_share_a_directory() {
    let bench = Bench::new("shared").await;
    let config = Config {
        data_dir: Some(bench.directory.clone()),
        ..Config::default()
    };
    let refused = Broker::start(config).unwrap_err().to_string();
    let directory = bench.directory.to_str().unwrap();
    assert!(refused.contains(directory), "{refused}");
}
