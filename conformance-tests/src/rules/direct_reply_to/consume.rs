//! The consumer of replies, and what requests become.

use leveret_protocol::method::basic;

use super::super::access::{ACCESS_REFUSED, access_refused};
use super::{REPLY_QUEUE, address, expect_reply, of_replies, request, start};
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::RawConnection;
use crate::registry::Follows;
use crate::trial::Trial;

rules! {
    "RPC-01" consumes_without_declaring [raw] "The pseudo-queue is consumed from as it is.";
    "RPC-01" generated_tag [raw] "… and a tag is made up if none is given.";
    "RPC-02" replies_cannot_be_acked [raw] "It is consumed from without acks only.";
    "RPC-03" one_per_channel [raw] "A channel has one consumer of replies.";
    "RPC-04" request_without_consumer [raw] "A request needs a consumer on its own channel.";
    "RPC-05" address_in_request [raw] "A request arrives with the consumer's address.";
    "RPC-05" other_properties_stay [raw] "… and its other properties as they were.";
    "RPC-14" cancel_frees_the_place [raw] "A cancelled consumer makes room for the next.";
    "RPC-15" own_tags [raw, follows(Follows::V3)] "A normal consumer may have the same tag.";
    "RPC-16" no_read_permission [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Consuming replies needs no permission.";
}

async fn consumes_without_declaring(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let tag = raw.consume_with(1, of_replies("mine")).await?;
    expect_eq("tag", tag.as_str(), "mine")
}

async fn generated_tag(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let tag = raw.consume_with(1, of_replies("")).await?;
    ensure(tag.starts_with("amq.ctag-"), format!("tag is {tag:?}"))
}

async fn expect_refused(
    raw: &mut RawConnection,
    consume: basic::Consume<'_>,
    text: &str,
) -> Result<(), Failure> {
    raw.send_method(1, consume).await?;
    let text = format!("PRECONDITION_FAILED - {text}");
    raw.expect_channel_close(1, 406, text, basic::Consume::ID)
        .await
}

async fn replies_cannot_be_acked(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let consume = basic::Consume {
        no_ack: false,
        ..of_replies("mine")
    };
    expect_refused(&mut raw, consume, "reply consumer cannot acknowledge").await
}

async fn one_per_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    raw.consume_with(1, of_replies("one")).await?;
    raw.consume_with(2, of_replies("two")).await?;
    expect_refused(&mut raw, of_replies("three"), "reply consumer already set").await
}

async fn request_without_consumer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    raw.consume_with(1, of_replies("one")).await?;
    // Nor does it matter where the request would have gone.
    request(&mut raw, 2, &t.name("nowhere")).await?;
    let text = "PRECONDITION_FAILED - fast reply consumer does not exist";
    raw.expect_channel_close(2, 406, text, basic::Publish::ID)
        .await
}

async fn address_in_request(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let address_of_one = start(t, &mut raw, 1).await?;
    raw.consume_with(2, of_replies("two")).await?;
    let address_of_two = address(t, &mut raw, 2).await?;
    expect_eq(
        "the same again",
        address(t, &mut raw, 1).await?,
        address_of_one.clone(),
    )?;
    ensure(
        address_of_one != address_of_two,
        "two channels have one address",
    )?;
    let opaque = address_of_one.strip_prefix("amq.rabbitmq.reply-to.");
    let opaque = opaque.ok_or_else(|| Failure::new(format!("address {address_of_one:?}")))?;
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=.".contains(c);
    let holds = opaque.len() > 16 && opaque.contains('.') && opaque.chars().all(is_base64);
    ensure(holds, format!("opaque part {opaque:?}"))
}

async fn other_properties_stay(t: &Trial) -> Result<(), Failure> {
    use leveret_protocol::{Properties, TableBuf, Value};
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let headers = TableBuf::from_entries([("k", Value::I64(7)), ("a", Value::Bool(true))]);
    let properties = Properties {
        content_type: Some("text/plain".into()),
        headers: Some(headers.view()),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: Some("c".into()),
        reply_to: Some(REPLY_QUEUE.into()),
        expiration: Some("60000".into()),
        message_id: Some("m".into()),
        timestamp: Some(1_700_000_000),
        kind: Some("t".into()),
        user_id: Some("guest".into()),
        app_id: Some("a".into()),
        ..Default::default()
    };
    let publish = basic::Publish {
        routing_key: queue.as_str().into(),
        ..Default::default()
    };
    let properties = match t.target().user() {
        "guest" => properties,
        _ => Properties {
            user_id: None,
            ..properties
        },
    };
    raw.publish_with(1, publish, properties, b"question")
        .await?;
    let came = raw.take_text(1, &queue, "question").await?;
    let expected = Properties {
        reply_to: Some(address.as_str().into()),
        ..properties
    };
    expect_eq("properties", came.properties()?, expected)
}

async fn cancel_frees_the_place(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let before = start(t, &mut raw, 1).await?;
    raw.cancel(1, "replies").await?;
    raw.consume_with(1, of_replies("again")).await?;
    let after = address(t, &mut raw, 1).await?;
    raw.publish(1, "", &after, "answer").await?;
    let reply = expect_reply(&mut raw, 1, &after, "answer").await?;
    expect_eq("tag", reply.consumer_tag.as_str(), "again")?;
    // RabbitMQ tells the consumers of one channel apart; whoever knew the earlier one finds nobody.
    raw.publish(1, "", &before, "late").await?;
    raw.barrier(1).await
}

async fn own_tags(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let consume = basic::Consume {
        queue: queue.as_str().into(),
        consumer_tag: "replies".into(),
        ..Default::default()
    };
    raw.consume_with(1, consume).await?;
    raw.cancel(1, "replies").await?;
    raw.publish(1, "", &address, "nobody is there").await?;
    raw.publish(1, "", &queue, "the other one is").await?;
    let delivery = raw.expect_delivery(1).await?;
    expect_eq("body", delivery.text().as_str(), "the other one is")?;
    // The other way round a tag that is in use is refused.
    raw.send_method(1, of_replies("replies")).await?;
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'replies'";
    raw.expect_connection_close(530, text, basic::Consume::ID)
        .await
}

async fn no_read_permission(t: &Trial) -> Result<(), Failure> {
    let mut nobody = t.raw_with(&t.login("reader")).await?;
    nobody.open_channel(1).await?;
    nobody.consume_with(1, of_replies("replies")).await?;
    // A reply is a publish to the default exchange.
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    nobody.publish(1, "", &address, "answer").await?;
    let exchange = format!("exchange 'amq.default' in vhost '{}'", t.vhost());
    let text = access_refused(t, "write", &exchange, "reader");
    nobody
        .expect_channel_close(1, 403, text, basic::Publish::ID)
        .await
}
