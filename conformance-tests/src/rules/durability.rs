//! What is there after the broker was stopped and started again.
//!
//! What it is not: a search for messages that get lost in a crash at a bad moment. Each test has the
//! broker come to rest before it goes.

use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{Properties, TableBuf, Value};

use super::exchange::expect_gone as expect_exchange_gone;
use super::queue::expect_gone;
use super::table::{entry, header_properties, long, publish_properties};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, Text, durable_queue, transient_exchange};
use crate::registry::{Follows, Section};
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("DUR", &[RULES]);

rules! {
    "DUR-01" durable_objects_survive [raw, restart] "Durable queues and exchanges survive …";
    "DUR-01" transient_objects_do_not [raw, restart] "… and transient ones do not.";
    "DUR-01" bindings_survive [raw, restart] "So do the bindings between durable ones …";
    "DUR-01" bindings_of_a_transient_queue [raw, restart] "… and not those of a transient queue.";
    "DUR-01" deleted_stays_deleted [raw, restart] "What was deleted or unbound stays so.";
    "DUR-02" only_persistent_ones [raw, restart] "Only persistent messages survive …";
    "DUR-02" transient_queue [raw, restart] "… and only in durable queues.";
    "DUR-02" purged_stays_purged [raw, restart] "What was acked or purged stays away.";
    "DUR-03" unacked_come_back [raw, restart] "Unacked messages come back, marked as redelivered.";
    "DUR-04" order_is_kept [raw, restart] "Messages keep their order.";
    "DUR-05" exclusive_queues_are_gone [raw, restart] "Exclusive queues go, durable or not.";
    "DUR-05" auto_delete_queues_stay [raw, restart] "Durable auto-delete queues stay.";
    "DUR-06" confirmed_before_a_stop [raw, restart] "What was confirmed survives a clean stop …";
    "DUR-06" confirmed_before_a_crash [raw, crash, also(&["CONFIRM-06"])] "… and a crash.";
    "DUR-06" confirmed_in_all_queues [raw, crash, also(&["CONFIRM-07"])] "… in every queue it is in.";
    "DUR-07" binding_goes_with_its_exchange [raw, restart]
        "A transient exchange takes its bindings to durable queues with it.";
    "DUR-08" properties_are_the_same [raw, restart, follows(Follows::V3)]
        "Properties and headers survive byte for byte.";
    "DUR-08" arguments_are_the_same [raw, restart] "Arguments survive.";
    "DUR-09" predeclared_exchanges [raw, restart] "The amq.* exchanges are there, and durable.";
}

/// A connection with channel 1 in confirm mode.
async fn confirming(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    Ok(raw)
}

fn transient_queue_named(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        durable: false,
        ..durable_queue(name)
    }
}

fn durable_exchange<'a>(name: &'a str, kind: &'a str) -> exchange::Declare<'a> {
    exchange::Declare {
        durable: true,
        ..transient_exchange(name, kind)
    }
}

/// Declares a durable queue and has these persistent messages confirmed in it, by a publisher who is
/// gone afterwards.
async fn fill_durably(t: &Trial, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    raw.declare_queue(1, queue).await?;
    for text in texts {
        raw.publish_persistent(1, queue, text).await?;
    }
    raw.await_confirms(1, 1, texts.len() as u64).await?;
    raw.close().await
}

/// Expects exactly these messages, each with whether it is marked as redelivered.
async fn expect_all(
    raw: &mut RawConnection,
    queue: &str,
    expected: &[(&str, bool)],
) -> Result<(), Failure> {
    let mut came = Vec::new();
    while let Some(message) = raw.take(1, queue).await? {
        came.push((message.text(), message.redelivered));
    }
    let expected: Vec<_> = expected
        .iter()
        .map(|(text, redelivered)| ((*text).to_owned(), *redelivered))
        .collect();
    expect_eq(format!("what lies in {queue}"), came, expected)
}

async fn expect_unroutable(
    raw: &mut RawConnection,
    exchange: &str,
    key: &str,
) -> Result<(), Failure> {
    raw.publish_mandatory(1, exchange, key, "nowhere").await?;
    let came = raw.expect_return(1).await?;
    expect_eq("reply text", came.reply_text.as_str(), "NO_ROUTE")
}

async fn durable_objects_survive(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "topic"))
        .await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.inspect_queue(1, &queue).await?;
    raw.declare_queue(1, &queue).await?;
    raw.expect_exchange(1, &exchange).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "topic"))
        .await
}

async fn transient_objects_do_not(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "topic"))
        .await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &queue, t.vhost()).await?;
    expect_exchange_gone(&mut raw, &exchange, t.vhost()).await
}

async fn bindings_survive(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, front, behind) = (t.name("q"), t.name("front"), t.name("behind"));
    raw.declare_queue(1, &queue).await?;
    for exchange in [&front, &behind] {
        raw.declare_exchange(1, durable_exchange(exchange, "direct"))
            .await?;
    }
    raw.bind(1, &queue, &front, "straight").await?;
    raw.bind(1, &queue, &behind, "over the other").await?;
    raw.bind_exchange(1, &behind, &front, "over the other")
        .await?;
    bind_by_header(&mut raw, &queue).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    for key in ["straight", "over the other"] {
        raw.publish(1, &front, key, key).await?;
        raw.take_text(1, &queue, key).await?;
    }
    expect_unroutable(&mut raw, &front, "neither").await?;
    expect_bound_by_header(&mut raw, &queue).await
}

/// Binds a queue to `amq.headers` with an argument that has the queue's name as its value.
async fn bind_by_header(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let arguments = TableBuf::new()
        .with("x-match", Value::LongStr(b"all"))
        .with("to", Value::LongStr(queue.as_bytes()));
    let bind = queue::Bind {
        queue: queue.into(),
        exchange: "amq.headers".into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    raw.call(1, bind, queue::BindOk::ID).await.map(drop)
}

async fn expect_bound_by_header(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    for (value, text) in [("another", "not meant"), (queue, "meant")] {
        let headers = TableBuf::new().with("to", Value::LongStr(value.as_bytes()));
        let properties = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        let publish = basic::Publish {
            exchange: "amq.headers".into(),
            ..Default::default()
        };
        raw.publish_with(1, publish, properties, text.as_bytes())
            .await?;
    }
    expect_all(raw, queue, &[("meant", false)]).await
}

async fn bindings_of_a_transient_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "direct"))
        .await?;
    raw.bind(1, &queue, &exchange, "k").await?;
    raw.publish(1, &exchange, "k", "bound").await?;
    raw.take_text(1, &queue, "bound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_unroutable(&mut raw, &exchange, "k").await?;
    // Nor does it come back with a queue of the same name.
    raw.declare(1, transient_queue_named(&queue)).await?;
    expect_unroutable(&mut raw, &exchange, "k").await
}

async fn deleted_stays_deleted(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("deleted-q"), t.name("deleted-x"));
    let (kept, bound) = (t.name("kept-q"), t.name("kept-x"));
    for exchange in [&exchange, &bound] {
        raw.declare_exchange(1, durable_exchange(exchange, "direct"))
            .await?;
    }
    raw.declare_queue(1, &kept).await?;
    raw.bind(1, &kept, &bound, "kept").await?;
    raw.bind(1, &kept, &bound, "unbound").await?;
    fill_durably(t, &queue, &["old"]).await?;
    raw.delete_queue(1, &queue).await?;
    raw.delete_exchange(1, &exchange).await?;
    raw.unbind(1, &kept, &bound, "unbound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &queue, t.vhost()).await?;
    expect_exchange_gone(&mut raw, &exchange, t.vhost()).await?;
    expect_unroutable(&mut raw, &bound, "unbound").await?;
    raw.publish(1, &bound, "kept", "still bound").await?;
    raw.take_text(1, &kept, "still bound").await?;
    // The messages do not come back with a queue of the same name.
    raw.declare_queue(1, &queue).await?;
    raw.expect_empty(1, &queue).await
}

async fn only_persistent_ones(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let modes = [
        (Some(1), "transient"),
        (Some(2), "persistent"),
        (None, "without a mode"),
        (Some(2), "persistent again"),
    ];
    for (delivery_mode, text) in modes {
        let publish = basic::Publish {
            routing_key: queue.as_str().into(),
            ..Default::default()
        };
        let properties = Properties {
            delivery_mode,
            ..Default::default()
        };
        raw.publish_with(1, publish, properties, text.as_bytes())
            .await?;
    }
    raw.await_confirms(1, 1, modes.len() as u64).await?;
    t.restart().await?;
    let expected = [("persistent", false), ("persistent again", false)];
    expect_all(&mut t.raw().await?, &queue, &expected).await
}

async fn transient_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.publish_persistent(1, &queue, "persistent").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.expect_empty(1, &queue).await
}

async fn purged_stays_purged(t: &Trial) -> Result<(), Failure> {
    let (purged, acked) = (t.name("purged"), t.name("acked"));
    fill_durably(t, &purged, &["old", "older"]).await?;
    fill_durably(t, &acked, &["acked", "dropped", "left"]).await?;
    let mut raw = t.raw().await?;
    raw.purge(1, &purged).await?;
    let first = raw.get_text(1, &acked, "acked").await?;
    raw.ack(1, first.delivery_tag).await?;
    let second = raw.get_text(1, &acked, "dropped").await?;
    raw.reject(1, second.delivery_tag, false).await?;
    raw.barrier(1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_all(&mut raw, &purged, &[]).await?;
    expect_all(&mut raw, &acked, &[("left", false)]).await
}

async fn unacked_come_back(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    fill_durably(t, &queue, &["got", "consumed", "never delivered"]).await?;
    let mut raw = t.raw().await?;
    raw.get_text(1, &queue, "got").await?;
    raw.open_channel(2).await?;
    raw.prefetch(2, 1, false).await?;
    raw.consume(2, &queue).await?;
    let delivery = raw.expect_delivery(2).await?;
    expect_eq("delivery", delivery.text(), "consumed")?;
    t.restart().await?;
    let expected = [
        ("got", true),
        ("consumed", true),
        ("never delivered", false),
    ];
    expect_all(&mut t.raw().await?, &queue, &expected).await
}

async fn order_is_kept(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    let texts: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    fill_durably(t, &queue, &texts).await?;
    // Some are sent back and some are still out; all return to their places.
    let mut raw = t.raw().await?;
    for (number, text) in texts.iter().enumerate().take(30) {
        let message = raw.get_text(1, &queue, text).await?;
        if number == 29 {
            raw.nack_up_to(1, 10, true).await?;
            raw.nack(1, message.delivery_tag, true).await?;
        }
    }
    raw.barrier(1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    let expected: Vec<_> = (0..).zip(texts).map(|(at, text)| (text, at < 30)).collect();
    expect_all(&mut raw, &queue, &expected).await
}

async fn exclusive_queues_are_gone(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (durable, transient) = (t.name("durable"), t.name("transient"));
    for declare in [durable_queue(&durable), transient_queue_named(&transient)] {
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare
        };
        raw.declare(1, exclusive).await?;
    }
    raw.publish_persistent(1, &durable, "lost").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &durable, t.vhost()).await?;
    expect_gone(&mut raw, &transient, t.vhost()).await?;
    raw.declare_queue(1, &durable).await?;
    raw.expect_empty(1, &durable).await
}

async fn auto_delete_queues_stay(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    let declare = queue::Declare {
        auto_delete: true,
        ..durable_queue(&queue)
    };
    raw.declare(1, declare.clone()).await?;
    raw.publish_persistent(1, &queue, "kept").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare(1, declare).await?;
    expect_all(&mut raw, &queue, &[("kept", false)]).await
}

/// Messages of many sizes, the largest in several frames.
fn bodies() -> Vec<String> {
    let sizes = [0, 1, 100, 4_095, 4_096, 70_000, 300_000];
    let body = |(at, size): (usize, &usize)| format!("{at}{}", "x".repeat(*size));
    sizes.iter().enumerate().map(body).collect()
}

async fn confirmed_before_a_stop(t: &Trial) -> Result<(), Failure> {
    let (queue, bodies) = (t.name("q"), bodies());
    let texts: Vec<_> = bodies.iter().map(String::as_str).collect();
    fill_durably(t, &queue, &texts).await?;
    t.restart().await?;
    let expected: Vec<_> = texts.iter().map(|text| (*text, false)).collect();
    expect_all(&mut t.raw().await?, &queue, &expected).await
}

/// Whether a message that nobody saw comes back marked is left open here.
async fn confirmed_before_a_crash(t: &Trial) -> Result<(), Failure> {
    let (queue, bodies) = (t.name("q"), bodies());
    let texts: Vec<_> = bodies.iter().map(String::as_str).collect();
    fill_durably(t, &queue, &texts).await?;
    t.crash().await?;
    let mut raw = t.raw().await?;
    for text in texts {
        raw.take_text(1, &queue, text).await?;
    }
    raw.expect_empty(1, &queue).await
}

async fn confirmed_in_all_queues(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let exchange = t.name("x");
    let queues = [t.name("one"), t.name("two"), t.name("three")];
    raw.declare_exchange(1, durable_exchange(&exchange, "fanout"))
        .await?;
    for queue in &queues {
        raw.declare_queue(1, queue).await?;
        raw.bind(1, queue, &exchange, "").await?;
    }
    let publish = basic::Publish {
        exchange: exchange.as_str().into(),
        ..Default::default()
    };
    let properties = Properties {
        delivery_mode: Some(2),
        ..Default::default()
    };
    raw.publish_with(1, publish, properties, b"to all").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.crash().await?;
    let mut raw = t.raw().await?;
    for queue in &queues {
        raw.take_text(1, queue, "to all").await?;
        raw.expect_empty(1, queue).await?;
    }
    Ok(())
}

async fn binding_goes_with_its_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    raw.bind(1, &queue, &exchange, "k").await?;
    raw.publish(1, &exchange, "k", "bound").await?;
    raw.take_text(1, &queue, "bound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    expect_unroutable(&mut raw, &exchange, "k").await?;
    raw.inspect_queue(1, &queue).await.map(drop)
}

/// All properties that any message may have, but for the user, persistent and with these headers.
fn all_properties(headers: &TableBuf) -> Properties<'_> {
    Properties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("".into()),
        headers: Some(headers.view()),
        delivery_mode: Some(2),
        priority: Some(255),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        expiration: Some("900000".into()),
        message_id: Some("m".into()),
        timestamp: Some(u64::MAX),
        kind: Some("t".into()),
        app_id: Some("a".into()),
        cluster_id: Some("k".into()),
        ..Default::default()
    }
}

/// Every tag that RabbitMQ passes through unchanged, keys twice and out of order.
fn odd_header_entries() -> Vec<u8> {
    let nested = [
        entry("", b'V', &[]),
        entry("f", b'd', &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    ]
    .concat();
    let array = [&b"t\x01"[..], b"V", b"b\xff"].concat();
    let entries = [
        entry("z", b'L', &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        entry("a", b't', &[1]),
        entry("z", b'l', &[0, 0, 0, 0, 0, 0, 0, 2]),
        entry("bytes", b'S', &long(&[0, 255, 128, 10])),
        entry("x", b'x', &long(&[0, 255])),
        entry("decimal", b'D', &[255, 0xff, 0xff, 0xff, 0xff]),
        entry("time", b'T', &[0xff; 8]),
        entry("table", b'F', &long(&nested)),
        entry("array", b'A', &long(&array)),
        entry("", b'S', &long(b"")),
    ];
    entries.concat()
}

async fn properties_are_the_same(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let headers = TableBuf::new().with("key", Value::LongStr(b"value"));
    // Headers and delivery mode are the two flags set.
    let mut odd = header_properties(&odd_header_entries());
    odd[0] |= 0x10;
    odd.push(2);
    let sent = [all_properties(&headers).to_bytes().to_vec(), odd];
    for properties in &sent {
        publish_properties(&mut raw, "", &queue, properties).await?;
    }
    raw.await_confirms(1, 1, sent.len() as u64).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    for properties in sent {
        let came = raw.take_text(1, &queue, "table").await?;
        expect_eq("properties", came.property_bytes, properties)?;
        let origin = (came.exchange.as_str(), came.routing_key.as_str());
        expect_eq("exchange and key", origin, ("", queue.as_str()))?;
    }
    Ok(())
}

async fn arguments_are_the_same(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    let queue_arguments = |ttl_ms| {
        let dead_letters = Value::LongStr(b"amq.direct");
        [
            ("x-message-ttl", Value::I32(ttl_ms)),
            ("x-dead-letter-exchange", dead_letters),
        ]
    };
    raw.declare_queue_with(1, &queue, &queue_arguments(900_000))
        .await?;
    let alternate = TableBuf::new().with("alternate-exchange", Value::LongStr(b"amq.fanout"));
    let with_alternate = exchange::Declare {
        arguments: alternate.view(),
        ..durable_exchange(&exchange, "direct")
    };
    raw.declare_exchange(1, with_alternate.clone()).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare_queue_with(1, &queue, &queue_arguments(900_000))
        .await?;
    raw.declare_exchange(1, with_alternate).await?;
    raw.send_method(1, durable_exchange(&exchange, "direct"))
        .await?;
    let text = Text::contains("inequivalent arg 'alternate-exchange'");
    raw.expect_channel_close(1, 406, text, exchange::Declare::ID)
        .await?;
    raw.open_channel(1).await?;
    let other = TableBuf::from_entries(queue_arguments(900_001));
    let declare = queue::Declare {
        arguments: other.view(),
        ..durable_queue(&queue)
    };
    raw.send_method(1, declare).await?;
    let text = Text::contains("inequivalent arg 'x-message-ttl' for queue");
    raw.expect_channel_close(1, 406, text, queue::Declare::ID)
        .await
}

async fn predeclared_exchanges(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, "amq.direct", &queue).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        raw.declare_exchange(1, durable_exchange(name, kind))
            .await
            .map_err(|failure| failure.at(name))?;
    }
    raw.publish(1, "amq.direct", &queue, "still bound").await?;
    raw.take_text(1, &queue, "still bound").await.map(drop)
}
