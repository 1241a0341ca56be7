//! What of a message is the same after its death, and what is not.

use leveret_protocol::{Properties, TableBuf, Value};

use super::{DeadLettering, declare_leading_to, expect_deaths, expiring, headers_of, last_death};
use crate::failure::{Failure, expect_eq};
use crate::trial::Trial;

rules! {
    "DLX-06" expiration_is_taken_off [raw] "The expiration is kept in x-death and nowhere else.";
    "DLX-07" the_rest_stays [raw] "Other properties, headers and the body stay.";
    "DLX-25" priority_and_mode [raw] "Priority and delivery mode stay …";
    "DLX-25" ttl_begins_anew [raw] "… and the next queue's TTL begins anew.";
    "DLX-25" survives_a_restart [raw, restart] "A persistent dead letter survives a restart.";
    "DLX-26" is_not_redelivered [raw] "A dead letter is delivered as if for the first time.";
}

async fn expiration_is_taken_off(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let message = letters.reject(expiring("3600000")).await?;
    expect_eq("expiration", message.properties()?.expiration, None)?;
    let kept = last_death(&message)?.original_expiration;
    expect_eq("original-expiration", kept.as_deref(), Some("3600000"))?;
    let message = letters.reject(Properties::default()).await?;
    let kept = last_death(&message)?.original_expiration;
    expect_eq("original-expiration", kept, None)
}

/// Headers that only a queue of the broker's adds to.
fn without_deaths(headers: &TableBuf) -> Vec<(String, String)> {
    let is_own = |name: &str| !name.starts_with("x-");
    let entries = headers.view().entries();
    entries
        .map(|(name, value)| (name.to_text().into_owned(), format!("{value:?}")))
        .filter(|(name, _)| is_own(name))
        .collect()
}

async fn the_rest_stays(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let headers = TableBuf::new()
        .with("number", Value::I32(7))
        .with("text", Value::LongStr(b"value"))
        .with("time", Value::Timestamp(1));
    let sent = Properties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("".into()),
        headers: Some(headers.view()),
        delivery_mode: Some(1),
        priority: Some(3),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        message_id: Some("m".into()),
        timestamp: Some(5),
        kind: Some("t".into()),
        app_id: Some("a".into()),
        cluster_id: Some("k".into()),
        ..Default::default()
    };
    let message = letters.reject(sent).await?;
    let came = Properties {
        headers: Some(headers.view()),
        ..message.properties()?
    };
    expect_eq("properties but for the headers", came, sent)?;
    let came = without_deaths(&headers_of(&message)?);
    expect_eq("headers", came, without_deaths(&headers))
}

async fn priority_and_mode(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let sent = Properties {
        delivery_mode: Some(2),
        priority: Some(9),
        ..Default::default()
    };
    let message = letters.reject(sent).await?;
    let came = message.properties()?;
    let came = (came.delivery_mode, came.priority);
    expect_eq("delivery mode and priority", came, (Some(2), Some(9)))
}

async fn ttl_begins_anew(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-message-ttl", Value::I32(40))]).await?;
    let (first, source) = (t.name("first"), letters.source.clone());
    let short = ("x-message-ttl", Value::I32(20));
    declare_leading_to(&mut letters.raw, &first, &source, &[short]).await?;
    let raw = &mut letters.raw;
    raw.publish_message(1, ("", &first), expiring("10"), "m")
        .await?;
    let message = letters.next_text("m").await?;
    let twice = [("expired", source.as_str(), 1), ("expired", &first, 1)];
    expect_deaths(&message, &twice)
}

async fn survives_a_restart(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let (source, sink, seen) = (t.name("source"), t.name("sink"), t.name("seen"));
    raw.declare_queue(1, &seen).await?;
    // What overflows there has been in the sink before.
    declare_leading_to(&mut raw, &sink, &seen, &[("x-max-length", Value::I32(1))]).await?;
    declare_leading_to(&mut raw, &source, &sink, &[]).await?;
    other.consume_no_ack(1, &seen).await?;
    for (delivery_tag, text) in (1..).zip(["pushed out", "stays"]) {
        raw.publish_persistent(1, &source, text).await?;
        raw.get_text(1, &source, text).await?;
        raw.reject(1, delivery_tag, false).await?;
    }
    other.expect_texts(1, &["pushed out"]).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    let message = raw.take_text(1, &sink, "stays").await?;
    expect_deaths(&message, &[("rejected", &source, 1)])?;
    raw.expect_empty(1, &source).await
}

async fn is_not_redelivered(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    letters.raw.publish(1, "", &source, "m").await?;
    let first = letters.raw.get_text(1, &source, "m").await?;
    letters.raw.nack(1, first.delivery_tag, true).await?;
    let second = letters.raw.get_text(1, &source, "m").await?;
    expect_eq("redelivered after a requeue", second.redelivered, true)?;
    letters.raw.reject(1, second.delivery_tag, false).await?;
    let message = letters.next_text("m").await?;
    expect_eq("redelivered after death", message.redelivered, false)
}
