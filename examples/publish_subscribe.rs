//! Tutorial 2, publish/subscribe: every subscriber gets its own copy of every message.
//!
//! ```text
//!                               ┌──► [ queue ] ──► screen
//!     publisher ──► ( fanout ) ─┤
//!                               └──► [ queue ] ──► archive
//! ```
//!
//! The publisher knows only the exchange. Each subscriber binds a queue of its own to it: the
//! broker picks the queue's name, and removes the queue when the subscriber's connection ends.

use futures_lite::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
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

/// Publishes the log to all [`SUBSCRIBERS`]; returns what each of them read, line by line.
pub async fn run(uri: &str) -> Result<Vec<Received>> {
    let name = ConnectionProperties::default().with_connection_name("publish/subscribe".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let exchange = unique_name("tutorial.log");
    declare(&channel, &exchange).await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;

    // An exchange keeps nothing: with no queue bound to it, this line is gone.
    publish(&channel, &exchange, "is anybody there?").await?;

    let mut subscribers = JoinSet::new();
    for subscriber in SUBSCRIBERS {
        let channel = connection.create_channel().await?;
        let lines = subscribe(&channel, &exchange).await?;
        subscribers.spawn(read(subscriber, channel, lines));
    }
    for line in LINES {
        publish(&channel, &exchange, line).await?;
    }

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
    /// The lines, in the order in which they came.
    pub lines: Vec<String>,
}

async fn declare(channel: &Channel, exchange: &ShortString) -> Result<()> {
    let auto_delete = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            exchange.clone(),
            ExchangeKind::Fanout,
            auto_delete,
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

async fn publish(channel: &Channel, exchange: &ShortString, line: &str) -> Result<()> {
    channel
        .basic_publish(
            exchange.clone(),
            // A fanout exchange does not look at the routing key.
            "".into(),
            BasicPublishOptions::default(),
            line.as_bytes(),
            BasicProperties::default(),
        )
        // The first await sends the line, the second hears that the broker has dealt with it.
        .await?
        .await?;
    Ok(())
}

async fn subscribe(channel: &Channel, exchange: &ShortString) -> Result<Consumer> {
    let queue = channel
        // The empty name asks the broker for a fresh one; exclusive means: for this connection.
        .queue_declare(
            "".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await?;
    channel
        .queue_bind(
            queue.name().clone(),
            exchange.clone(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    // Log lines are not worth an acknowledgement each: the queue dies with its reader anyway.
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

/// Reads up to and including [`LAST_LINE`].
async fn read(
    subscriber: &'static str,
    channel: Channel,
    mut incoming: Consumer,
) -> Result<Received> {
    let mut lines = Vec::new();
    while let Some(delivery) = incoming.next().await {
        let line = text(&delivery?);
        println!("{subscriber:>8} <- {line}");
        let last = line == LAST_LINE;
        lines.push(line);
        if last {
            break;
        }
    }
    // Explicitly: a channel that is only dropped is closed in the background, some time later, and
    // the connection would meanwhile be closing too.
    channel.close(200, "Goodbye".into()).await?;
    Ok(Received { subscriber, lines })
}

/// The subscribers; the publisher need not know how many there are.
pub const SUBSCRIBERS: [&str; 3] = ["screen", "archive", "alerting"];

/// What is published once the subscribers are there.
pub const LINES: [&str; 4] = [
    "starting",
    "listening on port 80",
    "disk almost full",
    LAST_LINE,
];

/// A queue keeps its order, so whoever has read this line has seen all those before it.
const LAST_LINE: &str = "stopping";
