//! A client, and the broker that it talks to: ours, or the reference.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use leveret::{Broker, Config};

/// A connection, and the broker if it is ours.
pub(crate) struct Peer {
    connection: Connection,
    pub(crate) channel: Channel,
    broker: Option<Broker>,
}

pub(crate) async fn connect(uri: &str) -> (Connection, Channel) {
    let connection = Connection::connect(uri, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    (connection, channel)
}

/// A peer of our own broker.
pub(crate) async fn ours(data_dir: Option<&Path>) -> Peer {
    let config = Config {
        data_dir: data_dir.map(Path::to_owned),
        ..Config::default()
    };
    let broker = Broker::start(config).unwrap();
    let address = broker.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (connection, channel) = connect(&format!("amqp://guest:guest@{address}/%2f")).await;
    Peer {
        connection,
        channel,
        broker: Some(broker),
    }
}

/// A peer of our own broker, or of the reference.
pub(crate) async fn any() -> Peer {
    let Ok(uri) = std::env::var("REFERENCE_AMQP_URL") else {
        return ours(None).await;
    };
    let (connection, channel) = connect(&uri).await;
    Peer {
        connection,
        channel,
        broker: None,
    }
}

pub(crate) fn is_reference() -> bool {
    std::env::var_os("REFERENCE_AMQP_URL").is_some()
}

pub(crate) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Another name for every test that runs against the same reference.
pub(crate) fn name(of: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{of}-{}-{number}", std::process::id())
}

impl Peer {
    pub(crate) async fn try_declare(
        &self,
        name: &str,
        kind: &str,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let kind = ExchangeKind::Custom(kind.to_owned());
        let channel = &self.channel;
        channel
            .exchange_declare(name.into(), kind, options, arguments)
            .await
    }

    pub(crate) async fn exchange(&self, kind: &str, arguments: &[(&str, AMQPValue)]) -> String {
        let name = name(kind);
        self.try_declare(&name, kind, table(arguments))
            .await
            .unwrap();
        name
    }

    /// The text with which a declaration is refused; the channel is another one afterwards.
    pub(crate) async fn refused(&mut self, kind: &str, arguments: &[(&str, AMQPValue)]) -> String {
        let declared = self
            .try_declare(&name("refused"), kind, table(arguments))
            .await;
        self.reopened(declared).await
    }

    pub(crate) async fn refused_binding(
        &mut self,
        queue: &str,
        exchange: &str,
        key: &str,
    ) -> String {
        let bound = self.try_bind(queue, exchange, key).await;
        self.reopened(bound).await
    }

    pub(crate) async fn reopened(&mut self, result: lapin::Result<()>) -> String {
        let text = result.unwrap_err().to_string();
        self.channel = self.connection.create_channel().await.unwrap();
        let options = ConfirmSelectOptions::default();
        self.channel.confirm_select(options).await.unwrap();
        text
    }

    pub(crate) async fn queue_with(&self, arguments: &[(&str, AMQPValue)]) -> String {
        let name = name("q");
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare(name.as_str().into(), options, table(arguments));
        declared.await.unwrap();
        name
    }

    pub(crate) async fn try_bind(
        &self,
        queue: &str,
        exchange: &str,
        key: &str,
    ) -> lapin::Result<()> {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let channel = &self.channel;
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                options,
                arguments,
            )
            .await
    }

    pub(crate) async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.try_bind(queue, exchange, key).await.unwrap();
    }

    /// A new queue that is bound by this key.
    pub(crate) async fn bound(&self, exchange: &str, key: &str) -> String {
        let queue = self.queue_with(&[]).await;
        self.bind(&queue, exchange, key).await;
        queue
    }

    /// Publishes mandatory and persistent messages; says of each whether it came back.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        sent: &[(String, BasicProperties)],
    ) -> Vec<bool> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirms = Vec::new();
        for (key, properties) in sent {
            let (key, properties) = (key.as_str(), properties.clone().with_delivery_mode(2));
            let published = self.channel.basic_publish(
                exchange.into(),
                key.into(),
                options,
                key.as_bytes(),
                properties,
            );
            confirms.push(published.await.unwrap());
        }
        let mut returned = Vec::new();
        for confirm in confirms {
            match confirm.await.unwrap() {
                Confirmation::Ack(came_back) => returned.push(came_back.is_some()),
                other => panic!("{other:?}"),
            }
        }
        returned
    }

    pub(crate) async fn publish_keys(
        &self,
        exchange: &str,
        keys: impl IntoIterator<Item = String>,
    ) {
        let plain = |key| (key, BasicProperties::default());
        let sent: Vec<_> = keys.into_iter().map(plain).collect();
        let returned = self.publish(exchange, &sent).await;
        assert!(!returned.contains(&true));
    }

    /// The bodies in the queue, which are taken out of it.
    pub(crate) async fn take_all(&self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            bodies.push(String::from_utf8(got.delivery.data.clone()).unwrap());
        }
        bodies
    }

    pub(crate) async fn counts(&self, queues: &[String]) -> Vec<usize> {
        let mut counts = Vec::new();
        for queue in queues {
            counts.push(self.take_all(queue).await.len());
        }
        counts
    }

    pub(crate) async fn stop(self) {
        let _ = self.connection.close(200, "".into()).await;
        if let Some(broker) = self.broker {
            broker.shutdown(Duration::from_secs(10)).await;
        }
    }
}
