//! `kill -9` while dead letters wait and messages have come back: both are known afterwards.

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::load::{PATIENCE, confirm_select, open, within};
use crate::process::Setup;

const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

async fn declare(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert((*key).into(), value.clone());
    }
    let declared = channel.queue_declare(queue.into(), DURABLE, table);
    declared.await.unwrap();
}

async fn publish(channel: &Channel, queue: &str, body: &str) {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let (exchange, key) = ("".into(), queue.into());
    let sent = channel.basic_publish(exchange, key, options, body.as_bytes(), properties);
    assert!(sent.await.unwrap().await.unwrap().is_ack());
}

async fn get(channel: &Channel, queue: &str) -> Option<BasicGetMessage> {
    let options = BasicGetOptions::default();
    channel.basic_get(queue.into(), options).await.unwrap()
}

async fn nack(message: &BasicGetMessage, requeue: bool) {
    let options = BasicNackOptions {
        requeue,
        ..BasicNackOptions::default()
    };
    message.delivery.nack(options).await.unwrap();
}

fn count(message: &BasicGetMessage) -> Option<i64> {
    let headers = message.delivery.properties.headers().as_ref()?;
    headers.inner().get("x-delivery-count")?.as_long_long_int()
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Gets until there is something: a letter that a start has found is on its way.
async fn await_letter(channel: &Channel, queue: &str) -> BasicGetMessage {
    loop {
        if let Some(letter) = get(channel, queue).await {
            return letter;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_letters_and_counts_of_returns_outlast_a_kill() {
    let setup = Setup::fresh("letters");
    let mut broker = setup.start();
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    confirm_select(&channel).await.unwrap();
    let counted = [
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", AMQPValue::LongInt(5)),
    ];
    declare(&channel, "counted", &counted).await;
    let held = [
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text("letters")),
        ("x-dead-letter-strategy", text("at-least-once")),
    ];
    declare(&channel, "from", &held).await;
    declare(&channel, "to", &[]).await;
    publish(&channel, "counted", "a").await;
    for returns in 0..2 {
        let message = get(&channel, "counted").await.unwrap();
        assert_eq!(count(&message), Some(returns));
        nack(&message, true).await;
    }
    let unacked = get(&channel, "counted").await.unwrap();
    assert_eq!(count(&unacked), Some(2));
    publish(&channel, "from", "dead").await;
    publish(&channel, "from", "alive").await;
    nack(&get(&channel, "from").await.unwrap(), false).await;
    // Whatever was done before is on disk once this is answered.
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let (kind, none) = (ExchangeKind::Fanout, FieldTable::default());
    let declared = channel.exchange_declare("letters".into(), kind, options, none.clone());
    declared.await.unwrap();
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind("to".into(), "letters".into(), "".into(), options, none);
    bound.await.unwrap();
    broker.kill();

    let mut broker = setup.start();
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    let letter = within(PATIENCE, "the letter", await_letter(&channel, "to")).await;
    assert_eq!(letter.delivery.data, b"dead");
    let alive = get(&channel, "from").await.unwrap();
    assert_eq!(alive.delivery.data, b"alive");
    assert!(get(&channel, "from").await.is_none(), "the letter has left");
    let message = get(&channel, "counted").await.unwrap();
    assert!(message.delivery.redelivered);
    assert_eq!(
        count(&message),
        Some(2),
        "what the kill returned was not counted"
    );
    nack(&message, true).await;
    broker.stop();

    // What has arrived once does not come again.
    let mut broker = setup.start();
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    letter_is_alone(&channel).await;
    let message = get(&channel, "counted").await.unwrap();
    assert_eq!(count(&message), Some(3));
    broker.stop();
}

async fn letter_is_alone(channel: &Channel) {
    assert!(get(channel, "to").await.is_some(), "it was not acked");
    assert!(get(channel, "to").await.is_none());
}
