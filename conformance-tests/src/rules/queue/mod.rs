//! Queues: declaring, deleting and purging.

mod declare;
mod delete;
mod last_declared;
mod redeclare;

use leveret_protocol::method::{basic, queue as method};
use leveret_protocol::{TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, Text, durable_queue};
use crate::registry::Section;

pub(crate) const SECTION: Section = Section::complete(
    "QUEUE",
    &[
        declare::RULES,
        redeclare::RULES,
        last_declared::RULES,
        delete::RULES,
    ],
);

/// A channel that is opened and closed within a helper, so that the modes and delivery tags of the
/// test's channels are left alone.
const SIDE_CHANNEL: u16 = 999;

/// `queue 'q' in vhost '/'`, as it stands in error texts.
pub(super) fn resource(name: &str, vhost: &str) -> String {
    format!("queue '{name}' in vhost '{vhost}'")
}

pub(super) fn not_found(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no {}", resource(name, vhost))
}

/// The text of every refusal of a queue that is exclusive to another connection.
pub(super) fn locked(name: &str, vhost: &str) -> String {
    format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked {}. It could be originally \
         declared on another connection or the exclusive property value does not match that of the \
         original declaration.",
        resource(name, vhost)
    )
}

pub(super) fn passive(name: &str) -> method::Declare<'_> {
    method::Declare {
        passive: true,
        queue: name.into(),
        ..Default::default()
    }
}

/// Declares on channel 1, is refused with this code and text, and opens the channel again.
pub(super) async fn expect_declare_refused(
    raw: &mut RawConnection,
    declare: method::Declare<'_>,
    code: u16,
    text: impl Into<Text>,
) -> Result<(), Failure> {
    raw.send_method(1, declare).await?;
    raw.expect_channel_close(1, code, text, method::Declare::ID)
        .await?;
    raw.open_channel(1).await
}

/// Checks that a passive declare does not find the queue, and opens the channel again.
pub(super) async fn expect_gone(
    raw: &mut RawConnection,
    name: &str,
    vhost: &str,
) -> Result<(), Failure> {
    expect_declare_refused(raw, passive(name), 404, not_found(name, vhost)).await
}

/// Declares a queue whose dead messages go to the queue `dead`, and shows that they do: a test of
/// what does not dead-letter could not fail otherwise.
pub(super) async fn declare_with_dead_letters(
    raw: &mut RawConnection,
    declare: method::Declare<'_>,
    dead: &str,
) -> Result<(), Failure> {
    raw.declare_queue(1, dead).await?;
    let arguments = TableBuf::new()
        .with("x-dead-letter-exchange", Value::LongStr(b""))
        .with("x-dead-letter-routing-key", Value::LongStr(dead.as_bytes()));
    let declare = method::Declare {
        arguments: arguments.view(),
        ..declare
    };
    let name = raw.declare(1, declare).await?.name;
    expect_dead_letter(raw, &name, dead).await
}

async fn expect_dead_letter(
    raw: &mut RawConnection,
    queue: &str,
    dead: &str,
) -> Result<(), Failure> {
    raw.open_channel(SIDE_CHANNEL).await?;
    raw.publish(SIDE_CHANNEL, "", queue, "dead").await?;
    raw.get(SIDE_CHANNEL, queue).await?;
    raw.nack(SIDE_CHANNEL, 1, false).await?;
    raw.consume(SIDE_CHANNEL, dead).await?;
    let delivery = raw.expect_delivery(SIDE_CHANNEL).await?;
    expect_eq("dead letter", delivery.text(), "dead")?;
    raw.ack(SIDE_CHANNEL, delivery.delivery_tag).await?;
    raw.close_channel(SIDE_CHANNEL).await
}

/// Checks that nothing has arrived in a queue before a message that is published only now.
pub(super) async fn expect_nothing_came_to(
    raw: &mut RawConnection,
    queue: &str,
) -> Result<(), Failure> {
    raw.publish(1, "", queue, "the first to come").await?;
    raw.take_text(1, queue, "the first to come").await?;
    raw.expect_empty(1, queue).await
}

/// Publishes texts to a queue and waits until all are confirmed, so that counts include them.
pub(super) async fn fill(
    raw: &mut RawConnection,
    queue: &str,
    texts: &[&str],
) -> Result<(), Failure> {
    raw.open_channel(SIDE_CHANNEL).await?;
    raw.confirm_select(SIDE_CHANNEL).await?;
    for text in texts {
        raw.publish(SIDE_CHANNEL, "", queue, text).await?;
    }
    raw.await_confirms(SIDE_CHANNEL, 1, texts.len() as u64)
        .await?;
    raw.close_channel(SIDE_CHANNEL).await
}

/// A message that has to be there and is not acked; returns its tag.
pub(super) async fn get_unacked(raw: &mut RawConnection, queue: &str) -> Result<u64, Failure> {
    let got = raw.get(1, queue).await?;
    got.map(|message| message.delivery_tag)
        .ok_or_else(|| Failure::expected("a message", "get-empty"))
}

/// Starts a consumer that takes `prefetch` messages and is then blocked; reads those deliveries.
pub(super) async fn consume_blocked(
    raw: &mut RawConnection,
    channel: u16,
    queue: &str,
    prefetch: u16,
) -> Result<String, Failure> {
    raw.prefetch(channel, prefetch, false).await?;
    let consume = basic::Consume {
        queue: queue.into(),
        ..Default::default()
    };
    let tag = raw.consume_with(channel, consume).await?;
    for _ in 0..prefetch {
        raw.expect_delivery(channel).await?;
    }
    Ok(tag)
}

fn transient(name: &str) -> method::Declare<'_> {
    method::Declare {
        durable: false,
        ..durable_queue(name)
    }
}
