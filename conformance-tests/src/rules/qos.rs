//! Prefetch limits.

use leveret_protocol::Value;
use leveret_protocol::method::basic;

use super::quorum::{GLOBAL_PREFETCH, global_prefetch_answers};
use crate::failure::{Failure, expect_eq};
use crate::raw::RawConnection;
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("QOS", &[RULES]);

rules! {
    "QOS-01" no_prefetch_size [raw] "A prefetch size in bytes is not implemented.";
    "QOS-02" for_later_consumers [raw] "A limit holds for consumers started later, for each alone.";
    "QOS-03" for_the_channel [raw] "A global limit is shared, and holds at once.";
    "QOS-03" both_limits [raw] "Both limits may hold together.";
    "QOS-04" zero_is_unlimited [raw] "Zero means no limit.";
    "QOS-05" removes_channel_limit [raw] "A limit per consumer removes that of the channel.";
    "QOS-06" lowered [raw] "A lowered limit holds deliveries back until acks bring them under it.";
    "QOS-06" raised [raw] "A raised one lets them go on at once.";
    "QOS-07" no_ack_ignores_limits [raw] "Consumers without acks and gets are not limited.";
    "QOS-08" counts_what_is_unacked [raw] "A new channel limit counts what is unacked already.";
    "QOS-08" does_not_count_later_gets [raw] "… but no gets after it.";
    "QOS-09" no_limit_at_first [raw] "Without qos there is no limit.";
    "QOS-10" largest_count [raw] "Counts up to 65535 are taken, and always answered.";
    "QOS-11" belongs_to_its_channel [raw] "Limits belong to their channel.";
    "QOS-12" global_on_quorum_queue [raw, quorum_queues, variants(&[GLOBAL_PREFETCH])]
        "Quorum queues do not support the channel's limit.";
    "QOS-13" global_for_each_consumer [raw, follows(crate::registry::Follows::V4), since((4, 3))]
        "From 4.3 global limits are handled as limits per consumer.";
    "QOS-14" commit_frees_credit [raw] "In a transaction an ack makes room at the commit.";
    "QOS-15" requeue_frees_credit [raw] "Requeueing makes room like an ack.";
}

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A connection and a queue with five messages.
async fn with_five(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &FIVE).await?;
    Ok((raw, queue))
}

async fn no_prefetch_size(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let qos = basic::Qos {
        prefetch_size: 4096,
        prefetch_count: 1,
        global: false,
    };
    raw.send_method(1, qos).await?;
    let text = "NOT_IMPLEMENTED - prefetch_size!=0 (4096)";
    raw.expect_connection_close(540, text, basic::Qos::ID).await
}

async fn for_later_consumers(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (first, second, third) = (t.name("first"), t.name("second"), t.name("third"));
    for queue in [&first, &second, &third] {
        raw.declare_queue(1, queue).await?;
    }
    raw.consume(1, &first).await?;
    raw.prefetch(1, 2, false).await?;
    raw.consume(1, &second).await?;
    raw.prefetch(1, 1, false).await?;
    raw.consume(1, &third).await?;
    for (queue, gets) in [(&first, 3), (&second, 2), (&third, 1)] {
        raw.publish_all(1, queue, &["a", "b", "c"]).await?;
        raw.expect_texts(1, &["a", "b", "c"][..gets]).await?;
        raw.expect_no_delivery(1, queue).await?;
    }
    Ok(())
}

async fn for_the_channel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    let other = t.name("other");
    raw.fill_queue(1, &other, &["of the other"]).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &FIVE).await?;
    raw.prefetch(1, 5, true).await?;
    raw.consume(1, &other).await?;
    raw.publish(1, "", &queue, "f").await?;
    raw.expect_no_delivery(1, &other).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.ack_up_to(1, 2).await?;
    let mut came = vec![
        raw.expect_delivery(1).await?.text(),
        raw.expect_delivery(1).await?.text(),
    ];
    came.sort();
    expect_eq("deliveries to both consumers", came, ["f", "of the other"])?;
    raw.publish(1, "", &queue, "g").await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn both_limits(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    let other = t.name("other");
    raw.fill_queue(1, &other, &["x", "y"]).await?;
    // The limit per consumer comes first, because it removes one over the channel (QOS-05).
    raw.prefetch(1, 2, false).await?;
    raw.prefetch(1, 3, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b"]).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.consume(1, &other).await?;
    raw.expect_texts(1, &["x"]).await?;
    raw.expect_no_delivery(1, &other).await?;
    // Room on the channel, but none left for the first consumer.
    raw.ack(1, 3).await?;
    raw.expect_texts(1, &["y"]).await?;
    raw.ack(1, 4).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.ack(1, 1).await?;
    raw.expect_texts(1, &["c"]).await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn zero_is_unlimited(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 1, false).await?;
    raw.prefetch(1, 0, false).await?;
    raw.prefetch(1, 2, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b"]).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.prefetch(1, 0, true).await?;
    raw.expect_texts(1, &["c", "d", "e"]).await.map(drop)
}

async fn removes_channel_limit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 1, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.prefetch(1, 3, false).await?;
    raw.expect_texts(1, &["b", "c", "d", "e"]).await.map(drop)
}

async fn lowered(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 4, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b", "c", "d"]).await?;
    raw.prefetch(1, 2, true).await?;
    raw.ack(1, 1).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.ack(1, 2).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.ack(1, 3).await?;
    raw.expect_texts(1, &["e"]).await.map(drop)
}

async fn raised(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 1, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.prefetch(1, 3, true).await?;
    raw.expect_texts(1, &["b", "c"]).await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn no_ack_ignores_limits(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 1, false).await?;
    raw.prefetch(1, 1, true).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    let consume = basic::Consume {
        queue: queue.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    raw.consume_with(1, consume).await?;
    raw.expect_texts(1, &["c", "d", "e"]).await.map(drop)
}

async fn counts_what_is_unacked(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    raw.prefetch(1, 3, true).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["c"]).await?;
    raw.expect_no_delivery(1, &queue).await?;
    // RabbitMQ does not give back the room of a get, so only the delivery is acked.
    raw.ack(1, 3).await?;
    raw.expect_texts(1, &["d"]).await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn does_not_count_later_gets(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 2, true).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["c", "d"]).await?;
    raw.ack(1, 1).await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn no_limit_at_first(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let texts = ["m"; 500];
    raw.fill_queue(1, &queue, &texts).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &texts).await.map(drop)
}

async fn largest_count(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, u16::MAX, true).await?;
    raw.prefetch(1, u16::MAX, false).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &FIVE).await.map(drop)
}

async fn belongs_to_its_channel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 1, false).await?;
    raw.prefetch(1, 1, true).await?;
    raw.open_channel(2).await?;
    raw.consume(2, &queue).await?;
    raw.expect_texts(2, &FIVE).await?;
    // A channel that is opened again starts without limits too.
    raw.close_channel(2).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &FIVE).await.map(drop)
}

async fn global_on_quorum_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let arguments = [("x-queue-type", Value::LongStr(b"quorum"))];
    raw.declare_queue_with(1, &queue, &arguments).await?;
    raw.prefetch(1, 1, true).await?;
    let consume = basic::Consume {
        queue: queue.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, consume).await?;
    let answers = global_prefetch_answers(t, &queue);
    raw.expect_variant(t, &answers).await.map(drop)
}

/// A limit for the channel would leave the second consumer with nothing.
async fn global_for_each_consumer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.prefetch(1, 1, true).await?;
    for queue in [t.name("one"), t.name("two")] {
        raw.declare_queue(1, &queue).await?;
        raw.consume(1, &queue).await?;
        raw.publish_all(1, &queue, &["a", "b"]).await?;
        raw.expect_texts(1, &["a"]).await?;
        raw.expect_no_delivery(1, &queue).await?;
    }
    Ok(())
}

async fn commit_frees_credit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.tx_select(1).await?;
    raw.prefetch(1, 1, false).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.ack(1, 1).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.commit(1).await?;
    raw.expect_texts(1, &["b"]).await.map(drop)
}

async fn requeue_frees_credit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = with_five(t).await?;
    raw.prefetch(1, 2, false).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b"]).await?;
    raw.nack(1, 1, true).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.reject(1, 2, true).await?;
    raw.expect_texts(1, &["b"]).await?;
    raw.recover(1).await?;
    raw.expect_texts(1, &["a", "b"]).await?;
    raw.expect_no_delivery(1, &queue).await
}
