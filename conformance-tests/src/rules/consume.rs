//! Starting a consumer.

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{ShortStr, TableBuf, Value};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Expected, RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("CONS", &[RULES]);

rules! {
    "CONS-01" tag_is_echoed [raw] "Consume-ok repeats the given tag.";
    "CONS-01" tag_is_generated [raw]
        "… and an empty one is replaced by amq.ctag- and 22 characters.";
    "CONS-02" consume_ok_comes_first [raw] "Consume-ok comes before the consumer's first delivery.";
    "CONS-02" no_wait [raw] "With no-wait deliveries start without consume-ok.";
    "CONS-03" tag_in_use [raw] "A tag in use on the channel ends the connection.";
    "CONS-03" tag_on_another_channel [raw] "The same tag on another channel is fine.";
    "CONS-04" tag_is_free_after_cancel [raw] "After the client's cancel the tag can be used again.";
    "CONS-04" tag_is_free_after_server_cancel [raw] "… and after the broker's.";
    "CONS-05" exclusive_comes_too_late [raw] "No exclusive consumer beside others.";
    "CONS-06" exclusive_shuts_out [raw] "No consumer beside an exclusive one.";
    "CONS-06" exclusive_ends_with_cancel [raw] "… until that one is cancelled.";
    "CONS-06" exclusive_ends_with_channel [raw] "… or its channel ends.";
    "CONS-07" no_local_is_ignored [raw] "With no-local a client still gets its own messages.";
    "CONS-08" missing_queue [raw] "A missing queue is not found.";
    "CONS-08" exclusive_queue_of_another [raw] "Another connection's exclusive queue is locked.";
    "CONS-09" tag_is_no_text [raw] "A tag that is not UTF-8 ends the connection.";
    "CONS-09" longest_tag [raw] "Tags may have 255 bytes.";
    "CONS-10" priority_is_an_integer [raw] "x-priority has to be an integer.";
    "CONS-11" stream_arguments [raw] "Arguments for streams are refused on a classic queue.";
    "CONS-11" unknown_arguments [raw] "Unknown arguments are ignored.";
    "CONS-12" cancel_on_failover [raw] "x-cancel-on-ha-failover has to be a boolean.";
    "CONS-13" untestable "A limit of consumers per channel may be set."
        "the limit is a setting that a node reads when it starts";
    "CONS-14" consumers_share [raw] "Consumers of one channel and queue share its messages.";
    "CONS-15" queue_dies_meanwhile [raw] "A queue may die while a consumer starts.";
}

fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        ..Default::default()
    }
}

fn exclusive(queue: &str) -> basic::Consume<'_> {
    basic::Consume {
        exclusive: true,
        ..consume(queue, "")
    }
}

async fn tag_is_echoed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume_with(1, consume(&queue, "my tag")).await?;
    expect_eq("consumer tag", tag, "my tag")
}

async fn tag_is_generated(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    let other = raw.consume(1, &queue).await?;
    ensure(tag != other, format!("{tag} was given out twice"))?;
    let made = tag.strip_prefix("amq.ctag-").unwrap_or_default();
    ensure(
        made.len() == 22,
        format!("{tag:?} is not amq.ctag- and 22 characters"),
    )
}

async fn consume_ok_comes_first(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["waiting"]).await?;
    let tag = raw.consume(1, &queue).await?;
    let message = raw.expect_delivery(1).await?;
    expect_eq("consumer tag", message.consumer_tag, tag)?;
    raw.expect_no_delivery(1, &queue).await
}

async fn no_wait(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["waiting"]).await?;
    let consume = basic::Consume {
        nowait: true,
        ..consume(&queue, "silent")
    };
    raw.send_method(1, consume).await?;
    let message = raw.expect_delivery(1).await?;
    expect_eq("consumer tag", message.consumer_tag, "silent")?;
    raw.expect_no_delivery(1, &queue).await
}

async fn tag_in_use(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, other) = (t.name("q"), t.name("other"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_queue(1, &other).await?;
    raw.consume_with(1, consume(&queue, "twice")).await?;
    raw.send_method(1, consume(&other, "twice")).await?;
    let text = "NOT_ALLOWED - attempt to reuse consumer tag 'twice'";
    raw.expect_connection_close(530, text, basic::Consume::ID)
        .await
}

async fn tag_on_another_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(1, consume(&queue, "twice")).await?;
    let tag = raw.consume_with(2, consume(&queue, "twice")).await?;
    expect_eq("consumer tag", tag, "twice")?;
    let queue = raw.inspect_queue(1, &queue).await?;
    expect_eq("consumers", queue.consumer_count, 2)
}

async fn tag_is_free_after_cancel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(1, consume(&queue, "again")).await?;
    raw.cancel(1, "again").await?;
    raw.consume_with(1, consume(&queue, "again")).await?;
    raw.publish(1, "", &queue, "to the second").await?;
    raw.expect_texts(1, &["to the second"]).await.map(drop)
}

async fn tag_is_free_after_server_cancel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, next) = (t.name("q"), t.name("next"));
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.declare_queue(1, &next).await?;
    raw.consume_with(1, consume(&queue, "again")).await?;
    let delete = queue::Delete {
        queue: queue.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    raw.send_method(2, delete).await?;
    raw.expect(1, basic::Cancel::ID).await?;
    raw.consume_with(1, consume(&next, "again")).await?;
    raw.publish(1, "", &next, "to the second").await?;
    raw.expect_texts(1, &["to the second"]).await.map(drop)
}

/// Asks for a consumer on channel 1 and is told that the queue is in exclusive use.
async fn expect_in_use(
    raw: &mut RawConnection,
    consume: basic::Consume<'_>,
    vhost: &str,
) -> Result<(), Failure> {
    let queue = consume.queue.to_text().into_owned();
    raw.send_method(1, consume).await?;
    let text = format!("ACCESS_REFUSED - queue '{queue}' in vhost '{vhost}' in exclusive use");
    raw.expect_channel_close(1, 403, text, basic::Consume::ID)
        .await?;
    raw.open_channel(1).await
}

async fn exclusive_comes_too_late(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.consume(2, &queue).await?;
    expect_in_use(&mut raw, exclusive(&queue), t.vhost()).await?;
    expect_in_use(&mut other, exclusive(&queue), t.vhost()).await
}

async fn exclusive_shuts_out(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(2, exclusive(&queue)).await?;
    expect_in_use(&mut raw, consume(&queue, ""), t.vhost()).await?;
    expect_in_use(&mut raw, exclusive(&queue), t.vhost()).await?;
    expect_in_use(&mut other, consume(&queue, ""), t.vhost()).await
}

async fn exclusive_ends_with_cancel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume_with(1, exclusive(&queue)).await?;
    raw.cancel(1, &tag).await?;
    other.consume_with(1, exclusive(&queue)).await.map(drop)
}

async fn exclusive_ends_with_channel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(1, exclusive(&queue)).await?;
    raw.close_channel(1).await?;
    other.consume(1, &queue).await.map(drop)
}

async fn no_local_is_ignored(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let consume = basic::Consume {
        no_local: true,
        ..consume(&queue, "")
    };
    raw.consume_with(1, consume).await?;
    raw.publish(1, "", &queue, "my own").await?;
    raw.expect_texts(1, &["my own"]).await.map(drop)
}

async fn missing_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("missing");
    raw.send_method(1, consume(&queue, "")).await?;
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, basic::Consume::ID)
        .await
}

async fn exclusive_queue_of_another(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    let declare = queue::Declare {
        exclusive: true,
        durable: false,
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await?;
    other.send_method(1, consume(&queue, "")).await?;
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '{}'.",
        t.vhost()
    );
    other
        .expect_channel_close(1, 405, Text::starts(text), basic::Consume::ID)
        .await
}

async fn tag_is_no_text(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let consume = basic::Consume {
        consumer_tag: ShortStr(b"tag \xff"),
        ..consume(&queue, "")
    };
    raw.send_method(1, consume).await?;
    let text = "FRAME_ERROR - Malformed UTF-8 in shortstr";
    raw.expect_connection_close(501, text, leveret_protocol::MethodId::NONE)
        .await
}

async fn longest_tag(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["for the long tag"]).await?;
    let long = "t".repeat(255);
    let tag = raw.consume_with(1, consume(&queue, &long)).await?;
    expect_eq("consumer tag", &tag, &long)?;
    let message = raw.expect_delivery(1).await?;
    expect_eq("consumer tag of the delivery", message.consumer_tag, long)
}

/// Consumes with one argument and is refused with 406 and this explanation.
async fn expect_refused_argument(
    raw: &mut RawConnection,
    queue: &str,
    (key, value): (&str, Value<'_>),
    text: impl Into<Text>,
) -> Result<(), Failure> {
    let arguments = TableBuf::new().with(key, value);
    let consume = basic::Consume {
        arguments: arguments.view(),
        ..consume(queue, "")
    };
    raw.send_method(1, consume).await?;
    raw.expect_channel_close(1, 406, text, basic::Consume::ID)
        .await?;
    raw.open_channel(1).await
}

async fn accept_argument(
    raw: &mut RawConnection,
    queue: &str,
    key: &str,
    value: Value<'_>,
) -> Result<(), Failure> {
    let arguments = TableBuf::new().with(key, value);
    let consume = basic::Consume {
        arguments: arguments.view(),
        ..consume(queue, "")
    };
    raw.consume_with(1, consume).await.map(drop)
}

async fn priority_is_an_integer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for value in [Value::I8(1), Value::I16(-1), Value::I32(1), Value::I64(1)] {
        accept_argument(&mut raw, &queue, "x-priority", value).await?;
    }
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{queue}' in vhost '{}': \
         \"expected integer, got longstr\"",
        t.vhost()
    );
    let value = Value::LongStr(b"1");
    expect_refused_argument(&mut raw, &queue, ("x-priority", value), text).await
}

async fn stream_arguments(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{queue}' in vhost '{}' of \
         queue type rabbit_classic_queue",
        t.vhost()
    );
    let value = Value::LongStr(b"first");
    expect_refused_argument(&mut raw, &queue, ("x-stream-offset", value), text).await
}

async fn unknown_arguments(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    accept_argument(&mut raw, &queue, "x-nobody-knows-this", Value::Bool(true)).await
}

async fn cancel_on_failover(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let key = "x-cancel-on-ha-failover";
    accept_argument(&mut raw, &queue, key, Value::Bool(true)).await?;
    let text = format!(
        "PRECONDITION_FAILED - invalid arg '{key}' for queue '{queue}' in vhost '{}': \
         {{unacceptable_type,longstr}}",
        t.vhost()
    );
    let value = (key, Value::LongStr(b"yes"));
    expect_refused_argument(&mut raw, &queue, value, text).await
}

async fn consumers_share(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(1, consume(&queue, "one")).await?;
    raw.consume_with(1, consume(&queue, "two")).await?;
    raw.publish_all(1, &queue, &["a", "b", "c", "d"]).await?;
    let mut tags = Vec::new();
    for message in raw.expect_texts(1, &["a", "b", "c", "d"]).await? {
        tags.push(message.consumer_tag);
    }
    expect_eq("who got what", tags, ["one", "two", "one", "two"])?;
    raw.cancel(1, "one").await?;
    raw.publish_all(1, &queue, &["e", "f"]).await?;
    for message in raw.expect_texts(1, &["e", "f"]).await? {
        expect_eq("who is left", message.consumer_tag, "two")?;
    }
    Ok(())
}

/// The two race, so either may win; what is not allowed is silence.
async fn queue_dies_meanwhile(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '{}'", t.vhost());
    for _ in 0..10 {
        raw.declare_queue(1, &queue).await?;
        raw.send_method(1, consume(&queue, "")).await?;
        other.delete_queue(1, &queue).await?;
        let accepted = Expected::method(1, basic::ConsumeOk::ID);
        let refused = Expected::channel_close(1, 404, text.as_str(), basic::Consume::ID);
        if raw.expect_any_of(&[accepted, refused]).await? == 0 {
            raw.expect(1, basic::Cancel::ID).await?;
        } else {
            raw.open_channel(1).await?;
        }
    }
    Ok(())
}
