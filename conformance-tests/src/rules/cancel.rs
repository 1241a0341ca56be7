//! Ending a consumer, by either side.

use leveret_protocol::method::{basic, channel, queue};
use leveret_protocol::{Method, Value};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Expected, RawConnection, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("CANCEL", &[RULES]);

variants! { CANCEL_OK: "CANCEL-13" {
    CANCEL_OK_IS_REFUSED "refused" "A cancel-ok of a client ends the connection with 503.";
    CANCEL_OK_IS_TAKEN "taken" "A cancel-ok of a client is taken for the answer to a cancel.";
} }

rules! {
    "CANCEL-01" nothing_after_cancel_ok [raw] "No delivery follows cancel-ok.";
    "CANCEL-02" unknown_tag [raw] "Unknown and empty tags are answered with cancel-ok.";
    "CANCEL-02" unknown_tag_no_wait [raw] "… and with no-wait not at all.";
    "CANCEL-03" tag_of_another_channel [raw] "Another channel's consumer is not touched.";
    "CANCEL-04" unacked_stay [raw] "What is unacked stays with the channel, and can be settled.";
    "CANCEL-05" deletes_auto_delete_queue [raw] "The last cancel deletes an auto-delete queue.";
    "CANCEL-05" hands_over_single_active [raw] "A waiting consumer takes over.";
    "CANCEL-05" ends_exclusive_use [raw] "The end of an exclusive consumer lets others in.";
    "CANCEL-06" deliveries_before_cancel_ok [raw] "Deliveries may still come before cancel-ok.";
    "CANCEL-10" told_of_deleted_queue [raw] "Each consumer of a deleted queue is told.";
    "CANCEL-10" told_of_own_delete [raw] "… also when its own channel deletes the queue.";
    "CANCEL-11" not_told_without_capability [raw] "Clients without the capability are not told.";
    "CANCEL-12" cancel_after_server_cancel [raw] "Both sides may cancel the same consumer.";
    "CANCEL-13" cancel_ok_is_not_awaited [raw] "The broker goes on without the client's cancel-ok.";
    "CANCEL-13" cancel_ok_from_client [raw, variants(&[CANCEL_OK])] "What becomes of one.";
    "CANCEL-14" not_told_on_closing_channel [raw] "A channel that is closing is not told.";
}

async fn nothing_after_cancel_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    raw.publish(1, "", &queue, "before").await?;
    raw.expect_texts(1, &["before"]).await?;
    raw.cancel(1, &tag).await?;
    raw.publish(1, "", &queue, "after").await?;
    raw.expect_no_delivery(1, &queue).await?;
    let left = raw.inspect_queue(1, &queue).await?;
    expect_eq(
        "ready messages and consumers",
        (left.message_count, left.consumer_count),
        (1, 0),
    )
}

fn cancel(tag: &str, nowait: bool) -> basic::Cancel<'_> {
    basic::Cancel {
        consumer_tag: tag.into(),
        nowait,
    }
}

async fn unknown_tag(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for tag in ["nobody", ""] {
        let reply = raw.call(1, cancel(tag, false), basic::CancelOk::ID).await?;
        let echoed = reply.read(|method| match method {
            Method::Basic(basic::Method::CancelOk(ok)) => {
                Some(ok.consumer_tag.to_text().into_owned())
            }
            _ => None,
        })?;
        expect_eq("tag in cancel-ok", echoed, tag)?;
    }
    Ok(())
}

async fn unknown_tag_no_wait(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, cancel("nobody", true)).await?;
    raw.barrier(1).await
}

async fn tag_of_another_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    raw.cancel(2, &tag).await?;
    raw.publish(1, "", &queue, "still there").await?;
    raw.expect_texts(1, &["still there"]).await.map(drop)
}

async fn unacked_stay(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["acked", "nacked"]).await?;
    let tag = raw.consume(1, &queue).await?;
    let came = raw.expect_texts(1, &["acked", "nacked"]).await?;
    raw.cancel(1, &tag).await?;
    raw.expect_empty(1, &queue).await?;
    for (message, ack) in came.iter().zip([true, false]) {
        match ack {
            true => raw.ack(1, message.delivery_tag).await?,
            false => raw.nack(1, message.delivery_tag, true).await?,
        }
    }
    raw.take_text(1, &queue, "nacked").await?;
    raw.expect_empty(1, &queue).await
}

async fn deletes_auto_delete_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let declare = queue::Declare {
        auto_delete: true,
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await?;
    let first = raw.consume(1, &queue).await?;
    let second = raw.consume(1, &queue).await?;
    raw.cancel(1, &first).await?;
    raw.inspect_queue(1, &queue).await?;
    raw.cancel(1, &second).await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&queue)
    };
    raw.send_method(1, passive).await?;
    let text = format!("NOT_FOUND - no queue '{queue}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await
}

async fn hands_over_single_active(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let arguments = [("x-single-active-consumer", Value::Bool(true))];
    raw.declare_queue_with(1, &queue, &arguments).await?;
    let active = raw.consume(1, &queue).await?;
    let waiting = raw.consume(1, &queue).await?;
    raw.publish_all(1, &queue, &["a", "b"]).await?;
    for message in raw.expect_texts(1, &["a", "b"]).await? {
        expect_eq("the active consumer", &message.consumer_tag, &active)?;
    }
    raw.cancel(1, &active).await?;
    raw.publish(1, "", &queue, "c").await?;
    let message = raw.expect_delivery(1).await?;
    expect_eq("the next consumer", message.consumer_tag, waiting)
}

async fn ends_exclusive_use(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let exclusive = basic::Consume {
        queue: queue.as_str().into(),
        exclusive: true,
        ..Default::default()
    };
    let tag = raw.consume_with(1, exclusive).await?;
    raw.send_method(1, cancel(&tag, true)).await?;
    raw.consume(1, &queue).await.map(drop)
}

/// How many get through before cancel-ok is the broker's choice; none may be lost.
async fn deliveries_before_cancel_ok(t: &Trial) -> Result<(), Failure> {
    const COUNT: u32 = 100;
    let (mut raw, mut publisher) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    for _ in 0..COUNT {
        publisher.publish(1, "", &queue, "in flight").await?;
    }
    raw.send_method(1, cancel(&tag, false)).await?;
    let mut delivered = 0;
    loop {
        let method = raw.expect_method(1).await?;
        if method.id() == basic::CancelOk::ID {
            break;
        }
        raw.read_content(1, &method).await?;
        delivered += 1;
    }
    publisher.barrier(1).await?;
    raw.expect_no_delivery(1, &queue).await?;
    // A publish may reach the queue late (QUEUE-04), but never without its confirm.
    publisher.confirm_select(1).await?;
    publisher.publish(1, "", &queue, "the last").await?;
    publisher.await_confirms(1, 1, 1).await?;
    raw.expect_ready(1, &queue, COUNT + 1 - delivered).await
}

/// The broker's cancel for this consumer, next.
async fn expect_cancel(raw: &mut RawConnection, tag: &str) -> Result<(), Failure> {
    let method = raw.expect(1, basic::Cancel::ID).await?;
    let came = method.read(|method| match method {
        Method::Basic(basic::Method::Cancel(cancel)) => {
            Some((cancel.consumer_tag.to_text().into_owned(), cancel.nowait))
        }
        _ => None,
    })?;
    expect_eq("the broker's cancel", came, (tag.to_owned(), true))
}

async fn told_of_deleted_queue(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let mut tags = vec![raw.consume(1, &queue).await?, raw.consume(1, &queue).await?];
    other.delete_queue(1, &queue).await?;
    for _ in 0..2 {
        let method = raw.expect(1, basic::Cancel::ID).await?;
        let (tag, nowait) = method.read(|method| match method {
            Method::Basic(basic::Method::Cancel(cancel)) => {
                Some((cancel.consumer_tag.to_text().into_owned(), cancel.nowait))
            }
            _ => None,
        })?;
        ensure(nowait, "the broker wants an answer to its cancel")?;
        tags.retain(|waiting| *waiting != tag);
    }
    expect_eq("consumers not told", tags, Vec::<String>::new())?;
    raw.barrier(1).await
}

async fn told_of_own_delete(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    let delete = queue::Delete {
        queue: queue.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    raw.send_method(1, delete).await?;
    expect_cancel(&mut raw, &tag).await?;
    raw.barrier(1).await
}

async fn not_told_without_capability(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake().capability("consumer_cancel_notify", false);
    let mut raw = t.raw_with(&handshake).await?;
    let mut other = t.raw().await?;
    raw.open_channel(1).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.consume(1, &queue).await?;
    other.delete_queue(1, &queue).await?;
    raw.barrier(1).await?;
    // The name is free again and nobody consumes from the new queue.
    let fresh = raw.declare_queue(1, &queue).await?;
    expect_eq("consumers of the new queue", fresh.consumer_count, 0)?;
    raw.publish(1, "", &queue, "unread").await?;
    raw.expect_no_delivery(1, &queue).await
}

/// A connection whose consumer, with this tag, was cancelled by the broker.
async fn cancelled_by_broker(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let tag = raw.consume(1, &queue).await?;
    other.delete_queue(1, &queue).await?;
    expect_cancel(&mut raw, &tag).await?;
    Ok((raw, tag))
}

async fn cancel_after_server_cancel(t: &Trial) -> Result<(), Failure> {
    let (mut raw, tag) = cancelled_by_broker(t).await?;
    raw.cancel(1, &tag).await
}

async fn cancel_ok_is_not_awaited(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _) = cancelled_by_broker(t).await?;
    let next = t.name("next");
    raw.fill_queue(1, &next, &["goes on"]).await?;
    raw.consume(1, &next).await?;
    raw.expect_texts(1, &["goes on"]).await.map(drop)
}

async fn cancel_ok_from_client(t: &Trial) -> Result<(), Failure> {
    let (mut raw, tag) = cancelled_by_broker(t).await?;
    let cancel_ok = basic::CancelOk {
        consumer_tag: tag.as_str().into(),
    };
    raw.send_method(1, cancel_ok).await?;
    let text = "COMMAND_INVALID - unimplemented method";
    let refused = Expected::connection_close(503, text, basic::CancelOk::ID);
    raw.send_method(1, channel::Flow { active: true }).await?;
    let taken = Expected::method(1, channel::FlowOk::ID);
    let answers = [(CANCEL_OK_IS_REFUSED, refused), (CANCEL_OK_IS_TAKEN, taken)];
    raw.expect_variant(t, &answers).await.map(drop)
}

async fn not_told_on_closing_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.open_channel(2).await?;
    raw.declare_queue(1, &queue).await?;
    raw.consume(1, &queue).await?;
    raw.publish(1, &t.name("missing"), "", "ends the channel")
        .await?;
    // The close is left without its close-ok, so that the channel stays closing.
    raw.expect(1, channel::Close::ID).await?;
    raw.delete_queue(2, &queue).await?;
    raw.barrier(2).await?;
    raw.send_method(1, channel::CloseOk {}).await?;
    let open = channel::Open::default();
    raw.send_method(1, open).await?;
    let opened = Expected::method(1, channel::OpenOk::ID);
    raw.expect_any_of(&[opened]).await.map(drop)
}
