//! `leveret perf` from outside: its figures against what a broker in this process really holds.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use bytes::BytesMut;
use leveret::{Broker, Config};
use leveret_protocol::client::write_method;
use leveret_protocol::method::queue::{self, Method as Queue};
use leveret_protocol::method::{basic, channel};
use leveret_protocol::{Method, Properties, ShortStr};
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use support::{Client, PATIENCE, start};

fn perf(address: SocketAddr, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.env_clear().arg("perf").args(line.split(' '));
    command.env("AMQP_URL", format!("amqp://guest:guest@{address}/"));
    command
}

async fn run(address: SocketAddr, line: &str) -> Output {
    let mut command = perf(address, line);
    let output = spawn_blocking(move || command.output().unwrap());
    timeout(PATIENCE, output).await.unwrap().unwrap()
}

/// What a successful case prints.
async fn figures(address: SocketAddr, line: &str) -> String {
    let output = run(address, line).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of a case that fails.
async fn refused(address: SocketAddr, line: &str) -> String {
    let output = run(address, line).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn assert_has(figures: &str, fields: &[&str]) {
    for field in fields {
        assert!(figures.contains(field), "{field} is not in {figures}");
    }
}

async fn broker() -> (Broker, SocketAddr) {
    start(Config::default()).await
}

async fn client(address: SocketAddr) -> Client {
    let mut client = Client::open(address).await;
    let open = channel::Open::default();
    client.call(1, open, channel::OpenOk::ID).await;
    client
}

async fn send<'m>(client: &mut Client, method: impl Into<Method<'m>>) {
    let mut out = BytesMut::new();
    write_method(1, method, &mut out);
    client.stream.write_all(&out).await.unwrap();
}

/// How many messages each of the first queues of a prefix holds.
async fn counts(client: &mut Client, prefix: &str, queues: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    for index in 0..queues {
        let name = format!("{prefix}-{index}");
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            passive: true,
            ..Default::default()
        };
        send(client, declare).await;
        let count = client.next(|method| match method {
            Method::Queue(Queue::DeclareOk(declared)) => declared.message_count,
            other => panic!("{other:?}"),
        });
        counts.push(count.await.unwrap());
    }
    counts
}

#[tokio::test]
async fn publish_counts_what_the_queues_hold() {
    let (_broker, address) = broker().await;
    let line = "publish --messages 700 --publishers 2 --queues 3 --in-flight 7 --size 100 \
                --persistent --keep --prefix p --format json";
    let figures = figures(address, line).await;
    let expected = [
        r#""case":"publish""#,
        &format!(r#""target":"{address}""#),
        r#""publishers":2,"queues":3,"in_flight":7,"size":100,"persistent":true"#,
        r#""confirmed":700,"nacked":0"#,
    ];
    assert_has(&figures, &expected);
    let mut client = client(address).await;
    // One begins with the first queue, the other with the second: 350 = 117 + 117 + 116.
    assert_eq!(counts(&mut client, "p", 3).await, [233, 234, 233]);
    let get = basic::Get {
        queue: ShortStr(b"p-0"),
        ..Default::default()
    };
    client.call(1, get, basic::GetOk::ID).await;
    let frame = client.next_frame().await;
    let header = frame.header().unwrap();
    assert_eq!(header.body_size, 100);
    let properties = Properties::parse(header.properties).unwrap();
    assert_eq!(properties.delivery_mode, Some(2));
}

#[tokio::test]
async fn publish_ends_with_its_time_and_deletes_its_queues() {
    let (_broker, address) = broker().await;
    let figures = figures(address, "publish --seconds 1 --size 0 --queues 2").await;
    assert_has(&figures, &["messages_per_s", "p999_us"]);
    let missing = refused(address, "drain --queues 2 --prefix leveret-perf-publish").await;
    assert_has(&missing, &[&address.to_string(), "404 NOT_FOUND"]);
}

#[tokio::test]
async fn a_backlog_is_filled_waited_for_and_drained() {
    let (_broker, address) = broker().await;
    let filled = figures(address, "fill --messages 500 --queues 2 --format json").await;
    assert_has(&filled, &[r#""confirmed":500"#, r#""persistent":true"#]);
    let waited = figures(address, "wait --queues 2 --format json").await;
    assert_has(&waited, &[r#""messages":500"#]);
    // 7 does not divide 500: the rest must be acknowledged at the end.
    let line = "drain --queues 2 --consumers 3 --ack-every 7 --prefetch 7 --format json";
    let drained = figures(address, line).await;
    let expected = [
        r#""messages":500,"redelivered":0,"megabytes":0.5"#,
        r#""ack_every":7"#,
    ];
    assert_has(&drained, &expected);
    let mut client = client(address).await;
    assert_eq!(counts(&mut client, "leveret-perf-backlog", 2).await, [0, 0]);
    let again = figures(address, "drain --queues 2 --delete --format json").await;
    assert_has(&again, &[r#""messages":0"#]);
    let missing = refused(address, "drain").await;
    assert_has(&missing, &["404 NOT_FOUND"]);
}

#[tokio::test]
async fn automatic_acknowledgement_empties_queues_too() {
    let (_broker, address) = broker().await;
    figures(address, "fill --messages 300 --size 200000 --in-flight 20").await;
    let drained = figures(address, "drain --ack-every 0 --format json").await;
    assert_has(&drained, &[r#""messages":300"#, r#""megabytes":60.0"#]);
}

#[tokio::test]
async fn errors_name_the_address_and_the_brokers_text() {
    let (_broker, address) = broker().await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nowhere = nobody.local_addr().unwrap();
    drop(nobody);
    let error = refused(nowhere, "publish").await;
    assert_has(&error, &[&format!("leveret: cannot connect to {nowhere}")]);
    let line = format!("publish --uri amqp://guest:wrong@{address}");
    let error = refused(address, &line).await;
    assert_has(&error, &[&address.to_string(), "403 ACCESS_REFUSED"]);
    let line = format!("wait --uri amqp://{address}/none --queues 0");
    let error = refused(address, &line).await;
    assert_has(&error, &[&address.to_string(), "530 NOT_ALLOWED", "none"]);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let error = refused(address, "publish --patience 1").await;
    let expected = format!("{address}: nothing came for 1 s while connection.start was awaited");
    assert_has(&error, &[&expected]);
    let error = refused(address, "wait --seconds 1").await;
    assert_has(&error, &[&format!("{address}: time is up after 1 s")]);
}

#[tokio::test]
async fn a_fill_that_is_not_complete_in_time_is_an_error() {
    let (_broker, address) = broker().await;
    // One at a time over one connection is far from a billion in a second.
    let line = "fill --messages 1000000000 --in-flight 1 --seconds 1";
    let error = refused(address, line).await;
    assert_has(&error, &["time is up after 1 s", "of 1000000000 messages"]);
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_ends_it_at_once() {
    // A server that never answers: only the signal can end the wait in time.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = perf(silent.local_addr().unwrap(), "publish --patience 3600");
    let running = command.stderr(Stdio::piped()).spawn().unwrap();
    // Connected means that its signals are installed.
    let accepted = spawn_blocking(move || silent.accept().unwrap());
    let _socket = timeout(PATIENCE, accepted).await.unwrap().unwrap();
    let kill = format!("kill -INT {}", running.id());
    let killed = Command::new("sh").args(["-c", &kill]).status();
    assert!(killed.unwrap().success());
    let ended = spawn_blocking(move || running.wait_with_output().unwrap());
    let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_has(&String::from_utf8_lossy(&ended.stderr), &["SIGINT"]);
}

#[tokio::test]
async fn the_disk_case_measures_every_size_and_leaves_nothing() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("perf_disk");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let line = format!("disk {} --seconds 1 --format json", directory.display());
    let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let figures = figures(unused, &line).await;
    assert_eq!(figures.lines().count(), 6, "{figures}");
    for file in ["written", "reserved"] {
        for size in [1024, 65_536, 1_048_576] {
            assert_has(&figures, &[&format!(r#""file":"{file}","size":{size},"#)]);
        }
    }
    assert!(!figures.contains(r#""writes":0"#), "{figures}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    let missing = format!("disk {}/none", directory.display());
    let error = refused(unused, &missing).await;
    assert_has(&error, &["perf_disk/none/leveret-perf-", "No such file"]);
}
