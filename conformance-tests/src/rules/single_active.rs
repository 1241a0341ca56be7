//! Queues with one active consumer, while others wait for their turn.

use leveret_protocol::method::{basic, channel};
use leveret_protocol::{TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Event, Message, RawConnection};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("SAC", &[RULES]);

variants! { HIGHER_PRIORITY: "SAC-06" {
    FIRST_STAYS "first-stays" "The first consumer of a quorum queue stays active.";
    HIGHER_TAKES_OVER "higher-takes-over" "A higher one takes over when the active one has settled.";
} }

rules! {
    "SAC-01" first_is_active [raw] "The first consumer gets everything, others wait.";
    "SAC-02" all_are_counted [raw] "All are answered, and counted as consumers.";
    "SAC-03" no_exclusive_consumer [raw] "An exclusive consumer is refused.";
    "SAC-04" longest_waiting_is_next [raw] "When the active one is cancelled the next takes over …";
    "SAC-04" next_after_a_close [raw] "… and when its channel or connection ends …";
    "SAC-04" highest_priority_is_next [raw] "… the highest priority first.";
    "SAC-05" unacked_stays_after_cancel [raw] "What it has unacked stays with it after a cancel …";
    "SAC-05" unacked_goes_after_close [raw] "… and is requeued to the next after a close.";
    "SAC-06" higher_one_waits [raw] "A higher one that comes later waits.";
    "SAC-06" higher_one_takes_over [raw, quorum_queues, variants(&[HIGHER_PRIORITY])]
        "On a quorum queue it may take over when the active one has settled.";
    "SAC-07" blocked_one_stays_active [raw] "What the active one cannot take waits for it.";
    "SAC-08" get [raw] "Fetching is allowed.";
    "SAC-09" waiting_one_is_cancelled [raw] "Cancelling one that waits changes nothing else.";
}

/// Declares the queue on a connection that publishes.
async fn single_active(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    declare(&mut raw, &queue).await?;
    Ok((raw, queue))
}

async fn declare(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let argument = ("x-single-active-consumer", Value::Bool(true));
    raw.declare_queue_with(1, queue, &[argument]).await
}

/// A connection with one consumer.
async fn consumer(t: &Trial, queue: &str, priority: i32) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    consume(&mut raw, 1, queue, priority).await?;
    Ok(raw)
}

async fn consume(
    raw: &mut RawConnection,
    channel: u16,
    queue: &str,
    priority: i32,
) -> Result<(), Failure> {
    let arguments = TableBuf::new().with("x-priority", Value::I32(priority));
    let consume = basic::Consume {
        queue: queue.into(),
        consumer_tag: "consumer".into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    raw.consume_with(channel, consume).await.map(drop)
}

/// A message that is published now is delivered there.
async fn expect_active(
    publisher: &mut RawConnection,
    consumer: &mut RawConnection,
    queue: &str,
    text: &str,
) -> Result<u64, Failure> {
    publisher.publish(1, "", queue, text).await?;
    let message = consumer.expect_texts(1, &[text]).await?.remove(0);
    Ok(message.delivery_tag)
}

async fn first_is_active(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut second = consumer(t, &queue, 0).await?;
    for text in ["a", "b", "c", "d"] {
        expect_active(&mut publisher, &mut first, &queue, text).await?;
    }
    second.expect_no_delivery(1, &queue).await
}

async fn all_are_counted(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut consumers = Vec::new();
    for count in 1..=3 {
        consumers.push(consumer(t, &queue, 0).await?);
        let declared = publisher.inspect_queue(1, &queue).await?;
        expect_eq("consumer count", declared.consumer_count, count)?;
    }
    Ok(())
}

async fn no_exclusive_consumer(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = single_active(t).await?;
    let exclusive = basic::Consume {
        queue: queue.as_str().into(),
        exclusive: true,
        ..Default::default()
    };
    raw.send_method(1, exclusive).await?;
    let vhost = t.vhost();
    let text = format!("ACCESS_REFUSED - queue '{queue}' in vhost '{vhost}' in exclusive use");
    raw.expect_channel_close(1, 403, text, basic::Consume::ID)
        .await
}

async fn longest_waiting_is_next(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(consumer(t, &queue, 0).await?);
    }
    for consumer in &mut consumers {
        expect_active(&mut publisher, consumer, &queue, "m").await?;
        consumer.cancel(1, "consumer").await?;
    }
    Ok(())
}

async fn next_after_a_close(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut second = consumer(t, &queue, 0).await?;
    let mut third = consumer(t, &queue, 0).await?;
    let tag = expect_active(&mut publisher, &mut first, &queue, "to the first").await?;
    first.ack(1, tag).await?;
    first.close_channel(1).await?;
    let tag = expect_active(&mut publisher, &mut second, &queue, "to the second").await?;
    second.ack(1, tag).await?;
    second.close().await?;
    expect_active(&mut publisher, &mut third, &queue, "to the third")
        .await
        .map(drop)
}

async fn highest_priority_is_next(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut low = consumer(t, &queue, 1).await?;
    let mut high = consumer(t, &queue, 5).await?;
    let mut high_too = consumer(t, &queue, 5).await?;
    for consumer in [&mut first, &mut high, &mut high_too, &mut low] {
        expect_active(&mut publisher, consumer, &queue, "m").await?;
        consumer.cancel(1, "consumer").await?;
    }
    Ok(())
}

async fn unacked_stays_after_cancel(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut second = consumer(t, &queue, 0).await?;
    let tag = expect_active(&mut publisher, &mut first, &queue, "kept").await?;
    first.cancel(1, "consumer").await?;
    expect_active(&mut publisher, &mut second, &queue, "next").await?;
    first.nack(1, tag, true).await?;
    let message = second.expect_texts(1, &["kept"]).await?.remove(0);
    expect_eq("redelivered", message.redelivered, true)
}

async fn unacked_goes_after_close(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    // On the same connection, so that the order of delivery and close-ok could be seen; it is not fixed.
    first.open_channel(2).await?;
    consume(&mut first, 2, &queue, 0).await?;
    for text in ["a", "b"] {
        expect_active(&mut publisher, &mut first, &queue, text).await?;
    }
    let close = channel::Close {
        reply_code: 200,
        ..Default::default()
    };
    first.send_method(1, close).await?;
    let (mut came, mut closed) = (Vec::new(), false);
    while came.len() < 2 || !closed {
        match next_of_two(&mut first).await? {
            Some(message) => came.push((message.text(), message.redelivered)),
            None => closed = true,
        }
    }
    let both = ["a", "b"].map(|text| (text.to_owned(), true));
    expect_eq("requeued messages", came, both.to_vec())
}

/// A delivery on channel 2, or `None` for the close-ok of channel 1.
async fn next_of_two(raw: &mut RawConnection) -> Result<Option<Message>, Failure> {
    let wrong = || {
        Failure::expected(
            "a delivery on channel 2 or close-ok on channel 1",
            "neither",
        )
    };
    let Event::Frame(frame) = raw.next_event().await? else {
        return Err(wrong());
    };
    let method = frame.method()?;
    match (frame.channel, method.id()) {
        (1, channel::CloseOk::ID) => Ok(None),
        (2, basic::Deliver::ID) => raw.read_content(2, &method).await.map(Some),
        _ => Err(wrong()),
    }
}

async fn higher_one_waits(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut higher = consumer(t, &queue, 10).await?;
    for text in ["a", "b"] {
        let tag = expect_active(&mut publisher, &mut first, &queue, text).await?;
        first.ack(1, tag).await?;
        first.expect_no_delivery(1, &queue).await?;
    }
    higher.expect_no_delivery(1, &queue).await
}

async fn higher_one_takes_over(t: &Trial) -> Result<(), Failure> {
    let mut publisher = t.raw().await?;
    let queue = t.name("q");
    let arguments = [
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-single-active-consumer", Value::Bool(true)),
    ];
    publisher.declare_queue_with(1, &queue, &arguments).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let tag = expect_active(&mut publisher, &mut first, &queue, "before").await?;
    let mut higher = consumer(t, &queue, 10).await?;
    first.ack(1, tag).await?;
    first.expect_no_delivery(1, &queue).await?;
    let (variant, next) = match t.accepts(FIRST_STAYS) {
        true => (FIRST_STAYS, &mut first),
        false => (HIGHER_TAKES_OVER, &mut higher),
    };
    t.saw(variant);
    expect_active(&mut publisher, next, &queue, "after")
        .await
        .map(drop)
}

async fn blocked_one_stays_active(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = t.raw().await?;
    first.prefetch(1, 1, false).await?;
    consume(&mut first, 1, &queue, 0).await?;
    let mut second = consumer(t, &queue, 0).await?;
    let tag = expect_active(&mut publisher, &mut first, &queue, "a").await?;
    publisher.confirm_select(1).await?;
    publisher.publish(1, "", &queue, "b").await?;
    publisher.await_confirms(1, 1, 1).await?;
    publisher.expect_ready(1, &queue, 1).await?;
    second.expect_no_delivery(1, &queue).await?;
    first.ack(1, tag).await?;
    first.expect_texts(1, &["b"]).await.map(drop)
}

async fn get(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = single_active(t).await?;
    raw.publish_all(1, &queue, &["a", "b"]).await?;
    raw.take_text(1, &queue, "a").await?;
    let mut first = t.raw().await?;
    first.prefetch(1, 1, false).await?;
    consume(&mut first, 1, &queue, 0).await?;
    first.expect_texts(1, &["b"]).await?;
    expect_eq(
        "a get while there is a consumer",
        raw.get(1, &queue).await?,
        None,
    )?;
    raw.publish(1, "", &queue, "c").await?;
    raw.take_text(1, &queue, "c").await.map(drop)
}

async fn waiting_one_is_cancelled(t: &Trial) -> Result<(), Failure> {
    let (mut publisher, queue) = single_active(t).await?;
    let mut first = consumer(t, &queue, 0).await?;
    let mut second = consumer(t, &queue, 0).await?;
    let mut third = consumer(t, &queue, 0).await?;
    second.cancel(1, "consumer").await?;
    expect_active(&mut publisher, &mut first, &queue, "to the first").await?;
    first.cancel(1, "consumer").await?;
    expect_active(&mut publisher, &mut third, &queue, "to the third").await?;
    second.barrier(1).await
}
