//! Tutorial 4, topics: a subscriber asks for patterns of routing keys.
//!
//! ```text
//!                              ┌─ oslo.# ─────► [ queue ] ──► caretaker
//!     publisher ──► ( topic ) ─┤
//!                              └─ *.power.* ──► [ queue ] ──► electrician
//! ```
//!
//! A routing key is words with dots between them, here `<site>.<what>.<severity>`. In a binding's
//! pattern `*` stands for exactly one word and `#` for any number of words, none included.

use futures_lite::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use leveret_examples::{Result, broker_uri, text, unique_name};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    run(&broker_uri()).await?;
    Ok(())
}

/// Publishes [`EVENTS`]; returns what each of [`SUBSCRIBERS`] read, event by event.
pub async fn run(uri: &str) -> Result<Vec<Received>> {
    let name = ConnectionProperties::default().with_connection_name("topics".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let exchange = unique_name("tutorial.sites");
    declare(&channel, &exchange).await?;

    let mut subscribers = JoinSet::new();
    for (subscriber, patterns) in SUBSCRIBERS {
        let channel = connection.create_channel().await?;
        let events = subscribe(&channel, &exchange, patterns).await?;
        subscribers.spawn(read(subscriber, channel, events));
    }
    publish(&channel, &exchange).await?;

    let mut received = Vec::new();
    while let Some(subscriber) = subscribers.join_next().await {
        received.push(subscriber??);
    }
    // With the connection go the exclusive queues, and with the last of them the exchange.
    connection.close(200, "Goodbye".into()).await?;
    Ok(received)
}

/// What one subscriber read.
#[derive(Debug)]
pub struct Received {
    /// Which subscriber.
    pub subscriber: &'static str,
    /// Routing key and text of each event, in the order in which they came.
    pub events: Vec<(String, String)>,
}

async fn declare(channel: &Channel, exchange: &ShortString) -> Result<()> {
    let auto_delete = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            exchange.clone(),
            ExchangeKind::Topic,
            auto_delete,
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

async fn publish(channel: &Channel, exchange: &ShortString) -> Result<()> {
    for (key, event) in EVENTS {
        channel
            .basic_publish(
                exchange.clone(),
                key.into(),
                BasicPublishOptions::default(),
                event.as_bytes(),
                BasicProperties::default(),
            )
            .await?;
    }
    Ok(())
}

async fn subscribe(
    channel: &Channel,
    exchange: &ShortString,
    patterns: &[&str],
) -> Result<Consumer> {
    let queue = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await?;
    // An event that matches several of a queue's patterns still enters the queue only once.
    for pattern in patterns {
        channel
            .queue_bind(
                queue.name().clone(),
                exchange.clone(),
                (*pattern).into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel
        .basic_consume(
            queue.name().clone(),
            "".into(),
            no_ack,
            FieldTable::default(),
        )
        .await?;
    Ok(consumer)
}

/// Reads up to and including [`LAST_EVENT`].
async fn read(
    subscriber: &'static str,
    channel: Channel,
    mut incoming: Consumer,
) -> Result<Received> {
    let mut events = Vec::new();
    while let Some(delivery) = incoming.next().await {
        let delivery = delivery?;
        let (key, event) = (delivery.routing_key.to_string(), text(&delivery));
        println!("{subscriber:>13} <- {key}: {event}");
        let last = event == LAST_EVENT;
        events.push((key, event));
        if last {
            break;
        }
    }
    // Explicitly: a channel that is only dropped is closed in the background, some time later, and
    // the connection would meanwhile be closing too.
    channel.close(200, "Goodbye".into()).await?;
    Ok(Received { subscriber, events })
}

/// Each subscriber and the patterns it binds its queue with.
pub const SUBSCRIBERS: [(&str, &[&str]); 3] = [
    // Whatever happens in Oslo.
    ("caretaker", &["oslo.#"]),
    // All about power, wherever it is.
    ("electrician", &["*.power.*"]),
    // What is critical anywhere, and all about power in Oslo.
    ("duty engineer", &["*.*.critical", "oslo.power.*"]),
];

/// Routing key and text of each event, and who gets it.
pub const EVENTS: [(&str, &str); 8] = [
    // The caretaker: `#` stands for no word as well.
    ("oslo", "good morning"),
    // The caretaker.
    ("oslo.door.info", "opened"),
    // The electrician.
    ("bergen.power.info", "back on mains"),
    // Nobody.
    ("bergen.door.info", "closed"),
    // Everybody, and the duty engineer once although both patterns match.
    ("oslo.power.critical", "power cut"),
    // The duty engineer.
    ("bergen.door.critical", "forced open"),
    // The caretaker alone: `*` stands for one word, and this key has four.
    ("oslo.power.generator.critical", "out of fuel"),
    // Everybody again.
    ("oslo.power.critical", LAST_EVENT),
];

/// All patterns match this event's key, so each subscriber knows that it has seen all its events.
const LAST_EVENT: &str = "batteries empty, good night";
