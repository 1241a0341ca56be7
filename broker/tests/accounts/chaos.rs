//! A vhost and a user that are made and deleted again and again, under clients that do everything in them.
//!
//! Whatever they are told is one of the few things that may be said; nothing panics, nothing is left behind,
//! and a vhost that is there in the end works.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use leveret::Broker;
use leveret_protocol::Method;
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::method::connection::Method as Connection;
use leveret_protocol::method::{basic, channel, confirm, connection, queue};
use leveret_protocol::{LongStr, ShortStr};
use leveret_storage::disk::RealDisk;
use leveret_storage::inspect;
use tokio::io::AsyncWriteExt as _;

use crate::session::{consume, durable, open, publish, write_publish};
use crate::support::{Client, PATIENCE, start};
use crate::{add_user, add_vhost, directory, keeping};

const ROUNDS: usize = 40;
const CLIENTS: usize = 6;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// What connections were closed with.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    opened: AtomicU64,
    closes: Mutex<BTreeSet<(u16, String)>>,
}

/// Sends a handshake and a load of everything at once, and reads whatever comes until the end.
async fn live(address: SocketAddr, number: usize, seen: Arc<Seen>) {
    while !seen.is_over.load(Ordering::Relaxed) {
        let mut client = Client::connect(address).await;
        let mut out = BytesMut::new();
        write_handshake(&mut out);
        write_load(number, &mut out);
        if client.stream.write_all(&out).await.is_err() {
            continue;
        }
        read_to_the_end(&mut client, &seen).await;
    }
}

fn write_handshake(out: &mut BytesMut) {
    write_protocol_header(out);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0ada\0ada"),
        ..Default::default()
    };
    write_method(0, start_ok, out);
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, out);
    let open = connection::Open {
        virtual_host: ShortStr(b"v"),
        ..Default::default()
    };
    write_method(0, open, out);
}

fn write_load(number: usize, out: &mut BytesMut) {
    write_method(1, channel::Open::default(), out);
    write_method(1, confirm::Select::default(), out);
    for round in 0..20 {
        let name = format!("q{}", (number + round) % 4);
        let queue = ShortStr(name.as_bytes());
        write_method(1, durable(&name), out);
        let bind = queue::Bind {
            queue,
            exchange: ShortStr(b"amq.fanout"),
            ..Default::default()
        };
        write_method(1, bind, out);
        (0..5).for_each(|_| write_publish(1, &name, out));
        let consume = basic::Consume {
            queue,
            no_ack: round % 2 == 0,
            ..Default::default()
        };
        write_method(1, consume, out);
        if round % 7 == 6 {
            let delete = queue::Delete {
                queue,
                ..Default::default()
            };
            write_method(1, delete, out);
        }
    }
}

async fn read_to_the_end(client: &mut Client, seen: &Seen) {
    let mut is_closing = false;
    loop {
        let received = client.decoder.next_frame().unwrap();
        let Some(frame) = received else {
            use tokio::io::AsyncReadExt as _;
            let read = client.stream.read_buf(client.decoder.buffer_mut());
            let read = tokio::time::timeout(std::time::Duration::from_millis(20), read).await;
            match read {
                Ok(Ok(1..)) => continue,
                Ok(_) => return,
                // It has had its fill; it ends in whatever state it is.
                Err(_) if seen.opened.load(Ordering::Relaxed).is_multiple_of(3) => return,
                Err(_) if is_closing || seen.is_over.load(Ordering::Relaxed) => return,
                Err(_) => continue,
            }
        };
        let Ok(method) = frame.method() else { continue };
        match method {
            Method::Connection(Connection::OpenOk(_)) => {
                seen.opened.fetch_add(1, Ordering::Relaxed);
            }
            Method::Connection(Connection::Close(close)) => {
                let text = close.reply_text.to_text().into_owned();
                let mut closes = seen.closes.lock().unwrap();
                closes.insert((close.reply_code, text));
                is_closing = true;
            }
            Method::Channel(channel::Method::Close(close)) => {
                let text = close.reply_text.to_text().into_owned();
                let mut closes = seen.closes.lock().unwrap();
                closes.insert((close.reply_code, text));
            }
            _ => {}
        }
    }
}

async fn make_and_delete(broker: &Broker, seen: &Seen) {
    for round in 0..ROUNDS {
        let before = seen.opened.load(Ordering::Relaxed);
        add_vhost(broker, "v").await;
        add_user(broker, "ada", "v").await;
        // Until somebody is in, or they would only ever be refused.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while seen.opened.load(Ordering::Relaxed) < before + 2 {
            assert!(tokio::time::Instant::now() < deadline, "nobody comes in");
            tokio::task::yield_now().await;
        }
        if round % 3 == 0 {
            broker.delete_user("ada").await.unwrap();
        }
        broker.delete_vhost("v").await.unwrap();
    }
}

fn may_be_said(code: u16, text: &str) -> bool {
    let texts: &[&str] = match code {
        320 => &["vhost 'v' is deleted", "user 'ada' is deleted"],
        // Another client has deleted the queue.
        404 => &["no queue 'q"],
        530 => &[
            "vhost v not found",
            "access to vhost 'v' refused for user 'ada'",
        ],
        // The user's permissions have gone with the vhost, and it opens a channel all the same.
        403 => &["access to queue 'q", "access to exchange '"],
        _ => &[],
    };
    texts.iter().any(|one| text.contains(one))
}

fn check_what_was_said(seen: &Seen) {
    let closes = seen.closes.lock().unwrap();
    for (code, text) in &*closes {
        assert!(may_be_said(*code, text), "{code} {text}");
    }
    assert!(closes.iter().any(|(code, _)| *code == 320), "{closes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rel_44_a_vhost_and_a_user_can_go_at_any_moment() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Other tests fail on threads of their own names.
        if std::thread::current().name() == Some("tokio-rt-worker") {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        usual(info);
    }));
    let directory = directory("chaos");
    let (broker, address) = start(keeping(&directory)).await;
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(live(address, number, Arc::clone(&seen))))
        .collect();
    make_and_delete(&broker, &seen).await;
    seen.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        tokio::time::timeout(PATIENCE, client)
            .await
            .unwrap()
            .unwrap();
    }
    check_what_was_said(&seen);
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);

    add_vhost(&broker, "v").await;
    add_user(&broker, "ada", "v").await;
    let mut client = open(address, "ada", "v").await;
    consume(&mut client, 1, "q").await;
    publish(&mut client, 1, "q").await;
    client.expect(basic::Deliver::ID).await;
    broker.delete_vhost("v").await.unwrap();
    broker.shutdown(PATIENCE).await;
    drop(broker);
    let report = inspect::verify(&RealDisk::open_read_only(&directory).unwrap()).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert_eq!((report.logs, report.messages), (0, 0));
    let of_v = |(key, _): &&(Vec<u8>, Vec<u8>)| key.windows(5).any(|part| part == b"\x01\0\0\0v");
    let left: Vec<_> = report.catalog.iter().filter(of_v).collect();
    assert!(left.is_empty(), "{left:?}");
}
