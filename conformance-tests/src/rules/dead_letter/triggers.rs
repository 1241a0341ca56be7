//! What makes a dead letter of a message, and what does not.

use leveret_protocol::Value;
use leveret_protocol::method::{basic, queue};

use super::super::queue_expiry::await_gone;
use super::{DeadLettering, expect_deaths, expiring};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, durable_queue};
use crate::trial::Trial;

rules! {
    "DLX-01" rejected [raw] "A message that is refused for good dies as rejected.";
    "DLX-01" expired [raw] "One that has waited too long dies as expired.";
    "DLX-01" too_many [raw] "One that a full queue drops dies as maxlen.";
    "DLX-01" delivered_too_often [raw, quorum_queues]
        "One that came back too often: delivery_limit.";
    "DLX-02" purge [raw] "Purging makes no dead letters.";
    "DLX-02" delete [raw] "Neither does deleting the queue.";
    "DLX-02" unused_queue [raw, also(&["EXP-04"])] "Neither does the end of an unused queue …";
    "DLX-02" exclusive_queue [raw] "… or of an exclusive one …";
    "DLX-02" auto_delete_queue [raw] "… or of one that is deleted with its last consumer.";
    "DLX-28" refused_when_full [raw] "With reject-publish-dlx the new message dies, as maxlen.";
}

async fn rejected(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    let texts = ["rejected", "nacked", "nacked together", "nacked together"];
    letters.raw.publish_all(1, &source, &texts).await?;
    letters.raw.consume(1, &source).await?;
    letters.raw.expect_texts(1, &texts).await?;
    letters.raw.reject(1, 1, false).await?;
    letters.raw.nack(1, 2, false).await?;
    letters.raw.nack_up_to(1, 4, false).await?;
    for text in texts {
        let message = letters.next_text(text).await?;
        expect_deaths(&message, &[("rejected", &source, 1)])?;
    }
    letters.expect_no_more().await
}

async fn expired(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-message-ttl", Value::I32(60))]).await?;
    let source = letters.source.clone();
    letters.raw.publish(1, "", &source, "of the queue").await?;
    let message = letters.next_text("of the queue").await?;
    expect_deaths(&message, &[("expired", &source, 1)])?;
    let raw = &mut letters.raw;
    raw.publish_message(1, ("", &source), expiring("20"), "of its own")
        .await?;
    let message = letters.next_text("of its own").await?;
    expect_deaths(&message, &[("expired", &source, 1)])
}

async fn too_many(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-max-length", Value::I32(1))]).await?;
    let source = letters.source.clone();
    letters
        .raw
        .publish_all(1, &source, &["a", "b", "c"])
        .await?;
    for text in ["a", "b"] {
        let message = letters.next_text(text).await?;
        expect_deaths(&message, &[("maxlen", &source, 1)])?;
    }
    letters.raw.take_text(1, &source, "c").await?;
    letters.expect_no_more().await
}

async fn delivered_too_often(t: &Trial) -> Result<(), Failure> {
    let arguments = [
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-delivery-limit", Value::I32(1)),
    ];
    let mut letters = DeadLettering::with(t, &arguments).await?;
    let source = letters.source.clone();
    letters.raw.publish(1, "", &source, "poison").await?;
    letters.raw.consume(1, &source).await?;
    for delivery_tag in [1, 2] {
        letters.raw.expect_texts(1, &["poison"]).await?;
        letters.raw.nack(1, delivery_tag, true).await?;
    }
    let message = letters.next_text("poison").await?;
    expect_deaths(&message, &[("delivery_limit", &source, 1)])
}

async fn purge(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &["a", "b"]).await?;
    let purged = letters.raw.purge(1, &source).await?;
    expect_eq("purged messages", purged, 2)?;
    letters.expect_no_more().await
}

async fn delete(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &["a", "b"]).await?;
    letters.raw.get_text(1, &source, "a").await?;
    letters.raw.delete_queue(1, &source).await?;
    letters.expect_no_more().await
}

async fn unused_queue(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-expires", Value::I32(50))]).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &["a", "b"]).await?;
    await_gone(&mut letters.raw, &source).await?;
    letters.expect_no_more().await
}

/// A queue like the source, but for one of its flags; it is filled on a connection of its own.
async fn another_source(
    t: &Trial,
    letters: &DeadLettering,
    declare: queue::Declare<'_>,
) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    let dlx = Value::LongStr(letters.dlx.as_bytes());
    let arguments = leveret_protocol::TableBuf::new().with("x-dead-letter-exchange", dlx);
    let queue = declare.queue.to_text().into_owned();
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..declare
    };
    raw.declare(1, declare).await?;
    raw.publish_all(1, &queue, &["a", "b"]).await?;
    raw.barrier(1).await?;
    Ok(raw)
}

async fn exclusive_queue(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let name = t.name("exclusive");
    let declare = queue::Declare {
        exclusive: true,
        ..durable_queue(&name)
    };
    let owner = another_source(t, &letters, declare).await?;
    owner.close().await?;
    await_gone(&mut letters.raw, &name).await?;
    letters.expect_no_more().await
}

async fn auto_delete_queue(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let name = t.name("auto-delete");
    let declare = queue::Declare {
        auto_delete: true,
        ..durable_queue(&name)
    };
    let mut raw = another_source(t, &letters, declare).await?;
    raw.prefetch(1, 1, false).await?;
    let tag = raw.consume(1, &name).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.cancel(1, &tag).await?;
    await_gone(&mut letters.raw, &name).await?;
    letters.expect_no_more().await
}

async fn refused_when_full(t: &Trial) -> Result<(), Failure> {
    let arguments = [
        ("x-max-length", Value::I32(1)),
        ("x-overflow", Value::LongStr(b"reject-publish-dlx")),
    ];
    let mut letters = DeadLettering::with(t, &arguments).await?;
    let (source, dlx) = (letters.source.clone(), letters.dlx.clone());
    letters.raw.confirm_select(1).await?;
    letters.raw.publish(1, "", &source, "fits").await?;
    letters.raw.await_confirms(1, 1, 1).await?;
    letters.raw.publish(1, "", &source, "too many").await?;
    let nack: basic::Nack = letters.raw.expect_refusal(1).await?;
    expect_eq("refused publish", nack.delivery_tag, 2)?;
    let message = letters.next_text("too many").await?;
    expect_deaths(&message, &[("maxlen", &source, 1)])?;
    expect_eq("exchange of the dead letter", message.exchange, dlx)?;
    letters.raw.take_text(1, &source, "fits").await.map(drop)
}
