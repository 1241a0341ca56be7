//! In which order messages die.

use leveret_protocol::Value;

use super::super::broker_clock::BrokerClock;
use super::{DeadLettering, expiring};
use crate::failure::Failure;
use crate::trial::Trial;

rules! {
    "DLX-20" rejected_together [raw] "What is rejected together dies in the queue's order …";
    "DLX-20" expired_together [raw] "… as does what expires together …";
    "DLX-20" dropped_together [raw] "… or is dropped together.";
    "DLX-27" behind_a_live_head [raw] "What has expired behind a live message waits for it.";
}

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn rejected_together(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &FIVE).await?;
    letters.raw.consume(1, &source).await?;
    letters.raw.expect_texts(1, &FIVE).await?;
    letters.raw.nack_up_to(1, 5, false).await?;
    letters.dead.expect_texts(1, &FIVE).await.map(drop)
}

async fn expired_together(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-message-ttl", Value::I32(30))]).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &FIVE).await?;
    letters.dead.expect_texts(1, &FIVE).await.map(drop)
}

async fn dropped_together(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-max-length-bytes", Value::I32(5))]).await?;
    let source = letters.source.clone();
    letters.raw.publish_all(1, &source, &FIVE).await?;
    letters.raw.publish(1, "", &source, "large").await?;
    letters.dead.expect_texts(1, &FIVE).await?;
    letters.raw.take_text(1, &source, "large").await.map(drop)
}

async fn behind_a_live_head(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let mut clock = BrokerClock::new(t).await?;
    let source = letters.source.clone();
    letters.raw.publish(1, "", &source, "lives").await?;
    let address = ("", source.as_str());
    letters
        .raw
        .publish_message(1, address, expiring("10"), "dies")
        .await?;
    letters.raw.barrier(1).await?;
    clock.wait(60).await?;
    letters.expect_no_more().await?;
    letters.raw.take_text(1, &source, "lives").await?;
    letters.next_text("dies").await?;
    letters.raw.expect_empty(1, &source).await
}
