//! Queues with priorities (PRIO) in a broker that keeps its data, from outside: the order of what is
//! delivered, dead letters on their way into such a queue, and what is there after a restart.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/keeping_broker.rs"]
mod keeping_broker;
mod support;

use keeping_broker::KeepingBroker as Bench;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};

/// More than a queue reads back at once, and more than it keeps in memory unread.
const MESSAGES: u32 = 10_000;

impl Bench {
    async fn new(test: &str) -> Self {
        Self::on_empty_directory(&format!("priority-queues-{test}")).await
    }

    async fn declare(&self, queue: &str, arguments: &[(&str, AMQPValue)]) -> u32 {
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert((*key).into(), value.clone());
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self.channel.queue_declare(queue.into(), options, table);
        declared.await.unwrap().message_count()
    }

    async fn publish(&self, queue: &str, messages: impl IntoIterator<Item = (u8, String)>) {
        let mut confirms = Vec::new();
        for (priority, body) in messages {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let properties = properties.with_priority(priority);
            let options = BasicPublishOptions::default();
            let (exchange, key) = ("".into(), queue.into());
            let sent =
                self.channel
                    .basic_publish(exchange, key, options, body.as_bytes(), properties);
            confirms.push(sent.await.unwrap());
        }
        for confirm in confirms {
            assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(None)));
        }
    }

    /// Takes a message and keeps it unacked.
    async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        let got = self
            .channel
            .basic_get(queue.into(), BasicGetOptions::default());
        got.await.unwrap()
    }

    async fn take_all(&self, queue: &str) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(got) = self.get(queue).await {
            let (text, redelivered) = (text(&got), got.redelivered);
            got.ack(BasicAckOptions::default()).await.unwrap();
            all.push((text, redelivered));
        }
        all
    }
}

/// The priority and the body of a message.
fn text(message: &BasicGetMessage) -> String {
    let body = String::from_utf8(message.data.clone()).unwrap();
    let priority = message.properties.priority().unwrap();
    format!("{priority}: {body}")
}

/// The priority of a numbered message; some are above the queue's highest.
fn priority(number: u32) -> u8 {
    [0, 7, 3, 0, 12, 1, 9, 0, 200, 3][(number * 7 % 10) as usize]
}

/// All messages by priority, as a queue whose highest is 9 delivers them.
fn in_order() -> Vec<String> {
    let mut numbers: Vec<u32> = (0..MESSAGES).collect();
    numbers.sort_by_key(|number| (std::cmp::Reverse(priority(*number).min(9)), *number));
    let texts = numbers.into_iter().map(|n| format!("{}: {n}", priority(n)));
    texts.collect()
}

#[tokio::test]
async fn prio_01_02_dur_a_durable_queue_comes_back_by_priority_with_what_was_delivered_marked() {
    let bench = Bench::new("restart").await;
    let arguments = [("x-max-priority", AMQPValue::LongInt(9))];
    assert_eq!(bench.declare("kept", &arguments).await, 0);
    let messages = (0..MESSAGES).map(|n| (priority(n), n.to_string()));
    bench.publish("kept", messages).await;
    let expected = in_order();
    for (at, expected) in expected.iter().take(30).enumerate() {
        let got = bench.get("kept").await.unwrap();
        assert_eq!((&text(&got), got.redelivered), (expected, false));
        // Ten are done with; the others are held until the broker stops.
        if at < 10 {
            got.ack(BasicAckOptions::default()).await.unwrap();
        }
    }
    let bench = bench.restart().await;
    assert_eq!(bench.declare("kept", &arguments).await, MESSAGES - 10);
    let marks = (10..).map(|at| at < 30);
    let expected: Vec<_> = expected.into_iter().skip(10).zip(marks).collect();
    assert_eq!(bench.take_all("kept").await, expected);
}

#[tokio::test]
async fn dlx_25_a_dead_letter_keeps_its_priority_and_is_ordered_by_it() {
    let bench = Bench::new("dead-letters").await;
    let to = |name: &str| AMQPValue::LongString(name.into());
    let from = [
        ("x-dead-letter-exchange", to("")),
        ("x-dead-letter-routing-key", to("dead")),
    ];
    bench.declare("from", &from).await;
    let arguments = [("x-max-priority", AMQPValue::LongInt(9))];
    bench.declare("dead", &arguments).await;
    let messages = [(1, "a"), (5, "b"), (0, "c"), (255, "d"), (5, "e")];
    let messages = messages.map(|(priority, body)| (priority, body.to_owned()));
    bench.publish("from", messages).await;
    for _ in 0..5 {
        let got = bench.get("from").await.unwrap();
        let options = BasicNackOptions {
            requeue: false,
            ..BasicNackOptions::default()
        };
        got.nack(options).await.unwrap();
    }
    let dead = bench.take_all("dead").await;
    let expected = ["255: d", "5: b", "5: e", "1: a", "0: c"];
    assert_eq!(dead, expected.map(|text| (text.to_owned(), false)));
}
