//! Message priorities (`x-max-priority`).

use leveret_protocol::{Properties, Value};

use crate::failure::{Failure, expect_eq};
use crate::profile::Variant;
use crate::raw::RawConnection;
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("PRIO", &[RULES]);

variants! { HIGHEST_IS_ZERO: "PRIO-04" {
    ONE_LEVEL "one-level" "x-max-priority 0 means one level.";
    TAKEN_FOR_1 "taken-for-1" "x-max-priority 0 means 1.";
} }

variants! { QUORUM_PRIORITIES: "PRIO-06" {
    QUORUM_HAS_NONE "quorum-queue-has-none" "A quorum queue ignores priorities.";
    QUORUM_HAS_TWO "quorum-queue-has-two" "A quorum queue puts 5 and above before the rest.";
} }

rules! {
    "PRIO-01" higher_first [raw] "Higher priorities come first …";
    "PRIO-01" in_order_within [raw] "… and equal ones in the order in which they came.";
    "PRIO-02" none_is_zero [raw] "A message without a priority has the lowest …";
    "PRIO-02" above_the_highest [raw] "… and what is too high the highest, but keeps what it says.";
    "PRIO-03" requeued_to_its_place [raw] "What is requeued returns to its place.";
    "PRIO-04" highest_is_zero [raw, variants(&[HIGHEST_IS_ZERO])]
        "With 0 as the highest nothing comes first.";
    "PRIO-05" delivered_stays [raw] "What has been delivered is not overtaken.";
    "PRIO-06" without_the_argument [raw] "Without the argument priorities are ignored.";
    "PRIO-06" quorum_queue [raw, quorum_queues, variants(&[QUORUM_PRIORITIES])]
        "A quorum queue may know high and low.";
    "PRIO-07" all_are_counted [raw] "The message count is that of all priorities.";
}

/// A queue with priorities up to this, and a channel with confirms.
async fn prioritised(t: &Trial, highest: i32) -> Result<(RawConnection, String), Failure> {
    let argument = ("x-max-priority", Value::I32(highest));
    declared(t, &[argument]).await
}

async fn declared(
    t: &Trial,
    arguments: &[(&str, Value<'_>)],
) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue_with(1, &queue, arguments).await?;
    Ok((raw, queue))
}

/// Publishes these texts, each with its priority.
async fn publish(
    raw: &mut RawConnection,
    queue: &str,
    messages: &[(Option<u8>, &str)],
) -> Result<(), Failure> {
    for (priority, text) in messages {
        let properties = Properties {
            priority: *priority,
            ..Default::default()
        };
        raw.publish_message(1, ("", queue), properties, text)
            .await?;
    }
    Ok(())
}

/// Expects exactly these messages in this order, and takes them.
async fn expect_order(raw: &mut RawConnection, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    let mut came = Vec::new();
    while let Some(message) = raw.take(1, queue).await? {
        came.push(message.text());
    }
    let came: Vec<_> = came.iter().map(String::as_str).collect();
    expect_eq(format!("what lies in {queue}"), came, texts.to_vec())
}

async fn higher_first(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 10).await?;
    let messages = [
        (Some(1), "one"),
        (Some(10), "ten"),
        (Some(0), "zero"),
        (Some(5), "five"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    expect_order(&mut raw, &queue, &["ten", "five", "one", "zero"]).await?;
    publish(&mut raw, &queue, &messages).await?;
    raw.barrier(1).await?;
    raw.consume_no_ack(1, &queue).await?;
    let order = ["ten", "five", "one", "zero"];
    raw.expect_texts(1, &order).await.map(drop)
}

async fn in_order_within(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 3).await?;
    let messages = [
        (Some(1), "b1"),
        (Some(2), "a1"),
        (Some(1), "b2"),
        (Some(2), "a2"),
        (Some(1), "b3"),
        (Some(2), "a3"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    expect_order(&mut raw, &queue, &["a1", "a2", "a3", "b1", "b2", "b3"]).await
}

async fn none_is_zero(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 3).await?;
    let messages = [
        (None, "none"),
        (Some(0), "zero"),
        (None, "none again"),
        (Some(1), "one"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    expect_order(&mut raw, &queue, &["one", "none", "zero", "none again"]).await
}

async fn above_the_highest(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 5).await?;
    let messages = [
        (Some(4), "four"),
        (Some(5), "five"),
        (Some(255), "too high"),
        (Some(5), "five again"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    raw.take_text(1, &queue, "five").await?;
    let came = raw.take_text(1, &queue, "too high").await?;
    expect_eq("priority", came.properties()?.priority, Some(255))?;
    expect_order(&mut raw, &queue, &["five again", "four"]).await
}

async fn requeued_to_its_place(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 3).await?;
    let messages = [
        (Some(2), "a1"),
        (Some(2), "a2"),
        (Some(1), "b1"),
        (Some(1), "b2"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    for text in ["a1", "a2", "b1"] {
        raw.get_text(1, &queue, text).await?;
    }
    publish(&mut raw, &queue, &[(Some(2), "a3"), (Some(3), "first")]).await?;
    raw.nack_up_to(1, 3, true).await?;
    let order = ["first", "a1", "a2", "a3", "b1", "b2"];
    expect_order(&mut raw, &queue, &order).await
}

/// Takes all messages, which come in the order of one of these variants.
async fn expect_order_of<const N: usize>(
    t: &Trial,
    raw: &mut RawConnection,
    queue: &str,
    alternatives: &[(Variant, [&str; N])],
) -> Result<(), Failure> {
    let mut came = Vec::new();
    while let Some(message) = raw.take(1, queue).await? {
        came.push(message.text());
    }
    t.expect_variant_of("order", came, alternatives).map(drop)
}

async fn highest_is_zero(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 0).await?;
    let messages = [(Some(0), "zero"), (Some(5), "five"), (Some(1), "one")];
    publish(&mut raw, &queue, &messages).await?;
    let alternatives = [
        (ONE_LEVEL, ["zero", "five", "one"]),
        (TAKEN_FOR_1, ["five", "one", "zero"]),
    ];
    expect_order_of(t, &mut raw, &queue, &alternatives).await
}

async fn delivered_stays(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 5).await?;
    let mut consumer = t.raw().await?;
    consumer.prefetch(1, 2, false).await?;
    consumer.consume(1, &queue).await?;
    let low = [(Some(1), "a"), (Some(1), "b"), (Some(1), "c")];
    publish(&mut raw, &queue, &low).await?;
    consumer.expect_texts(1, &["a", "b"]).await?;
    raw.confirm_select(1).await?;
    publish(&mut raw, &queue, &[(Some(5), "high")]).await?;
    raw.await_confirms(1, 1, 1).await?;
    consumer.expect_no_delivery(1, &queue).await?;
    consumer.ack_up_to(1, 2).await?;
    consumer.expect_texts(1, &["high", "c"]).await.map(drop)
}

async fn without_the_argument(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = declared(t, &[]).await?;
    let messages = [(Some(0), "zero"), (Some(255), "high"), (None, "none")];
    publish(&mut raw, &queue, &messages).await?;
    expect_order(&mut raw, &queue, &["zero", "high", "none"]).await
}

/// The order among high and low ones together is the broker's (4.x serves them two to one).
async fn quorum_queue(t: &Trial) -> Result<(), Failure> {
    let quorum = ("x-queue-type", Value::LongStr(b"quorum"));
    let (mut raw, queue) = declared(t, &[quorum]).await?;
    raw.confirm_select(1).await?;
    let messages = [(Some(4), "low"), (Some(5), "high")];
    publish(&mut raw, &queue, &messages).await?;
    raw.await_confirms(1, 1, 2).await?;
    let alternatives = [
        (QUORUM_HAS_NONE, ["low", "high"]),
        (QUORUM_HAS_TWO, ["high", "low"]),
    ];
    expect_order_of(t, &mut raw, &queue, &alternatives).await
}

async fn all_are_counted(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = prioritised(t, 9).await?;
    raw.confirm_select(1).await?;
    let messages = [
        (Some(0), "a"),
        (Some(3), "b"),
        (Some(9), "c"),
        (Some(9), "d"),
        (None, "e"),
    ];
    publish(&mut raw, &queue, &messages).await?;
    raw.await_confirms(1, 1, 5).await?;
    raw.expect_ready(1, &queue, 5).await?;
    let got = raw.take_text(1, &queue, "c").await?;
    expect_eq("messages behind it", got.message_count, 4)?;
    expect_eq("purged messages", raw.purge(1, &queue).await?, 4)
}
