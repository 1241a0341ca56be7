//! Publishing while others change where messages go: no message is lost for a queue that was bound
//! all the time.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use bytes::BytesMut;
use leveret::Config;
use leveret_protocol::ShortStr;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::content::Properties;
use leveret_protocol::method::{basic, channel, queue};
use support::{Client, start};
use tokio::io::AsyncWriteExt as _;

const MESSAGES: u32 = 200_000;
const REBINDS: u32 = 20_000;

fn bind(name: &'static str) -> queue::Bind<'static> {
    queue::Bind {
        queue: ShortStr(name.as_bytes()),
        exchange: ShortStr(b"amq.fanout"),
        nowait: true,
        ..Default::default()
    }
}

async fn with_channel(address: std::net::SocketAddr) -> Client {
    let mut client = Client::open(address).await;
    client
        .call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    client
}

async fn declare(client: &mut Client, name: &'static str) {
    let declare = queue::Declare {
        queue: ShortStr(name.as_bytes()),
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
}

fn publishes() -> BytesMut {
    let mut out = BytesMut::new();
    let publish = basic::Publish {
        exchange: ShortStr(b"amq.fanout"),
        ..Default::default()
    };
    for _ in 0..MESSAGES {
        write_publish(1, publish, &Properties::default(), b"", 131_072, &mut out);
    }
    write_method(
        1,
        queue::Purge {
            queue: ShortStr(b"constant"),
            ..Default::default()
        },
        &mut out,
    );
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn route_03_rebinding_others_loses_nothing_for_a_bound_queue() {
    let (_broker, address) = start(Config::default()).await;
    let mut publisher = with_channel(address).await;
    for name in ["constant", "moving"] {
        declare(&mut publisher, name).await;
    }
    let mut out = BytesMut::new();
    write_method(1, bind("constant"), &mut out);
    publisher.stream.write_all(&out).await.unwrap();

    let mut binder = with_channel(address).await;
    let rebinding = tokio::spawn(async move {
        for _ in 0..REBINDS {
            let unbind = queue::Unbind {
                queue: ShortStr(b"moving"),
                exchange: ShortStr(b"amq.fanout"),
                ..Default::default()
            };
            let mut out = BytesMut::new();
            write_method(1, bind("moving"), &mut out);
            binder.stream.write_all(&out).await.unwrap();
            binder.call(1, unbind, queue::UnbindOk::ID).await;
        }
    });
    publisher.stream.write_all(&publishes()).await.unwrap();
    let purged = publisher
        .next(|method| format!("{method:?}"))
        .await
        .unwrap();
    assert!(
        purged.contains(&format!("message_count: {MESSAGES} ")),
        "{purged}"
    );
    rebinding.abort();
}
