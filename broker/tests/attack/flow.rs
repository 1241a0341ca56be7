//! Numbers 38 to 42 and 44: floods, clients that do not read, churn, and things deleted meanwhile.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::method::{basic, channel, confirm, connection, exchange, queue};
use leveret_protocol::{Properties, ShortStr, TableBuf};
use tokio::time::timeout;

use crate::arena::{Arena, impatient};
use crate::attacker::{Attacker, FRAME_MAX, Manners, frame, header, method_frame, publish};
use crate::process::BrokerProcess;

/// A write that makes no progress for this long is not being read.
const HELD_UP: Duration = Duration::from_secs(1);

pub(crate) fn consume(queue: &str, no_ack: bool) -> basic::Consume<'_> {
    basic::Consume {
        queue: ShortStr(queue.as_bytes()),
        no_ack,
        ..Default::default()
    }
}

/// Sends this again and again until the broker does not take it any more; says whether that came.
pub(crate) async fn flood_until_held_up(
    attacker: &mut Attacker,
    bytes: &[u8],
    rounds: usize,
) -> bool {
    for _ in 0..rounds {
        let sent = timeout(HELD_UP, attacker.shout(bytes)).await;
        if sent.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn n038_bodies_of_refused_publishes_are_drained_and_not_taken_for_frames() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let internal = exchange::Declare {
        exchange: ShortStr(b"inside"),
        kind: ShortStr(b"fanout"),
        internal: true,
        ..Default::default()
    };
    attacker.call(1, internal, exchange::DeclareOk::ID).await;
    // A body that is a frame: connection.close, if anybody took it for one.
    let inner = method_frame(0, connection::Close::ID, &[0, 200, 0, 0, 0, 0, 0]);
    for (exchange, code, text) in [
        ("missing", 404, "no exchange 'missing'"),
        (
            "inside",
            403,
            "cannot publish to internal exchange 'inside'",
        ),
        (
            "amq.rabbitmq.trace",
            403,
            "cannot publish to internal exchange",
        ),
    ] {
        let mut out = BytesMut::new();
        for _ in 0..3 {
            write_method(1, publish(exchange, "k"), &mut out);
            out.put_slice(&frame(
                2,
                1,
                &header(60, 0, 3 * inner.len() as u64, &[0, 0]),
            ));
            for _ in 0..3 {
                out.put_slice(&frame(3, 1, &inner));
            }
        }
        attacker.send(&out).await;
        let close = attacker.closed_channel(code, text).await;
        assert_eq!(close.culprit, basic::Publish::ID);
        attacker.open_channel(1).await;
        attacker.goes_on(1).await;
        arena.still_serves().await;
    }
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n039_returns_to_a_client_that_does_not_read_are_bounded() {
    let broker = BrokerProcess::start(&[]).await;
    let before = broker.memory_peak_bytes();
    let mut attacker = Attacker::on_channel(broker.address).await;
    let mut flood = BytesMut::new();
    let mandatory = basic::Publish {
        mandatory: true,
        ..publish("", "nobody")
    };
    let body = [7; 1024];
    for _ in 0..100 {
        let properties = Properties::default();
        write_publish(1, mandatory, &properties, &body, FRAME_MAX, &mut flood);
    }
    assert!(
        flood_until_held_up(&mut attacker, &flood, 5_000).await,
        "half a gigabyte was taken from a client that does not read"
    );
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 24 << 20, "{grown} bytes for returned messages");
}

#[tokio::test]
async fn n040_who_never_reads_is_given_up_and_loses_nothing_of_others() {
    let mut arena = Arena::new().await;
    let manners = Manners {
        tune: connection::TuneOk {
            channel_max: 10,
            frame_max: FRAME_MAX,
            heartbeat: 1,
        },
        ..Manners::default()
    };
    let mut publisher = Attacker::on_channel(arena.address).await;
    publisher.declare("unread", &TableBuf::new()).await;
    let body = [7; 10_000];
    for _ in 0..2_000 {
        publisher
            .publish("unread", &Properties::default(), &body)
            .await;
    }
    publisher.goes_on(1).await;
    let mut deaf = Attacker::open_with(arena.address, &manners).await;
    deaf.open_channel(1).await;
    deaf.method(1, consume("unread", false)).await;
    arena.still_serves().await;
    // It says nothing and takes nothing, so its heartbeats end it, and all it was sent is there again.
    // Whoever asks next is held until then, because it is told of the last message.
    publisher
        .call(1, consume("unread", false), basic::ConsumeOk::ID)
        .await;
    for _ in 0..2_000 {
        assert_eq!(publisher.message().await.1.len(), body.len());
    }
    drop(deaf);
    drop(publisher);
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n041_answers_that_nobody_reads_are_bounded() {
    let broker = BrokerProcess::start(&[]).await;
    let before = broker.memory_peak_bytes();
    let mut attacker = Attacker::on_channel(broker.address).await;
    let mut flood = BytesMut::new();
    for _ in 0..1_000 {
        write_method(1, basic::Qos::default(), &mut flood);
    }
    assert!(
        flood_until_held_up(&mut attacker, &flood, 10_000).await,
        "every question was taken of a client that takes no answer"
    );
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 24 << 20, "{grown} bytes for answers");
}

/// Answers about durable things wait for the disk one after the other. A client that has sent many such
/// requests at once hears of all of them, also when it is found to wait for every commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n041_requests_at_once_that_have_to_be_stored_are_all_answered() {
    let config = leveret::Config {
        data_dir: Some(crate::storage::empty_directory("n041")),
        ..impatient()
    };
    let mut arena = Arena::with(config).await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let names: Vec<_> = (0..200).map(|n| format!("stored-{n}")).collect();
    let mut out = BytesMut::new();
    for name in &names {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            durable: true,
            ..Default::default()
        };
        write_method(1, declare, &mut out);
    }
    attacker.send(&out).await;
    for _ in &names {
        attacker.expect(queue::DeclareOk::ID).await;
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n042_as_many_channels_as_there_are_numbers() {
    let broker = BrokerProcess::start(&["channel_max=0", "memory_reserve_bytes=268435456"]).await;
    let before = broker.memory_peak_bytes();
    let mut manners = Manners::default();
    manners.tune.channel_max = 0;
    for _ in 0..2 {
        let mut attacker = Attacker::open_with(broker.address, &manners).await;
        for numbers in (1..=u16::MAX).collect::<Vec<_>>().chunks(1_000) {
            let mut out = BytesMut::new();
            for number in numbers {
                write_method(*number, channel::Open::default(), &mut out);
            }
            attacker.send(&out).await;
            for _ in numbers {
                attacker.expect(channel::OpenOk::ID).await;
            }
        }
        broker.serves().await;
    }
    // Two kilobytes each, and those of the first connection are used by the second.
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 2 * 65_535 * 2_048, "{grown} bytes for channels");
}

#[tokio::test]
async fn n042_channels_that_come_and_go_leave_nothing() {
    let broker = BrokerProcess::start(&[]).await;
    let mut attacker = Attacker::open(broker.address).await;
    let churn = |numbers: std::ops::Range<u16>| {
        let mut out = BytesMut::new();
        for number in numbers {
            write_method(number, channel::Open::default(), &mut out);
            write_method(number, confirm::Select::default(), &mut out);
            write_method(number, channel::Close::default(), &mut out);
        }
        out
    };
    let mut before = 0;
    for round in 0..20 {
        attacker.send(&churn(1..1_001)).await;
        for _ in 0..1_000 {
            attacker.expect(channel::OpenOk::ID).await;
            attacker.expect(confirm::SelectOk::ID).await;
            attacker.expect(channel::CloseOk::ID).await;
        }
        if round == 4 {
            before = broker.memory_peak_bytes();
        }
    }
    let grown = broker.memory_peak_bytes() - before;
    assert!(
        grown < 4 << 20,
        "{grown} bytes for channels that are closed"
    );
    broker.serves().await;
}

#[tokio::test]
async fn n042_connections_that_come_and_go_leave_nothing() {
    let broker = BrokerProcess::start(&["failed_login_delay_ms=0"]).await;
    let files = broker.open_files();
    let mut before = 0;
    for round in 0..10 {
        for _ in 0..50 {
            // Rude, then polite.
            drop(Attacker::on_channel(broker.address).await);
            let mut polite = Attacker::on_channel(broker.address).await;
            let close = connection::Close::default();
            polite.call(0, close, connection::CloseOk::ID).await;
            drop(Attacker::greeted(broker.address).await);
        }
        if round == 2 {
            before = broker.memory_peak_bytes();
        }
    }
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(
        grown < 4 << 20,
        "{grown} bytes for connections that are gone"
    );
    // The last of them may still be on their way out.
    let left = broker.open_files() - files;
    assert!(left < 20, "{left} descriptors are left");
}

/// What is declared, bound, published to, consumed from and deleted by everybody at once.
async fn meddle(mut attacker: Attacker, rounds: usize, seed: usize) {
    let queues = ["m0", "m1", "m2"];
    let mut out = BytesMut::new();
    for round in 0..rounds {
        let name = queues[(round + seed) % queues.len()];
        let queue = ShortStr(name.as_bytes());
        write_method(1, exchange_declare(), &mut out);
        write_method(1, queue_declare(queue), &mut out);
        match (round * 7 + seed) % 5 {
            0 => write_method(1, queue_bind(queue), &mut out),
            1 => write_method(1, queue_delete(queue), &mut out),
            2 => write_method(1, exchange_delete(), &mut out),
            3 => write_method(1, consume(name, true), &mut out),
            _ => write_method(
                1,
                basic::Get {
                    queue,
                    no_ack: true,
                    ..Default::default()
                },
                &mut out,
            ),
        }
        let properties = Properties::default();
        write_publish(
            1,
            publish("meddled", name),
            &properties,
            b"body",
            FRAME_MAX,
            &mut out,
        );
        write_publish(
            1,
            publish("", name),
            &properties,
            b"body",
            FRAME_MAX,
            &mut out,
        );
        write_method(1, basic::Qos::default(), &mut out);
        attacker.send(&out.split()).await;
        if !settled(&mut attacker).await {
            attacker.open_channel(1).await;
        }
    }
}

/// Reads until the channel has answered everything; false if it was closed for what had gone meanwhile.
async fn settled(attacker: &mut Attacker) -> bool {
    loop {
        let frame = attacker.next().await.expect("the connection goes on");
        let Ok(method) = frame.method() else {
            continue;
        };
        match method {
            leveret_protocol::Method::Basic(basic::Method::QosOk(_)) => return true,
            leveret_protocol::Method::Channel(channel::Method::Close(close)) => {
                assert_eq!(close.reply_code, 404, "{close:?}");
                let close_ok = method_frame(1, channel::CloseOk::ID, &[]);
                attacker.send(&close_ok).await;
                return false;
            }
            method => assert_ne!(method.id(), connection::Close::ID, "{method:?}"),
        }
    }
}

fn exchange_declare() -> exchange::Declare<'static> {
    exchange::Declare {
        exchange: ShortStr(b"meddled"),
        kind: ShortStr(b"topic"),
        nowait: true,
        ..Default::default()
    }
}

fn exchange_delete() -> exchange::Delete<'static> {
    exchange::Delete {
        exchange: ShortStr(b"meddled"),
        nowait: true,
        ..Default::default()
    }
}

fn queue_declare(queue: ShortStr<'_>) -> queue::Declare<'_> {
    queue::Declare {
        queue,
        nowait: true,
        ..Default::default()
    }
}

fn queue_delete(queue: ShortStr<'_>) -> queue::Delete<'_> {
    queue::Delete {
        queue,
        nowait: true,
        ..Default::default()
    }
}

fn queue_bind(queue: ShortStr<'_>) -> queue::Bind<'_> {
    queue::Bind {
        queue,
        exchange: ShortStr(b"meddled"),
        routing_key: ShortStr(b"#"),
        nowait: true,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn n044_deleting_what_others_use_is_404_at_most() {
    let mut arena = Arena::new().await;
    let mut meddlers = Vec::new();
    for seed in 0..6 {
        let attacker = Attacker::on_channel(arena.address).await;
        meddlers.push(tokio::spawn(meddle(attacker, 300, seed)));
    }
    for meddler in meddlers {
        arena.still_serves().await;
        meddler.await.unwrap();
    }
    let mut last = Attacker::on_channel(arena.address).await;
    for name in ["m0", "m1", "m2"] {
        let delete = queue_delete(ShortStr(name.as_bytes()));
        last.method(1, delete).await;
    }
    last.method(1, exchange_delete()).await;
    last.goes_on(1).await;
    drop(last);
    arena.ends_empty().await;
}
