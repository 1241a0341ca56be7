//! Peers that send too much, read too little, or do nothing: nobody else may notice.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::BytesMut;
use leveret::Config;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::content::{FRAME_BODY, Properties};
use leveret_protocol::method::{basic, channel, confirm, connection, queue};
use leveret_protocol::value::{Table, TableBuf, Value};
use leveret_protocol::{MethodId, ShortStr};
use support::{Client, start};
use tokio::io::AsyncWriteExt as _;

const BODY: [u8; 1024] = [7; 1024];
const FRAME_MAX: u32 = 131_072;
/// A write that makes no progress for this long is not being read.
const HELD_UP: std::time::Duration = std::time::Duration::from_secs(1);

async fn open_channel(client: &mut Client) {
    client
        .call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
}

async fn declare(client: &mut Client, name: &'static str) {
    let declare = queue::Declare {
        queue: ShortStr(name.as_bytes()),
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
}

async fn consume(client: &mut Client, name: &'static str) {
    let consume = basic::Consume {
        queue: ShortStr(name.as_bytes()),
        no_ack: true,
        ..Default::default()
    };
    client.call(1, consume, basic::ConsumeOk::ID).await;
}

fn publishes(name: &'static str, count: usize) -> BytesMut {
    let mut out = BytesMut::new();
    for _ in 0..count {
        let publish = basic::Publish {
            routing_key: ShortStr(name.as_bytes()),
            ..Default::default()
        };
        write_publish(
            1,
            publish,
            &Properties::default(),
            &BODY,
            FRAME_MAX,
            &mut out,
        );
    }
    out
}

/// Reads deliveries until this many bodies have come.
async fn receive(client: &mut Client, count: usize) {
    let mut bodies = 0;
    while bodies < count {
        let frame = client.next_frame().await;
        bodies += usize::from(frame.kind == FRAME_BODY);
    }
}

/// A ping-pong through the default exchange, which needs the broker to read, route and write.
async fn works(client: &mut Client, name: &'static str) {
    client.stream.write_all(&publishes(name, 1)).await.unwrap();
    receive(client, 1).await;
}

async fn quiet_client(address: std::net::SocketAddr) -> Client {
    let mut quiet = Client::open(address).await;
    open_channel(&mut quiet).await;
    declare(&mut quiet, "quiet").await;
    consume(&mut quiet, "quiet").await;
    quiet
}

#[tokio::test]
async fn a_consumer_that_does_not_read_holds_up_only_itself() {
    let (_broker, address) = start(Config::default()).await;
    let mut deaf = Client::open(address).await;
    open_channel(&mut deaf).await;
    declare(&mut deaf, "loud").await;
    consume(&mut deaf, "loud").await;
    let mut quiet = quiet_client(address).await;
    // Far more than the sockets' buffers and the outbox hold.
    for _ in 0..32 {
        quiet
            .stream
            .write_all(&publishes("loud", 1024))
            .await
            .unwrap();
        works(&mut quiet, "quiet").await;
    }
    // What it did not read has not been lost either.
    receive(&mut deaf, 32 * 1024).await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_not_read_any_more() {
    let (_broker, address) = start(Config::default()).await;
    let mut quiet = quiet_client(address).await;
    let mut asker = Client::open(address).await;
    open_channel(&mut asker).await;
    let mut asks = BytesMut::new();
    for _ in 0..500 {
        let declare = queue::Declare {
            queue: ShortStr(b"quiet"),
            passive: true,
            ..Default::default()
        };
        write_method(1, declare, &mut asks);
    }
    // Answers to this would be many times what a broker may hold for one peer.
    let mut held_up = false;
    for _ in 0..10_000 {
        let write = asker.stream.write_all(&asks);
        held_up = tokio::time::timeout(HELD_UP, write).await.is_err();
        if held_up {
            break;
        }
    }
    assert!(
        held_up,
        "the broker took every question of a client that takes no answer"
    );
    for _ in 0..100 {
        works(&mut quiet, "quiet").await;
    }
}

#[tokio::test]
async fn flow_01_publishers_are_held_up_above_the_watermark_until_consumers_have_caught_up() {
    let config = Config {
        memory_high_watermark_bytes: 4 << 20,
        ..Config::default()
    };
    let (_broker, address) = start(config).await;
    let notify = TableBuf::from_entries([("connection.blocked", Value::Bool(true))]);
    let properties = TableBuf::from_entries([("capabilities", Value::Table(notify.view()))]);
    let mut publisher = Client::open_with(address, properties.view()).await;
    open_channel(&mut publisher).await;
    declare(&mut publisher, "backlog").await;
    // Enough to take much longer than the pause between two looks at the memory.
    let count = 64 * 1024;
    let mut sent = publishes("backlog", count);
    // After all of it a request whose answer shows that everything was read in the end.
    write_method(1, confirm::Select::default(), &mut sent);
    let (mut reader, mut writer) = publisher.split();
    let sending = tokio::spawn(async move { writer.write_all(&sent).await });
    reader.expect(connection::Blocked::ID).await;

    // A connection that has not published goes on meanwhile (FLOW-05).
    let mut consumer = Client::open(address).await;
    open_channel(&mut consumer).await;
    consume(&mut consumer, "backlog").await;
    receive(&mut consumer, count).await;
    let mut seen: Vec<MethodId> = Vec::new();
    while seen.last() != Some(&confirm::SelectOk::ID) {
        seen.push(reader.next_id().await);
    }
    assert_eq!(seen.first(), Some(&connection::Unblocked::ID), "{seen:?}");
    sending.await.unwrap().unwrap();
}

/// Its socket and outbox are full, so that nothing but the time that passes can end it.
#[tokio::test]
async fn hb_03_a_client_that_neither_reads_nor_writes_is_given_up() {
    let (_broker, address) = start(Config::default()).await;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut frozen = Client::open_tuned(stream, Table::default(), 1).await;
    frozen.expect(connection::OpenOk::ID).await;
    open_channel(&mut frozen).await;
    let declare = queue::Declare {
        queue: ShortStr(b"frozen"),
        auto_delete: true,
        ..Default::default()
    };
    frozen.call(1, declare, queue::DeclareOk::ID).await;
    consume(&mut frozen, "frozen").await;

    let mut publisher = quiet_client(address).await;
    for _ in 0..16 {
        publisher
            .stream
            .write_all(&publishes("frozen", 1024))
            .await
            .unwrap();
    }
    // Its queue goes with it. There is no event to wait for from outside, so it is asked for.
    let passive = queue::Declare {
        queue: ShortStr(b"frozen"),
        passive: true,
        ..Default::default()
    };
    let gone = async {
        loop {
            let mut out = BytesMut::new();
            write_method(1, passive, &mut out);
            publisher.stream.write_all(&out).await.unwrap();
            match publisher.next_id().await {
                queue::DeclareOk::ID => tokio::time::sleep(HELD_UP / 10).await,
                other => return assert_eq!(other, channel::Close::ID),
            }
        }
    };
    tokio::time::timeout(support::PATIENCE, gone).await.unwrap();
}

/// Queues that keep nothing and dead-letter into each other: one message has millions of ways to go.
#[tokio::test]
async fn queues_that_let_nothing_rest_do_not_hold_the_broker() {
    let (_broker, address) = start(Config::default()).await;
    let mut client = Client::open(address).await;
    open_channel(&mut client).await;
    let arguments = TableBuf::from_entries([
        ("x-message-ttl", Value::I32(0)),
        ("x-dead-letter-exchange", Value::LongStr(b"amq.fanout")),
    ]);
    for name in 0..12 {
        let name = format!("restless {name}");
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            arguments: arguments.view(),
            ..Default::default()
        };
        client.call(1, declare, queue::DeclareOk::ID).await;
        let bind = queue::Bind {
            exchange: ShortStr(b"amq.fanout"),
            ..Default::default()
        };
        client.call(1, bind, queue::BindOk::ID).await;
    }
    client
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    client
        .stream
        .write_all(&publishes("restless 0", 1))
        .await
        .unwrap();
    client.expect(basic::Ack::ID).await;
}

#[tokio::test]
async fn a_duplex_stream_is_served_like_a_socket() {
    let (broker, _address) = start(Config::default()).await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { broker.serve(theirs).await });
    let mut client = Client::open_over(ours, Table::default()).await;
    client.expect(connection::OpenOk::ID).await;
    let mut out = BytesMut::new();
    write_method(0, connection::Close::default(), &mut out);
    client.stream.write_all(&out).await.unwrap();
    client.expect(connection::CloseOk::ID).await;
    drop(client);
    serving.await.unwrap();
}
