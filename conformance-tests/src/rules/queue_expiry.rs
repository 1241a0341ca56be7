//! Queues that end when nobody has used them for a while.

use std::time::Duration;

use leveret_protocol::method::{basic, channel, queue};
use leveret_protocol::{MethodId, Value};
use tokio::time::Instant;

use super::broker_clock::BrokerClock;
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("EXP", &[RULES]);

rules! {
    "EXP-01" unused [raw] "A queue ends when it has not been used for x-expires.";
    "EXP-01" consumer_is_use [raw] "A consumer is use …";
    "EXP-02" each_use_begins_it_anew [raw, slow(30)] "… and so is each declare and get.";
    "EXP-02" last_consumer_goes [raw] "The time begins when the last consumer goes.";
    "EXP-03" publishing_is_no_use [raw] "Publishing and holding messages is no use.";
    "EXP-04" everything_goes [raw] "The queue is not found then, and its bindings are gone.";
    "EXP-05" begins_anew_after_a_restart [raw, restart] "After a restart the time begins anew.";
}

/// How long a queue may take to go.
const GOING_PATIENCE: Duration = Duration::from_secs(8);
/// How long a queue that is still there is left alone.
const GOING_PAUSE: Duration = Duration::from_millis(20);

/// Waits until a queue is gone. Publishing is the one way to ask that is no use of the queue (EXP-03).
pub(super) async fn await_gone(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let until = Instant::now() + GOING_PATIENCE;
    while exists(raw, queue).await? {
        if Instant::now() > until {
            let what = format!("the end of {queue} within {GOING_PATIENCE:?}");
            return Err(Failure::expected(what, "another message fitted in"));
        }
        tokio::time::sleep(GOING_PAUSE).await;
    }
    Ok(())
}

/// Leaves a message in the queue if it exists.
async fn exists(raw: &mut RawConnection, queue: &str) -> Result<bool, Failure> {
    raw.publish_mandatory(1, "", queue, "are you there?")
        .await?;
    raw.send_method(1, channel::Flow { active: true }).await?;
    let reply = raw.expect_method(1).await?;
    if reply.id() == channel::FlowOk::ID {
        return Ok(true);
    }
    raw.read_content(1, &reply).await?;
    raw.expect(1, channel::FlowOk::ID).await?;
    Ok(false)
}

async fn expect_there(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    expect_eq(
        format!("whether {queue} is there"),
        exists(raw, queue).await?,
        true,
    )
}

async fn declare_expiring(
    raw: &mut RawConnection,
    queue: &str,
    expires_ms: i32,
) -> Result<(), Failure> {
    let expires = ("x-expires", Value::I32(expires_ms));
    raw.declare_queue_with(1, queue, &[expires]).await
}

async fn unused(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, other) = (t.name("q"), t.name("other"));
    declare_expiring(&mut raw, &other, 60_000).await?;
    declare_expiring(&mut raw, &queue, 100).await?;
    await_gone(&mut raw, &queue).await?;
    expect_there(&mut raw, &other).await
}

async fn consumer_is_use(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut consumer) = (t.raw().await?, t.raw().await?);
    let mut clock = BrokerClock::new(t).await?;
    let queue = t.name("q");
    declare_expiring(&mut raw, &queue, 300).await?;
    consumer.consume(1, &queue).await?;
    clock.wait(700).await?;
    expect_there(&mut raw, &queue).await
}

/// Uses the queue for longer than it would live without.
async fn each_use_begins_it_anew(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let mut clock = BrokerClock::new(t).await?;
    let queue = t.name("q");
    for round in 0..4 {
        declare_expiring(&mut raw, &queue, 2_000).await?;
        if round > 0 {
            // A new queue would be empty.
            raw.take_text(1, &queue, "mark").await?;
        }
        raw.publish(1, "", &queue, "mark").await?;
        clock.wait(300).await?;
        raw.inspect_queue(1, &queue).await?;
        clock.wait(300).await?;
        let got = raw.get_text(1, &queue, "mark").await?;
        raw.nack(1, got.delivery_tag, true).await?;
        clock.wait(300).await?;
    }
    await_gone(&mut raw, &queue).await
}

async fn last_consumer_goes(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut consumer) = (t.raw().await?, t.raw().await?);
    let mut clock = BrokerClock::new(t).await?;
    let queue = t.name("q");
    declare_expiring(&mut raw, &queue, 500).await?;
    let first = consumer.consume(1, &queue).await?;
    let second = consumer.consume(1, &queue).await?;
    consumer.cancel(1, &first).await?;
    clock.wait(800).await?;
    expect_there(&mut raw, &queue).await?;
    consumer.await_method(1, basic::Deliver::ID).await?;
    consumer.send_method(1, cancel(&second)).await?;
    consumer.await_method(1, basic::CancelOk::ID).await?;
    await_gone(&mut raw, &queue).await
}

fn cancel(tag: &str) -> basic::Cancel<'_> {
    basic::Cancel {
        consumer_tag: tag.into(),
        nowait: false,
    }
}

/// If a publish were use, asking every 20 ms would keep the queue.
async fn publishing_is_no_use(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    declare_expiring(&mut raw, &queue, 400).await?;
    expect_there(&mut raw, &queue).await?;
    await_gone(&mut raw, &queue).await
}

async fn expect_not_found(
    raw: &mut RawConnection,
    queue: &str,
    vhost: &str,
    culprit: MethodId,
) -> Result<(), Failure> {
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '{vhost}'");
    raw.expect_channel_close(1, 404, text, culprit).await?;
    raw.open_channel(1).await
}

/// That its contents are not dead-lettered is shown by DLX-02.
async fn everything_goes(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    declare_expiring(&mut raw, &queue, 200).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.bind(1, &queue, &exchange, "").await?;
    await_gone(&mut raw, &queue).await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&queue)
    };
    raw.send_method(1, passive).await?;
    expect_not_found(&mut raw, &queue, t.vhost(), queue::Declare::ID).await?;
    let get = basic::Get {
        queue: queue.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    expect_not_found(&mut raw, &queue, t.vhost(), basic::Get::ID).await?;
    // Nor does a new queue of this name have the old one's bindings.
    raw.declare_queue(1, &queue).await?;
    raw.publish_mandatory(1, &exchange, "", "m").await?;
    raw.expect_return(1).await?;
    raw.expect_empty(1, &queue).await
}

async fn begins_anew_after_a_restart(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (short, long) = (t.name("short"), t.name("long"));
    declare_expiring(&mut raw, &long, 3_600_000).await?;
    declare_expiring(&mut raw, &short, 1_500).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    await_gone(&mut raw, &short).await?;
    expect_there(&mut raw, &long).await
}
