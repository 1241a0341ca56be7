//! `kill -9` while an exchange holds messages and releases them: what was confirmed comes, and not early.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_lite::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use crate::load::{PATIENCE, confirm_select, open, within};
use crate::process::Setup;

const MESSAGES: u64 = 3_000;
/// The delays are spread over this time, so that the kill comes in the middle of the releases.
const SPREAD_MS: u64 = 1_500;
const KILL_AFTER: Duration = Duration::from_millis(700);
/// Two clocks, each read once and then counted on, may differ by this much.
const CLOCKS_MS: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_confirmed_delayed_message_is_lost_or_early_when_the_broker_is_killed() {
    let setup = Setup::fresh("delayed");
    let mut broker = setup.start();
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    declare(&channel).await.unwrap();
    within(PATIENCE, "publishing", publish(&channel)).await;
    // The moment is what is being tested, so there is nothing to wait for but time.
    tokio::time::sleep(KILL_AFTER).await;
    broker.kill();

    let broker = setup.start();
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    let seen = within(PATIENCE, "consuming", consume_all(&channel)).await;
    assert_eq!(seen.len() as u64, MESSAGES);
}

async fn declare(channel: &Channel) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    let fanout = AMQPValue::LongString("fanout".into());
    arguments.insert("x-delayed-type".into(), fanout);
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Custom("x-delayed-message".to_owned());
    let declared = channel.exchange_declare("later".into(), kind, options, arguments);
    declared.await?;
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let none = FieldTable::default();
    let declared = channel.queue_declare("q".into(), options, none.clone());
    declared.await?;
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind("q".into(), "later".into(), "".into(), options, none);
    bound.await
}

/// Publishes messages that say when they are due, and waits for their confirms.
async fn publish(channel: &Channel) {
    confirm_select(channel).await.unwrap();
    let mut confirms = Vec::new();
    for number in 0..MESSAGES {
        // Neither in the order of publishing nor evenly.
        let delay_ms = 1 + number * 7_919 % SPREAD_MS;
        let mut headers = FieldTable::default();
        let delay = AMQPValue::LongLongInt(delay_ms as i64);
        headers.insert("x-delay".into(), delay);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_delivery_mode(2);
        let body = format!("{number} {}", now_ms() + delay_ms);
        let options = BasicPublishOptions::default();
        let body = body.as_bytes();
        let sent = channel.basic_publish("later".into(), "".into(), options, body, properties);
        confirms.push(sent.await.unwrap());
    }
    for confirm in confirms {
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(_)));
    }
}

/// The numbers of all messages, some of which may come twice; those that came before the kill are in the
/// queue as well.
async fn consume_all(channel: &Channel) -> BTreeSet<u64> {
    let options = BasicConsumeOptions::default();
    let none = FieldTable::default();
    let consumed = channel.basic_consume("q".into(), "".into(), options, none);
    let mut consumer = consumed.await.unwrap();
    let mut seen = BTreeSet::new();
    while (seen.len() as u64) < MESSAGES {
        let delivery = consumer.next().await.unwrap().unwrap();
        let body = std::str::from_utf8(&delivery.data).unwrap();
        let (number, due_ms) = body.split_once(' ').unwrap();
        let due_ms: u64 = due_ms.parse().unwrap();
        assert!(now_ms() + CLOCKS_MS >= due_ms, "{number} is early");
        seen.insert(number.parse().unwrap());
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    seen
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since_epoch.as_millis() as u64
}
