//! Opening channels, and methods on channels that are not open.

use leveret_protocol::method::{basic, channel, queue, tx};
use leveret_protocol::{Method, MethodId};

use super::{SECOND_OPEN, close_request};
use crate::failure::{Failure, expect_eq};
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "CHAN-01" any_free_number [raw] "A channel can have any number.";
    "CHAN-01" out_of_band_is_ignored [raw] "The reserved field of channel.open is ignored.";
    "CHAN-02" second_open [raw] "A second channel.open is 504.";
    "CHAN-03" never_opened [raw] "On a channel that is not open every method but open is 504.";
    "CHAN-03" closed_before [raw] "… also after it was closed.";
}

async fn any_free_number(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for number in [2, 2048, 65535] {
        let open = channel::Open::default();
        let reply = raw.call(number, open, channel::OpenOk::ID).await?;
        let channel_id = reply.read(|method| match method {
            Method::Channel(channel::Method::OpenOk(ok)) => Some(ok.channel_id.0.len()),
            _ => None,
        })?;
        expect_eq("length of the channel-id", channel_id, 0)?;
        raw.barrier(number).await?;
    }
    raw.barrier(1).await
}

async fn out_of_band_is_ignored(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let open = channel::Open {
        out_of_band: "anything".into(),
    };
    raw.call(2, open, channel::OpenOk::ID).await.map(drop)
}

async fn second_open(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, channel::Open::default()).await?;
    raw.expect_connection_close(504, SECOND_OPEN, channel::Open::ID)
        .await
}

const NOT_OPEN: &str = "CHANNEL_ERROR - expected 'channel.open'";

async fn never_opened(t: &Trial) -> Result<(), Failure> {
    let methods: [(Method<'_>, MethodId); 6] = [
        (close_request().into(), channel::Close::ID),
        (channel::CloseOk {}.into(), channel::CloseOk::ID),
        (basic::Ack::default().into(), basic::Ack::ID),
        (durable_queue("q").into(), queue::Declare::ID),
        (basic::Publish::default().into(), basic::Publish::ID),
        (tx::Select {}.into(), tx::Select::ID),
    ];
    for (method, id) in methods {
        let mut raw = t.raw().await?;
        raw.send_method(7, method).await?;
        if id == basic::Publish::ID {
            raw.send_content(7, &[0, 0], b"").await?;
        }
        let refused = raw.expect_connection_close(504, NOT_OPEN, id).await;
        refused.map_err(|failure| failure.at(format!("{method:?}")))?;
    }
    Ok(())
}

async fn closed_before(t: &Trial) -> Result<(), Failure> {
    let methods: [(Method<'_>, MethodId); 3] = [
        (close_request().into(), channel::Close::ID),
        (basic::Ack::default().into(), basic::Ack::ID),
        (channel::Flow { active: true }.into(), channel::Flow::ID),
    ];
    for (method, id) in methods {
        let mut raw = t.raw().await?;
        raw.close_channel(1).await?;
        raw.send_method(1, method).await?;
        let refused = raw.expect_connection_close(504, NOT_OPEN, id).await;
        refused.map_err(|failure| failure.at(format!("{method:?}")))?;
    }
    Ok(())
}
