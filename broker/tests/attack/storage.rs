//! Numbers 77 to 80, 83, 84 and 86: what is done to disks and memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use leveret::config::StorageConfig;
use leveret::{ApplyTo, Config, Policy, PolicyKind};
use leveret_protocol::client::write_method;
use leveret_protocol::method::{basic, confirm, connection, queue};
use leveret_protocol::{Properties, ShortStr, TableBuf, Value};

use crate::arena::{Arena, impatient};
use crate::attacker::{Attacker, one};
use crate::process::BrokerProcess;
use crate::support::{PATIENCE, start};

/// An empty directory for one test.
pub(crate) fn empty_directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("attack-{test}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A broker on this directory, which is there afterwards.
fn keeping(data_dir: &Path) -> Config {
    Config {
        data_dir: Some(data_dir.to_owned()),
        storage: StorageConfig {
            segment_bytes: SEGMENT_BYTES,
            ..StorageConfig::default()
        },
        ..impatient()
    }
}

/// What somebody does to a file.
pub(crate) type Forgery = dyn Fn(&mut Vec<u8>);

/// The smallest that is allowed, so that little fills many.
const SEGMENT_BYTES: u64 = 65_536;

fn persistent() -> Properties<'static> {
    Properties {
        delivery_mode: Some(2),
        ..Default::default()
    }
}

pub(crate) fn durable<'a>(name: &'a str, arguments: &'a TableBuf) -> queue::Declare<'a> {
    queue::Declare {
        queue: ShortStr(name.as_bytes()),
        durable: true,
        arguments: arguments.view(),
        ..Default::default()
    }
}

fn delete(name: &str) -> queue::Delete<'_> {
    queue::Delete {
        queue: ShortStr(name.as_bytes()),
        ..Default::default()
    }
}

pub(crate) async fn confirming(address: SocketAddr) -> Attacker {
    let mut attacker = Attacker::on_channel(address).await;
    let select = confirm::Select::default();
    attacker.call(1, select, confirm::SelectOk::ID).await;
    attacker
}

/// Publishes and waits until it is safe.
pub(crate) async fn keep(attacker: &mut Attacker, queue: &str, body: &[u8]) {
    attacker.publish(queue, &persistent(), body).await;
    attacker.expect(basic::Ack::ID).await;
}

pub(crate) fn files(directory: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let described = entries.map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, entry.metadata().unwrap().len())
    });
    described.collect()
}

#[tokio::test]
async fn n077_a_disk_that_is_nearly_full_holds_publishers_up_and_nobody_else() {
    let data_dir = empty_directory("n077");
    let mut config = keeping(&data_dir);
    let (broker, address) = start(config.clone()).await;
    let mut attacker = confirming(address).await;
    let none = TableBuf::new();
    attacker
        .call(1, durable("q", &none), queue::DeclareOk::ID)
        .await;
    keep(&mut attacker, "q", b"before").await;
    drop(attacker);
    broker.shutdown(PATIENCE).await;
    // There is never as much room as is asked for now.
    config.storage.disk_free_min_bytes = i64::MAX as u64;
    let (broker, address) = start(config).await;
    let mut publisher = confirming(address).await;
    // The disk is looked at now and then, so the first may pass.
    while {
        publisher.publish("q", &persistent(), b"more").await;
        let frame = publisher.next().await.unwrap();
        frame.method().unwrap().id() != connection::Blocked::ID
    } {}
    let mut consumer = Attacker::on_channel(address).await;
    assert_eq!(consumer.get("q").await.unwrap(), b"before");
    consumer
        .call(1, durable("another", &none), queue::DeclareOk::ID)
        .await;
    consumer
        .call(1, delete("another"), queue::DeleteOk::ID)
        .await;
    drop(publisher);
    drop(consumer);
    broker.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn n078_ten_thousand_queues_are_no_files_and_leave_none() {
    let data_dir = empty_directory("n078");
    let segment = format!("storage.segment_bytes={SEGMENT_BYTES}");
    let command = BrokerProcess::command(&data_dir, &[&segment]);
    let broker = BrokerProcess::started(command);
    let mut attacker = confirming(broker.address).await;
    let none = TableBuf::new();
    let files_before = broker.open_files();
    let names: Vec<_> = (0..10_000).map(|n| format!("q{n}")).collect();
    for names in names.chunks(500) {
        let mut out = BytesMut::new();
        for name in names {
            let declare = queue::Declare {
                nowait: true,
                ..durable(name, &none)
            };
            write_method(1, declare, &mut out);
        }
        attacker.send(&out).await;
        attacker.goes_on(1).await;
        broker.serves().await;
    }
    // A message in each of some, so that not only the catalog knows them.
    for name in &names[..100] {
        keep(&mut attacker, name, b"body").await;
    }
    let open = broker.open_files() - files_before;
    assert!(open < 20, "{open} files are open for queues");
    let kept = files(&data_dir);
    assert!(kept.len() < 100, "{} files for queues", kept.len());
    for names in names.chunks(500) {
        let mut out = BytesMut::new();
        for name in names {
            let delete = queue::Delete {
                nowait: true,
                ..delete(name)
            };
            write_method(1, delete, &mut out);
        }
        attacker.send(&out).await;
        attacker.goes_on(1).await;
    }
    // An answer that waits for the disk shows that all before it is there.
    attacker
        .call(1, durable("last", &none), queue::DeclareOk::ID)
        .await;
    drop(attacker);
    broker.kill();
    let command = BrokerProcess::command(&data_dir, &[&segment]);
    let broker = BrokerProcess::started(command);
    broker.serves().await;
    let mut reader = Attacker::on_channel(broker.address).await;
    let gone = queue::Declare {
        passive: true,
        ..durable("q0", &none)
    };
    reader.method(1, gone).await;
    reader.closed_channel(404, "no queue 'q0'").await;
    broker.kill();
}

#[tokio::test]
async fn n079_one_message_that_stays_does_not_hold_on_to_all_that_came_after_it() {
    let data_dir = empty_directory("n079");
    let mut arena = Arena::with(keeping(&data_dir)).await;
    let mut attacker = confirming(arena.address).await;
    let none = TableBuf::new();
    for name in ["stays", "passes"] {
        attacker
            .call(1, durable(name, &none), queue::DeclareOk::ID)
            .await;
    }
    let body = vec![7; 8_000];
    // Four mebibytes through sixty-four kibibytes, with one of each segment's worth that stays.
    for round in 0..500 {
        if round % 50 == 0 {
            keep(&mut attacker, "stays", b"stays").await;
        }
        keep(&mut attacker, "passes", &body).await;
        assert_eq!(attacker.get("passes").await.unwrap().len(), body.len());
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
    let kept: u64 = files(&data_dir).iter().map(|(_, len)| len).sum();
    assert!(
        kept < 24 * SEGMENT_BYTES,
        "{kept} bytes for ten small messages"
    );
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    for _ in 0..10 {
        assert_eq!(reader.get("stays").await.unwrap(), b"stays");
    }
    assert_eq!(reader.get("stays").await, None);
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n080_a_queue_declared_again_at_once_is_another_queue() {
    let data_dir = empty_directory("n080");
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut attacker = confirming(arena.address).await;
    let none = TableBuf::new();
    for round in 0..50_u8 {
        attacker
            .call(1, durable("again", &none), queue::DeclareOk::ID)
            .await;
        keep(&mut attacker, "again", &[round]).await;
        let get = basic::Get {
            queue: ShortStr(b"again"),
            ..Default::default()
        };
        attacker.method(1, get).await;
        assert_eq!(attacker.message().await.1, [round]);
        attacker.call(1, delete("again"), queue::DeleteOk::ID).await;
        attacker
            .call(1, durable("again", &none), queue::DeclareOk::ID)
            .await;
        keep(&mut attacker, "again", &[round, round]).await;
        // An ack of a message of the old queue, which must not settle the new one's.
        let ack = basic::Ack {
            delivery_tag: u64::from(round) + 1,
            multiple: false,
        };
        attacker.method(1, ack).await;
        attacker.goes_on(1).await;
        if round < 49 {
            attacker.call(1, delete("again"), queue::DeleteOk::ID).await;
        }
    }
    drop(attacker);
    arena.ends_empty().await;
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    assert_eq!(reader.get("again").await.unwrap(), [49, 49]);
    assert_eq!(reader.get("again").await, None);
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n083_messages_of_every_size_around_a_segments_end() {
    let data_dir = empty_directory("n083");
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut attacker = confirming(arena.address).await;
    let none = TableBuf::new();
    let longest = "k".repeat(255);
    for name in ["sized", &longest] {
        attacker
            .call(1, durable(name, &none), queue::DeclareOk::ID)
            .await;
    }
    let segment = SEGMENT_BYTES as usize;
    // Nothing, a byte, all around a segment's size and several times that; then many that together end
    // at every place of a segment, so that heads of records lie across its end.
    let mut sizes = vec![0, 1, 3 * segment, 10 * segment];
    sizes.extend((segment - 600..segment + 100).step_by(7));
    sizes.extend((0..200).map(|n| 997 + n));
    for (n, size) in sizes.iter().enumerate() {
        let body = vec![n as u8; *size];
        keep(&mut attacker, "sized", &body).await;
        if n % 50 == 0 {
            keep(&mut attacker, &longest, &body).await;
        }
    }
    drop(attacker);
    arena.ends_empty().await;
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    for (n, size) in sizes.iter().enumerate() {
        let body = vec![n as u8; *size];
        assert!(
            reader.get("sized").await.unwrap() == body,
            "message {n} of {size} bytes"
        );
        if n % 50 == 0 {
            assert!(reader.get(&longest).await.unwrap() == body);
        }
    }
    assert_eq!(reader.get("sized").await, None);
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n084_times_at_both_ends_neither_wrap_nor_fail() {
    let data_dir = empty_directory("n084");
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut attacker = confirming(arena.address).await;
    let longest = 315_360_000_000_i64;
    let ttl = |ms| one("x-message-ttl", Value::I64(ms));
    for (name, ms) in [("never", longest), ("now", 0)] {
        attacker
            .call(1, durable(name, &ttl(ms)), queue::DeclareOk::ID)
            .await;
        keep(&mut attacker, name, b"body").await;
    }
    // A policy may say what no argument may; added to now it must not come out in the past.
    let definition = [("message-ttl", i64::MAX), ("expires", i64::MAX)];
    let policy = Policy::new(
        PolicyKind::User,
        "late",
        "^late$",
        ApplyTo::Queues,
        0,
        definition,
    );
    arena.broker.set_policy("/", policy.unwrap()).unwrap();
    let none = TableBuf::new();
    attacker
        .call(1, durable("late", &none), queue::DeclareOk::ID)
        .await;
    let expiring = Properties {
        delivery_mode: Some(2),
        expiration: Some(ShortStr(b"315360000000")),
        ..Default::default()
    };
    attacker.publish("late", &expiring, b"body").await;
    attacker.expect(basic::Ack::ID).await;
    drop(attacker);
    arena.ends_empty().await;
    let arena = Arena::with(keeping(&data_dir)).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    assert_eq!(reader.get("now").await, None);
    for name in ["never", "late"] {
        assert_eq!(reader.get(name).await.unwrap(), b"body", "{name}");
    }
    drop(reader);
    arena.ends_empty().await;
}

/// Nothing that a peer or a file sends is ever inflated, so there is nothing to bound: no library that
/// could do it is in what the broker is made of.
#[test]
fn n086_nothing_decompresses_what_comes_from_outside() {
    let inflating = [
        "brotli",
        "brotli-decompressor",
        "bzip2",
        "flate2",
        "lz4",
        "lz4_flex",
        "lzma-rs",
        "miniz_oxide",
        "ruzstd",
        "snap",
        "xz2",
        "zip",
        "zlib-rs",
        "zstd",
    ];
    let packages = crate::lock_file::packages_of("leveret");
    let found: Vec<_> = inflating
        .iter()
        .filter(|name| packages.contains_key(**name))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
