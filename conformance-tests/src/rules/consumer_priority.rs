//! Consumers that come before others.

use leveret_protocol::method::basic;
use leveret_protocol::{TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("CPRIO", &[RULES]);

rules! {
    "CPRIO-01" higher_one_first [raw] "The highest gets everything while it can take it …";
    "CPRIO-01" lower_one_when_blocked [raw] "… and the next only what it cannot.";
    "CPRIO-02" zero_is_the_default [raw] "Without a priority it is 0, and it may be negative.";
    "CPRIO-02" any_integer_type [raw] "Any type of integer is taken.";
    "CPRIO-03" equals_take_turns [raw] "Equal ones take turns.";
    "CPRIO-04" ack_makes_it_first_again [raw] "With an ack the highest is the next again.";
    "CPRIO-05" delivered_stays [raw] "A higher one that comes later takes nothing away.";
}

/// Consumers of one queue on channel 1, each with its priority as its tag.
async fn consumers(t: &Trial, queue: &str, priorities: &[i32]) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.prefetch(1, 1, false).await?;
    for priority in priorities {
        let tag = priority.to_string();
        consume(&mut raw, queue, &tag, Some(Value::I32(*priority))).await?;
    }
    Ok(raw)
}

async fn consume(
    raw: &mut RawConnection,
    queue: &str,
    tag: &str,
    priority: Option<Value<'_>>,
) -> Result<(), Failure> {
    let arguments = priority.map(|priority| ("x-priority", priority));
    let arguments = TableBuf::from_entries(arguments);
    let consume = basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    raw.consume_with(1, consume).await.map(drop)
}

/// Publishes a message on a connection of its own and returns the delivery, which has to be to this
/// consumer.
async fn expect_served(
    publisher: &mut RawConnection,
    raw: &mut RawConnection,
    queue: &str,
    tag: &str,
) -> Result<Message, Failure> {
    publisher.publish(1, "", queue, "m").await?;
    let delivery = raw.expect_delivery(1).await?;
    expect_eq("served consumer", delivery.consumer_tag.as_str(), tag)?;
    Ok(delivery)
}

/// Publishes a message that no consumer can take, and shows that it waits.
async fn publish_to_wait(publisher: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    publisher.confirm_select(1).await?;
    publisher.publish(1, "", queue, "waits").await?;
    publisher.await_confirms(1, 1, 1).await?;
    publisher.expect_ready(1, queue, 1).await
}

/// A publisher, and a queue it has declared.
async fn publisher(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    Ok((raw, queue))
}

async fn higher_one_first(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[1, 10, 5]).await?;
    for _ in 0..10 {
        let delivery = expect_served(&mut publisher, &mut raw, &queue, "10").await?;
        raw.ack(1, delivery.delivery_tag).await?;
        // The queue must know of the ack before it has the next message to give.
        raw.expect_no_delivery(1, &queue).await?;
    }
    Ok(())
}

async fn lower_one_when_blocked(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[1, 10, 5]).await?;
    for tag in ["10", "5", "1"] {
        expect_served(&mut publisher, &mut raw, &queue, tag).await?;
    }
    publish_to_wait(&mut publisher, &queue).await?;
    raw.barrier(1).await
}

async fn zero_is_the_default(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[-1]).await?;
    consume(&mut raw, &queue, "none", None).await?;
    consume(&mut raw, &queue, "1", Some(Value::I32(1))).await?;
    for tag in ["1", "none", "-1"] {
        expect_served(&mut publisher, &mut raw, &queue, tag).await?;
    }
    Ok(())
}

async fn any_integer_type(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[]).await?;
    let values = [
        ("-100", Value::I8(-100)),
        ("200", Value::U8(200)),
        ("-300", Value::I16(-300)),
        ("40000", Value::U16(40_000)),
        ("-70000", Value::I32(-70_000)),
        ("3000000000", Value::U32(3_000_000_000)),
        ("5000000000", Value::I64(5_000_000_000)),
    ];
    for (tag, value) in values {
        consume(&mut raw, &queue, tag, Some(value)).await?;
    }
    for tag in [
        "5000000000",
        "3000000000",
        "40000",
        "200",
        "-100",
        "-300",
        "-70000",
    ] {
        expect_served(&mut publisher, &mut raw, &queue, tag).await?;
    }
    Ok(())
}

async fn equals_take_turns(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[]).await?;
    for (tag, priority) in [("low", 1), ("a", 5), ("b", 5), ("c", 5)] {
        consume(&mut raw, &queue, tag, Some(Value::I32(priority))).await?;
    }
    let mut served = Vec::new();
    for _ in 0..9 {
        publisher.publish(1, "", &queue, "m").await?;
        let delivery = raw.expect_delivery(1).await?;
        served.push(delivery.consumer_tag.clone());
        raw.ack(1, delivery.delivery_tag).await?;
        raw.expect_no_delivery(1, &queue).await?;
    }
    let count = |tag| served.iter().filter(|served| *served == tag).count();
    let counts = ["a", "b", "c", "low"].map(count);
    expect_eq(
        format!("messages for a, b, c and low in {served:?}"),
        counts,
        [3, 3, 3, 0],
    )
}

async fn ack_makes_it_first_again(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut raw = consumers(t, &queue, &[1, 10]).await?;
    let first = expect_served(&mut publisher, &mut raw, &queue, "10").await?;
    expect_served(&mut publisher, &mut raw, &queue, "1").await?;
    raw.ack(1, first.delivery_tag).await?;
    raw.expect_no_delivery(1, &queue).await?;
    let next = expect_served(&mut publisher, &mut raw, &queue, "10").await?;
    publish_to_wait(&mut publisher, &queue).await?;
    raw.ack(1, next.delivery_tag).await?;
    let delivery = raw.expect_delivery(1).await?;
    expect_eq("served consumer", delivery.consumer_tag, "10".to_owned())
}

async fn delivered_stays(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = publisher(t).await?;
    let mut low = consumers(t, &queue, &[1]).await?;
    let delivered = expect_served(&mut publisher, &mut low, &queue, "1").await?;
    let mut high = consumers(t, &queue, &[10]).await?;
    high.expect_no_delivery(1, &queue).await?;
    low.ack(1, delivered.delivery_tag).await?;
    low.expect_no_delivery(1, &queue).await?;
    expect_served(&mut publisher, &mut high, &queue, "10").await?;
    low.barrier(1).await
}
