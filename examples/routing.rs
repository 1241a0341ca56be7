//! Tutorial 3, routing: a subscriber gets only the messages whose routing key it asked for.
//!
//! ```text
//!                               ┌─ error ──────────────────► [ queue ] ──► pager
//!     publisher ──► ( direct ) ─┤
//!                               └─ info, warning, error ───► [ queue ] ──► screen
//! ```
//!
//! The routing key of each log line is its severity. A direct exchange compares it with the key of
//! each binding; a queue may be bound with several keys, and several queues with the same key.

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

/// Publishes [`LOG`]; returns what each of [`SUBSCRIBERS`] read, line by line.
pub async fn run(uri: &str) -> Result<Vec<Received>> {
    let name = ConnectionProperties::default().with_connection_name("routing".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let exchange = unique_name("tutorial.severities");
    declare(&channel, &exchange).await?;

    let mut subscribers = JoinSet::new();
    for (subscriber, severities) in SUBSCRIBERS {
        let channel = connection.create_channel().await?;
        let lines = subscribe(&channel, &exchange, severities).await?;
        subscribers.spawn(read(subscriber, channel, lines));
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
    /// Severity and text of each line, in the order in which they came.
    pub lines: Vec<(String, String)>,
}

async fn declare(channel: &Channel, exchange: &ShortString) -> Result<()> {
    let auto_delete = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            exchange.clone(),
            ExchangeKind::Direct,
            auto_delete,
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

async fn publish(channel: &Channel, exchange: &ShortString) -> Result<()> {
    for (severity, line) in LOG {
        channel
            .basic_publish(
                exchange.clone(),
                severity.into(),
                BasicPublishOptions::default(),
                line.as_bytes(),
                BasicProperties::default(),
            )
            .await?;
    }
    Ok(())
}

async fn subscribe(
    channel: &Channel,
    exchange: &ShortString,
    severities: &[&str],
) -> Result<Consumer> {
    let queue = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await?;
    // One binding for each severity; a line that matches none of them never reaches this queue.
    for severity in severities {
        channel
            .queue_bind(
                queue.name().clone(),
                exchange.clone(),
                (*severity).into(),
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

/// Reads up to and including [`LAST_LINE`].
async fn read(
    subscriber: &'static str,
    channel: Channel,
    mut incoming: Consumer,
) -> Result<Received> {
    let mut lines = Vec::new();
    while let Some(delivery) = incoming.next().await {
        let delivery = delivery?;
        let (severity, line) = (delivery.routing_key.to_string(), text(&delivery));
        println!("{subscriber:>8} <- [{severity}] {line}");
        let last = line == LAST_LINE;
        lines.push((severity, line));
        if last {
            break;
        }
    }
    // Explicitly: a channel that is only dropped is closed in the background, some time later, and
    // the connection would meanwhile be closing too.
    channel.close(200, "Goodbye".into()).await?;
    Ok(Received { subscriber, lines })
}

/// Each subscriber and the severities it asks for.
pub const SUBSCRIBERS: [(&str, &[&str]); 3] = [
    ("screen", &["info", "warning", "error"]),
    ("log file", &["warning", "error"]),
    ("pager", &["error"]),
];

/// Severity and text of each line; nobody asks for "debug".
pub const LOG: [(&str, &str); 6] = [
    ("info", "starting"),
    ("debug", "17 workers, 4 threads"),
    ("warning", "disk 90 % full"),
    ("error", "disk full"),
    ("info", "stopping"),
    ("error", LAST_LINE),
];

/// Everybody wants errors, so with this one each subscriber knows that it has seen all its lines.
const LAST_LINE: &str = "stopped with unsaved data";
