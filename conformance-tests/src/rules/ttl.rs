//! Messages that live for a limited time.

use leveret_protocol::method::basic;
use leveret_protocol::{Properties, Value};

use super::broker_clock::BrokerClock;
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("TTL", &[RULES]);

rules! {
    "TTL-01" of_the_queue [raw] "Messages live as long as the queue says …";
    "TTL-01" of_the_message [raw] "… or as they say themselves …";
    "TTL-01" smaller_one_wins [raw] "… whichever is shorter.";
    "TTL-02" never_delivered [raw] "What has expired is neither delivered nor fetched.";
    "TTL-03" zero_without_a_consumer [raw] "With 0 a message is gone unless it is taken at once …";
    "TTL-03" zero_with_a_consumer [raw] "… which a consumer may do …";
    "TTL-03" zero_with_a_busy_consumer [raw] "… if it can.";
    "TTL-04" unacked_does_not_expire [raw] "What is unacked does not expire …";
    "TTL-04" requeued_too_late [raw] "… but has if it comes back too late …";
    "TTL-04" requeued_in_time [raw] "… and otherwise in the time it had.";
    "TTL-05" nobody_asks [raw] "Messages go when they are due, though nobody asks.";
    "TTL-06" counted_behind_a_live_head [raw]
        "What has expired behind a live message is counted still.";
    "TTL-07" expiration_stays [raw] "The expiration is delivered as it was sent.";
    "TTL-08" behind_a_higher_priority [raw]
        "A lower priority that has expired waits for higher ones.";
    "TTL-09" deadline_across_a_restart [raw, restart] "The time goes on while the broker is down.";
    "TTL-10" each_queue_its_own [raw] "Each queue counts for its own copy.";
}

/// A queue whose dead letters are consumed on a connection of their own.
struct Dying {
    raw: RawConnection,
    dead: RawConnection,
    queue: String,
}

impl Dying {
    async fn with(t: &Trial, arguments: &[(&str, Value<'_>)]) -> Result<Self, Failure> {
        let (mut raw, mut dead) = (t.raw().await?, t.raw().await?);
        let (queue, sink) = (t.name("q"), t.name("dead"));
        declare_leading_to(&mut raw, &queue, &sink, arguments).await?;
        dead.consume_no_ack(1, &sink).await?;
        Ok(Self { raw, dead, queue })
    }

    async fn publish(&mut self, expiration: &str, text: &str) -> Result<(), Failure> {
        let queue = self.queue.clone();
        publish_expiring(&mut self.raw, &queue, expiration, text).await
    }

    async fn expect_death(&mut self, text: &str) -> Result<(), Failure> {
        let came = self.dead.expect_texts(1, &[text]).await;
        came.map(drop)
            .map_err(|failure| failure.at(format!("the death of {text:?}")))
    }
}

/// Declares two queues, the dead letters of the first going to the second.
async fn declare_leading_to(
    raw: &mut RawConnection,
    queue: &str,
    sink: &str,
    arguments: &[(&str, Value<'_>)],
) -> Result<(), Failure> {
    raw.declare_queue(1, sink).await?;
    let mut all = vec![
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(sink.as_bytes())),
    ];
    all.extend_from_slice(arguments);
    raw.declare_queue_with(1, queue, &all).await
}

/// Publishes a persistent message with an expiration, through the default exchange.
async fn publish_expiring(
    raw: &mut RawConnection,
    queue: &str,
    expiration: &str,
    text: &str,
) -> Result<(), Failure> {
    let properties = Properties {
        expiration: Some(expiration.into()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    raw.publish_message(1, ("", queue), properties, text).await
}

fn ttl(ttl_ms: i32) -> (&'static str, Value<'static>) {
    ("x-message-ttl", Value::I32(ttl_ms))
}

async fn of_the_queue(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(50)]).await?;
    let queue = dying.queue.clone();
    dying.raw.publish(1, "", &queue, "m").await?;
    dying.expect_death("m").await
}

async fn of_the_message(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[]).await?;
    dying.publish("50", "m").await?;
    dying.expect_death("m").await
}

async fn smaller_one_wins(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(3_600_000)]).await?;
    dying.publish("50", "its own is smaller").await?;
    dying.expect_death("its own is smaller").await?;
    let sooner = t.name("sooner");
    let mut raw = t.raw().await?;
    raw.declare_queue_with(1, &sooner, &[ttl(50)]).await?;
    publish_expiring(&mut raw, &sooner, "3600000", "the queue's is smaller").await?;
    BrokerClock::new(t).await?.wait(150).await?;
    raw.expect_empty(1, &sooner).await
}

async fn never_delivered(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let mut clock = BrokerClock::new(t).await?;
    let (got, consumed) = (t.name("got"), t.name("consumed"));
    for queue in [&got, &consumed] {
        raw.declare_queue(1, queue).await?;
        publish_expiring(&mut raw, queue, "20", "dies").await?;
        publish_expiring(&mut raw, queue, "30", "dies too").await?;
        raw.publish(1, "", queue, "lives").await?;
    }
    raw.barrier(1).await?;
    clock.wait(120).await?;
    raw.take_text(1, &got, "lives").await?;
    raw.expect_empty(1, &got).await?;
    raw.consume(1, &consumed).await?;
    raw.expect_texts(1, &["lives"]).await?;
    raw.expect_no_delivery(1, &consumed).await
}

async fn zero_without_a_consumer(t: &Trial) -> Result<(), Failure> {
    for arguments in [&[ttl(0)][..], &[][..]] {
        let mut dying = Dying::with(t, arguments).await?;
        let queue = dying.queue.clone();
        dying.raw.confirm_select(1).await?;
        let publish = basic::Publish {
            routing_key: queue.as_str().into(),
            mandatory: true,
            ..Default::default()
        };
        let properties = Properties {
            expiration: arguments.is_empty().then(|| "0".into()),
            ..Default::default()
        };
        dying.raw.publish_with(1, publish, properties, b"m").await?;
        // Next, so there is no return before it.
        dying.raw.await_confirms(1, 1, 1).await?;
        dying.expect_death("m").await?;
        dying.raw.expect_empty(1, &queue).await?;
        dying.raw.delete_queue(1, &queue).await?;
    }
    Ok(())
}

async fn zero_with_a_consumer(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(0)]).await?;
    let (mut consumer, queue) = (t.raw().await?, dying.queue.clone());
    consumer.consume(1, &queue).await?;
    for number in 0..20 {
        dying.publish("0", &number.to_string()).await?;
        let text = number.to_string();
        consumer.expect_texts(1, &[&text]).await?;
    }
    Ok(())
}

async fn zero_with_a_busy_consumer(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(0)]).await?;
    let (mut consumer, queue) = (t.raw().await?, dying.queue.clone());
    consumer.prefetch(1, 1, false).await?;
    consumer.consume(1, &queue).await?;
    let raw = &mut dying.raw;
    raw.publish_all(1, &queue, &["keeps it busy", "comes too soon"])
        .await?;
    consumer.expect_texts(1, &["keeps it busy"]).await?;
    dying.expect_death("comes too soon").await?;
    consumer.ack(1, 1).await?;
    consumer.expect_no_delivery(1, &queue).await
}

async fn unacked_does_not_expire(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(1_000)]).await?;
    let mut clock = BrokerClock::new(t).await?;
    let queue = dying.queue.clone();
    dying.publish("1000", "taken").await?;
    let got = dying.raw.get_text(1, &queue, "taken").await?;
    clock.wait(1_200).await?;
    dying.publish("10", "left").await?;
    dying.expect_death("left").await?;
    dying.raw.ack(1, got.delivery_tag).await?;
    dying.raw.barrier(1).await
}

async fn requeued_too_late(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(1_000)]).await?;
    let mut clock = BrokerClock::new(t).await?;
    let queue = dying.queue.clone();
    dying.raw.publish(1, "", &queue, "m").await?;
    let got = dying.raw.get_text(1, &queue, "m").await?;
    clock.wait(1_200).await?;
    dying.raw.nack(1, got.delivery_tag, true).await?;
    dying.expect_death("m").await?;
    dying.raw.expect_empty(1, &queue).await
}

async fn requeued_in_time(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(1_500)]).await?;
    let mut clock = BrokerClock::new(t).await?;
    let queue = dying.queue.clone();
    dying.raw.publish(1, "", &queue, "requeued").await?;
    for _ in 0..4 {
        let got = dying.raw.get_text(1, &queue, "requeued").await?;
        clock.wait(150).await?;
        dying.raw.nack(1, got.delivery_tag, true).await?;
    }
    dying.expect_death("requeued").await
}

async fn nobody_asks(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(30)]).await?;
    let queue = dying.queue.clone();
    for text in ["one", "two", "three"] {
        dying.raw.publish(1, "", &queue, text).await?;
        dying.expect_death(text).await?;
    }
    Ok(())
}

async fn counted_behind_a_live_head(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let mut clock = BrokerClock::new(t).await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["lives"]).await?;
    publish_expiring(&mut raw, &queue, "10", "dies").await?;
    raw.barrier(1).await?;
    clock.wait(80).await?;
    raw.expect_ready(1, &queue, 2).await?;
    let got = raw.take_text(1, &queue, "lives").await?;
    // It has become the head, and so it is gone by now.
    expect_eq("messages behind it", got.message_count, 0)?;
    raw.expect_empty(1, &queue).await
}

async fn expiration_stays(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue_with(1, &queue, &[ttl(600_000)]).await?;
    for expiration in ["300000", "900000", "0000600000"] {
        publish_expiring(&mut raw, &queue, expiration, "m").await?;
        let got = raw.take_text(1, &queue, "m").await?;
        let came = got
            .properties()?
            .expiration
            .map(|text| text.to_text().into_owned());
        expect_eq("expiration", came.as_deref(), Some(expiration))?;
    }
    Ok(())
}

async fn behind_a_higher_priority(t: &Trial) -> Result<(), Failure> {
    let mut clock = BrokerClock::new(t).await?;
    let mut dying = Dying::with(t, &[("x-max-priority", Value::I32(5))]).await?;
    let queue = dying.queue.clone();
    let messages = [
        (5, None, "high"),
        (1, Some("10"), "low"),
        (1, None, "low too"),
    ];
    for (priority, expiration, text) in messages {
        let properties = Properties {
            priority: Some(priority),
            expiration: expiration.map(Into::into),
            ..Default::default()
        };
        let raw = &mut dying.raw;
        raw.publish_message(1, ("", &queue), properties, text)
            .await?;
    }
    dying.raw.barrier(1).await?;
    clock.wait(80).await?;
    dying.raw.expect_ready(1, &queue, 3).await?;
    dying.raw.take_text(1, &queue, "high").await?;
    dying.expect_death("low").await?;
    dying.raw.take_text(1, &queue, "low too").await.map(drop)
}

async fn deadline_across_a_restart(t: &Trial) -> Result<(), Failure> {
    // Nobody consumes the dead letter before: the message may die before the broker stops.
    let mut raw = t.raw().await?;
    let (queue, sink, living) = (t.name("q"), t.name("dead"), t.name("living"));
    raw.declare_queue(1, &living).await?;
    declare_leading_to(&mut raw, &queue, &sink, &[]).await?;
    raw.confirm_select(1).await?;
    publish_expiring(&mut raw, &queue, "800", "dies").await?;
    publish_expiring(&mut raw, &living, "3600000", "lives").await?;
    raw.await_confirms(1, 1, 2).await?;
    t.restart().await?;
    let (mut raw, mut dead) = (t.raw().await?, t.raw().await?);
    dead.consume_no_ack(1, &sink).await?;
    dead.expect_texts(1, &["dies"]).await?;
    raw.expect_empty(1, &queue).await?;
    raw.take_text(1, &living, "lives").await.map(drop)
}

async fn each_queue_its_own(t: &Trial) -> Result<(), Failure> {
    let mut dying = Dying::with(t, &[ttl(50)]).await?;
    let (exchange, other) = (t.name("x"), t.name("other"));
    let raw = &mut dying.raw;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.declare_queue_with(1, &other, &[ttl(3_600_000)]).await?;
    raw.bind(1, &dying.queue, &exchange, "").await?;
    raw.bind(1, &other, &exchange, "").await?;
    raw.publish(1, &exchange, "", "m").await?;
    dying.expect_death("m").await?;
    dying.raw.take_text(1, &other, "m").await.map(drop)
}
