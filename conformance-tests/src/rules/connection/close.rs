//! The end of a connection, by either side, in order or not.

use std::time::Duration;

use leveret_protocol::method::{channel, connection, queue};
use leveret_protocol::{Method, MethodId};
use tokio::time::Instant;

use super::{await_gone, exclusive_queue, expect_gone};
use crate::failure::{Failure, ensure, expect_eq};
use crate::operator::Resource;
use crate::raw::{Expected, Handshake, RawConnection, Text, durable_queue};
use crate::trial::Trial;

rules! {
    "CONN-31" close_by_the_client [raw] "A close is answered, whatever it says.";
    "CONN-32" exclusive_queues_go_first [raw] "Exclusive queues are gone at close-ok.";
    "CONN-33" nothing_after_close [raw] "What follows a close is not done.";
    "CONN-34" client_hangs_up [raw, slow(20)] "After close-ok the server waits a heartbeat.";
    "CONN-35" deaf_while_closing [raw] "After its close a server hears closes only.";
    "CONN-36" crossing_closes [raw] "A close that crosses its own is answered.";
    "CONN-37" close_ok_is_not_awaited_for_ever [raw, slow(20)] "It waits a heartbeat, too.";
    "CONN-38" exclusive_queues_go_before_close [raw] "They are gone at the server's close.";
    "CONN-39" close_on_a_channel [raw] "connection.close belongs on channel 0.";
    "CONN-40" operators_close [raw, closes_connections] "An operator closes a connection with 320.";
    "CONN-41" shutdown [raw, restart] "A shutdown closes all connections with 320.";
    "CONN-42" deleted_vhost [raw, vhosts] "Deleting a vhost closes its connections with 320.";
    "CONN-43" drop_requeues [raw] "A lost connection's deliveries go back …";
    "CONN-43" drop_deletes [raw] "… its exclusive and auto-delete queues go …";
    "CONN-43" drop_ends_consumers [raw] "… and so do its consumers.";
    "CONN-44" held_up_by_an_alarm [raw, alarms]
        "A close is not read while an alarm holds the client up.";
}

const CLOSE_OK: MethodId = connection::CloseOk::ID;
/// How long a broker may take to do what an operator was told is done.
const CLOSING_PATIENCE: Duration = Duration::from_secs(30);

/// Ends what another side has started, which the server answers by hanging up at once.
async fn expect_end_by_close_ok(raw: &mut RawConnection) -> Result<(), Failure> {
    raw.send_method(0, connection::CloseOk {}).await?;
    let took = raw.expect_silent_close().await?;
    ensure(
        took < Duration::from_secs(3),
        format!("the server waited {took:?} after close-ok"),
    )
}

async fn close_by_the_client(t: &Trial) -> Result<(), Failure> {
    let closes = [
        connection::Close::default(),
        connection::Close {
            reply_code: 541,
            reply_text: "no such thing".into(),
            class_id: 99,
            method_id: 99,
        },
        connection::Close {
            reply_code: 65_535,
            ..Default::default()
        },
    ];
    for close in closes {
        t.raw().await?.call(0, close, CLOSE_OK).await?;
    }
    Ok(())
}

async fn exclusive_queues_go_first(t: &Trial) -> Result<(), Failure> {
    let mut other = t.raw().await?;
    let mut raw = t.raw().await?;
    let names = ["one", "two", "three"].map(|suffix| t.name(suffix));
    for name in &names {
        raw.declare(1, exclusive_queue(name)).await?;
    }
    raw.call(0, connection::Close::default(), CLOSE_OK).await?;
    for name in &names {
        expect_gone(&mut other, name).await?;
    }
    Ok(())
}

async fn nothing_after_close(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let missing = queue::Delete::default();
    raw.send_methods(&[
        (0, connection::Close::default().into()),
        (1, durable_queue(&name).into()),
        (7, missing.into()),
        (0, connection::Open::default().into()),
        (0, connection::Close::default().into()),
    ])
    .await?;
    // The second close is answered as well, which shows that all before it has been read.
    raw.expect(0, CLOSE_OK).await?;
    raw.expect(0, CLOSE_OK).await?;
    expect_gone(&mut t.raw().await?, &name).await
}

async fn client_hangs_up(t: &Trial) -> Result<(), Failure> {
    let handshake = Handshake {
        heartbeat_s: 2,
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.call(0, connection::Close::default(), CLOSE_OK).await?;
    let took = raw.expect_silent_close().await?;
    expect_about_two_seconds(took)
}

fn expect_about_two_seconds(took: Duration) -> Result<(), Failure> {
    let range = Duration::from_millis(1500)..Duration::from_millis(4500);
    ensure(
        range.contains(&took),
        format!("the server hung up after {took:?}, not after the heartbeat's 2 s"),
    )
}

/// A connection that the server has closed for an error, with its close read but not answered.
async fn closed_by_the_server(t: &Trial, handshake: &Handshake) -> Result<RawConnection, Failure> {
    let mut raw = t.raw_with(handshake).await?;
    raw.open_channel(1).await?;
    raw.send_method(1, channel::Open::default()).await?;
    raw.expect(0, connection::Close::ID).await?;
    Ok(raw)
}

async fn deaf_while_closing(t: &Trial) -> Result<(), Failure> {
    let mut raw = closed_by_the_server(t, &t.handshake()).await?;
    let name = t.name("q");
    raw.send_methods(&[
        (1, durable_queue(&name).into()),
        (2, channel::Open::default().into()),
        (0, connection::StartOk::default().into()),
    ])
    .await?;
    expect_end_by_close_ok(&mut raw).await?;
    expect_gone(&mut t.raw().await?, &name).await
}

async fn crossing_closes(t: &Trial) -> Result<(), Failure> {
    let mut raw = closed_by_the_server(t, &t.handshake()).await?;
    let close = connection::Close::default();
    raw.call(0, close, CLOSE_OK).await?;
    // It still waits: another close is answered, too.
    raw.call(0, close, CLOSE_OK).await?;
    expect_end_by_close_ok(&mut raw).await
}

async fn close_ok_is_not_awaited_for_ever(t: &Trial) -> Result<(), Failure> {
    let handshake = Handshake {
        heartbeat_s: 2,
        ..t.handshake()
    };
    let mut raw = closed_by_the_server(t, &handshake).await?;
    let since = Instant::now();
    raw.expect_silent_close().await?;
    expect_about_two_seconds(since.elapsed())
}

async fn exclusive_queues_go_before_close(t: &Trial) -> Result<(), Failure> {
    let mut other = t.raw().await?;
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare(1, exclusive_queue(&name)).await?;
    raw.send_method(1, channel::Open::default()).await?;
    raw.expect(0, connection::Close::ID).await?;
    expect_gone(&mut other, &name).await
}

async fn close_on_a_channel(t: &Trial) -> Result<(), Failure> {
    let close: Method<'_> = connection::Close::default().into();
    let mut raw = t.raw().await?;
    raw.send_method(1, close).await?;
    let text = "COMMAND_INVALID - unimplemented method";
    raw.expect_connection_close(503, text, connection::Close::ID)
        .await?;
    let mut raw = t.raw().await?;
    raw.send_method(2, close).await?;
    let text = "CHANNEL_ERROR - expected 'channel.open'";
    let closed = Expected::connection_close_for_any_method(504, text);
    raw.expect_any_of(&[closed]).await.map(drop)
}

async fn drop_requeues(t: &Trial) -> Result<(), Failure> {
    let mut other = t.raw().await?;
    let queue = t.name("q");
    other.declare_queue(1, &queue).await?;
    let mut raw = t.raw().await?;
    raw.publish(1, "", &queue, "unacked").await?;
    let got = raw.get(1, &queue).await?.unwrap_or_default();
    expect_eq("body", got.text(), "unacked")?;
    other.consume(1, &queue).await?;
    drop(raw);
    let again = other.expect_delivery(1).await?;
    expect_eq("body", again.text(), "unacked")?;
    expect_eq("redelivered", again.redelivered, true)
}

async fn drop_deletes(t: &Trial) -> Result<(), Failure> {
    let mut other = t.raw().await?;
    let (exclusive, auto_delete) = (t.name("exclusive"), t.name("auto-delete"));
    let mut raw = t.raw().await?;
    raw.declare(1, exclusive_queue(&exclusive)).await?;
    let declare = queue::Declare {
        auto_delete: true,
        ..durable_queue(&auto_delete)
    };
    raw.declare(1, declare).await?;
    raw.consume(1, &auto_delete).await?;
    drop(raw);
    await_gone(&mut other, &exclusive).await?;
    await_gone(&mut other, &auto_delete).await
}

async fn drop_ends_consumers(t: &Trial) -> Result<(), Failure> {
    let mut other = t.raw().await?;
    let queue = t.name("q");
    other.declare_queue(1, &queue).await?;
    let mut raw = t.raw().await?;
    raw.publish(1, "", &queue, "unacked").await?;
    raw.consume(1, &queue).await?;
    raw.expect_delivery(1).await?;
    other.consume(1, &queue).await?;
    drop(raw);
    other.expect_delivery(1).await?;
    // The deliveries came back after their consumer had gone.
    let counts = other.inspect_queue(1, &queue).await?;
    expect_eq("consumers", counts.consumer_count, 1)
}

async fn shutdown(t: &Trial) -> Result<(), Failure> {
    let mut without_channel = t.raw_with(&t.handshake()).await?;
    let mut consuming = t.raw().await?;
    let queue = t.name("q");
    consuming.fill_queue(1, &queue, &["unacked"]).await?;
    consuming.consume(1, &queue).await?;
    consuming.expect_delivery(1).await?;
    t.restart().await?;
    let text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
    for raw in [&mut without_channel, &mut consuming] {
        raw.expect_connection_close(320, text, MethodId::NONE)
            .await?;
        raw.expect_silent_close().await?;
    }
    Ok(())
}

/// A name by which an operator knows a connection, and the handshake that gives it to one.
fn named(t: &Trial) -> (String, Handshake) {
    let name = t.name("connection");
    let handshake = Handshake {
        connection_name: Some(name.clone()),
        ..t.handshake()
    };
    (name, handshake)
}

async fn operators_close(t: &Trial) -> Result<(), Failure> {
    let (name, handshake) = named(t);
    let mut raw = t.raw_with(&handshake).await?;
    let mut other = t.raw().await?;
    let queue = t.name("q");
    raw.open_channel(1).await?;
    raw.declare(1, exclusive_queue(&queue)).await?;
    t.close_connection(&name, "you have to go").await?;
    raw.set_patience(CLOSING_PATIENCE);
    let text = "CONNECTION_FORCED - you have to go";
    raw.expect_connection_close(320, text, MethodId::NONE)
        .await?;
    raw.expect_silent_close().await?;
    expect_gone(&mut other, &queue).await
}

async fn deleted_vhost(t: &Trial) -> Result<(), Failure> {
    let handshake = t.add_vhost("vhost").await?;
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    raw.fill_queue(1, "q", &["m"]).await?;
    raw.barrier(1).await?;
    let mut other = t.raw().await?;
    t.delete_vhost(&handshake.vhost).await?;
    raw.set_patience(CLOSING_PATIENCE);
    // RabbitMQ tells it twice over, and the quicker one is heard.
    let texts = ["down", "deleted"]
        .map(|how| format!("CONNECTION_FORCED - vhost '{}' is {how}", handshake.vhost));
    let text = Text::one_of(texts);
    raw.expect_connection_close(320, text, MethodId::NONE)
        .await?;
    raw.expect_silent_close().await?;
    other.barrier(1).await
}

async fn held_up_by_an_alarm(t: &Trial) -> Result<(), Failure> {
    const WATCHED: Duration = Duration::from_millis(300);
    let mut raw = t.raw().await?;
    t.raise_alarm(Resource::Disk).await?;
    raw.publish(1, "amq.direct", "nowhere", "held up").await?;
    raw.expect(0, connection::Blocked::ID).await?;
    raw.send_method(0, connection::Close::default()).await?;
    raw.expect_nothing(WATCHED).await?;
    t.clear_alarm(Resource::Disk).await?;
    raw.expect(0, connection::Unblocked::ID).await?;
    raw.expect(0, CLOSE_OK).await.map(drop)
}
