//! Closes that the server asks for, until they are answered and after that.

use leveret_protocol::method::{channel, queue};

use super::close::two_channels;
use super::{SECOND_OPEN, accept_close, close_request, get, provoke_close};
use crate::failure::{Failure, expect_eq};
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "CHAN-06" nothing_is_done_before_close_ok [raw] "Until close-ok the client is not heard.";
    "CHAN-06" frames_are_still_checked [raw] "Yet a broken frame is an error.";
    "CHAN-07" open_before_close_ok [raw] "An open before close-ok is 504.";
    "CHAN-08" tags_start_again [raw] "A reopened channel counts deliveries from 1.";
    "CHAN-08" modes_are_gone [raw] "… is not in confirm mode and has no prefetch limit.";
    "CHAN-08" transaction_mode_is_gone [raw] "… nor in transactional mode.";
    "CHAN-08" last_declared_queue_is_gone [raw] "… and knows no last declared queue.";
    "CHAN-09" crossing_closes [raw] "Closes may cross, and the number is free after that.";
    "CHAN-15" consumed_come_back [raw] "What consumers hold is requeued before the close.";
    "CHAN-15" consumers_are_gone [raw] "The consumers are gone before it, too.";
    "CHAN-15" fetched_come_back [raw] "What was fetched is requeued after close-ok.";
}

async fn nothing_is_done_before_close_ok(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    let never = t.name("never-declared");
    provoke_close(&mut raw, 1).await?;
    raw.publish(1, "", &queue, "not heard").await?;
    raw.send_method(1, durable_queue(&never)).await?;
    raw.send_method(1, get(&queue)).await?;
    raw.send_method(1, get("no such queue")).await?;
    accept_close(&mut raw, 1).await?;
    raw.take_text(1, &queue, "held").await?;
    raw.expect_empty(1, &queue).await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&never)
    };
    raw.send_method(1, passive).await?;
    let text = format!("NOT_FOUND - no queue '{never}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await
}

async fn frames_are_still_checked(t: &Trial) -> Result<(), Failure> {
    const UNKNOWN_TYPE: u8 = 9;
    let mut raw = t.raw().await?;
    provoke_close(&mut raw, 1).await?;
    raw.send_frame(UNKNOWN_TYPE, 1, b"").await?;
    let text = "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame";
    raw.expect_connection_close(501, text, leveret_protocol::MethodId::NONE)
        .await
}

async fn open_before_close_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    provoke_close(&mut raw, 1).await?;
    raw.send_method(1, channel::Open::default()).await?;
    raw.expect_connection_close(504, SECOND_OPEN, channel::Open::ID)
        .await
}

async fn tags_start_again(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.publish(1, "", &queue, "second").await?;
    for tag in [1, 2] {
        let message = raw.take(1, &queue).await?.unwrap_or_default();
        expect_eq("delivery tag", message.delivery_tag, tag)?;
    }
    provoke_close(&mut raw, 1).await?;
    accept_close(&mut raw, 1).await?;
    raw.publish(1, "", &queue, "third").await?;
    let message = raw.take_text(1, &queue, "third").await?;
    expect_eq("delivery tag", message.delivery_tag, 1)
}

async fn modes_are_gone(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.confirm_select(1).await?;
    raw.prefetch(1, 1, false).await?;
    raw.prefetch(1, 1, true).await?;
    provoke_close(&mut raw, 1).await?;
    accept_close(&mut raw, 1).await?;
    raw.publish(1, "", &queue, "second").await?;
    raw.barrier(1).await?;
    raw.consume(1, &queue).await?;
    raw.expect_delivery(1).await?;
    raw.expect_delivery(1).await.map(drop)
}

async fn transaction_mode_is_gone(t: &Trial) -> Result<(), Failure> {
    use leveret_protocol::method::tx;
    let (mut raw, queue) = two_channels(t).await?;
    raw.purge(1, &queue).await?;
    raw.call(1, tx::Select {}, tx::SelectOk::ID).await?;
    let missing = get("no such queue");
    raw.send_method(1, missing).await?;
    raw.expect(1, channel::Close::ID).await?;
    accept_close(&mut raw, 1).await?;
    raw.publish(1, "", &queue, "at once").await?;
    raw.take_text(1, &queue, "at once").await.map(drop)
}

async fn last_declared_queue_is_gone(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _queue) = two_channels(t).await?;
    provoke_close(&mut raw, 1).await?;
    accept_close(&mut raw, 1).await?;
    raw.send_method(1, get("")).await?;
    let text = "NOT_FOUND - no previously declared queue";
    raw.expect_channel_close(1, 404, text, leveret_protocol::method::basic::Get::ID)
        .await
}

async fn crossing_closes(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    provoke_close(&mut raw, 1).await?;
    let close = close_request();
    raw.call(1, close, channel::CloseOk::ID).await?;
    accept_close(&mut raw, 1).await?;
    raw.barrier(1).await
}

async fn consumed_come_back(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.consume(1, &queue).await?;
    raw.expect_delivery(1).await?;
    provoke_close(&mut raw, 1).await?;
    let message = raw.take_text(2, &queue, "held").await?;
    expect_eq("redelivered", message.redelivered, true)
}

async fn consumers_are_gone(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    raw.consume(1, &queue).await?;
    raw.expect_delivery(1).await?;
    provoke_close(&mut raw, 1).await?;
    let inspected = raw.inspect_queue(2, &queue).await?;
    expect_eq("consumer count", inspected.consumer_count, 0)?;
    raw.publish(2, "", &queue, "later").await?;
    raw.take_text(2, &queue, "held").await?;
    raw.take_text(2, &queue, "later").await.map(drop)
}

async fn fetched_come_back(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = two_channels(t).await?;
    let held = raw.get(1, &queue).await?;
    expect_eq("whether one was fetched", held.is_some(), true)?;
    raw.consume(2, &queue).await?;
    provoke_close(&mut raw, 1).await?;
    raw.send_method(1, channel::CloseOk {}).await?;
    let message = raw.expect_delivery(2).await?;
    expect_eq("body", message.text(), "held")?;
    expect_eq("redelivered", message.redelivered, true)
}
