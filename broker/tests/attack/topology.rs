//! Numbers 49, 50, 54 and 55: rings and chains, numbers that a client names, and names of the broker's own.

use std::collections::HashSet;

use bytes::BytesMut;
use leveret_protocol::client::write_method;
use leveret_protocol::method::{basic, confirm, exchange, queue};
use leveret_protocol::{Properties, ShortStr, TableBuf, Value};

use crate::arena::Arena;
use crate::attacker::{Attacker, one};

fn declare_exchange<'a>(
    name: &'a str,
    kind: &'a str,
    arguments: &'a TableBuf,
) -> exchange::Declare<'a> {
    exchange::Declare {
        exchange: ShortStr(name.as_bytes()),
        kind: ShortStr(kind.as_bytes()),
        arguments: arguments.view(),
        ..Default::default()
    }
}

pub(crate) fn bind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: ShortStr(queue.as_bytes()),
        exchange: ShortStr(exchange.as_bytes()),
        routing_key: ShortStr(key.as_bytes()),
        ..Default::default()
    }
}

fn bind_exchange<'a>(destination: &'a str, source: &'a str, nowait: bool) -> exchange::Bind<'a> {
    exchange::Bind {
        destination: ShortStr(destination.as_bytes()),
        source: ShortStr(source.as_bytes()),
        nowait,
        ..Default::default()
    }
}

pub(crate) async fn confirming(arena: &Arena) -> Attacker {
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    attacker
}

/// Publishes and waits until it is routed, while others are served.
pub(crate) async fn routed(arena: &mut Arena, attacker: &mut Attacker, exchange: &str, key: &str) {
    attacker
        .publish_to(exchange, key, &Properties::default(), b"body")
        .await;
    arena.still_serves().await;
    attacker.expect(basic::Ack::ID).await;
}

#[tokio::test]
async fn n049_rings_of_bindings_and_of_alternate_exchanges_end() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    attacker.declare("ringed", &TableBuf::new()).await;
    let none = TableBuf::new();
    let names: Vec<_> = (0..50).map(|n| format!("x{n}")).collect();
    for name in &names {
        let declare = declare_exchange(name, "fanout", &none);
        attacker.call(1, declare, exchange::DeclareOk::ID).await;
    }
    // Everybody to everybody, themselves included.
    for source in &names {
        for destination in &names {
            let bind = bind_exchange(destination, source, true);
            attacker.method(1, bind).await;
        }
    }
    attacker
        .call(1, bind("ringed", "x49", ""), queue::BindOk::ID)
        .await;
    for _ in 0..10 {
        routed(&mut arena, &mut attacker, "x0", "k").await;
        assert!(attacker.get("ringed").await.is_some());
        assert_eq!(attacker.get("ringed").await, None, "it came by two ways");
    }
    for (name, next) in [("a", "b"), ("b", "c"), ("c", "a"), ("own", "own")] {
        let alternate = one("alternate-exchange", Value::LongStr(next.as_bytes()));
        let declare = declare_exchange(name, "direct", &alternate);
        attacker.call(1, declare, exchange::DeclareOk::ID).await;
    }
    routed(&mut arena, &mut attacker, "a", "nowhere").await;
    routed(&mut arena, &mut attacker, "own", "nowhere").await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n049_a_chain_of_ten_thousand_exchanges_is_no_recursion() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    attacker.declare("last", &TableBuf::new()).await;
    let none = TableBuf::new();
    let length = 10_000;
    let mut out = BytesMut::new();
    for n in 0..length {
        let name = format!("c{n}");
        let declare = exchange::Declare {
            nowait: true,
            auto_delete: true,
            ..declare_exchange(&name, "fanout", &none)
        };
        write_method(1, declare, &mut out);
        if n > 0 {
            let source = format!("c{}", n - 1);
            write_method(1, bind_exchange(&name, &source, true), &mut out);
        }
    }
    attacker.send(&out).await;
    let end = format!("c{}", length - 1);
    attacker
        .call(1, bind("last", &end, ""), queue::BindOk::ID)
        .await;
    for _ in 0..5 {
        routed(&mut arena, &mut attacker, "c0", "k").await;
        assert!(attacker.get("last").await.is_some());
    }
    // With the last binding all of them go, one after the other.
    let delete = queue::Delete {
        queue: ShortStr(b"last"),
        ..Default::default()
    };
    attacker.call(1, delete, queue::DeleteOk::ID).await;
    arena.still_serves().await;
    attacker
        .publish_to("c0", "k", &Properties::default(), b"body")
        .await;
    attacker.closed_channel(404, "no exchange 'c0'").await;
    drop(attacker);
    arena.ends_empty().await;
}

fn dead_lettering(to: &str, ttl_ms: i32) -> TableBuf {
    TableBuf::from_entries([
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(to.as_bytes())),
        ("x-message-ttl", Value::I32(ttl_ms)),
    ])
}

/// Reads until this publish is confirmed, alone or with others.
pub(crate) async fn confirmed_up_to(attacker: &mut Attacker, last: u64) {
    loop {
        let frame = attacker.next().await.unwrap();
        match frame.method().unwrap() {
            leveret_protocol::Method::Basic(basic::Method::Ack(ack))
                if ack.delivery_tag == last =>
            {
                return;
            }
            leveret_protocol::Method::Basic(basic::Method::Ack(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn n049_dead_letters_do_not_go_round_for_ever() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    // To itself, and in a ring of three; nobody rejects, so they are dropped where they have been.
    for (name, next) in [("self", "self"), ("r1", "r2"), ("r2", "r3"), ("r3", "r1")] {
        attacker.declare(name, &dead_lettering(next, 0)).await;
    }
    for name in ["self", "r1"] {
        for _ in 0..100 {
            attacker
                .publish(name, &Properties::default(), b"body")
                .await;
        }
        arena.still_serves().await;
    }
    confirmed_up_to(&mut attacker, 200).await;
    for name in ["self", "r1", "r2", "r3"] {
        assert_eq!(attacker.get(name).await, None, "{name}");
    }
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n049_the_table_of_deaths_grows_with_queues_and_not_with_deaths() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let back = TableBuf::from_entries([
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(b"round")),
    ]);
    attacker.declare("round", &back).await;
    attacker
        .publish("round", &Properties::default(), b"body")
        .await;
    let consume = basic::Consume {
        queue: ShortStr(b"round"),
        ..Default::default()
    };
    attacker.call(1, consume, basic::ConsumeOk::ID).await;
    let mut sizes = HashSet::new();
    for delivery_tag in 1..=500 {
        attacker.expect(basic::Deliver::ID).await;
        let header = attacker.next().await.unwrap();
        attacker.next().await.unwrap();
        if delivery_tag > 1 {
            sizes.insert(header.payload.len());
        }
        let reject = basic::Reject {
            delivery_tag,
            requeue: false,
        };
        attacker.method(1, reject).await;
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n050_weights_and_sizes_that_a_client_names_are_bounded() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    attacker.declare("weighed", &TableBuf::new()).await;
    let none = TableBuf::new();
    let declare = declare_exchange("hashed", "x-consistent-hash", &none);
    attacker.call(1, declare, exchange::DeclareOk::ID).await;
    for weight in [
        "",
        "0",
        "-0",
        "-1",
        "-99999999999999999999",
        "x",
        "1.5",
        "NaN",
        " 1",
        "0x10",
    ] {
        attacker.method(1, bind("weighed", "hashed", weight)).await;
        let close = attacker.close().await;
        assert_eq!(
            (close.is_connection, close.code),
            (false, 406),
            "{weight}: {close:?}"
        );
        attacker.open_channel(1).await;
    }
    // Larger than may be weighs as much as may be.
    for weight in [
        "4294967296",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let bind = bind("weighed", "hashed", weight);
        attacker.call(1, bind, queue::BindOk::ID).await;
    }
    // Many of the largest weight, which would be thousands of billions of buckets if they were kept.
    let names: Vec<_> = (0..2_000).map(|n| format!("w{n}")).collect();
    let mut out = BytesMut::new();
    for name in &names {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            nowait: true,
            ..Default::default()
        };
        write_method(1, declare, &mut out);
        let bind = queue::Bind {
            nowait: true,
            ..bind(name, "hashed", "4294967295")
        };
        write_method(1, bind, &mut out);
    }
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    attacker.send(&out).await;
    for key in ["a", "b", "c"] {
        routed(&mut arena, &mut attacker, "hashed", key).await;
    }
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n050_what_exchanges_and_queues_are_told_to_remember_is_bounded() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    let huge = Value::I64(i64::MAX);
    let cases = [
        ("x-recent-history", "x-recent-history-length"),
        ("x-message-deduplication", "x-cache-size"),
    ];
    for (kind, argument) in cases {
        let arguments = one(argument, huge);
        let declare = declare_exchange(kind, kind, &arguments);
        attacker.method(1, declare).await;
        // Refused, or taken without room being made for what was named.
        let frame = attacker.next().await.unwrap();
        let id = frame.method().unwrap().id();
        if id != exchange::DeclareOk::ID {
            attacker
                .method(1, leveret_protocol::method::channel::CloseOk {})
                .await;
            attacker.open_channel(1).await;
        }
        arena.still_serves().await;
    }
    // Every level there may be, in many queues, costs nothing until it is used.
    let levels = one("x-max-priority", Value::I32(255));
    for n in 0..2_000 {
        attacker.declare(&format!("p{n}"), &levels).await;
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n054_what_the_broker_calls_its_own_stays_its_own() {
    let mut arena = Arena::new().await;
    let none = TableBuf::new();
    let mut attacker = Attacker::on_channel(arena.address).await;
    let own = [
        "amq.direct",
        "amq.fanout",
        "amq.topic",
        "amq.headers",
        "amq.match",
        "amq.new",
    ];
    for name in own {
        let delete = exchange::Delete {
            exchange: ShortStr(name.as_bytes()),
            ..Default::default()
        };
        attacker.method(1, delete).await;
        attacker
            .closed_channel(403, "deletion of system exchange")
            .await;
        attacker.open_channel(1).await;
    }
    let default = "operation not permitted on the default exchange";
    attacker.declare("q", &none).await;
    let delete = exchange::Delete::default();
    attacker.method(1, delete).await;
    attacker.closed_channel(403, default).await;
    attacker.open_channel(1).await;
    for source in ["", "amq.direct"] {
        let destination = if source.is_empty() { "amq.direct" } else { "" };
        attacker
            .method(1, bind_exchange(destination, source, false))
            .await;
        attacker.closed_channel(403, default).await;
        attacker.open_channel(1).await;
    }
    attacker.method(1, bind("q", "", "k")).await;
    attacker.closed_channel(403, default).await;
    attacker.open_channel(1).await;
    attacker
        .method(1, declare_exchange("amq.mine", "direct", &none))
        .await;
    attacker
        .closed_channel(403, "reserved prefix 'amq.*'")
        .await;
    attacker.open_channel(1).await;
    for name in ["amq.gen-forged", "amq.rabbitmq.reply-to.forged", "amq.x"] {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            ..Default::default()
        };
        attacker.method(1, declare).await;
        let close = attacker.close().await;
        assert!(matches!(close.code, 403 | 404), "{name}: {close:?}");
        attacker.open_channel(1).await;
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n055_names_that_the_broker_makes_cannot_be_guessed() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let mut names = HashSet::new();
    for _ in 0..500 {
        attacker.method(1, queue::Declare::default()).await;
        let frame = attacker.next().await.unwrap();
        let leveret_protocol::Method::Queue(queue::Method::DeclareOk(ok)) = frame.method().unwrap()
        else {
            panic!("{frame:?}");
        };
        let random = ok.queue.0.strip_prefix(b"amq.gen-").unwrap().to_vec();
        assert_eq!(random.len(), 22, "128 bits in base64");
        names.insert(random);
    }
    assert_eq!(names.len(), 500);
    // No place of the text is the same, or counts up, in all of them: the last holds only two bits.
    for place in 0..21 {
        let letters: HashSet<_> = names.iter().map(|name| name[place]).collect();
        assert!(
            letters.len() > 40,
            "place {place} has {} letters",
            letters.len()
        );
    }
    drop(attacker);
    arena.ends_empty().await;
}
