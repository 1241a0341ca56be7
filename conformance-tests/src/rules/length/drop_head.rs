//! The usual way to keep a limit: the oldest messages go.

use leveret_protocol::{Properties, TableBuf, Value};

use super::{expect_all, max_bytes, max_length};
use crate::failure::{Failure, expect_eq};
use crate::raw::RawConnection;
use crate::trial::Trial;

rules! {
    "LEN-01" counts_ready_messages [raw] "Only ready messages count …";
    "LEN-01" counts_ready_bytes [raw] "… and only the bytes of their bodies.";
    "LEN-02" oldest_goes_first [raw] "The oldest go until the rest fits …";
    "LEN-02" too_large_for_the_queue [raw] "… all of them, if one is too large by itself.";
    "LEN-03" none_without_a_consumer [raw] "Where nothing fits, a message is dropped …";
    "LEN-03" none_with_a_consumer [raw] "… or delivered at once.";
    "LEN-06" both_limits [raw] "Of two limits the one that is reached first holds.";
    "LEN-07" requeued_above_the_limit [raw]
        "What is requeued into a full queue is the oldest, and goes.";
    "LEN-11" highest_priority_goes_first [raw] "With priorities the highest is the one that goes.";
    "LEN-12" dropped_is_confirmed [raw] "The publisher of what is dropped gets its ack.";
}

/// A queue with limits, and a consumer of what is dropped there.
struct Limited {
    raw: RawConnection,
    dropped: RawConnection,
    queue: String,
}

impl Limited {
    async fn by(t: &Trial, limits: &[(&str, Value<'_>)]) -> Result<Self, Failure> {
        let (mut raw, mut dropped) = (t.raw().await?, t.raw().await?);
        let (queue, sink) = (t.name("q"), t.name("dropped"));
        raw.declare_queue(1, &sink).await?;
        let mut arguments = vec![
            ("x-dead-letter-exchange", Value::LongStr(b"")),
            ("x-dead-letter-routing-key", Value::LongStr(sink.as_bytes())),
        ];
        arguments.extend_from_slice(limits);
        raw.declare_queue_with(1, &queue, &arguments).await?;
        dropped.consume_no_ack(1, &sink).await?;
        Ok(Self {
            raw,
            dropped,
            queue,
        })
    }

    async fn publish(&mut self, texts: &[&str]) -> Result<(), Failure> {
        self.raw.publish_all(1, &self.queue, texts).await
    }

    /// Exactly these have been dropped, in this order, and exactly these are left.
    async fn expect(&mut self, dropped: &[&str], left: &[&str]) -> Result<(), Failure> {
        for message in self.dropped.expect_texts(1, dropped).await? {
            let headers = message.properties()?.headers.unwrap_or_default();
            let reason = headers.get("x-first-death-reason");
            expect_eq("reason", reason, Some(Value::LongStr(b"maxlen")))?;
        }
        expect_all(&mut self.raw, &self.queue, left).await
    }
}

async fn counts_ready_messages(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(2)]).await?;
    let queue = limited.queue.clone();
    limited.publish(&["unacked"]).await?;
    limited.raw.get_text(1, &queue, "unacked").await?;
    limited.raw.confirm_select(1).await?;
    limited.publish(&["b", "c"]).await?;
    limited.raw.await_confirms(1, 1, 2).await?;
    limited.raw.expect_ready(1, &queue, 2).await?;
    limited.publish(&["d"]).await?;
    limited.raw.await_confirms(1, 3, 3).await?;
    limited.expect(&["b"], &["c", "d"]).await
}

async fn counts_ready_bytes(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_bytes(10)]).await?;
    let queue = limited.queue.clone();
    limited.publish(&["unacked"]).await?;
    limited.raw.get_text(1, &queue, "unacked").await?;
    limited.raw.confirm_select(1).await?;
    let large = "x".repeat(1_000);
    let headers = TableBuf::new().with("large", Value::LongStr(large.as_bytes()));
    for text in ["fives", "tenth"] {
        let properties = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        let address = ("", queue.as_str());
        limited
            .raw
            .publish_message(1, address, properties, text)
            .await?;
    }
    limited.raw.await_confirms(1, 1, 2).await?;
    limited.raw.expect_ready(1, &queue, 2).await?;
    limited.publish(&["!"]).await?;
    limited.raw.await_confirms(1, 3, 3).await?;
    limited.expect(&["fives"], &["tenth", "!"]).await
}

async fn oldest_goes_first(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(3)]).await?;
    limited.publish(&["a", "b", "c", "d", "e"]).await?;
    limited.expect(&["a", "b"], &["c", "d", "e"]).await
}

async fn too_large_for_the_queue(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_bytes(5)]).await?;
    limited.publish(&["a", "bb", "too large"]).await?;
    limited.expect(&["a", "bb", "too large"], &[]).await
}

async fn none_without_a_consumer(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(0)]).await?;
    limited.publish(&["a", "b"]).await?;
    limited.expect(&["a", "b"], &[]).await
}

async fn none_with_a_consumer(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(0)]).await?;
    let (mut consumer, queue) = (t.raw().await?, limited.queue.clone());
    consumer.prefetch(1, 1, false).await?;
    consumer.consume(1, &queue).await?;
    limited.publish(&["taken", "while it is busy"]).await?;
    consumer.expect_texts(1, &["taken"]).await?;
    limited.expect(&["while it is busy"], &[]).await?;
    consumer.ack(1, 1).await?;
    consumer.expect_no_delivery(1, &queue).await
}

async fn both_limits(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(3), max_bytes(10)]).await?;
    limited.publish(&["a", "b", "c", "d"]).await?;
    limited.expect(&["a"], &["b", "c", "d"]).await?;
    limited.publish(&["seven b", "four"]).await?;
    limited.expect(&["seven b"], &["four"]).await
}

async fn requeued_above_the_limit(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(1)]).await?;
    let queue = limited.queue.clone();
    limited.publish(&["old"]).await?;
    let old = limited.raw.get_text(1, &queue, "old").await?;
    limited.publish(&["new"]).await?;
    limited.raw.nack(1, old.delivery_tag, true).await?;
    limited.expect(&["old"], &["new"]).await
}

async fn highest_priority_goes_first(t: &Trial) -> Result<(), Failure> {
    let priorities = ("x-max-priority", Value::I32(5));
    let mut limited = Limited::by(t, &[max_length(2), priorities]).await?;
    for (priority, text) in [(1, "one"), (5, "five"), (0, "zero")] {
        let properties = Properties {
            priority: Some(priority),
            ..Default::default()
        };
        let address = ("", limited.queue.as_str());
        let raw = &mut limited.raw;
        raw.publish_message(1, address, properties, text).await?;
    }
    limited.expect(&["five"], &["one", "zero"]).await
}

async fn dropped_is_confirmed(t: &Trial) -> Result<(), Failure> {
    let mut limited = Limited::by(t, &[max_length(1)]).await?;
    limited.raw.confirm_select(1).await?;
    for tag in 1..=5 {
        limited.publish(&["m"]).await?;
        limited.raw.await_confirms(1, tag, tag).await?;
    }
    limited.expect(&["m"; 4], &["m"]).await
}
