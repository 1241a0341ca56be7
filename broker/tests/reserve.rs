//! `memory_reserve_bytes`: whatever a peer asks for in numbers, it is refused before memory is short, and
//! everything comes back when it goes.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use leveret::{Broker, Config};
use leveret_protocol::client::write_publish;
use leveret_protocol::content::ContentHeader;
use leveret_protocol::method::connection::Method as Connection;
use leveret_protocol::method::{basic, channel, exchange, queue, tx, write_frame};
use leveret_protocol::{Method, MethodId, Properties, ShortStr};
use support::{Client, Close, PATIENCE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const RESERVE_BYTES: u64 = 512 * 1024;
/// Requests of each flood: many more than there is room for.
const REQUESTS: u32 = 4_000;
const QUEUE: ShortStr<'static> = ShortStr(b"q");

async fn start() -> (Broker, SocketAddr) {
    let config = Config {
        memory_reserve_bytes: RESERVE_BYTES,
        ..Config::default()
    };
    support::start(config).await
}

/// Waits until the last of a connection is gone.
async fn settle(broker: &Broker, expected: u64) {
    let settled = async {
        while broker.reserved_bytes() != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let settled = timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "{} bytes stay", broker.reserved_bytes());
}

/// A client with channel 1 and an exclusive queue `q`, what is in `bytes` sent, until it is closed.
async fn flood(address: SocketAddr, bytes: BytesMut) -> Close {
    let mut client = Client::open(address).await;
    let open = channel::Open::default();
    client.call(1, open, channel::OpenOk::ID).await;
    let declare = queue::Declare {
        queue: QUEUE,
        exclusive: true,
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
    let (mut reader, mut writer) = client.split();
    // The broker may close before all of it is sent.
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        let _ = writer.shutdown().await;
    });
    let close = loop {
        let frame = reader.read_frame().await.expect("a close");
        if let Some(close) = frame.method().ok().and_then(closed) {
            break close;
        }
    };
    writing.abort();
    drop(reader);
    close
}

fn closed(method: Method<'_>) -> Option<Close> {
    match method {
        Method::Connection(Connection::Close(close)) => Some(Close {
            code: close.reply_code,
            text: close.reply_text.to_text().into_owned(),
            culprit: MethodId::new(close.class_id, close.method_id),
        }),
        _ => None,
    }
}

fn is_exhausted(close: &Close) -> bool {
    let text = format!("the broker's memory reserve of {RESERVE_BYTES} bytes is used up");
    close.code == 506 && close.text.contains(&text)
}

fn requests(each: impl Fn(u32, &mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    (0..REQUESTS).for_each(|number| each(number, &mut out));
    out
}

async fn is_refused_and_comes_back(bytes: BytesMut) {
    let (broker, address) = start().await;
    let before = broker.reserved_bytes();
    let close = flood(address, bytes).await;
    assert!(is_exhausted(&close), "{close:?}");
    settle(&broker, before).await;
    // Who comes now is served.
    Client::open(address).await;
}

#[tokio::test]
async fn channels() {
    let (broker, address) = support::start(Config {
        memory_reserve_bytes: 18_000,
        ..Config::default()
    })
    .await;
    let before = broker.reserved_bytes();
    let mut client = Client::open(address).await;
    let mut bytes = BytesMut::new();
    (1..=10).for_each(|number| write_frame(channel::Open::default(), number, &mut bytes));
    client.stream.write_all(&bytes).await.unwrap();
    let mut opened = 0;
    let close = loop {
        match client.next(closed).await.unwrap() {
            Some(close) => break close,
            None => opened += 1,
        }
    };
    assert_eq!(close.code, 506, "{close:?}");
    assert!((1..10).contains(&opened), "{opened} channels");
    drop(client);
    settle(&broker, before).await;
}

#[tokio::test]
async fn consumers() {
    let bytes = requests(|number, out| {
        let tag = format!("consumer {number}");
        let consume = basic::Consume {
            queue: QUEUE,
            consumer_tag: ShortStr(tag.as_bytes()),
            nowait: true,
            ..Default::default()
        };
        write_frame(consume, 1, out);
    });
    is_refused_and_comes_back(bytes).await;
}

#[tokio::test]
async fn exclusive_queues() {
    let bytes = requests(|number, out| {
        let name = format!("queue {number}");
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            exclusive: true,
            nowait: true,
            ..Default::default()
        };
        write_frame(declare, 1, out);
    });
    is_refused_and_comes_back(bytes).await;
}

#[tokio::test]
async fn bindings() {
    let bytes = requests(|number, out| {
        let key = format!("key.{number}.{}", "x".repeat(200));
        let bind = queue::Bind {
            queue: QUEUE,
            exchange: ShortStr(b"amq.topic"),
            routing_key: ShortStr(key.as_bytes()),
            nowait: true,
            ..Default::default()
        };
        write_frame(bind, 1, out);
    });
    is_refused_and_comes_back(bytes).await;
}

#[tokio::test]
async fn exchanges_stay_until_they_are_deleted() {
    let (broker, address) = start().await;
    let before = broker.reserved_bytes();
    let name = |number: u32| format!("exchange {number}");
    let declares = requests(|number, out| {
        let name = name(number);
        let declare = exchange::Declare {
            exchange: ShortStr(name.as_bytes()),
            kind: ShortStr(b"fanout"),
            nowait: true,
            ..Default::default()
        };
        write_frame(declare, 1, out);
    });
    assert!(is_exhausted(&flood(address, declares).await));
    let deletes = async {
        let mut client = Client::open(address).await;
        let open = channel::Open::default();
        client.call(1, open, channel::OpenOk::ID).await;
        for number in 0..REQUESTS {
            let name = name(number);
            let delete = exchange::Delete {
                exchange: ShortStr(name.as_bytes()),
                ..Default::default()
            };
            client.call(1, delete, exchange::DeleteOk::ID).await;
        }
    };
    deletes.await;
    settle(&broker, before).await;
}

fn begin_message(body_len: u64, out: &mut BytesMut) {
    let publish = basic::Publish {
        routing_key: QUEUE,
        ..Default::default()
    };
    write_frame(publish, 1, out);
    let header = ContentHeader {
        class_id: basic::CLASS_ID,
        weight: 0,
        body_size: body_len,
        properties: &[0, 0],
    };
    header.write_frame(1, out);
}

fn body_frame(len: usize, out: &mut BytesMut) {
    out.put_u8(3);
    out.put_u16(1);
    out.put_u32(len as u32);
    out.put_bytes(0, len);
    out.put_u8(0xCE);
}

#[tokio::test]
async fn incomplete_messages() {
    let mut bytes = BytesMut::new();
    begin_message(100 << 20, &mut bytes);
    (0..40).for_each(|_| body_frame(65_536, &mut bytes));
    is_refused_and_comes_back(bytes).await;
}

#[tokio::test]
async fn transactions() {
    let mut bytes = BytesMut::new();
    write_frame(tx::Select::default(), 1, &mut bytes);
    for _ in 0..REQUESTS {
        begin_message(256, &mut bytes);
        body_frame(256, &mut bytes);
    }
    is_refused_and_comes_back(bytes).await;
}

#[tokio::test]
async fn unsettled_deliveries() {
    let mut bytes = BytesMut::new();
    let consume = basic::Consume {
        queue: QUEUE,
        nowait: true,
        ..Default::default()
    };
    write_frame(consume, 1, &mut bytes);
    for _ in 0..10 * REQUESTS {
        begin_message(0, &mut bytes);
    }
    is_refused_and_comes_back(bytes).await;
}

/// A client on channel 1.
async fn on_channel(address: SocketAddr) -> Client {
    let mut client = Client::open(address).await;
    let open = channel::Open::default();
    client.call(1, open, channel::OpenOk::ID).await;
    client
}

/// Asks for replies and publishes a request; the address for replies as whoever gets it reads it.
async fn request(requester: &mut Client, replier: &mut Client) -> Vec<u8> {
    let declare = queue::Declare {
        queue: QUEUE,
        ..Default::default()
    };
    requester.call(1, declare, queue::DeclareOk::ID).await;
    let reply_to = ShortStr(b"amq.rabbitmq.reply-to");
    let consume = basic::Consume {
        queue: reply_to,
        no_ack: true,
        ..Default::default()
    };
    requester.call(1, consume, basic::ConsumeOk::ID).await;
    let publish = basic::Publish {
        routing_key: QUEUE,
        ..Default::default()
    };
    let properties = Properties {
        reply_to: Some(reply_to),
        ..Default::default()
    };
    let mut out = BytesMut::new();
    write_publish(1, publish, &properties, b"?", 131_072, &mut out);
    requester.stream.write_all(&out).await.unwrap();
    let qos = basic::Qos::default();
    requester.call(1, qos, basic::QosOk::ID).await;
    let get = basic::Get {
        queue: QUEUE,
        no_ack: true,
        ..Default::default()
    };
    replier.call(1, get, basic::GetOk::ID).await;
    let header = replier.next_frame().await;
    let _body = replier.next_frame().await;
    let header = ContentHeader::parse(&header.payload).unwrap();
    let properties = Properties::parse(header.properties).unwrap();
    properties.reply_to.unwrap().0.to_vec()
}

#[tokio::test]
async fn direct_replies_that_nobody_takes() {
    const BODY_BYTES: usize = 50_000;
    let reserve_bytes = 4 << 20;
    let (broker, address) = support::start(Config {
        memory_reserve_bytes: reserve_bytes,
        ..Config::default()
    })
    .await;
    let before = broker.reserved_bytes();
    let mut requester = on_channel(address).await;
    let mut replier = on_channel(address).await;
    let reply_to = request(&mut requester, &mut replier).await;
    let publish = basic::Publish {
        routing_key: ShortStr(&reply_to),
        ..Default::default()
    };
    // Much more than sockets and the reserve take.
    for _ in 0..1_000 {
        let (mut out, properties) = (BytesMut::new(), Properties::default());
        let body = [7; BODY_BYTES];
        write_publish(1, publish, &properties, &body, 131_072, &mut out);
        replier.stream.write_all(&out).await.unwrap();
        assert!(broker.reserved_bytes() <= reserve_bytes);
    }
    replier
        .call(1, basic::Qos::default(), basic::QosOk::ID)
        .await;
    // Another reply would not have fitted.
    let left = reserve_bytes - broker.reserved_bytes();
    assert!(left < 4 * BODY_BYTES as u64, "{left} bytes are left");
    drop(requester);
    drop(replier);
    // The queue that requests came by stays.
    let queue_bytes = 4_096;
    let settled = async {
        while broker.reserved_bytes() > before + queue_bytes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, settled).await.unwrap();
}

#[tokio::test]
async fn who_comes_when_there_is_nothing_left_is_refused_at_connection_open() {
    let (broker, address) = support::start(Config {
        memory_reserve_bytes: 4_096,
        ..Config::default()
    })
    .await;
    let before = broker.reserved_bytes();
    let mut client = Client::opening(address).await;
    let close = client.expect_close().await;
    assert_eq!(close.code, 506, "{close:?}");
    let mut rest = Vec::new();
    client.stream.shutdown().await.unwrap();
    let _ = timeout(PATIENCE, client.stream.read_to_end(&mut rest)).await;
    drop(client);
    settle(&broker, before).await;
}
