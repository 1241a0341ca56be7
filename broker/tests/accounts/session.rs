//! A raw client that logs in as anybody and opens any vhost.

use std::net::SocketAddr;

use bytes::BytesMut;
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader};
use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{LongStr, MethodId, Properties, ShortStr};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Client, Close};

/// Logs in with the user's name as the password, and reads nothing but tune.
pub(crate) async fn log_in(address: SocketAddr, user: &str) -> Client {
    let mut client = Client::connect(address).await;
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let response = format!("\0{user}\0{user}");
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(response.as_bytes()),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client.expect(connection::Start::ID).await;
    client.expect(connection::Tune::ID).await;
    client
}

/// Asks for a vhost, and reads nothing of the answer.
pub(crate) async fn ask_for(client: &mut Client, vhost: &str) {
    let mut out = BytesMut::new();
    let tune_ok = connection::TuneOk {
        channel_max: 100,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(vhost.as_bytes()),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    client.stream.write_all(&out).await.unwrap();
}

/// A connection with channel 1 open.
pub(crate) async fn open(address: SocketAddr, user: &str, vhost: &str) -> Client {
    let mut client = log_in(address, user).await;
    ask_for(&mut client, vhost).await;
    client.expect(connection::OpenOk::ID).await;
    open_channel(&mut client, 1).await;
    client
}

/// What a vhost is refused with.
pub(crate) async fn refused(address: SocketAddr, user: &str, vhost: &str) -> Close {
    let mut client = log_in(address, user).await;
    ask_for(&mut client, vhost).await;
    client.expect_close().await
}

pub(crate) async fn open_channel(client: &mut Client, number: u16) {
    let open = channel::Open::default();
    client.call(number, open, channel::OpenOk::ID).await;
}

/// Declares a durable queue and consumes from it without acks.
pub(crate) async fn consume(client: &mut Client, number: u16, name: &str) {
    declare(client, number, name).await;
    let consume = basic::Consume {
        queue: ShortStr(name.as_bytes()),
        no_ack: true,
        ..Default::default()
    };
    client.call(number, consume, basic::ConsumeOk::ID).await;
}

pub(crate) async fn declare(client: &mut Client, number: u16, name: &str) {
    let declare = durable(name);
    client.call(number, declare, queue::DeclareOk::ID).await;
}

pub(crate) fn durable(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: ShortStr(name.as_bytes()),
        durable: true,
        ..Default::default()
    }
}

/// Publishes a persistent message without a body through the default exchange.
pub(crate) fn write_publish(number: u16, queue: &str, out: &mut BytesMut) {
    let publish = basic::Publish {
        routing_key: ShortStr(queue.as_bytes()),
        ..Default::default()
    };
    write_method(number, publish, out);
    let properties = Properties {
        delivery_mode: Some(2),
        ..Properties::default()
    };
    let header = ContentHeader {
        class_id: BASIC_CLASS_ID,
        weight: 0,
        body_size: 0,
        properties: &properties.to_bytes(),
    };
    header.write_frame(number, out);
}

pub(crate) async fn publish(client: &mut Client, number: u16, queue: &str) {
    let mut out = BytesMut::new();
    write_publish(number, queue, &mut out);
    client.stream.write_all(&out).await.unwrap();
}

/// What everybody is told who is closed for a deletion.
pub(crate) fn forced(text: &str) -> Close {
    Close {
        code: 320,
        text: format!("CONNECTION_FORCED - {text}"),
        culprit: MethodId::NONE,
    }
}
