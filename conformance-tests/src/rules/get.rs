//! Fetching one message.

use std::time::Duration;

use leveret_protocol::method::basic::{self, Get};
use leveret_protocol::method::queue::Declare;
use leveret_protocol::{Method, TableBuf, Value};

use super::queue::{consume_blocked, fill, get_unacked, locked, not_found};
use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("GET", &[RULES]);

rules! {
    "GET-01" says_what_and_how_many "get-ok tells the message and how many are left.";
    "GET-01" every_field [raw] "Redelivered, exchange and routing key are told too.";
    "GET-02" nothing_there [raw] "An empty queue is answered get-empty.";
    "GET-03" has_to_be_acked [raw] "Without no-ack the message is unacked on its channel.";
    "GET-03" no_ack_is_gone [raw] "With no-ack it is gone, and its tag cannot be acked.";
    "GET-04" missing_queue [raw] "A missing queue is 404.";
    "GET-04" locked_queue [raw] "Another connection's exclusive queue is 405.";
    "GET-05" ignores_prefetch [raw] "Prefetch does not limit it.";
    "GET-05" not_counted_by_prefetch [raw] "… and does not count what it fetched.";
    "GET-06" beside_consumers [raw] "Consumers do not stand in its way, exclusive or not.";
    "GET-07" one_sequence_of_tags [raw] "Gets and deliveries share a channel's sequence of tags.";
    "GET-08" renews_the_lease [raw, slow(20)] "It renews the lease of a queue that expires.";
    "GET-09" not_from_a_stream [raw, stream_queues] "It does not work on streams.";
    "GET-09" not_from_quorum_with_single_consumer [raw, quorum_queues]
        "… or with quorum and a single consumer.";
}

async fn says_what_and_how_many(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let name = t.name("q");
    client::declare_queue(&channel, &name).await?;
    client::confirm_select(&channel).await?;
    for text in ["a", "b", "c"] {
        client::publish(&channel, "", &name, text).await?;
    }
    for (text, left) in [("a", 2), ("b", 1), ("c", 0)] {
        let options = lapin::options::BasicGetOptions::default();
        let got = channel.basic_get(name.as_str().into(), options).await?;
        let got = got.ok_or_else(|| Failure::expected("a message", "get-empty"))?;
        expect_eq("body", got.delivery.data.as_slice(), text.as_bytes())?;
        expect_eq("messages left", got.message_count, left)?;
    }
    Ok(())
}

async fn every_field(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, key) = (t.name("q"), t.name("key"));
    raw.declare_queue(1, &name).await?;
    raw.bind(1, &name, "amq.direct", &key).await?;
    raw.publish(1, "amq.direct", &key, "a").await?;
    for (tag, redelivered) in [(1, false), (2, true)] {
        let got = raw.get(1, &name).await?.unwrap_or_default();
        expect_eq("delivery tag", got.delivery_tag, tag)?;
        expect_eq("redelivered", got.redelivered, redelivered)?;
        expect_eq("exchange", got.exchange.as_str(), "amq.direct")?;
        expect_eq("routing key", got.routing_key.as_str(), key.as_str())?;
        expect_eq("body", got.text(), "a")?;
        raw.nack(1, tag, true).await?;
    }
    Ok(())
}

async fn nothing_there(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    let get = Get {
        queue: name.as_str().into(),
        ..Default::default()
    };
    let empty = raw.call(1, get, basic::GetEmpty::ID).await?;
    let cluster_id = empty.read(|method| match method {
        Method::Basic(basic::Method::GetEmpty(empty)) => Some(empty.cluster_id.0.to_vec()),
        _ => None,
    })?;
    expect_eq("cluster id", cluster_id.as_slice(), &b""[..])
}

async fn has_to_be_acked(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.open_channel(2).await?;
    raw.publish(1, "", &name, "acked").await?;
    let tag = get_unacked(&mut raw, &name).await?;
    raw.ack(1, tag).await?;
    raw.publish(1, "", &name, "not acked").await?;
    get_unacked(&mut raw, &name).await?;
    raw.expect_empty(2, &name).await?;
    raw.close_channel(1).await?;
    let back = raw.take_text(2, &name, "not acked").await?;
    expect_eq("redelivered", back.redelivered, true)?;
    raw.expect_empty(2, &name).await
}

async fn no_ack_is_gone(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b"]).await?;
    let gone = raw.take_text(1, &name, "a").await?;
    expect_eq("first tag", gone.delivery_tag, 1)?;
    let gone = raw.take_text(1, &name, "b").await?;
    expect_eq("second tag", gone.delivery_tag, 2)?;
    raw.ack(1, 1).await?;
    let text = "PRECONDITION_FAILED - unknown delivery tag 1";
    raw.expect_channel_close(1, 406, text, basic::Ack::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &name).await
}

async fn expect_get_refused(
    raw: &mut RawConnection,
    name: &str,
    code: u16,
    text: impl Into<Text>,
) -> Result<(), Failure> {
    let get = Get {
        queue: name.into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    raw.expect_channel_close(1, code, text, Get::ID).await
}

async fn missing_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let text = not_found(&name, t.vhost());
    expect_get_refused(&mut raw, &name, 404, text).await
}

async fn locked_queue(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other) = (t.raw().await?, t.raw().await?);
    let name = t.name("q");
    let exclusive = Declare {
        exclusive: true,
        ..durable_queue(&name)
    };
    owner.declare(1, exclusive).await?;
    let text = locked(&name, t.vhost());
    expect_get_refused(&mut other, &name, 405, text).await
}

async fn ignores_prefetch(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b", "c"]).await?;
    raw.prefetch(1, 1, true).await?;
    consume_blocked(&mut raw, 1, &name, 1).await?;
    get_unacked(&mut raw, &name).await?;
    get_unacked(&mut raw, &name).await.map(drop)
}

async fn not_counted_by_prefetch(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b", "c"]).await?;
    get_unacked(&mut raw, &name).await?;
    get_unacked(&mut raw, &name).await?;
    consume_blocked(&mut raw, 1, &name, 1).await.map(drop)
}

async fn beside_consumers(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    raw.prefetch(1, 1, false).await?;
    for (single, exclusive) in [(false, false), (true, false), (false, true)] {
        let name = t.name(&format!("{single}-{exclusive}"));
        let arguments = TableBuf::new().with("x-single-active-consumer", Value::Bool(single));
        let declare = Declare {
            arguments: arguments.view(),
            ..durable_queue(&name)
        };
        raw.declare(1, declare).await?;
        fill(&mut raw, &name, &["consumed", "first", "second"]).await?;
        let consume = basic::Consume {
            queue: name.as_str().into(),
            exclusive,
            ..Default::default()
        };
        raw.consume_with(1, consume).await?;
        raw.expect_delivery(1).await?;
        raw.take_text(1, &name, "first").await?;
        other.take_text(1, &name, "second").await?;
    }
    Ok(())
}

async fn one_sequence_of_tags(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (fetched, consumed) = (t.name("fetched"), t.name("consumed"));
    raw.declare_queue(1, &fetched).await?;
    raw.declare_queue(1, &consumed).await?;
    raw.consume(1, &consumed).await?;
    for turn in 0..3 {
        raw.publish(1, "", &fetched, "fetched").await?;
        let tag = get_unacked(&mut raw, &fetched).await?;
        expect_eq("tag of the get", tag, 2 * turn + 1)?;
        raw.publish(1, "", &consumed, "consumed").await?;
        let delivered = raw.expect_delivery(1).await?;
        expect_eq("tag of the delivery", delivered.delivery_tag, 2 * turn + 2)?;
    }
    raw.open_channel(2).await?;
    raw.publish(2, "", &fetched, "elsewhere").await?;
    let elsewhere = raw.take_text(2, &fetched, "elsewhere").await?;
    expect_eq("another channel's tag", elsewhere.delivery_tag, 1)
}

async fn renews_the_lease(t: &Trial) -> Result<(), Failure> {
    const LEASE_MS: i32 = 1_500;
    // Two of them are longer than the lease, one is well within it.
    const PAUSE: Duration = Duration::from_millis(900);
    let mut raw = t.raw().await?;
    let (renewed, left_alone) = (t.name("renewed"), t.name("left-alone"));
    let arguments = TableBuf::new().with("x-expires", Value::I32(LEASE_MS));
    for name in [&renewed, &left_alone] {
        let declare = Declare {
            arguments: arguments.view(),
            ..durable_queue(name)
        };
        raw.declare(1, declare).await?;
    }
    for _ in 0..2 {
        raw.expect_nothing(PAUSE).await?;
        raw.expect_empty(1, &renewed).await?;
    }
    // A publish shows whether a queue exists without being a use of it.
    raw.publish_mandatory(1, "", &renewed, "kept").await?;
    raw.publish_mandatory(1, "", &left_alone, "expired").await?;
    let returned = raw.expect_return(1).await?;
    expect_eq("returned", returned.text(), "expired")
}

async fn not_from_a_stream(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let stream = ("x-queue-type", Value::LongStr(b"stream"));
    raw.declare_queue_with(1, &name, &[stream]).await?;
    let get = Get {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    let text = format!(
        "NOT_IMPLEMENTED - basic.get not supported by stream queues queue '{name}' in vhost '{}'",
        t.vhost()
    );
    raw.expect_connection_close(540, text, Get::ID).await
}

async fn not_from_quorum_with_single_consumer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let quorum = ("x-queue-type", Value::LongStr(b"quorum"));
    let single = ("x-single-active-consumer", Value::Bool(true));
    raw.declare_queue_with(1, &name, &[quorum, single]).await?;
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' in vhost '{}'. basic.get \
         operations are not supported by quorum queues with single active consumer",
        t.vhost()
    );
    expect_get_refused(&mut raw, &name, 405, text).await
}
