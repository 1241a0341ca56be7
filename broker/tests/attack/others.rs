//! What went wrong in other brokers, where no other test holds it already; `bugs_of_others.rs` has all of it.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use leveret::{Config, Definitions};
use leveret_protocol::client::write_method;
use leveret_protocol::method::{basic, connection, exchange, queue};
use leveret_protocol::{ArrayBuf, Properties, ShortStr, TableBuf, Value};
use tokio::time::timeout;

use crate::arena::{Arena, impatient};
use crate::attacker::{Attacker, Manners, frame, header, one, publish};
use crate::storage::empty_directory;
use crate::support::{PATIENCE, start};

fn durable(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: ShortStr(name.as_bytes()),
        durable: true,
        ..Default::default()
    }
}

fn bind<'a>(queue: &'a str, exchange: &'a str, routing_key: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: ShortStr(queue.as_bytes()),
        exchange: ShortStr(exchange.as_bytes()),
        routing_key: ShortStr(routing_key.as_bytes()),
        ..Default::default()
    }
}

#[tokio::test]
async fn who_goes_in_the_middle_of_a_message_leaves_nothing_of_it() {
    let config = Config {
        data_dir: Some(empty_directory("middle")),
        ..impatient()
    };
    let mut arena = Arena::with(config.clone()).await;
    let mut owner = Attacker::on_channel(arena.address).await;
    owner.call(1, durable("q"), queue::DeclareOk::ID).await;
    let persistent = Properties {
        delivery_mode: Some(2),
        ..Default::default()
    };
    let fields = persistent.to_bytes();
    let body = [7; 100_000];
    // Gone after the method, the header, a part of the body, and a part of a frame.
    let mut whole = BytesMut::new();
    write_method(1, publish("", "q"), &mut whole);
    let method = whole.len();
    whole.put_slice(&frame(2, 1, &header(60, 0, 200_000, &fields)));
    let head = whole.len();
    whole.put_slice(&frame(3, 1, &body));
    for end in [3, method, head, head + 3, head + 50_000, whole.len()] {
        let mut leaving = Attacker::on_channel(arena.address).await;
        leaving.send(&whole[..end]).await;
        drop(leaving);
        owner.publish("q", &persistent, b"whole").await;
        arena.still_serves().await;
    }
    owner.goes_on(1).await;
    drop(owner);
    arena.ends_empty().await;
    let arena = Arena::with(config).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    for _ in 0..6 {
        assert_eq!(reader.get("q").await.unwrap(), b"whole");
    }
    assert_eq!(reader.get("q").await, None);
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn a_message_of_many_frames_is_whole_in_every_queue() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let names = ["first", "second", "third"];
    for name in names {
        attacker.declare(name, &TableBuf::new()).await;
        attacker
            .call(1, bind(name, "amq.fanout", ""), queue::BindOk::ID)
            .await;
    }
    let body: Vec<_> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    attacker
        .publish_to("amq.fanout", "", &Properties::default(), &body)
        .await;
    // Read by those who take large frames, and small ones, at which the body is cut anew.
    let mut manners = Manners::default();
    manners.tune.frame_max = 4096;
    let mut small = Attacker::open_with(arena.address, &manners).await;
    small.open_channel(1).await;
    attacker.goes_on(1).await;
    assert!(small.get("first").await.unwrap() == body);
    assert!(attacker.get("second").await.unwrap() == body);
    assert!(small.get("third").await.unwrap() == body);
    drop(attacker);
    drop(small);
    arena.ends_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn definitions_imported_at_once_are_all_there() {
    let config = Config {
        data_dir: Some(empty_directory("imports")),
        ..impatient()
    };
    let arena = Arena::with(config).await;
    let mut imports = Vec::new();
    for n in 0..16 {
        let broker = arena.broker.clone();
        imports.push(tokio::spawn(async move {
            let text = format!(
                r#"{{"queues":[{{"name":"imported-{n}","vhost":"/","durable":true,"auto_delete":false,"arguments":{{}}}}]}}"#
            );
            let definitions = Definitions::from_json(&text, "/").unwrap();
            broker.import_definitions(&definitions).await.map(drop)
        }));
    }
    for import in imports {
        import.await.unwrap().unwrap();
    }
    let mut reader = Attacker::on_channel(arena.address).await;
    for n in 0..16 {
        assert_eq!(reader.get(&format!("imported-{n}")).await, None);
    }
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn what_is_purged_requeued_and_dropped_counts_as_nothing() {
    // So little that a counter which is not taken back would raise the alarm.
    let config = Config {
        memory_high_watermark_bytes: 1 << 20,
        ..impatient()
    };
    let mut arena = Arena::with(config).await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .declare("counted", &one("x-max-length", Value::I32(50)))
        .await;
    let body = [7; 1_000];
    for _ in 0..100 {
        for _ in 0..60 {
            attacker
                .publish("counted", &Properties::default(), &body)
                .await;
        }
        for _ in 0..20 {
            let get = basic::Get {
                queue: ShortStr(b"counted"),
                ..Default::default()
            };
            attacker.method(1, get).await;
            assert_eq!(attacker.message().await.0, basic::GetOk::ID);
        }
        let recover = basic::Recover { requeue: true };
        attacker.call(1, recover, basic::RecoverOk::ID).await;
        let purge = queue::Purge {
            queue: ShortStr(b"counted"),
            ..Default::default()
        };
        attacker.method(1, purge).await;
        let frame = attacker.next().await.unwrap();
        match frame.method().unwrap() {
            leveret_protocol::Method::Queue(queue::Method::PurgeOk(ok)) => {
                assert_eq!(ok.message_count, 50);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(attacker.get("counted").await, None);
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn many_queues_that_delete_themselves_are_gone_at_once() {
    let (broker, address) = start(impatient()).await;
    let mut attacker = Attacker::on_channel(address).await;
    let names: Vec<_> = (0..5_000).map(|n| format!("own-{n}")).collect();
    let mut out = BytesMut::new();
    for (n, name) in names.iter().enumerate() {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            exclusive: n % 2 == 0,
            auto_delete: true,
            nowait: true,
            ..Default::default()
        };
        write_method(1, declare, &mut out);
        let bind = queue::Bind {
            nowait: true,
            ..bind(name, "amq.topic", name)
        };
        write_method(1, bind, &mut out);
        let consume = basic::Consume {
            queue: ShortStr(name.as_bytes()),
            nowait: true,
            ..Default::default()
        };
        write_method(1, consume, &mut out);
    }
    attacker.send(&out).await;
    attacker.goes_on(1).await;
    // Half of it while the client goes, and what is left while the broker goes.
    let close = connection::Close::default();
    let closing = attacker.call(0, close, connection::CloseOk::ID);
    assert!(timeout(Duration::from_secs(10), closing).await.is_ok());
    let mut late = Attacker::on_channel(address).await;
    late.send(&out).await;
    late.goes_on(1).await;
    let stopped = timeout(Duration::from_secs(10), broker.shutdown(PATIENCE)).await;
    assert!(stopped.is_ok(), "a shutdown waits for queues");
    assert_eq!(broker.connection_count(), 0);
}

#[tokio::test]
async fn a_queue_that_is_reached_by_many_ways_gets_one_copy() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("once", &TableBuf::new()).await;
    for (exchange, key) in [
        ("amq.direct", "once"),
        ("amq.direct", "twice"),
        ("amq.topic", "#"),
        ("amq.topic", "*"),
        ("amq.fanout", ""),
    ] {
        attacker
            .call(1, bind("once", exchange, key), queue::BindOk::ID)
            .await;
    }
    for destination in ["amq.topic", "amq.fanout"] {
        let bind = exchange::Bind {
            destination: ShortStr(destination.as_bytes()),
            source: ShortStr(b"amq.direct"),
            routing_key: ShortStr(b"once"),
            ..Default::default()
        };
        attacker.call(1, bind, exchange::BindOk::ID).await;
    }
    let keys: ArrayBuf = [Value::LongStr(b"twice"), Value::LongStr(b"once")]
        .into_iter()
        .collect();
    let headers = one("CC", Value::Array(keys.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    attacker
        .publish_to("amq.direct", "once", &properties, b"body")
        .await;
    assert_eq!(attacker.get("once").await.unwrap(), b"body");
    assert_eq!(attacker.get("once").await, None);
    drop(attacker);
    arena.ends_empty().await;
}
