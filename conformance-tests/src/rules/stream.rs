//! Streams, as far as AMQP 0-9-1 shows them.

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{MethodId, TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection, Text};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("STREAM", &[RULES]);

variants! { WRONG_OFFSETS: "STREAM-05" {
    OFFSET_IS_REFUSED "406" "A wrong x-stream-offset ends the channel with 406.";
    OFFSET_IS_A_FAULT "541" "A wrong x-stream-offset ends the connection with 541.";
} }

rules! {
    "STREAM-01" no_get [raw, stream_queues, also(&["GET-09"])] "There is no get.";
    "STREAM-02" no_automatic_acks [raw, stream_queues] "Consumers have to ack …";
    "STREAM-03" prefetch_is_needed [raw, stream_queues] "… and to have a prefetch count.";
    "STREAM-04" no_purge [raw, stream_queues] "There is no purge.";
    "STREAM-05" read_again_from_the_start [raw, stream_queues]
        "Each consumer begins where it says, and deliveries tell their offset.";
    "STREAM-05" wrong_offset [raw, stream_queues, variants(&[WRONG_OFFSETS])]
        "A word that is no offset is refused.";
}

async fn with_stream(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let arguments = [("x-queue-type", Value::LongStr(b"stream"))];
    raw.declare_queue_with(1, &name, &arguments).await?;
    Ok((raw, name))
}

async fn no_get(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    let get = basic::Get {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    let text = format!(
        "NOT_IMPLEMENTED - basic.get not supported by stream queues queue '{name}' in vhost '{}'",
        t.vhost()
    );
    raw.expect_connection_close(540, text, basic::Get::ID).await
}

async fn no_automatic_acks(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    raw.prefetch(1, 10, false).await?;
    let consume = basic::Consume {
        queue: name.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    raw.send_method(1, consume).await?;
    let text = format!(
        "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues queue '{name}' in \
         vhost '{}'",
        t.vhost()
    );
    raw.expect_connection_close(540, text, basic::Consume::ID)
        .await
}

async fn prefetch_is_needed(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    let consume = basic::Consume {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, consume).await?;
    let text = format!(
        "PRECONDITION_FAILED - consumer prefetch count is not set for 'queue '{name}' in vhost '{}''",
        t.vhost()
    );
    raw.expect_channel_close(1, 406, text, basic::Consume::ID)
        .await
}

async fn no_purge(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    let purge = queue::Purge {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, purge).await?;
    let text = format!(
        "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue '{name}' in vhost '{}'",
        t.vhost()
    );
    raw.expect_connection_close(540, text, queue::Purge::ID)
        .await
}

async fn read_again_from_the_start(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    raw.confirm_select(1).await?;
    let texts = ["a", "b"];
    raw.publish_all(1, &name, &texts).await?;
    raw.await_confirms(1, 1, 2).await?;
    let first = TableBuf::new().with("x-stream-offset", Value::LongStr(b"first"));
    for channel in [2, 3] {
        raw.open_channel(channel).await?;
        raw.prefetch(channel, 10, false).await?;
        let consume = basic::Consume {
            queue: name.as_str().into(),
            arguments: first.view(),
            ..Default::default()
        };
        raw.consume_with(channel, consume).await?;
        for (offset, text) in (0..).zip(texts) {
            let message = raw.expect_delivery(channel).await?;
            expect_eq("body", message.text(), text)?;
            let headers = message.properties()?.headers.unwrap_or_default();
            let told = headers.get("x-stream-offset");
            expect_eq("x-stream-offset", told, Some(Value::I64(offset)))?;
            // It stays for whoever comes next.
            raw.ack(channel, message.delivery_tag).await?;
        }
    }
    Ok(())
}

async fn wrong_offset(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_stream(t).await?;
    raw.prefetch(1, 10, false).await?;
    let wrong = TableBuf::new().with("x-stream-offset", Value::LongStr(b"nonsense"));
    let consume = basic::Consume {
        queue: name.as_str().into(),
        arguments: wrong.view(),
        ..Default::default()
    };
    raw.send_method(1, consume).await?;
    let invalid = Text::contains("invalid arg 'x-stream-offset'");
    let refused = Expected::channel_close(1, 406, invalid, basic::Consume::ID);
    let fault = Expected::connection_close(541, "INTERNAL_ERROR", MethodId::NONE);
    let answers = [(OFFSET_IS_REFUSED, refused), (OFFSET_IS_A_FAULT, fault)];
    raw.expect_variant(t, &answers).await.map(drop)
}
