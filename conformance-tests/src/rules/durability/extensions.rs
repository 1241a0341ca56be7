//! What the extensions promise, kept across a restart: deadlines, limits, priorities and dead letters.

use leveret_protocol::method::basic;
use leveret_protocol::{Properties, Value};

use super::{confirming, expect_all};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection};
use crate::trial::Trial;

/// Longer than it takes to have two messages confirmed, and shorter than anyone wants to wait.
const TTL_MS: i32 = 1_500;

rules! {
    "DUR-06" own_time_to_live [raw, crash, also(&["TTL-01", "TTL-05"])]
        "A confirmed message still expires after a crash, by its own time …";
    "DUR-06" time_to_live_of_the_queue [raw, restart, also(&["TTL-01"])]
        "… or by its queue's, after a clean stop.";
    "DUR-06" limits_still_hold [raw, crash, also(&["LEN-02", "LEN-06"])]
        "A queue that had reached its limit is at its limit after a crash, and keeps to it.";
    "DUR-04" priorities_come_first [raw, restart, also(&["PRIO-01", "PRIO-03"])]
        "A priority queue hands out by priority after a restart.";
    "DUR-04" priorities_come_first_after_a_crash [raw, crash, also(&["PRIO-01"])]
        "… and after a crash.";
    "DUR-08" dead_letters_are_the_same [raw, restart, also(&["DLX-09", "DLX-11"])]
        "A dead letter keeps its history, and its next death is counted on.";
}

fn text(value: &str) -> Value<'_> {
    Value::LongStr(value.as_bytes())
}

/// Publishes a persistent message to a queue.
async fn publish(
    raw: &mut RawConnection,
    queue: &str,
    properties: Properties<'_>,
    body: &str,
) -> Result<(), Failure> {
    let publish = basic::Publish {
        routing_key: queue.into(),
        ..Default::default()
    };
    let properties = Properties {
        delivery_mode: Some(2),
        ..properties
    };
    raw.publish_with(1, publish, properties, body.as_bytes())
        .await
}

/// Declares a queue whose dead go to the other, which it declares too.
async fn declare_with_graveyard(
    raw: &mut RawConnection,
    queue: &str,
    graveyard: &str,
    more: &[(&str, Value<'_>)],
) -> Result<(), Failure> {
    raw.declare_queue(1, graveyard).await?;
    let to_graveyard = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(graveyard)),
    ];
    let arguments = [&to_graveyard, more].concat();
    raw.declare_queue_with(1, queue, &arguments).await
}

/// Waits for a message in the graveyard, and says why it died.
async fn await_dead(raw: &mut RawConnection, graveyard: &str) -> Result<(String, String), Failure> {
    raw.consume(1, graveyard).await?;
    let message = raw.expect_delivery(1).await?;
    raw.ack(1, message.delivery_tag).await?;
    let reason = first_death(&message, "reason")?;
    Ok((message.text(), reason))
}

fn first_death(message: &Message, field: &str) -> Result<String, Failure> {
    let headers = message.properties()?.headers.unwrap_or_default();
    let Some(Value::Array(deaths)) = headers.get("x-death") else {
        return Err(Failure::expected(
            "an x-death array",
            format!("{headers:?}"),
        ));
    };
    match deaths.values().next() {
        Some(Value::Table(death)) => Ok(format!("{:?}", death.get(field))),
        other => Err(Failure::expected(
            "a table in x-death",
            format!("{other:?}"),
        )),
    }
}

async fn own_time_to_live(t: &Trial) -> Result<(), Failure> {
    let (queue, graveyard) = (t.name("q"), t.name("dead"));
    let mut raw = confirming(t).await?;
    declare_with_graveyard(&mut raw, &queue, &graveyard, &[]).await?;
    let ttl = TTL_MS.to_string();
    let mortal = Properties {
        expiration: Some(ttl.as_str().into()),
        ..Properties::default()
    };
    publish(&mut raw, &queue, mortal, "mortal").await?;
    publish(&mut raw, &queue, Properties::default(), "immortal").await?;
    raw.await_confirms(1, 1, 2).await?;
    t.crash().await?;
    let mut raw = t.raw().await?;
    let dead = await_dead(&mut raw, &graveyard).await?;
    let expired = format!("{:?}", Some(text("expired")));
    expect_eq("the dead letter", dead, ("mortal".to_owned(), expired))?;
    raw.take_text(1, &queue, "immortal").await?;
    raw.expect_empty(1, &queue).await
}

async fn time_to_live_of_the_queue(t: &Trial) -> Result<(), Failure> {
    let (queue, graveyard) = (t.name("q"), t.name("dead"));
    let mut raw = confirming(t).await?;
    let ttl = [("x-message-ttl", Value::I32(TTL_MS))];
    declare_with_graveyard(&mut raw, &queue, &graveyard, &ttl).await?;
    publish(&mut raw, &queue, Properties::default(), "mortal").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    let dead = await_dead(&mut raw, &graveyard).await?;
    let expired = format!("{:?}", Some(text("expired")));
    expect_eq("the dead letter", dead, ("mortal".to_owned(), expired))?;
    raw.expect_empty(1, &queue).await
}

async fn limits_still_hold(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    let mut raw = confirming(t).await?;
    let limits = [
        ("x-max-length", Value::I32(3)),
        ("x-max-length-bytes", Value::I32(100)),
    ];
    raw.declare_queue_with(1, &queue, &limits).await?;
    for body in ["1", "2", "3", "4"] {
        raw.publish_persistent(1, &queue, body).await?;
    }
    raw.await_confirms(1, 1, 4).await?;
    t.crash().await?;
    let mut raw = confirming(t).await?;
    raw.expect_ready(1, &queue, 3).await?;
    raw.publish_persistent(1, &queue, "5").await?;
    raw.publish_persistent(1, &queue, &"6".repeat(99)).await?;
    raw.await_confirms(1, 1, 2).await?;
    raw.take_text(1, &queue, "5").await?;
    raw.take_text(1, &queue, &"6".repeat(99)).await?;
    raw.expect_empty(1, &queue).await
}

/// The priority and the text of each, as published.
const URGENCY: [(u8, &str); 6] = [
    (1, "low"),
    (9, "above the highest"),
    (0, "none"),
    (5, "high"),
    (1, "low again"),
    (5, "high again"),
];

const BY_PRIORITY: [&str; 6] = [
    "above the highest",
    "high",
    "high again",
    "low",
    "low again",
    "none",
];

async fn fill_by_priority(t: &Trial, queue: &str) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let levels = [("x-max-priority", Value::I32(5))];
    raw.declare_queue_with(1, queue, &levels).await?;
    for (priority, body) in URGENCY {
        let properties = Properties {
            priority: Some(priority),
            ..Properties::default()
        };
        publish(&mut raw, queue, properties, body).await?;
    }
    raw.await_confirms(1, 1, URGENCY.len() as u64).await?;
    raw.close().await
}

async fn priorities_come_first(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    fill_by_priority(t, &queue).await?;
    let mut raw = t.raw().await?;
    let first = raw.get_text(1, &queue, BY_PRIORITY[0]).await?;
    raw.reject(1, first.delivery_tag, true).await?;
    raw.barrier(1).await?;
    t.restart().await?;
    let expected = BY_PRIORITY.map(|body| (body, body == BY_PRIORITY[0]));
    expect_all(&mut t.raw().await?, &queue, &expected).await
}

async fn priorities_come_first_after_a_crash(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    fill_by_priority(t, &queue).await?;
    t.crash().await?;
    let mut raw = t.raw().await?;
    for body in BY_PRIORITY {
        raw.take_text(1, &queue, body).await?;
    }
    raw.expect_empty(1, &queue).await
}

async fn dead_letters_are_the_same(t: &Trial) -> Result<(), Failure> {
    let (queue, graveyard) = (t.name("q"), t.name("dead"));
    let mut raw = confirming(t).await?;
    // Back to the queue from the graveyard, so that a message can die in both again.
    let back = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&queue)),
    ];
    raw.declare_queue_with(1, &graveyard, &back).await?;
    let away = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&graveyard)),
    ];
    raw.declare_queue_with(1, &queue, &away).await?;
    raw.publish_persistent(1, &queue, "mortal").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.consume(1, &graveyard).await?;
    raw.consume(1, &queue).await?;
    for _ in 0..3 {
        let message = raw.expect_delivery(1).await?;
        raw.reject(1, message.delivery_tag, false).await?;
    }
    let before = raw.expect_delivery(1).await?;
    expect_eq("key", before.routing_key.as_str(), graveyard.as_str())?;
    raw.close().await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    let after = raw.get_text(1, &graveyard, "mortal").await?;
    expect_eq("properties", &after.property_bytes, &before.property_bytes)?;
    raw.reject(1, after.delivery_tag, false).await?;
    raw.consume(1, &queue).await?;
    let again = raw.expect_delivery(1).await?;
    let count = first_death(&again, "count")?;
    expect_eq(
        "count of deaths",
        count,
        format!("{:?}", Some(Value::I64(2))),
    )
}
