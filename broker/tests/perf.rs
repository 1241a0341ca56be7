//! `leveret perf` from outside: its figures against what a broker in this process really holds.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/json.rs"]
mod json;
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use leveret::{Broker, Config};
use leveret_protocol::client::write_method;
use leveret_protocol::method::queue::{self, Method as Queue};
use leveret_protocol::method::{basic, channel};
use leveret_protocol::{Method, Properties, ShortStr};
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use json::Json;
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

/// The one object of a load or of pinging, and not a word on standard error.
async fn object(address: SocketAddr, line: &str) -> Json {
    let output = run(address, &format!("{line} --format json --quiet")).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && error.is_empty(),
        "{line}: {error}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    Json::of(&text)
}

/// Content header and body length of the next message of a queue.
async fn first_message(client: &mut Client, queue: &str) -> (u64, bytes::Bytes) {
    let get = basic::Get {
        queue: ShortStr(queue.as_bytes()),
        ..Default::default()
    };
    client.call(1, get, basic::GetOk::ID).await;
    let frame = client.next_frame().await;
    let header = frame.header().unwrap();
    let found = (
        header.body_size,
        bytes::Bytes::copy_from_slice(header.properties),
    );
    let mut left = found.0 as usize;
    while left > 0 {
        left -= client.next_frame().await.payload.len();
    }
    found
}

async fn is_there(address: SocketAddr, queue: &str) -> bool {
    let mut client = client(address).await;
    let declare = queue::Declare {
        queue: ShortStr(queue.as_bytes()),
        passive: true,
        ..Default::default()
    };
    send(&mut client, declare).await;
    client.next_id().await == queue::DeclareOk::ID
}

#[tokio::test]
async fn what_is_published_is_received_and_everything_is_deleted() {
    let (_broker, address) = broker().await;
    let line = "--messages 50001 --publishers 2 --consumers 3 --queues 2";
    let figures = object(address, line).await;
    let expected = [
        "ack",
        "bindings",
        "case",
        "confirm",
        "confirm_latency",
        "confirmed",
        "confirmed_per_s",
        "consumers",
        "cpu_seconds",
        "ended",
        "exchange_type",
        "latency",
        "nacked",
        "persistent",
        "prefetch",
        "properties",
        "published",
        "published_per_s",
        "publishers",
        "queues",
        "rate",
        "received",
        "received_per_s",
        "redelivered",
        "seconds",
        "size",
        "target",
    ];
    assert_eq!(figures.names(), expected);
    let counts = ["published", "received", "redelivered"].map(|name| figures.number(name));
    assert_eq!(counts, [50_001.0, 50_001.0, 0.0]);
    assert_eq!(
        (figures.text("case"), figures.text("ended")),
        ("load", "messages")
    );
    let latency = figures.at("latency");
    let bands = latency.list("histogram");
    let samples: f64 = bands.iter().map(|band| band.number("count")).sum();
    assert!(samples > 0.0 && samples == latency.number("samples"));
    assert!(latency.number("p50_us") <= latency.number("p999_us"));
    assert!(!is_there(address, "leveret-perf-0").await);
}

#[tokio::test]
async fn every_exchange_type_delivers_every_message_to_its_queues() {
    let (_broker, address) = broker().await;
    for (options, received) in [
        ("--exchange-type direct --queues 3", 500.0),
        ("--exchange-type direct --queues 3 --bindings 10", 500.0),
        ("--exchange-type topic --queues 3 --bindings 40", 500.0),
        ("--exchange-type headers --queues 3 --bindings 7", 500.0),
        ("--exchange-type fanout --queues 3", 1_500.0),
    ] {
        let line = format!("{options} --messages 500 --size 8 --confirm 100");
        let figures = object(address, &line).await;
        assert_eq!(figures.number("received"), received, "{options}");
        assert_eq!(figures.number("confirmed"), 500.0, "{options}");
    }
}

#[tokio::test]
async fn bindings_spread_messages_over_the_queues() {
    let (_broker, address) = broker().await;
    let line = "--exchange-type topic --queues 2 --bindings 5 --messages 50 --consumers 0 --keep";
    object(address, line).await;
    let mut client = client(address).await;
    // Bindings 0, 2 and 4 lead to the first queue.
    assert_eq!(counts(&mut client, "leveret-perf", 2).await, [30, 20]);
}

#[tokio::test]
async fn messages_are_as_persistent_as_large_and_as_adorned_as_told() {
    let (_broker, address) = broker().await;
    let line =
        "--messages 3 --consumers 0 --keep --prefix full --size 200000 --persistent --properties";
    object(address, line).await;
    let mut client = client(address).await;
    let (size, properties) = first_message(&mut client, "full-0").await;
    let properties = Properties::parse(&properties).unwrap();
    assert_eq!((size, properties.delivery_mode), (200_000, Some(2)));
    assert!(properties.content_type.is_some() && properties.message_id.is_some());
    assert!(properties.timestamp.is_some());
    assert_eq!(properties.headers.unwrap().entries().count(), 2);
    let line = "--messages 3 --consumers 0 --keep --prefix plain";
    object(address, line).await;
    let (size, properties) = first_message(&mut client, "plain-0").await;
    let properties = Properties::parse(&properties).unwrap();
    assert_eq!((size, properties), (16, Properties::default()));
    // Declaring a queue otherwise than it is would close the channel.
    for (queue, durable) in [("full-0", true), ("plain-0", false)] {
        let declare = queue::Declare {
            queue: ShortStr(queue.as_bytes()),
            durable,
            ..Default::default()
        };
        client.call(1, declare, queue::DeclareOk::ID).await;
    }
}

#[tokio::test]
async fn without_publishers_it_consumes_what_is_there_and_leaves_the_queue() {
    let (_broker, address) = broker().await;
    let missing = refused(address, "--publishers 0 --messages 1").await;
    assert_has(&missing, &["404 NOT_FOUND", "leveret-perf-0"]);
    object(address, "--messages 300 --consumers 0 --keep").await;
    let refusal = refused(address, "--messages 1").await;
    let expected = "queue leveret-perf-0 holds 300 messages already";
    assert_has(&refusal, &[&address.to_string(), expected]);
    let figures = object(address, "--publishers 0 --messages 300 --ack 7").await;
    assert_eq!(figures.number("received"), 300.0);
    assert_eq!(figures.at("latency"), &Json::Null);
    let mut client = client(address).await;
    // 7 does not divide 300: the rest is acknowledged at the end.
    assert_eq!(counts(&mut client, "leveret-perf", 1).await, [0]);
}

#[tokio::test]
async fn every_way_to_acknowledge_frees_the_prefetch() {
    let (_broker, address) = broker().await;
    for how in [
        "auto",
        "each --prefetch 1",
        "7 --prefetch 7",
        "each --prefetch 0",
    ] {
        let line = format!("--messages 500 --queues 2 --keep --ack {how}");
        let figures = object(address, &line).await;
        assert_eq!(figures.number("received"), 500.0, "{how}");
        let mut client = client(address).await;
        assert_eq!(
            counts(&mut client, "leveret-perf", 2).await,
            [0, 0],
            "{how}"
        );
    }
}

#[tokio::test]
async fn a_rate_is_not_exceeded_and_every_message_of_it_is_measured() {
    let (_broker, address) = broker().await;
    let figures = object(address, "--rate 100 --publishers 2 --messages 61").await;
    // The last of a publisher's 31 messages is due after 30 hundredths of a second.
    assert!(figures.number("seconds") >= 0.3, "{figures:?}");
    assert_eq!(figures.at("latency").number("samples"), 61.0);
    let figures = object(address, "--rate 200 --warmup 1 --duration 1").await;
    let most = 200.0 * figures.number("seconds") + 2.0;
    let published = figures.number("published");
    assert!(published > 0.0 && published <= most, "{figures:?}");
    assert_eq!(figures.text("ended"), "duration");
}

#[tokio::test]
async fn confirms_are_counted_and_measured_each() {
    let (_broker, address) = broker().await;
    let figures = object(address, "--confirm 10 --messages 1000 --consumers 0").await;
    assert_eq!(figures.number("confirmed"), 1000.0);
    assert_eq!(figures.at("confirm_latency").number("samples"), 1000.0);
    assert_eq!(figures.at("latency"), &Json::Null);
}

#[tokio::test]
async fn a_body_without_room_for_a_stamp_is_not_measured() {
    let (_broker, address) = broker().await;
    for size in [0, 7] {
        let line = format!("--messages 200 --size {size}");
        let figures = object(address, &line).await;
        assert_eq!(figures.number("received"), 200.0);
        assert_eq!(figures.at("latency"), &Json::Null);
    }
    let text = figures(address, "--messages 200 --size 7").await;
    assert_has(&text, &["no latency was measured", "received", "200"]);
}

#[tokio::test]
async fn progress_is_told_while_it_runs_and_a_table_at_the_end() {
    let (_broker, address) = broker().await;
    let output = run(address, "--rate 1000 --duration 2 --confirm 50").await;
    let progress = String::from_utf8(output.stderr).unwrap();
    let expected = [
        "time 1.",
        "published ",
        "confirmed ",
        "latency min/median/p99 ",
    ];
    assert_has(progress.lines().next().unwrap(), &expected);
    let summary = String::from_utf8(output.stdout).unwrap();
    let expected = [
        "ended by duration",
        "p99.9",
        "end to end",
        "confirm  ",
        "######",
    ];
    assert_has(&summary, &expected);
}

#[tokio::test]
async fn ping_measures_every_round_trip() {
    let (_broker, address) = broker().await;
    let figures = object(address, "ping --rate 50 --duration 1 --size 1000").await;
    assert_eq!(figures.text("case"), "ping");
    let received = figures.number("received");
    let most = 50.0 * figures.number("seconds") + 1.0;
    assert!(received > 0.0 && received <= most, "{figures:?}");
    assert_eq!(figures.at("latency").number("samples"), received);
}

#[tokio::test]
async fn a_load_that_cannot_be_says_why() {
    let (_broker, address) = broker().await;
    let error = refused(address, "--uri amqp://nobody.invalid:1").await;
    assert_has(&error, &["leveret: cannot connect to nobody.invalid:1: "]);
    let line = format!("--uri amqp://guest:wrong@{address}");
    let error = refused(address, &line).await;
    assert_has(&error, &[&address.to_string(), "403 ACCESS_REFUSED"]);
    let error = refused(address, "--publishers 0 --consumers 0").await;
    assert_has(&error, &["option --publishers: 0 and --consumers 0"]);
    let declare = queue::Declare {
        queue: ShortStr(b"leveret-perf-0"),
        durable: true,
        ..Default::default()
    };
    client(address)
        .await
        .call(1, declare, queue::DeclareOk::ID)
        .await;
    let error = refused(address, "--quiet --messages 1").await;
    assert_has(&error, &["406 PRECONDITION_FAILED", "durable"]);
    let wait = "--publishers 0 --messages 5 --patience 1 --quiet";
    let error = refused(address, wait).await;
    let expected = "nothing came for 1 s while more (0 published, 0 of 5 received) was awaited";
    assert_has(&error, &[&address.to_string(), expected]);
    assert!(is_there(address, "leveret-perf-0").await);
}

/// A load that has told its progress, so that it surely runs.
async fn running(address: SocketAddr, line: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = perf(address, line);
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    let started = spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        progress.read_line(&mut first).unwrap();
        assert!(first.starts_with("time "), "{first}");
        (child, progress)
    });
    timeout(PATIENCE, started).await.unwrap().unwrap()
}

/// The last line of a load that fails.
async fn last_line(running: (Child, BufReader<std::process::ChildStderr>)) -> String {
    let (mut child, progress) = running;
    let ended = spawn_blocking(move || {
        let last = progress.lines().last().unwrap().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{last}");
        last
    });
    timeout(PATIENCE, ended).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_it_is_named() {
    let (_broker, address) = broker().await;
    let running = running(address, "--duration 3600 --rate 100 --queues 2").await;
    let delete = queue::Delete {
        queue: ShortStr(b"leveret-perf-1"),
        ..Default::default()
    };
    client(address)
        .await
        .call(1, delete, queue::DeleteOk::ID)
        .await;
    let error = last_line(running).await;
    let expected = format!("leveret: {address} cancelled the consumer of leveret-perf-1");
    assert_eq!(error, expected);
    assert!(!is_there(address, "leveret-perf-0").await);
}

#[tokio::test]
async fn a_broker_that_ends_under_it_is_named() {
    let (broker, address) = broker().await;
    let running = running(address, "--duration 3600 --rate 100").await;
    broker.shutdown(Duration::from_secs(1)).await;
    let error = last_line(running).await;
    assert_has(&error, &[&address.to_string(), "320 CONNECTION_FORCED"]);
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_ends_a_load_with_its_figures_and_without_its_queues() {
    let (_broker, address) = broker().await;
    let line = "--duration 3600 --rate 1000 --format json --exchange-type fanout";
    let (child, _progress) = running(address, line).await;
    interrupt(child.id());
    let ended = spawn_blocking(move || child.wait_with_output().unwrap());
    let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let figures = Json::of(&String::from_utf8(ended.stdout).unwrap());
    assert_eq!(figures.text("ended"), "SIGINT");
    assert!(figures.number("received") > 0.0);
    assert!(!is_there(address, "leveret-perf-0").await);
}

#[cfg(unix)]
fn interrupt(process: u32) {
    let kill = format!("kill -INT {process}");
    let killed = Command::new("sh").args(["-c", &kill]).status();
    assert!(killed.unwrap().success());
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
    interrupt(running.id());
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
