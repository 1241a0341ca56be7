//! basic.recover.

use leveret_protocol::Method;
use leveret_protocol::method::basic;

use crate::failure::{Failure, expect_eq};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("REC", &[RULES]);

rules! {
    "REC-01" requeues_all [raw] "Everything unacked on the channel is requeued, gets included.";
    "REC-01" forgets_tags [raw] "… and the old tags become unknown.";
    "REC-02" redelivers_in_order [raw] "Redeliveries come after recover-ok, marked and in order.";
    "REC-03" without_reply [raw] "recover-async does the same without an answer.";
    "REC-04" needs_requeue [raw] "Without requeue it is not implemented.";
    "REC-05" nothing_to_recover [raw] "With nothing unacked there is recover-ok and no more.";
    "REC-06" beside_a_transaction [raw] "It acts at once, and leaves a transaction's acks alone.";
}

async fn requeues_all(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (one, two) = (t.name("one"), t.name("two"));
    raw.open_channel(2).await?;
    raw.fill_queue(1, &one, &["got", "of another channel"])
        .await?;
    raw.fill_queue(1, &two, &["delivered"]).await?;
    raw.get_text(1, &one, "got").await?;
    raw.get_text(2, &one, "of another channel").await?;
    let tag = raw.consume(1, &two).await?;
    raw.expect_texts(1, &["delivered"]).await?;
    raw.cancel(1, &tag).await?;
    raw.recover(1).await?;
    raw.take_text(1, &one, "got").await?;
    raw.expect_empty(1, &one).await?;
    raw.take_text(1, &two, "delivered").await.map(drop)
}

async fn forgets_tags(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a"]).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.recover(1).await?;
    raw.ack(1, 1).await?;
    raw.expect_unknown_tag(1, 1, basic::Ack::ID).await
}

async fn redelivers_in_order(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b", "c"]).await?;
    let consumer = raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b", "c"]).await?;
    raw.recover(1).await?;
    let came = raw.expect_texts(1, &["a", "b", "c"]).await?;
    for (message, tag) in came.into_iter().zip(4..) {
        let is = (
            message.consumer_tag,
            message.delivery_tag,
            message.redelivered,
        );
        expect_eq("a redelivery", is, (consumer.clone(), tag, true))?;
    }
    Ok(())
}

async fn without_reply(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b"]).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    let recover = basic::RecoverAsync { requeue: true };
    raw.send_method(1, recover).await?;
    raw.barrier(1).await?;
    raw.consume(1, &queue).await?;
    let came = raw.expect_texts(1, &["a", "b"]).await?;
    let marked = came.iter().all(|message| message.redelivered);
    expect_eq("both marked as redelivered", marked, true)
}

async fn needs_requeue(t: &Trial) -> Result<(), Failure> {
    let recover: [Method<'_>; 2] = [
        basic::Recover { requeue: false }.into(),
        basic::RecoverAsync { requeue: false }.into(),
    ];
    for method in recover {
        let mut raw = t.raw().await?;
        let id = method.id();
        raw.send_method(1, method).await?;
        let text = "NOT_IMPLEMENTED - requeue=false";
        raw.expect_connection_close(540, text, id).await?;
    }
    Ok(())
}

async fn nothing_to_recover(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a"]).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a"]).await?;
    raw.ack(1, 1).await?;
    raw.recover(1).await?;
    raw.expect_no_delivery(1, &queue).await
}

async fn beside_a_transaction(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["acked", "open"]).await?;
    raw.tx_select(1).await?;
    raw.get_text(1, &queue, "acked").await?;
    raw.get_text(1, &queue, "open").await?;
    raw.ack(1, 1).await?;
    raw.recover(1).await?;
    raw.take_text(1, &queue, "open").await?;
    raw.expect_empty(1, &queue).await?;
    raw.commit(1).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await
}
