//! The other way to keep a limit: new messages are refused.

use leveret_protocol::Value;

use super::{expect_all, max_bytes, max_length};
use crate::failure::{Failure, expect_eq};
use crate::raw::RawConnection;
use crate::trial::Trial;

rules! {
    "LEN-04" nack [raw] "A full queue's refusal is a nack …";
    "LEN-04" silently_without_confirms [raw] "… and nothing at all without confirms …";
    "LEN-04" no_return [raw] "… not even a return.";
    "LEN-04" bytes [raw] "It is the same with bytes.";
    "LEN-05" none_with_a_consumer [raw]
        "Where nothing fits, nothing is taken, even for a consumer.";
    "LEN-08" requeued_above_the_limit [raw] "What is requeued fits in any case.";
    "LEN-09" delivering_makes_room [raw] "A delivery makes room, an ack does not.";
}

/// A queue that refuses what does not fit, and a channel with confirms.
async fn refusing(
    t: &Trial,
    limit: (&'static str, Value<'static>),
) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let overflow = ("x-overflow", Value::LongStr(b"reject-publish"));
    raw.declare_queue_with(1, &queue, &[limit, overflow])
        .await?;
    raw.confirm_select(1).await?;
    Ok((raw, queue))
}

async fn publish_taken(
    raw: &mut RawConnection,
    queue: &str,
    tag: u64,
    text: &str,
) -> Result<(), Failure> {
    raw.publish(1, "", queue, text).await?;
    raw.await_confirms(1, tag, tag).await
}

async fn publish_refused(
    raw: &mut RawConnection,
    queue: &str,
    tag: u64,
    text: &str,
) -> Result<(), Failure> {
    raw.publish(1, "", queue, text).await?;
    let nack = raw.expect_refusal(1).await?;
    expect_eq("refused publish", nack.delivery_tag, tag)
}

async fn nack(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(2)).await?;
    publish_taken(&mut raw, &queue, 1, "a").await?;
    publish_taken(&mut raw, &queue, 2, "b").await?;
    publish_refused(&mut raw, &queue, 3, "c").await?;
    expect_all(&mut raw, &queue, &["a", "b"]).await?;
    publish_taken(&mut raw, &queue, 4, "d").await?;
    expect_all(&mut raw, &queue, &["d"]).await
}

async fn silently_without_confirms(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(1)).await?;
    raw.open_channel(2).await?;
    raw.publish_all(2, &queue, &["a", "b"]).await?;
    raw.barrier(2).await?;
    expect_all(&mut raw, &queue, &["a"]).await
}

async fn no_return(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(0)).await?;
    raw.publish_mandatory(1, "", &queue, "m").await?;
    raw.expect_refusal(1).await?;
    raw.barrier(1).await
}

async fn bytes(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_bytes(5)).await?;
    publish_refused(&mut raw, &queue, 1, "too large").await?;
    publish_taken(&mut raw, &queue, 2, "five!").await?;
    publish_refused(&mut raw, &queue, 3, "1").await?;
    expect_all(&mut raw, &queue, &["five!"]).await
}

async fn none_with_a_consumer(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(0)).await?;
    let mut consumer = t.raw().await?;
    consumer.consume(1, &queue).await?;
    publish_refused(&mut raw, &queue, 1, "m").await?;
    consumer.expect_no_delivery(1, &queue).await
}

async fn requeued_above_the_limit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(1)).await?;
    publish_taken(&mut raw, &queue, 1, "old").await?;
    let old = raw.get_text(1, &queue, "old").await?;
    publish_taken(&mut raw, &queue, 2, "new").await?;
    raw.nack(1, old.delivery_tag, true).await?;
    publish_refused(&mut raw, &queue, 3, "newer").await?;
    expect_all(&mut raw, &queue, &["old", "new"]).await
}

async fn delivering_makes_room(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = refusing(t, max_length(1)).await?;
    publish_taken(&mut raw, &queue, 1, "a").await?;
    publish_refused(&mut raw, &queue, 2, "too early").await?;
    let got = raw.get_text(1, &queue, "a").await?;
    publish_taken(&mut raw, &queue, 3, "b").await?;
    raw.ack(1, got.delivery_tag).await?;
    publish_refused(&mut raw, &queue, 4, "no more room").await?;
    expect_all(&mut raw, &queue, &["b"]).await
}
