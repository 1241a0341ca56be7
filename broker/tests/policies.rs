//! Policies set through the library, as clients see them, and what is left of them after a restart.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use leveret::{ApplyTo, Broker, Config, NoPolicy, Policy, PolicyKind};

const DEADLINE: Duration = Duration::from_secs(10);

fn limit(kind: PolicyKind, messages: i64) -> Policy {
    let definition = [("max-length", messages)];
    Policy::new(kind, "limit", "^q$", ApplyTo::Queues, 0, definition).unwrap()
}

async fn channel(broker: &Broker) -> (Connection, Channel) {
    let address = broker.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let uri = format!("amqp://guest:guest@{address}/%2f");
    let connection = Connection::connect(&uri, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    (connection, channel)
}

/// Declares the queue, publishes to it, and says how many messages it has then.
async fn count_after_publishing(channel: &Channel, messages: usize) -> u32 {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declare = || channel.queue_declare("q".into(), options, FieldTable::default());
    declare().await.unwrap();
    for _ in 0..messages {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = channel.basic_publish("".into(), "q".into(), options, b"m", properties);
        sent.await.unwrap().await.unwrap();
    }
    declare().await.unwrap().message_count()
}

#[tokio::test]
async fn pol_01_policies_survive_a_restart_and_go_on_applying() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies");
    let _ = fs::remove_dir_all(&directory);
    let config = Config {
        data_dir: Some(directory),
        ..Config::default()
    };
    let broker = Broker::start(config.clone()).unwrap();
    let (_connection, first) = channel(&broker).await;
    broker.set_policy("/", limit(PolicyKind::User, 3)).unwrap();
    assert_eq!(count_after_publishing(&first, 5).await, 3);
    broker
        .set_policy("/", limit(PolicyKind::Operator, 2))
        .unwrap();
    assert_eq!(count_after_publishing(&first, 0).await, 2, "at once");
    broker.shutdown(DEADLINE).await;
    drop(broker);

    let broker = Broker::start(config).unwrap();
    for (kind, messages) in [(PolicyKind::User, 3), (PolicyKind::Operator, 2)] {
        let policies = broker.policies("/", kind).unwrap();
        let policies: Vec<_> = policies.iter().map(|policy| (**policy).clone()).collect();
        assert_eq!(policies, [limit(kind, messages)]);
    }
    let (_connection, again) = channel(&broker).await;
    assert_eq!(count_after_publishing(&again, 2).await, 2);
    broker
        .clear_policy("/", PolicyKind::Operator, "limit")
        .unwrap();
    assert_eq!(count_after_publishing(&again, 2).await, 3);
    broker.clear_policy("/", PolicyKind::User, "limit").unwrap();
    assert_eq!(count_after_publishing(&again, 2).await, 5);
    broker.shutdown(DEADLINE).await;
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let broker = Broker::start(Config::default()).unwrap();
    let kind = PolicyKind::Operator;
    let vhost = NoPolicy::Vhost("other".to_owned());
    assert_eq!(
        broker.set_policy("other", limit(kind, 1)),
        Err(vhost.clone())
    );
    assert_eq!(
        broker.clear_policy("other", kind, "limit"),
        Err(vhost.clone())
    );
    assert_eq!(broker.policies("other", kind), Err(vhost));
    broker.set_policy("/", limit(PolicyKind::User, 1)).unwrap();
    let missing = broker.clear_policy("/", kind, "limit").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "operator policy 'limit' does not exist in vhost '/'"
    );
    assert_eq!(broker.policies("/", kind), Ok(Vec::new()));
}
