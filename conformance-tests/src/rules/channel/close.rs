//! Closes that the client asks for, and what becomes of the messages.

use leveret_protocol::method::{channel, tx};

use super::{SECOND_OPEN, close_request};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection};
use crate::trial::Trial;

rules! {
    "CHAN-04" closed_and_opened_again [raw] "After close-ok the number is free at once.";
    "CHAN-05" open_before_close_ok [raw]
        "An open that does not wait for close-ok is 504, or comes late enough.";
    "CHAN-16" consumed_come_back [raw] "What consumers hold is requeued before close-ok.";
    "CHAN-16" fetched_come_back [raw] "What was fetched is requeued soon after.";
    "CHAN-17" transaction_is_dropped [raw] "An uncommitted transaction goes with the channel.";
    "CHAN-17" confirms_end [raw] "After close-ok nothing is confirmed.";
}

async fn closed_and_opened_again(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for _ in 0..20 {
        raw.close_channel(1).await?;
        raw.open_channel(1).await?;
        raw.barrier(1).await?;
    }
    Ok(())
}

async fn open_before_close_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let open = channel::Open::default();
    raw.send_methods(&[(1, close_request().into()), (1, open.into())])
        .await?;
    // A broker that reads the open while it still closes refuses it, before or after close-ok. One
    // that has closed by then may open again, and only then.
    let refused = Expected::connection_close(504, SECOND_OPEN, channel::Open::ID);
    let answered = Expected::method(1, channel::CloseOk::ID);
    match raw.expect_any_of(&[refused.clone(), answered]).await? {
        0 => Ok(()),
        _ => {
            let opened = Expected::method(1, channel::OpenOk::ID);
            raw.expect_any_of(&[refused, opened]).await.map(drop)
        }
    }
}

/// A connection with channels 1 and 2, and a queue with one message in it.
pub(super) async fn two_channels(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.publish(1, "", &queue, "held").await?;
    Ok((raw, queue))
}

async fn consumed_come_back(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.consume(1, &queue).await?;
    raw.expect_delivery(1).await?;
    raw.expect_empty(2, &queue).await?;
    raw.close_channel(1).await?;
    let message = raw.take_text(2, &queue, "held").await?;
    expect_eq("redelivered", message.redelivered, true)
}

async fn fetched_come_back(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    let held = raw.get(1, &queue).await?;
    expect_eq("whether one was fetched", held.is_some(), true)?;
    raw.consume(2, &queue).await?;
    raw.close_channel(1).await?;
    let message = raw.expect_delivery(2).await?;
    expect_eq("body", message.text(), "held")?;
    expect_eq("redelivered", message.redelivered, true)
}

async fn transaction_is_dropped(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.call(1, tx::Select {}, tx::SelectOk::ID).await?;
    raw.consume(1, &queue).await?;
    let held = raw.expect_delivery(1).await?;
    raw.ack(1, held.delivery_tag).await?;
    raw.publish(1, "", &queue, "never committed").await?;
    raw.close_channel(1).await?;
    let message = raw.take_text(2, &queue, "held").await?;
    expect_eq("redelivered", message.redelivered, true)?;
    raw.expect_empty(2, &queue).await
}

async fn confirms_end(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.confirm_select(1).await?;
    for _ in 0..20 {
        raw.publish(1, "", &queue, "confirmed or not").await?;
    }
    raw.send_method(1, close_request()).await?;
    raw.await_method(1, channel::CloseOk::ID).await?;
    raw.barrier(2).await?;
    raw.open_channel(1).await?;
    raw.barrier(1).await
}
