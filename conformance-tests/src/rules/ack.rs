//! Acks, nacks and rejects.

use bytes::BytesMut;
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, FRAME_BODY};
use leveret_protocol::method::basic;
use leveret_protocol::{Method, Properties, Value, encode};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::RawConnection;
use crate::registry::{Follows, Section};
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("ACK", &[RULES]);

rules! {
    "ACK-01" ack_one [raw] "An ack settles exactly its delivery.";
    "ACK-01" ack_multiple [raw] "With multiple, all up to its tag, across consumers and gets.";
    "ACK-02" ack_all [raw] "Zero with multiple settles everything, or nothing if nothing is there.";
    "ACK-03" ack_zero [raw] "Zero without multiple is an unknown tag.";
    "ACK-04" ack_unknown [raw] "Settled tags and tags never issued are unknown.";
    "ACK-05" ack_multiple_unknown [raw] "With multiple the tag itself has to be outstanding.";
    "ACK-06" ack_on_another_channel [raw] "Tags belong to their channel.";
    "ACK-07" ack_of_no_ack [raw] "What was sent without acks cannot be acked.";
    "ACK-08" nack_like_ack [raw] "A nack settles one, several or all.";
    "ACK-08" nack_unknown [raw] "… and knows the same tags.";
    "ACK-09" requeue [raw] "With requeue a message goes back to its place, marked.";
    "ACK-10" dropped [raw] "Without requeue and dead-letter exchange it is dropped.";
    "ACK-10" dead_lettered [raw] "… and with one it is dead-lettered.";
    "ACK-11" reject_unknown [raw] "A reject knows the same tags, and no zero.";
    "ACK-12" dead_lettered_in_order [raw] "Many are dead-lettered in the queue's order.";
    "ACK-13" settled_after_queue [raw] "The queue may be gone.";
    "ACK-14" no_reply [raw] "Nothing is answered.";
    "ACK-15" any_order [raw] "Acks may come in any order.";
    "ACK-16" frees_credit [raw] "An ack makes room for the next delivery at once.";
    "ACK-16" frees_credit_for_what_follows [raw] "… also for a publish in the same write.";
    "ACK-17" reject_counts [raw, quorum_queues, follows(Follows::V4), since((4, 3))]
        "From 4.3 a reject counts towards a quorum queue's delivery limit …";
    "ACK-17" nack_does_not_count [raw, quorum_queues, follows(Follows::V4), since((4, 3))]
        "… and a nack does not.";
}

/// A connection that has these messages of a new queue, with the tags 1, 2, and so on.
async fn with_unacked(t: &Trial, texts: &[&str]) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, texts).await?;
    for text in texts {
        raw.get_text(1, &queue, text).await?;
    }
    Ok((raw, queue))
}

/// What is left unsettled on channel 1 goes back to the queue when the channel closes.
async fn expect_left(raw: &mut RawConnection, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    for text in texts {
        raw.take_text(1, queue, text).await?;
    }
    raw.expect_empty(1, queue).await
}

async fn ack_one(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.ack(1, 2).await?;
    expect_left(&mut raw, &queue, &["a", "c"]).await
}

async fn ack_multiple(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (one, two) = (t.name("one"), t.name("two"));
    raw.fill_queue(1, &one, &["a", "b", "c"]).await?;
    raw.fill_queue(1, &two, &["d"]).await?;
    raw.get_text(1, &one, "a").await?;
    raw.consume(1, &two).await?;
    raw.expect_texts(1, &["d"]).await?;
    raw.consume(1, &one).await?;
    raw.expect_texts(1, &["b", "c"]).await?;
    raw.ack_up_to(1, 3).await?;
    expect_left(&mut raw, &one, &["c"]).await?;
    raw.expect_empty(1, &two).await
}

async fn ack_all(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.ack_up_to(1, 0).await?;
    raw.ack_up_to(1, 0).await?;
    raw.barrier(1).await?;
    expect_left(&mut raw, &queue, &[]).await
}

async fn ack_zero(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a"]).await?;
    raw.ack(1, 0).await?;
    raw.expect_unknown_tag(1, 0, basic::Ack::ID).await?;
    raw.open_channel(1).await?;
    raw.take_text(1, &queue, "a").await.map(drop)
}

async fn ack_unknown(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a"]).await?;
    raw.ack(1, 1).await?;
    raw.ack(1, 1).await?;
    raw.expect_unknown_tag(1, 1, basic::Ack::ID).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await?;
    for never_issued in [7, u64::MAX] {
        raw.ack(1, never_issued).await?;
        raw.expect_unknown_tag(1, never_issued, basic::Ack::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn ack_multiple_unknown(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.ack(1, 3).await?;
    raw.ack_up_to(1, 3).await?;
    raw.expect_unknown_tag(1, 3, basic::Ack::ID).await?;
    raw.open_channel(1).await?;
    raw.take_text(1, &queue, "a").await?;
    raw.take_text(1, &queue, "b").await?;
    raw.expect_empty(1, &queue).await?;
    raw.publish(1, "", &queue, "d").await?;
    raw.get_text(1, &queue, "d").await?;
    raw.ack_up_to(1, 9).await?;
    raw.expect_unknown_tag(1, 9, basic::Ack::ID).await
}

async fn ack_on_another_channel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a"]).await?;
    raw.open_channel(2).await?;
    raw.ack(2, 1).await?;
    raw.expect_unknown_tag(2, 1, basic::Ack::ID).await?;
    expect_left(&mut raw, &queue, &["a"]).await
}

async fn ack_of_no_ack(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["taken", "delivered"]).await?;
    let taken = raw.take_text(1, &queue, "taken").await?;
    raw.ack(1, taken.delivery_tag).await?;
    raw.expect_unknown_tag(1, taken.delivery_tag, basic::Ack::ID)
        .await?;
    raw.open_channel(1).await?;
    let consume = basic::Consume {
        queue: queue.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    raw.consume_with(1, consume).await?;
    let delivered = raw.expect_delivery(1).await?;
    raw.ack(1, delivered.delivery_tag).await?;
    raw.expect_unknown_tag(1, delivered.delivery_tag, basic::Ack::ID)
        .await
}

async fn nack_like_ack(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c", "d", "e"]).await?;
    raw.nack(1, 2, true).await?;
    raw.get_text(1, &queue, "b").await?;
    raw.nack_up_to(1, 3, true).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "c").await?;
    raw.expect_empty(1, &queue).await?;
    raw.nack_up_to(1, 0, true).await?;
    for text in ["a", "b", "c", "d", "e"] {
        raw.take_text(1, &queue, text).await?;
    }
    raw.nack_up_to(1, 0, true).await?;
    raw.barrier(1).await
}

async fn nack_unknown(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.ack(1, 2).await?;
    raw.nack_up_to(1, 2, false).await?;
    raw.expect_unknown_tag(1, 2, basic::Nack::ID).await?;
    raw.open_channel(1).await?;
    for tag in [0, 1] {
        raw.nack(1, tag, true).await?;
        raw.expect_unknown_tag(1, tag, basic::Nack::ID).await?;
        raw.open_channel(1).await?;
    }
    raw.take_text(1, &queue, "a").await?;
    raw.take_text(1, &queue, "c").await.map(drop)
}

async fn requeue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b", "c"]).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    raw.nack(1, 1, true).await?;
    raw.reject(1, 2, true).await?;
    for (text, redelivered) in [("a", true), ("b", true), ("c", false)] {
        let message = raw.take_text(1, &queue, text).await?;
        expect_eq("redelivered", message.redelivered, redelivered)?;
    }
    Ok(())
}

async fn dropped(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.nack(1, 1, false).await?;
    raw.reject(1, 2, false).await?;
    expect_left(&mut raw, &queue, &["c"]).await
}

/// Declares a queue `main` that dead-letters to the queue `dead`, with a consumer on `dead`.
async fn with_dead_lettering(
    t: &Trial,
    texts: &[&str],
) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let (main, dead) = (t.name("main"), t.name("dead"));
    raw.declare_queue(1, &dead).await?;
    let exchange = ("x-dead-letter-exchange", Value::LongStr(b""));
    let key = ("x-dead-letter-routing-key", Value::LongStr(dead.as_bytes()));
    raw.declare_queue_with(1, &main, &[exchange, key]).await?;
    raw.publish_all(1, &main, texts).await?;
    for text in texts {
        raw.get_text(1, &main, text).await?;
    }
    raw.consume(1, &dead).await?;
    Ok((raw, main))
}

async fn dead_lettered(t: &Trial) -> Result<(), Failure> {
    let (mut raw, main) = with_dead_lettering(t, &["a", "b"]).await?;
    raw.nack(1, 1, false).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.reject(1, 2, false).await?;
    raw.expect_texts(1, &["b"]).await?;
    raw.expect_empty(1, &main).await
}

async fn reject_unknown(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a"]).await?;
    for tag in [0, 2] {
        raw.reject(1, tag, true).await?;
        raw.expect_unknown_tag(1, tag, basic::Reject::ID).await?;
        raw.open_channel(1).await?;
    }
    let again = raw.get_text(1, &queue, "a").await?;
    ensure(again.redelivered, "no mark after the channel's end")
}

async fn dead_lettered_in_order(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _) = with_dead_lettering(t, &["a", "b", "c", "d"]).await?;
    raw.nack_up_to(1, 4, false).await?;
    raw.expect_texts(1, &["a", "b", "c", "d"]).await.map(drop)
}

async fn settled_after_queue(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c", "d"]).await?;
    raw.delete_queue(1, &queue).await?;
    raw.ack(1, 1).await?;
    raw.nack(1, 2, true).await?;
    raw.reject(1, 3, false).await?;
    raw.ack_up_to(1, 4).await?;
    raw.barrier(1).await?;
    // The tags were known, and are settled now.
    raw.ack(1, 4).await?;
    raw.expect_unknown_tag(1, 4, basic::Ack::ID).await
}

async fn no_reply(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _) = with_unacked(t, &["a", "b", "c"]).await?;
    raw.ack(1, 1).await?;
    raw.nack(1, 2, true).await?;
    raw.reject(1, 3, false).await?;
    raw.barrier(1).await
}

async fn any_order(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_unacked(t, &["a", "b", "c", "d"]).await?;
    for tag in [4, 1, 3, 2] {
        raw.ack(1, tag).await?;
    }
    raw.barrier(1).await?;
    expect_left(&mut raw, &queue, &[]).await
}

async fn frees_credit(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b", "c"]).await?;
    raw.prefetch(1, 1, false).await?;
    raw.consume(1, &queue).await?;
    for (tag, text) in (1..).zip(["a", "b", "c"]) {
        let message = raw.expect_delivery(1).await?;
        expect_eq("body", message.text(), text)?;
        raw.expect_no_delivery(1, &queue).await?;
        raw.ack(1, tag).await?;
    }
    Ok(())
}

/// The queue keeps nothing, so the second message is lost unless the ack has made room for it.
async fn frees_credit_for_what_follows(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let arguments = [("x-max-length", Value::I32(0))];
    raw.declare_queue_with(1, &queue, &arguments).await?;
    raw.prefetch(1, 1, false).await?;
    raw.consume(1, &queue).await?;
    raw.publish(1, "", &queue, "m").await?;
    for tag in 1..=5 {
        raw.expect_texts(1, &["m"]).await?;
        let mut bytes = BytesMut::new();
        let ack = basic::Ack {
            delivery_tag: tag,
            multiple: false,
        };
        let publish = basic::Publish {
            routing_key: queue.as_str().into(),
            ..Default::default()
        };
        Method::from(ack).write_frame(1, &mut bytes);
        Method::from(publish).write_frame(1, &mut bytes);
        let header = ContentHeader {
            class_id: BASIC_CLASS_ID,
            weight: 0,
            body_size: 1,
            properties: &Properties::default().to_bytes(),
        };
        header.write_frame(1, &mut bytes);
        encode::frame(&mut bytes, FRAME_BODY, 1, |body| {
            body.extend_from_slice(b"m")
        });
        raw.send_bytes(&bytes).await?;
    }
    raw.expect_texts(1, &["m"]).await.map(drop)
}

/// A quorum queue from which a message may return once.
async fn returning_once(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let arguments = [
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-delivery-limit", Value::I32(1)),
    ];
    raw.declare_queue_with(1, &queue, &arguments).await?;
    raw.consume(1, &queue).await?;
    raw.publish(1, "", &queue, "a").await?;
    Ok((raw, queue))
}

async fn reject_counts(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = returning_once(t).await?;
    for _ in 0..2 {
        let message = raw.expect_delivery(1).await?;
        expect_eq("body", message.text(), "a")?;
        raw.reject(1, message.delivery_tag, true).await?;
    }
    // What comes next is delivered next: the other one is gone.
    raw.publish(1, "", &queue, "b").await?;
    raw.expect_texts(1, &["b"]).await.map(drop)
}

async fn nack_does_not_count(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _queue) = returning_once(t).await?;
    for _ in 0..5 {
        let message = raw.expect_delivery(1).await?;
        expect_eq("body", message.text(), "a")?;
        raw.nack(1, message.delivery_tag, true).await?;
    }
    raw.expect_texts(1, &["a"]).await.map(drop)
}
