//! What only the one who runs the broker can cause: its limits and its shutdown, seen from clients
//! on real sockets.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::SocketAddr;

use bytes::BytesMut;
use leveret::config::AuthMechanism;
use leveret::{Config, Definitions};
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader};
use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{LongStr, MethodId, Properties, ShortStr};
use support::{Client, Close, PATIENCE, start};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn conn_03_a_mechanism_is_taken_only_where_it_is_offered() {
    let mut config = Config {
        failed_login_delay_ms: 0,
        ..Config::default()
    };
    let (_default, address) = start(config.clone()).await;
    let mut refused = log_in_with(address, "RABBIT-CR-DEMO").await;
    refused.expect(connection::Start::ID).await;
    refused.expect_end().await;

    config.auth_mechanisms = vec![AuthMechanism::RabbitCrDemo];
    let (_demo, address) = start(config).await;
    let mut offered = log_in_with(address, "RABBIT-CR-DEMO").await;
    offered.expect(connection::Start::ID).await;
    offered.expect(connection::Secure::ID).await;
    let mut refused = log_in_with(address, "PLAIN").await;
    refused.expect(connection::Start::ID).await;
    refused.expect_end().await;
}

async fn log_in_with(address: SocketAddr, mechanism: &str) -> Client {
    let mut client = Client::connect(address).await;
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let start_ok = connection::StartOk {
        mechanism: mechanism.into(),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client
}

#[tokio::test]
async fn conn_41_a_shutdown_closes_every_connection_and_waits_for_none() {
    let (broker, address) = start(Config::default()).await;
    let idle = Client::open(address).await;
    let mut busy = Client::open(address).await;
    busy.call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    let declare = queue::Declare {
        queue: ShortStr(b"q"),
        exclusive: true,
        ..Default::default()
    };
    busy.call(1, declare, queue::DeclareOk::ID).await;

    // Nobody answers the close, and still the broker has ended long before its deadline.
    let done = timeout(PATIENCE, broker.shutdown(10 * PATIENCE)).await;
    assert!(done.is_ok());
    for mut client in [idle, busy] {
        let close = Close {
            code: 320,
            text: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
                .to_owned(),
            culprit: MethodId::NONE,
        };
        assert_eq!(client.expect_close().await, close);
        client.expect_end().await;
    }
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn conn_41_a_handshake_under_way_ends_without_a_word() {
    let (broker, address) = start(Config::default()).await;
    let mut client = Client::connect(address).await;
    let mut header = BytesMut::new();
    write_protocol_header(&mut header);
    client.stream.write_all(&header).await.unwrap();
    client.expect(connection::Start::ID).await;
    broker.shutdown(PATIENCE).await;
    client.expect_end().await;
}

#[tokio::test]
async fn conn_23_the_limit_of_the_node_is_kept() {
    let config = Config {
        connections_max: 1,
        ..Config::default()
    };
    let (_broker, address) = start(config).await;
    let first = Client::open(address).await;
    let mut second = Client::opening(address).await;
    let close = Close {
        code: 530,
        text: "NOT_ALLOWED - connection refused: node connection limit (1) is reached".to_owned(),
        culprit: connection::Open::ID,
    };
    assert_eq!(second.expect_close().await, close);
    drop(first);
}

#[tokio::test]
async fn perm_16_a_channel_that_is_opened_later_knows_the_permissions_of_then() {
    let (broker, address) = start(Config::default()).await;
    let mut client = Client::open(address).await;
    let declare = queue::Declare {
        queue: ShortStr(b"q"),
        ..Default::default()
    };
    client
        .call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    client.call(1, declare, queue::DeclareOk::ID).await;
    publish_to_q(&mut client, 1).await;
    let revoked = r#"{"permissions":
        [{"user": "guest", "vhost": "/", "configure": "^$", "write": "^$", "read": ".*"}]}"#;
    let definitions = Definitions::from_json(revoked, "/").unwrap();
    broker.import_definitions(&definitions).await.unwrap();
    client
        .call(2, channel::Open::default(), channel::OpenOk::ID)
        .await;
    client.call(2, declare, channel::Close::ID).await;
    client
        .call(3, channel::Open::default(), channel::OpenOk::ID)
        .await;
    publish_to_q(&mut client, 3).await;
    client.expect(channel::Close::ID).await;
}

/// Publishes an empty message to the queue `q`.
async fn publish_to_q(client: &mut Client, channel: u16) {
    let publish = basic::Publish {
        routing_key: ShortStr(b"q"),
        ..Default::default()
    };
    let header = ContentHeader {
        class_id: BASIC_CLASS_ID,
        weight: 0,
        body_size: 0,
        properties: &Properties::default().to_bytes(),
    };
    let mut out = BytesMut::new();
    write_method(channel, publish, &mut out);
    header.write_frame(channel, &mut out);
    client.stream.write_all(&out).await.unwrap();
}
