//! Messages: which survive a restart, in which order, and whether they are the same.

use leveret_protocol::method::basic;
use leveret_protocol::{Properties, TableBuf, Value};

use super::super::table::{
    BYTE_FOR_BYTE, PASSED_ON, entry, header_properties, long, publish_properties,
};
use super::{confirming, durable_exchange, expect_all, fill_durably, transient_queue_named};
use crate::failure::{Failure, expect_eq};
use crate::trial::Trial;

rules! {
    "DUR-02" only_persistent_ones [raw, restart] "Only persistent messages survive …";
    "DUR-02" transient_queue [raw, restart] "… and only in durable queues.";
    "DUR-02" purged_stays_purged [raw, restart] "What was acked or purged stays away.";
    "DUR-03" unacked_come_back [raw, restart] "Unacked messages come back, marked as redelivered.";
    "DUR-04" order_is_kept [raw, restart] "Messages keep their order.";
    "DUR-06" confirmed_before_a_stop [raw, restart] "What was confirmed survives a clean stop …";
    "DUR-06" confirmed_before_a_crash [raw, crash, also(&["CONFIRM-06"])] "… and a crash.";
    "DUR-06" confirmed_in_all_queues [raw, crash, also(&["CONFIRM-07"])]
        "… in every queue it is in.";
    "DUR-08" properties_are_the_same [raw, restart, variants(&[PASSED_ON])]
        "Properties and headers survive byte for byte.";
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
    let mut sent = vec![all_properties(&headers).to_bytes().to_vec()];
    // Where headers are encoded anew, odd ones have not even come into the queue as they were.
    if t.accepts(BYTE_FOR_BYTE) {
        sent.push(odd);
    }
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
