//! A broker that keeps its data, stopped and started again.
//!
//! One test after the other: the last look is at the threads of the whole process.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapin::Confirmation;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use leveret::{Broker, Config};

const DEADLINE: Duration = Duration::from_secs(10);

/// More than a queue reads back at once, and more than it may deliver without another commit.
const MESSAGES: u32 = 5_000;

fn data_dir() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restart");
    let _ = fs::remove_dir_all(&directory);
    directory
}

fn start(directory: &Path) -> Broker {
    let config = Config {
        data_dir: Some(directory.to_owned()),
        ..Config::default()
    };
    Broker::start(config).unwrap()
}

async fn channel(broker: &Broker) -> (Connection, Channel) {
    let address = broker.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let uri = format!("amqp://guest:guest@{address}/%2f");
    let connection = Connection::connect(&uri, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1_000_000));
    arguments
}

async fn declare(channel: &Channel, name: &str, durable: bool, passive: bool) -> bool {
    let options = QueueDeclareOptions {
        durable,
        passive,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(name.into(), options, arguments());
    declared.await.is_ok()
}

/// Publishes persistent messages of these bodies and waits for their confirms.
async fn publish(channel: &Channel, bodies: std::ops::Range<u32>) {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut confirms = Vec::new();
    for body in bodies {
        let (options, body) = (BasicPublishOptions::default(), body.to_string());
        let properties = properties.clone().with_message_id(body.clone().into());
        let key = "a.b".into();
        let sent = channel.basic_publish("e".into(), key, options, body.as_bytes(), properties);
        confirms.push(sent.await.unwrap());
    }
    for confirm in confirms {
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(_)));
    }
}

/// Gets one message; its body and whether it was redelivered.
async fn get(channel: &Channel, no_ack: bool) -> Option<(String, bool)> {
    let got = channel.basic_get("kept".into(), BasicGetOptions { no_ack });
    let message = got.await.unwrap()?;
    let body = String::from_utf8(message.data.clone()).unwrap();
    let id = message.properties.message_id().as_ref().unwrap();
    assert_eq!(id.as_str(), body);
    Some((body, message.redelivered))
}

async fn fill(channel: &Channel) {
    for (name, durable) in [("kept", true), ("deleted", true), ("transient", false)] {
        assert!(declare(channel, name, durable, false).await);
    }
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
    let declared = channel.exchange_declare("e".into(), kind, options, none.clone());
    declared.await.unwrap();
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind("kept".into(), "e".into(), "a.*".into(), options, none);
    bound.await.unwrap();
    let deleted = channel.queue_delete("deleted".into(), QueueDeleteOptions::default());
    deleted.await.unwrap();
}

#[cfg(target_os = "linux")]
fn threads_of_the_store() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("leveret")).collect()
}

#[tokio::test]
async fn dur_01_what_is_durable_survives_and_nothing_else_stays_behind() {
    let directory = data_dir();
    let broker = start(&directory);
    let in_use = Broker::start(Config {
        data_dir: Some(directory.clone()),
        ..Config::default()
    });
    let text = in_use.unwrap_err().to_string();
    assert!(text.contains(" is in use by "), "{text}");
    let (_connection, first) = channel(&broker).await;
    fill(&first).await;
    publish(&first, 0..MESSAGES).await;
    // One settled, one delivered and not settled.
    assert_eq!(get(&first, true).await, Some(("0".to_owned(), false)));
    assert_eq!(get(&first, false).await, Some(("1".to_owned(), false)));
    #[cfg(target_os = "linux")]
    assert_ne!(
        threads_of_the_store(),
        [""; 0],
        "they can be told by their names"
    );
    broker.shutdown(DEADLINE).await;
    #[cfg(target_os = "linux")]
    assert_eq!(threads_of_the_store(), [""; 0]);
    drop(broker);

    let broker = start(&directory);
    assert!(broker.health().is_ok());
    for (name, expected) in [("kept", true), ("deleted", false), ("transient", false)] {
        // Each on a connection of its own, for a refusal closes the channel.
        let (_connection, channel) = channel(&broker).await;
        assert_eq!(
            declare(&channel, name, true, true).await,
            expected,
            "{name}"
        );
    }
    let (connection, again) = channel(&broker).await;
    assert!(
        declare(&again, "kept", true, false).await,
        "with equal arguments"
    );
    for number in 1..MESSAGES {
        let redelivered = number == 1;
        assert_eq!(
            get(&again, true).await,
            Some((number.to_string(), redelivered))
        );
    }
    assert_eq!(get(&again, true).await, None);
    connection.close(200, "bye".into()).await.unwrap();
    broker.shutdown(DEADLINE).await;
    // Whoever still holds the broker that was shut down does not hold the directory.
    drop(start(&directory));
    drop(broker);
    // Without a shutdown as well, the end of the last handle is the end of the store.
    drop(start(&directory));
    assert!(start(&directory).health().is_ok());
}
