//! Heartbeats: the server's own, and what the client's silence leads to.
//!
//! Time itself is the subject here, so these tests take some seconds; they are driven by the
//! server's heartbeats wherever that is possible.

use std::time::Duration;

use leveret_protocol::method::{basic, connection};
use leveret_protocol::{MethodId, Properties};
use tokio::time::Instant;

use crate::failure::{Failure, ensure, expect_eq};
use crate::operator::Resource;
use crate::raw::{Handshake, RawConnection};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("HB", &[RULES]);

rules! {
    "HB-01" none_without_interval [raw, slow(20)] "With 0 there are no heartbeats, either way.";
    "HB-02" every_half_interval [raw, slow(20)] "The server sends one in every half interval …";
    "HB-03" silent_client_is_dropped [raw, slow(20)] "Two to three intervals of silence end it.";
    "HB-04" any_bytes_are_life [raw, slow(20)] "Not only heartbeats keep a connection.";
    "HB-05" heartbeat_on_a_channel [raw] "Heartbeats belong on channel 0.";
    "HB-06" heartbeat_with_payload [raw] "Heartbeats carry nothing.";
    "HB-07" heartbeats_within_content [raw] "They may stand between the frames of a message.";
    "HB-08" watched_again_after_an_alarm [raw, alarms]
        "A client that is held up by an alarm is not watched, and is again when it goes on.";
    "HB-09" from_tune_ok_on [raw, slow(20)] "Both sides' clocks start with tune-ok.";
    "HB-10" while_closing [raw, slow(20)] "The server beats on while it waits for close-ok.";
}

const HEARTBEAT: u8 = 8;

fn with_heartbeat(t: &Trial, heartbeat_s: u16) -> Handshake {
    Handshake {
        heartbeat_s,
        ..t.handshake()
    }
}

/// A connection with channel 1 that shows heartbeats.
async fn beating(t: &Trial, heartbeat_s: u16) -> Result<RawConnection, Failure> {
    let mut raw = t.raw_with(&with_heartbeat(t, heartbeat_s)).await?;
    raw.open_channel(1).await?;
    raw.show_heartbeats(true);
    Ok(raw)
}

async fn expect_heartbeat(raw: &mut RawConnection) -> Result<(), Failure> {
    let frame = raw.expect_frame(HEARTBEAT, 0).await?;
    expect_eq("payload size", frame.payload.len(), 0)
}

/// Skips heartbeats until the connection ends without a close, and says how long it took.
async fn time_to_silent_end(raw: &mut RawConnection) -> Result<Duration, Failure> {
    raw.show_heartbeats(false);
    raw.expect_silent_close().await
}

fn expect_between(what: &str, took: Duration, least_s: f64, most_s: f64) -> Result<(), Failure> {
    let range = Duration::from_secs_f64(least_s)..=Duration::from_secs_f64(most_s);
    ensure(
        range.contains(&took),
        format!("{what} took {took:?}, not {least_s} s to {most_s} s"),
    )
}

async fn none_without_interval(t: &Trial) -> Result<(), Failure> {
    let mut raw = beating(t, 0).await?;
    raw.expect_nothing(Duration::from_secs(4)).await?;
    raw.barrier(1).await
}

async fn every_half_interval(t: &Trial) -> Result<(), Failure> {
    let mut raw = beating(t, 2).await?;
    expect_heartbeat(&mut raw).await?;
    // A busy machine may delay one of them, but not make four of them come early.
    let since = Instant::now();
    for _ in 0..4 {
        expect_heartbeat(&mut raw).await?;
        raw.send_heartbeat().await?;
    }
    expect_between("four heartbeats", since.elapsed(), 3.0, 6.0)
}

async fn silent_client_is_dropped(t: &Trial) -> Result<(), Failure> {
    let mut raw = beating(t, 1).await?;
    let took = time_to_silent_end(&mut raw).await?;
    expect_between("the end of a silent connection", took, 1.8, 5.0)
}

async fn any_bytes_are_life(t: &Trial) -> Result<(), Failure> {
    let mut raw = beating(t, 1).await?;
    let name = t.name("missing");
    // Nine halves of an interval: without these publishes it would have ended by then.
    for _ in 0..9 {
        expect_heartbeat(&mut raw).await?;
        raw.publish(1, "", &name, "no reply").await?;
    }
    raw.show_heartbeats(false);
    raw.barrier(1).await
}

async fn heartbeat_on_a_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_frame(HEARTBEAT, 1, &[]).await?;
    let text = "UNEXPECTED_FRAME - type 8, all octets = <<>>";
    raw.expect_connection_close(505, text, MethodId::NONE).await
}

async fn heartbeat_with_payload(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_frame(HEARTBEAT, 0, &[1, 2]).await?;
    let text = "FRAME_ERROR - type 8, all octets = <<1,2>>: unknown_frame";
    raw.expect_connection_close(501, text, MethodId::NONE).await
}

async fn heartbeats_within_content(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let publish = basic::Publish {
        routing_key: queue.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, publish).await?;
    raw.send_heartbeat().await?;
    let properties = Properties::default().to_bytes();
    raw.send_content_header(1, &properties, 6).await?;
    raw.send_heartbeat().await?;
    raw.send_body(1, b"abc").await?;
    raw.send_heartbeat().await?;
    raw.send_body(1, b"def").await?;
    raw.take_text(1, &queue, "abcdef").await.map(drop)
}

/// Six heartbeats take three of its intervals, in which it would have been missed (HB-03).
async fn watched_again_after_an_alarm(t: &Trial) -> Result<(), Failure> {
    const HEARTBEATS: usize = 6;
    t.raise_alarm(Resource::Disk).await?;
    let mut raw = beating(t, 1).await?;
    raw.show_heartbeats(false);
    raw.publish(1, "amq.direct", "nowhere", "held up").await?;
    raw.expect(0, connection::Blocked::ID).await?;
    raw.show_heartbeats(true);
    for _ in 0..HEARTBEATS {
        expect_heartbeat(&mut raw).await?;
    }
    raw.show_heartbeats(false);
    t.clear_alarm(Resource::Disk).await?;
    raw.expect(0, connection::Unblocked::ID).await?;
    raw.barrier(1).await?;
    let took = time_to_silent_end(&mut raw).await?;
    expect_between("the end of a silent connection", took, 1.8, 5.0)
}

async fn from_tune_ok_on(t: &Trial) -> Result<(), Failure> {
    let handshake = with_heartbeat(t, 1);
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let offered = raw.log_in(&handshake).await?;
    raw.tune(&handshake, offered).await?;
    let since = Instant::now();
    raw.show_heartbeats(true);
    expect_heartbeat(&mut raw).await?;
    time_to_silent_end(&mut raw).await?;
    // Sooner than the 10 s that a handshake may take.
    expect_between("the end of a silent handshake", since.elapsed(), 1.8, 6.0)
}

async fn while_closing(t: &Trial) -> Result<(), Failure> {
    let mut raw = beating(t, 4).await?;
    // The clocks tick every 2 s, and only a half interval without any traffic calls for a
    // heartbeat. Closing between two ticks leaves one such half before the server hangs up.
    raw.expect_nothing(Duration::from_secs(1)).await?;
    raw.send_method(0, connection::OpenOk::default()).await?;
    raw.expect(0, connection::Close::ID).await?;
    expect_heartbeat(&mut raw).await
}
