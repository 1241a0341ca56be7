//! Direct reply-to: requests whose answers come without a queue.
//!
//! | file | what it shows |
//! |---|---|
//! | `consume` | the consumer of replies, and what requests become |
//! | `reply` | where replies go, and what their publisher is told |
//! | `names` | the pseudo-queue and reply addresses as names of queues |

mod consume;
mod names;
mod reply;

use leveret_protocol::Properties;
use leveret_protocol::method::basic;

use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section =
    Section::complete("RPC", &[consume::RULES, reply::RULES, names::RULES]);

const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

/// What starts a consumer of replies.
fn of_replies(consumer_tag: &str) -> basic::Consume<'_> {
    basic::Consume {
        queue: REPLY_QUEUE.into(),
        consumer_tag: consumer_tag.into(),
        no_ack: true,
        ..Default::default()
    }
}

/// Sends a request to a queue.
async fn request(raw: &mut RawConnection, channel: u16, queue: &str) -> Result<(), Failure> {
    let publish = basic::Publish {
        routing_key: queue.into(),
        ..Default::default()
    };
    let properties = Properties {
        reply_to: Some(REPLY_QUEUE.into()),
        correlation_id: Some("c-1".into()),
        ..Default::default()
    };
    raw.publish_with(channel, publish, properties, b"question")
        .await
}

/// The address that a request names, taken from its queue.
async fn address_in(raw: &mut RawConnection, channel: u16, queue: &str) -> Result<String, Failure> {
    let request = raw.take_text(channel, queue, "question").await?;
    let properties = request.properties()?;
    expect_eq(
        "correlation id",
        properties.correlation_id,
        Some("c-1".into()),
    )?;
    let address = properties.reply_to.map(|name| name.to_text().into_owned());
    address.ok_or_else(|| Failure::new("a request without reply-to came"))
}

/// Starts a consumer of replies on a channel; gives its address.
async fn start(t: &Trial, raw: &mut RawConnection, channel: u16) -> Result<String, Failure> {
    raw.consume_with(channel, of_replies("replies")).await?;
    address(t, raw, channel).await
}

/// The address of the channel's consumer of replies.
async fn address(t: &Trial, raw: &mut RawConnection, channel: u16) -> Result<String, Failure> {
    let requests = t.name("requests");
    raw.declare_queue(channel, &requests).await?;
    request(raw, channel, &requests).await?;
    address_in(raw, channel, &requests).await
}

/// A reply is next, and is as replies are.
async fn expect_reply(
    raw: &mut RawConnection,
    channel: u16,
    address: &str,
    body: &str,
) -> Result<Message, Failure> {
    let reply = raw.expect_delivery(channel).await?;
    expect_eq("body", reply.text().as_str(), body)?;
    expect_eq("exchange", reply.exchange.as_str(), "")?;
    expect_eq("routing key", reply.routing_key.as_str(), address)?;
    expect_eq("redelivered", reply.redelivered, false)?;
    Ok(reply)
}
