//! Numbers 17, 18 and 21: agreeing on limits, asking for a vhost, and coming in crowds.

use std::process::Command;

use leveret::config::UserConfig;
use leveret_protocol::method::{channel, connection};
use leveret_protocol::{LongStr, ShortStr, TableBuf, Value};

use crate::arena::{Arena, impatient, user};
use crate::attacker::{Attacker, FRAME_MAX, Manners, frame, header, long, method_frame};
use crate::process::BrokerProcess;

fn tune_ok(channel_max: u16, frame_max: u32, heartbeat: u16) -> connection::TuneOk {
    connection::TuneOk {
        channel_max,
        frame_max,
        heartbeat,
    }
}

fn open(vhost: &[u8]) -> connection::Open<'_> {
    connection::Open {
        virtual_host: ShortStr(vhost),
        ..Default::default()
    }
}

#[tokio::test]
async fn n017_limits_that_were_not_offered_end_in_silence() {
    let mut arena = Arena::new().await;
    // Frames too small to hold anything, without limit, or larger than offered; likewise channels.
    let mut refused: Vec<_> = [0, 1, 7, 8, 9, 4095, FRAME_MAX + 1, u32::MAX]
        .map(|frame_max| tune_ok(10, frame_max, 0))
        .into();
    refused.extend([0, 2048, u16::MAX].map(|channel_max| tune_ok(channel_max, FRAME_MAX, 0)));
    for tune in refused {
        let mut attacker = Attacker::logged_in(arena.address, &Manners::default()).await;
        attacker.method(0, tune).await;
        attacker
            .shout(&method_frame(0, connection::Open::ID, &[1, b'/', 0, 0]))
            .await;
        attacker.dropped().await;
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n017_the_least_frames_and_every_heartbeat_are_served() {
    let arena = Arena::new().await;
    for tune in [
        tune_ok(1, 4096, 0),
        tune_ok(2047, FRAME_MAX, 1),
        tune_ok(2047, FRAME_MAX, u16::MAX),
    ] {
        let manners = Manners {
            tune,
            ..Manners::default()
        };
        let mut attacker = Attacker::open_with(arena.address, &manners).await;
        attacker.open_channel(1).await;
        attacker.goes_on(1).await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n017_steps_out_of_order_before_the_limits_are_agreed_end_in_silence() {
    let mut arena = Arena::new().await;
    let tune = || tune_ok(10, FRAME_MAX, 0);
    let mut attacker = Attacker::greeted(arena.address).await;
    attacker.method(0, tune()).await;
    attacker.dropped().await;
    for too_early in [
        method_frame(0, connection::Open::ID, &[1, b'/', 0, 0]),
        method_frame(0, connection::Close::ID, &[0, 200, 0, 0, 0, 0, 0]),
        method_frame(0, connection::CloseOk::ID, &[]),
        method_frame(0, connection::SecureOk::ID, &long(b"x")),
        method_frame(1, channel::Open::ID, &[0]),
        frame(2, 0, &header(60, 0, 1, &[0, 0])),
        frame(3, 0, b"body"),
        frame(8, 1, &[]),
    ] {
        for is_logged_in in [false, true] {
            let mut attacker = match is_logged_in {
                true => Attacker::logged_in(arena.address, &Manners::default()).await,
                false => Attacker::greeted(arena.address).await,
            };
            attacker.send(&too_early).await;
            attacker.dropped().await;
        }
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n017_methods_out_of_order_after_that_are_named() {
    let mut arena = Arena::new().await;
    let again = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    let text = "unexpected method in connection state";
    let mut attacker = Attacker::open(arena.address).await;
    attacker.method(0, again).await;
    let close = attacker.closed(504, text).await;
    assert_eq!(close.culprit, connection::StartOk::ID);
    let mut attacker = Attacker::open(arena.address).await;
    attacker.method(0, tune_ok(10, FRAME_MAX, 0)).await;
    attacker.closed(504, text).await;
    let mut attacker = Attacker::open(arena.address).await;
    attacker.method(0, open(b"/")).await;
    attacker.closed(504, text).await;
    let mut attacker = Attacker::open(arena.address).await;
    attacker.method(0, connection::CloseOk {}).await;
    attacker.closed(504, text).await;
    let mut attacker = Attacker::tuned(arena.address).await;
    attacker.method(0, connection::CloseOk {}).await;
    attacker.closed(504, text).await;
    for content in [frame(2, 0, &header(60, 0, 1, &[0, 0])), frame(3, 0, b"x")] {
        let mut attacker = Attacker::open(arena.address).await;
        attacker.send(&content).await;
        attacker.closed(505, "UNEXPECTED_FRAME - type").await;
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n018_a_vhost_is_only_ever_looked_up() {
    let config = leveret::Config {
        users: vec![
            user("guest"),
            UserConfig {
                permissions: Vec::new(),
                ..user("nobody")
            },
        ],
        ..impatient()
    };
    let mut arena = Arena::with(config).await;
    let longest = [b'v'; 255];
    for vhost in [&b"nowhere"[..], b"", b"/\0", b"//", b"../", &longest] {
        let mut attacker = Attacker::tuned(arena.address).await;
        attacker.method(0, open(vhost)).await;
        let close = attacker.closed(530, "NOT_ALLOWED - vhost ").await;
        assert_eq!(close.culprit, connection::Open::ID);
    }
    let mut attacker = Attacker::tuned(arena.address).await;
    attacker.method(0, open(b"\xff\xfe")).await;
    attacker.closed(501, "Malformed UTF-8").await;
    // The reference tells a vhost that is missing from one that is forbidden (CONN-18, CONN-19); only
    // who has logged in hears it.
    let manners = Manners {
        user: "nobody",
        ..Manners::default()
    };
    let mut attacker = Attacker::logged_in(arena.address, &manners).await;
    attacker.method(0, manners.tune).await;
    attacker.method(0, open(b"/")).await;
    let close = attacker.closed(530, "access to vhost '/' refused").await;
    assert_eq!(close.culprit, connection::Open::ID);
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n021_a_crowd_in_its_handshakes_leaves_room_for_those_who_are_in() {
    let broker = BrokerProcess::start(&["connections_max=2", "handshake_timeout_ms=60000"]).await;
    let mut healthy = crate::arena::Healthy::at(broker.address).await;
    let mut crowd = Vec::new();
    let since = tokio::time::Instant::now();
    for _ in 0..1_500 {
        crowd.push(Attacker::connect(broker.address).await);
    }
    healthy.round_trip().await;
    broker.line_with("too many connections");
    // Hundreds are turned away, and the log is not filled with them.
    crowd.last_mut().unwrap().dropped().await;
    let lines = broker.lines().len() as u64;
    let most = 10 * (since.elapsed().as_secs() + 2);
    assert!(lines < most, "{lines} lines");
    // One for each socket at most, and the sockets are bounded.
    let open_files = broker.open_files();
    assert!(open_files < 1_100, "{open_files} files are open");
    drop(crowd);
    broker.serves().await;
    healthy.round_trip().await;
}

#[tokio::test]
async fn n021_no_file_descriptors_left_makes_accepting_wait_and_not_spin() {
    let few = 40;
    let mut command = Command::new("sh");
    let serve = BrokerProcess::command("", &["handshake_timeout_ms=1000"]);
    command.env_clear();
    command.args(["-c", &format!("ulimit -n {few}; exec \"$0\" \"$@\"")]);
    command.arg(serve.get_program()).args(serve.get_args());
    let broker = BrokerProcess::started(command);
    let mut healthy = crate::arena::Healthy::at(broker.address).await;
    let mut crowd = Vec::new();
    for _ in 0..2 * few {
        crowd.push(Attacker::connect(broker.address).await);
    }
    broker.line_with("cannot accept a connection");
    let (ticks, since) = (broker.cpu_ticks(), tokio::time::Instant::now());
    for stranger in &mut crowd {
        stranger.dropped().await;
    }
    healthy.round_trip().await;
    let seconds = since.elapsed().as_secs_f64();
    let lines = broker.lines().len();
    assert!(
        (lines as f64) < 20.0 * (seconds + 1.0),
        "{lines} lines in {seconds} s"
    );
    let ticks = broker.cpu_ticks() - ticks;
    assert!(
        (ticks as f64) < 50.0 * (seconds + 1.0),
        "{ticks} ticks in {seconds} s"
    );
    broker.serves().await;
}

/// What would colour, erase or forge lines of a log.
const FORGED: &str = "\x1b[2J\x1b[31m\r\n2020-01-01T00:00:00Z  INFO forged\u{202e}\u{9b}";

#[tokio::test]
async fn n021_what_strangers_say_is_escaped_in_the_log() {
    for format in ["text", "json"] {
        let mut command = BrokerProcess::command("", &["failed_login_delay_ms=0"]);
        command.args(["--log-level", "debug", "--log-format", format]);
        let broker = BrokerProcess::started(command);
        say_forged_things(&broker).await;
        broker.serves().await;
        let lines = broker.last_lines();
        assert!(lines.len() > 4, "{lines:#?}");
        for line in &lines {
            let is_clean = !line.contains(['\x1b', '\r', '\u{9b}']);
            let is_forged = line.starts_with("2020");
            assert!(is_clean && !is_forged, "{line:?}");
        }
    }
}

async fn say_forged_things(broker: &BrokerProcess) {
    let name = TableBuf::from_entries([("connection_name", Value::LongStr(FORGED.as_bytes()))]);
    let manners = Manners {
        client_properties: name.clone(),
        ..Manners::default()
    };
    let mut stranger = Attacker::greeted(broker.address).await;
    let response = format!("\0{FORGED}\0{FORGED}");
    let login = connection::StartOk {
        client_properties: name.view(),
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(response.as_bytes()),
        ..Default::default()
    };
    stranger.method(0, login).await;
    stranger.dropped().await;
    let mut known = Attacker::logged_in(broker.address, &manners).await;
    known.method(0, manners.tune).await;
    known.method(0, open(FORGED.as_bytes())).await;
    known.closed(530, "NOT_ALLOWED").await;
}
