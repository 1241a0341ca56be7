//! What may be sent when: methods and frames that do not fit the connection's state.

use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{LongStr, Method, MethodId};

use super::{at_open, at_start, at_tune};
use crate::failure::Failure;
use crate::raw::{RawConnection, Text};
use crate::registry::Follows;
use crate::trial::Trial;

rules! {
    "CONN-26" second_open [raw] "A vhost is opened once.";
    "CONN-27" unexpected_methods [raw] "Other methods on channel 0 do not fit.";
    "CONN-28" close_while_opening [raw] "Before open a close does not fit either.";
    "CONN-29" unexpected_before_tune_ok [raw, slow(20)] "Before tune-ok the end is silent.";
    "CONN-30" channel_while_opening [raw] "No channel before the connection runs …";
    "CONN-30" channel_before_tune_ok [raw, slow(20)] "… which before tune-ok ends in silence.";
    "CONN-45" update_secret [raw] "A new secret is taken.";
    "CONN-46" untestable "A backend may refuse the new secret."
        "a broker's own users have passwords, which no new secret replaces; what refuses one is a service beside it";
    "CONN-47" permissions_are_asked_anew
        [raw, fixtures, permissions, lock("revocable"), follows(Follows::V4), since((4, 3))]
        "From 4.3 a new secret has every channel ask anew what its user may do.";
    "CONN-48" update_secret_too_early [raw, slow(20)] "A new secret does not fit before.";
}

fn unexpected_in(state: &str) -> String {
    format!("CHANNEL_ERROR - unexpected method in connection state {state}")
}

async fn second_open(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_open(t.vhost()).await?;
    raw.expect_connection_close(504, unexpected_in("running"), connection::Open::ID)
        .await
}

async fn unexpected_methods(t: &Trial) -> Result<(), Failure> {
    let tune_ok = connection::TuneOk {
        channel_max: 1,
        frame_max: 8192,
        heartbeat: 0,
    };
    let methods: [Method<'_>; 14] = [
        connection::Start::default().into(),
        connection::StartOk::default().into(),
        connection::Secure::default().into(),
        connection::SecureOk::default().into(),
        connection::Tune::default().into(),
        tune_ok.into(),
        connection::OpenOk::default().into(),
        connection::CloseOk {}.into(),
        connection::Blocked::default().into(),
        connection::Unblocked {}.into(),
        connection::UpdateSecretOk {}.into(),
        channel::Open::default().into(),
        queue::Declare::default().into(),
        basic::Publish::default().into(),
    ];
    for method in methods {
        let mut raw = t.raw().await?;
        raw.send_method(0, method).await?;
        let closed = raw.expect_connection_close(504, unexpected_in("running"), method.id());
        closed.await.map_err(|failure| failure.at(method.name()))?;
    }
    Ok(())
}

async fn close_while_opening(t: &Trial) -> Result<(), Failure> {
    let mut raw = at_open(t).await?;
    raw.send_method(0, connection::Close::default()).await?;
    raw.expect_connection_close(504, unexpected_in("opening"), connection::Close::ID)
        .await
}

async fn unexpected_before_tune_ok(t: &Trial) -> Result<(), Failure> {
    let methods: [Method<'_>; 3] = [
        connection::Open::default().into(),
        connection::Close::default().into(),
        channel::Open::default().into(),
    ];
    let mut refused = Vec::new();
    for method in methods {
        let mut starting = at_start(t).await?;
        starting.send_method(0, method).await?;
        refused.push((format!("{} before start-ok", method.name()), starting));
        let (mut tuning, _) = at_tune(t).await?;
        tuning.send_method(0, method).await?;
        refused.push((format!("{} before tune-ok", method.name()), tuning));
    }
    RawConnection::expect_all_silent(refused).await
}

async fn channel_while_opening(t: &Trial) -> Result<(), Failure> {
    let mut raw = at_open(t).await?;
    raw.send_method(1, channel::Open::default()).await?;
    let text = "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>";
    raw.expect_connection_close(505, text, MethodId::NONE).await
}

async fn channel_before_tune_ok(t: &Trial) -> Result<(), Failure> {
    let mut starting = at_start(t).await?;
    starting.send_method(1, channel::Open::default()).await?;
    let (mut tuning, _) = at_tune(t).await?;
    tuning.send_method(1, channel::Open::default()).await?;
    RawConnection::expect_all_silent(vec![
        ("before start-ok".to_owned(), starting),
        ("before tune-ok".to_owned(), tuning),
    ])
    .await
}

fn new_secret() -> connection::UpdateSecret<'static> {
    connection::UpdateSecret {
        new_secret: LongStr(b"new"),
        reason: "the old one is old".into(),
    }
}

async fn update_secret(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let reply = connection::UpdateSecretOk::ID;
    raw.call(0, new_secret(), reply).await?;
    raw.barrier(1).await?;
    raw.open_channel(2).await
}

async fn update_secret_too_early(t: &Trial) -> Result<(), Failure> {
    let mut raw = at_open(t).await?;
    raw.send_method(0, new_secret()).await?;
    let id = connection::UpdateSecret::ID;
    raw.expect_connection_close(504, unexpected_in("opening"), id)
        .await?;
    let (mut raw, _) = at_tune(t).await?;
    raw.send_method(0, new_secret()).await?;
    raw.expect_silent_close().await.map(drop)
}

/// Each channel is busy until the secret comes, and might go on for a while without it (PERM-16).
async fn permissions_are_asked_anew(t: &Trial) -> Result<(), Failure> {
    let user = "revocable";
    let mut raw = t.raw_with(&t.login(user)).await?;
    for channel in [1, 2] {
        raw.open_channel(channel).await?;
        raw.publish(channel, "amq.fanout", "", "nowhere").await?;
        raw.barrier(channel).await?;
    }
    t.set_permissions(user, [".*", "^$", ".*"]).await?;
    raw.call(0, new_secret(), connection::UpdateSecretOk::ID)
        .await?;
    for channel in [1, 2] {
        raw.publish(channel, "amq.fanout", "", "nowhere").await?;
        let text = Text::starts("ACCESS_REFUSED - ");
        raw.expect_channel_close(channel, 403, text, basic::Publish::ID)
            .await?;
    }
    Ok(())
}
