//! Alarms: publishers are held up while memory or disk is short, and nobody else is.

use std::time::Duration;

use leveret_protocol::framer::FRAME_HEARTBEAT;
use leveret_protocol::method::{channel, connection, queue};
use leveret_protocol::{Method, MethodId, ShortStr};

use crate::failure::{Failure, ensure, expect_eq};
use crate::operator::Resource;
use crate::raw::{Handshake, RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("FLOW", &[RULES]);

rules! {
    "FLOW-01" publishers_only [raw, alarms] "An alarm holds up who publishes, and nobody else.";
    "FLOW-02" reason_memory [raw, alarms]
        "A client that wants to know is told that memory is short …";
    "FLOW-02" reason_disk [raw, alarms] "… or the disk …";
    "FLOW-02" reason_both [raw, alarms, also(&["FLOW-03"])]
        "… or both; and when nothing is any more.";
    "FLOW-04" without_the_capability [raw, alarms] "A client that does not is held up silently.";
    "FLOW-05" new_connection [raw, alarms] "A new connection may do anything until it publishes.";
    "FLOW-06" nothing_is_read [raw, alarms, also(&["FLOW-07"])]
        "Then it is not read from; all is done later.";
    "FLOW-08" deliveries_go_on [raw, alarms] "Deliveries to it go on.";
    "FLOW-09" heartbeats [raw, alarms] "It is not missed while it is held up, and gets heartbeats.";
    "FLOW-10" slowed_silently [raw, slow(60)] "Who publishes fast is slowed down without a word.";
    "FLOW-11" blocked_by_a_client [raw] "A client must not send blocked …";
    "FLOW-11" unblocked_by_a_client [raw] "… or unblocked.";
}

/// How long a broker is watched that must not answer. Nothing else shows that it does not read.
const WATCHED: Duration = Duration::from_millis(300);

/// The reason, next.
async fn expect_blocked(raw: &mut RawConnection) -> Result<String, Failure> {
    let method = raw.expect(0, connection::Blocked::ID).await?;
    method.read(|method| match method {
        Method::Connection(connection::Method::Blocked(blocked)) => {
            Some(blocked.reason.to_text().into_owned())
        }
        _ => None,
    })
}

async fn expect_unblocked(raw: &mut RawConnection) -> Result<(), Failure> {
    let id = connection::Unblocked::ID;
    raw.expect(0, id).await.map(drop)
}

async fn expect_reason(raw: &mut RawConnection, reason: &str) -> Result<(), Failure> {
    let came = expect_blocked(raw).await?;
    expect_eq("reason", came.as_str(), reason)
}

async fn publishers_only(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, mut consumer) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    publisher.fill_queue(1, &queue, &["a", "b", "c"]).await?;
    publisher.barrier(1).await?;
    t.raise_alarm(Resource::Memory).await?;
    // Who has published before is left alone until it does so again.
    publisher.barrier(1).await?;
    consumer.prefetch(1, 1, false).await?;
    consumer.consume(1, &queue).await?;
    for (delivery_tag, text) in (1..).zip(["a", "b", "c"]) {
        consumer.expect_texts(1, &[text]).await?;
        consumer.ack(1, delivery_tag).await?;
    }
    publisher
        .publish(1, "amq.direct", "nowhere", "held up")
        .await?;
    expect_blocked(&mut publisher).await?;
    consumer.inspect_queue(1, &queue).await.map(drop)
}

async fn reason(t: &Trial, resource: Resource, reason: &str) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    t.raise_alarm(resource).await?;
    raw.publish(1, "amq.direct", "nowhere", "m").await?;
    expect_reason(&mut raw, reason).await?;
    t.clear_alarm(resource).await?;
    expect_unblocked(&mut raw).await?;
    raw.publish(1, "amq.direct", "nowhere", "m").await?;
    raw.barrier(1).await
}

async fn reason_memory(t: &Trial) -> Result<(), Failure> {
    reason(t, Resource::Memory, "low on memory").await
}

async fn reason_disk(t: &Trial) -> Result<(), Failure> {
    reason(t, Resource::Disk, "low on disk").await
}

/// One is blocked by the first alarm and is not told of the second; the other finds both.
async fn reason_both(t: &Trial) -> Result<(), Failure> {
    let (mut early, mut late) = (t.raw().await?, t.raw().await?);
    t.raise_alarm(Resource::Disk).await?;
    early.publish(1, "amq.direct", "nowhere", "m").await?;
    expect_reason(&mut early, "low on disk").await?;
    t.raise_alarm(Resource::Memory).await?;
    late.publish(1, "amq.direct", "nowhere", "m").await?;
    let reason = expect_blocked(&mut late).await?;
    let known = ["low on disk & memory", "low on memory & disk"];
    let named = format!("{reason:?} does not name both");
    ensure(known.contains(&reason.as_str()), named)?;
    t.clear_alarm(Resource::Disk).await?;
    early.send_method(1, channel::Flow { active: true }).await?;
    early.expect_nothing(WATCHED).await?;
    t.clear_alarm(Resource::Memory).await?;
    expect_unblocked(&mut early).await?;
    early.expect(1, channel::FlowOk::ID).await?;
    expect_unblocked(&mut late).await?;
    late.barrier(1).await
}

async fn without_the_capability(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake().capability("connection.blocked", false);
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    t.raise_alarm(Resource::Disk).await?;
    raw.publish(1, "amq.direct", "nowhere", "m").await?;
    raw.send_method(1, channel::Flow { active: true }).await?;
    raw.expect_nothing(WATCHED).await?;
    t.clear_alarm(Resource::Disk).await?;
    raw.expect(1, channel::FlowOk::ID).await.map(drop)
}

async fn new_connection(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    t.raw().await?.fill_queue(1, &queue, &["waiting"]).await?;
    t.raise_alarm(Resource::Memory).await?;
    let mut raw = t.raw().await?;
    raw.declare_queue(1, &t.name("another")).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["waiting"]).await?;
    raw.ack(1, 1).await?;
    raw.barrier(1).await?;
    raw.publish(1, "amq.direct", "nowhere", "held up").await?;
    expect_blocked(&mut raw).await.map(drop)
}

/// What was sent meanwhile is answered in order, and what triggered it is not lost.
async fn nothing_is_read(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, later) = (t.name("q"), t.name("later"));
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    t.raise_alarm(Resource::Memory).await?;
    raw.publish(1, "", &queue, "the first").await?;
    expect_blocked(&mut raw).await?;
    raw.send_method(2, durable_queue(&later)).await?;
    raw.publish(2, "", &later, "the second").await?;
    raw.send_method(2, channel::Flow { active: true }).await?;
    raw.expect_nothing(WATCHED).await?;
    t.clear_alarm(Resource::Memory).await?;
    expect_unblocked(&mut raw).await?;
    raw.expect(2, queue::DeclareOk::ID).await?;
    raw.expect(2, channel::FlowOk::ID).await?;
    raw.take_text(1, &queue, "the first").await?;
    raw.take_text(2, &later, "the second").await.map(drop)
}

/// What another connection gives back is the one message that can come now.
async fn deliveries_go_on(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    other.fill_queue(1, &queue, &["given back"]).await?;
    let got = other.get_text(1, &queue, "given back").await?;
    raw.consume(1, &queue).await?;
    t.raise_alarm(Resource::Disk).await?;
    raw.publish(1, "amq.direct", "nowhere", "m").await?;
    expect_blocked(&mut raw).await?;
    other.nack(1, got.delivery_tag, true).await?;
    raw.expect_texts(1, &["given back"]).await.map(drop)
}

/// The client stays silent for four times as long as it might otherwise (HB-04).
async fn heartbeats(t: &Trial) -> Result<(), Failure> {
    const HEARTBEAT_S: u16 = 1;
    const HEARTBEATS: usize = 12;
    let handshake = Handshake {
        heartbeat_s: HEARTBEAT_S,
        ..t.handshake()
    };
    t.raise_alarm(Resource::Memory).await?;
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    raw.publish(1, "amq.direct", "nowhere", "m").await?;
    expect_blocked(&mut raw).await?;
    raw.show_heartbeats(true);
    for _ in 0..HEARTBEATS {
        raw.expect_frame(FRAME_HEARTBEAT, 0).await?;
    }
    raw.show_heartbeats(false);
    t.clear_alarm(Resource::Memory).await?;
    expect_unblocked(&mut raw).await?;
    raw.barrier(1).await
}

async fn slowed_silently(t: &Trial) -> Result<(), Failure> {
    const COUNT: u32 = 20_000;
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.set_patience(Duration::from_secs(30));
    for _ in 0..COUNT {
        raw.publish(1, "", &queue, "as fast as it goes").await?;
    }
    // Nothing has come before its answer.
    raw.barrier(1).await?;
    let purged = raw.purge(1, &queue).await?;
    expect_eq("messages in the queue", purged, COUNT)
}

async fn expect_state_error(raw: &mut RawConnection, culprit: MethodId) -> Result<(), Failure> {
    let text = "CHANNEL_ERROR - unexpected method in connection state running";
    raw.expect_connection_close(504, Text::from(text), culprit)
        .await
}

async fn blocked_by_a_client(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let blocked = connection::Blocked {
        reason: ShortStr::from("the client is tired"),
    };
    raw.send_method(0, blocked).await?;
    expect_state_error(&mut raw, connection::Blocked::ID).await
}

async fn unblocked_by_a_client(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(0, connection::Unblocked {}).await?;
    expect_state_error(&mut raw, connection::Unblocked::ID).await
}
