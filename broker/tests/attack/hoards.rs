//! Numbers 40, 51, 78 and 85 against the built broker: whatever an attacker heaps up, messages of any make, things
//! that are declared, deliveries and replies that nobody takes, the process stays under its watermark and its
//! reserve. Both are small here, and [`BrokerProcess`] looks at its memory at the end.

use bytes::BytesMut;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{Properties, ShortStr, TableBuf, Value};

use crate::attacker::{Attacker, FRAME_MAX, one, publish};
use crate::flow::{consume, flood_until_held_up};
use crate::process::BrokerProcess;
use crate::storage::empty_directory;
use crate::topology::bind;

const WATERMARK: &str = "memory_high_watermark_bytes=16777216";
const RESERVE: &str = "memory_reserve_bytes=16777216";
/// Bytes of a flood that are written at once.
const FLOOD_BYTES: usize = 200_000;
/// So often at most: half a gigabyte.
const ROUNDS: usize = 2_500;

async fn broker() -> BrokerProcess {
    BrokerProcess::start(&[WATERMARK, RESERVE]).await
}

/// As many publishes of the same message as are written at once.
fn flood_of(exchange: &str, key: &str, properties: &Properties<'_>, body: &[u8]) -> BytesMut {
    let mut flood = BytesMut::new();
    while flood.len() < FLOOD_BYTES {
        let publish = publish(exchange, key);
        write_publish(1, publish, properties, body, FRAME_MAX, &mut flood);
    }
    flood
}

async fn is_held_up(attacker: &mut Attacker, flood: &[u8], what: &str) {
    let is_held_up = flood_until_held_up(attacker, flood, ROUNDS).await;
    assert!(
        is_held_up,
        "half a gigabyte of {what} passes a watermark of 16 MiB"
    );
}

#[tokio::test]
async fn n085_messages_of_any_make_are_held_up_at_the_watermark() {
    let headers = one("h", Value::LongStr(&[7; 50_000]));
    let none = Properties::default();
    let with_headers = Properties {
        headers: Some(headers.view()),
        ..none
    };
    let with_time_to_live = Properties {
        expiration: Some("3600000".into()),
        ..none
    };
    for (what, properties, body_len) in [
        ("empty bodies", none, 0),
        ("headers", with_headers, 0),
        ("times to live", with_time_to_live, 1),
        ("bodies in two frames", none, 150_000),
    ] {
        let broker = broker().await;
        let mut attacker = Attacker::on_channel(broker.address).await;
        attacker.declare("hoard", &TableBuf::new()).await;
        let flood = flood_of("", "hoard", &properties, &vec![7; body_len]);
        is_held_up(&mut attacker, &flood, what).await;
        broker.serves().await;
    }
}

/// Persistent messages leave memory, whatever part of them is the large one.
#[tokio::test]
async fn n085_stored_messages_with_large_headers_leave_memory() {
    let data_dir = empty_directory("n085");
    let broker = BrokerProcess::start_on(&data_dir, &[WATERMARK, RESERVE]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    let declare = queue::Declare {
        queue: ShortStr(b"hoard"),
        durable: true,
        ..Default::default()
    };
    attacker.call(1, declare, queue::DeclareOk::ID).await;
    let headers = one("h", Value::LongStr(&[7; 50_000]));
    let properties = Properties {
        headers: Some(headers.view()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    let flood = flood_of("", "hoard", &properties, b"");
    for _ in 0..1_000 {
        attacker.send(&flood).await;
    }
    broker.serves().await;
    drop(broker);
    // Nor do they come back all at once.
    let broker = BrokerProcess::start_on(&data_dir, &[WATERMARK, RESERVE]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    assert_eq!(attacker.get("hoard").await, Some(Vec::new()));
    broker.serves().await;
}

#[tokio::test]
async fn n085_a_message_in_many_queues_takes_a_place_in_each() {
    const QUEUES: usize = 50;
    let broker = broker().await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    for name in (0..QUEUES).map(|queue| format!("hoard-{queue}")) {
        attacker.declare(&name, &TableBuf::new()).await;
        let bind = bind(&name, "amq.fanout", "");
        attacker.call(1, bind, queue::BindOk::ID).await;
    }
    let flood = flood_of("amq.fanout", "", &Properties::default(), b"");
    is_held_up(&mut attacker, &flood, "messages for fifty queues").await;
    broker.serves().await;
}

/// Declares without an answer, of which this many fill the reserve many times over.
async fn is_refused(attacker: &mut Attacker, declare: impl Fn(usize, &mut BytesMut)) {
    let mut out = BytesMut::new();
    for number in 0..100_000 {
        declare(number, &mut out);
        if out.len() >= FLOOD_BYTES && !attacker.shout(&out.split()).await {
            break;
        }
    }
    attacker.shout(&out).await;
    attacker.closed(506, "memory").await;
}

#[tokio::test]
async fn n078_queues_are_refused_at_the_reserve() {
    let arguments = one("x-note", Value::LongStr(&[7; 1_000]));
    let broker = broker().await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    is_refused(&mut attacker, |number, out| {
        let name = format!("hoard-{number}");
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            exclusive: true,
            nowait: true,
            arguments: arguments.view(),
            ..Default::default()
        };
        write_method(1, declare, out);
    })
    .await;
}

#[tokio::test]
async fn n078_bindings_are_refused_at_the_reserve() {
    let arguments = one("x-note", Value::LongStr(&[7; 1_000]));
    let broker = broker().await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    attacker.declare("bound", &TableBuf::new()).await;
    is_refused(&mut attacker, |number, out| {
        // Words that no other key shares, as many as there can be.
        let key = format!("{number}{}", ".".repeat(240));
        let bind = queue::Bind {
            nowait: true,
            arguments: arguments.view(),
            ..bind("bound", "amq.topic", &key)
        };
        write_method(1, bind, out);
    })
    .await;
}

#[tokio::test]
async fn n078_exchanges_are_refused_at_the_reserve() {
    let arguments = one("x-note", Value::LongStr(&[7; 1_000]));
    let broker = broker().await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    is_refused(&mut attacker, |number, out| {
        let name = format!("hoard-{number}");
        let declare = exchange::Declare {
            exchange: ShortStr(name.as_bytes()),
            kind: ShortStr(b"headers"),
            nowait: true,
            arguments: arguments.view(),
            ..Default::default()
        };
        write_method(1, declare, out);
    })
    .await;
}

#[tokio::test]
async fn n040_many_who_never_read_keep_the_rest_in_the_queue() {
    let broker = broker().await;
    let mut publisher = Attacker::on_channel(broker.address).await;
    publisher.declare("hoard", &TableBuf::new()).await;
    let mut deaf = Vec::new();
    for no_ack in [true, false].repeat(10) {
        let mut client = Attacker::on_channel(broker.address).await;
        client.method(1, consume("hoard", no_ack)).await;
        deaf.push(client);
    }
    let flood = flood_of("", "hoard", &Properties::default(), &[7; 10_000]);
    is_held_up(&mut publisher, &flood, "messages for the deaf").await;
    broker.serves().await;
}

/// The address for replies to the next request.
async fn reply_to_of_next(replier: &mut Attacker) -> String {
    let get = basic::Get {
        queue: ShortStr(b"requests"),
        no_ack: true,
        ..Default::default()
    };
    replier.call(1, get, basic::GetOk::ID).await;
    let header = replier.next().await.unwrap();
    let properties = Properties::parse(header.header().unwrap().properties).unwrap();
    let reply_to = properties.reply_to.unwrap().to_text().into_owned();
    replier.next().await.unwrap();
    reply_to
}

#[tokio::test]
async fn n051_replies_that_nobody_reads_are_dropped() {
    const REQUESTERS: usize = 10;
    let broker = broker().await;
    let mut replier = Attacker::on_channel(broker.address).await;
    replier.declare("requests", &TableBuf::new()).await;
    let mut deaf = Vec::new();
    for _ in 0..REQUESTERS {
        let mut requester = Attacker::on_channel(broker.address).await;
        let consume = consume("amq.rabbitmq.reply-to", true);
        requester.call(1, consume, basic::ConsumeOk::ID).await;
        let properties = Properties {
            reply_to: Some("amq.rabbitmq.reply-to".into()),
            ..Default::default()
        };
        requester.publish("requests", &properties, b"?").await;
        requester.goes_on(1).await;
        deaf.push((requester, reply_to_of_next(&mut replier).await));
    }
    for (_, reply_to) in &deaf {
        let flood = flood_of("", reply_to, &Properties::default(), &[7; 50_000]);
        for _ in 0..100 {
            replier.send(&flood).await;
        }
    }
    // They have taken the reserve, so that nobody else can come until they are read or their clients are gone.
    replier.goes_on(1).await;
    drop(deaf);
}
