//! Publishing, getting, consuming, purging; and what is done without any permission.

use leveret_protocol::Properties;
use leveret_protocol::method::{basic, queue as queues};

use super::{Asking, DIVIDED, Need, READER, exchange, queue};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-10" publish_needs_write [raw, fixtures, variants(&[ACCESS_REFUSED]), also(&["PERM-01"])]
        "To publish is to write the exchange.";
    "PERM-10" publish_to_a_missing_exchange [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also if it is missing.";
    "PERM-02" publish_to_the_default_exchange [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "The default exchange is called amq.default.";
    "PERM-10" get_consume_and_purge_need_read [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Get, consume and purge read the queue.";
    "PERM-10" missing_queue [raw, fixtures, variants(&[ACCESS_REFUSED])] "… also if it is missing.";
    "PERM-10" last_declared_queue_is_read [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "An empty name stands for one that is asked about.";
    "PERM-10" refused_publish_closes_in_order [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "What came before a refusal is kept.";
    "PERM-11" settling_needs_nothing [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "To ack, nack, reject and recover needs nothing more.";
    "PERM-11" modes_need_nothing [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Nor do prefetch, confirms, transactions and cancel.";
}

fn get(queue: &str) -> basic::Get<'_> {
    basic::Get {
        queue: queue.into(),
        ..Default::default()
    }
}

fn consume(queue: &str) -> basic::Consume<'_> {
    basic::Consume {
        queue: queue.into(),
        ..Default::default()
    }
}

fn purge(queue: &str) -> queues::Purge<'_> {
    queues::Purge {
        queue: queue.into(),
        ..Default::default()
    }
}

/// Tries the three ways to take messages from a queue, with and without a wait for the answer.
async fn expect_not_read(asking: &mut Asking, name: &str, culprit: &str) -> Result<(), Failure> {
    let (need, culprit) = (Need::Read, queue(culprit));
    asking.expect_refused(get(name), need, &culprit).await?;
    asking.expect_refused(consume(name), need, &culprit).await?;
    asking.expect_refused(purge(name), need, &culprit).await?;
    let nowait = basic::Consume {
        nowait: true,
        consumer_tag: "tag".into(),
        ..consume(name)
    };
    asking.expect_refused(nowait, need, &culprit).await?;
    let nowait = queues::Purge {
        nowait: true,
        ..purge(name)
    };
    asking.expect_refused(nowait, need, &culprit).await
}

/// Two exchanges with a queue behind each; the first may be written.
async fn two_exchanges(t: &Trial) -> Result<(RawConnection, String, String), Failure> {
    let mut raw = t.raw().await?;
    let names = [t.name("x-writable"), t.name("x-configurable-readable")];
    for name in &names {
        raw.declare_exchange(1, transient_exchange(name, "fanout"))
            .await?;
        raw.declare_queue(1, name).await?;
        raw.bind(1, name, name, "").await?;
    }
    let [open, closed] = names;
    Ok((raw, open, closed))
}

async fn publish_needs_write(t: &Trial) -> Result<(), Failure> {
    let (mut raw, open, closed) = two_exchanges(t).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking
        .expect_publish_refused((&closed, "k"), exchange(&closed))
        .await?;
    raw.expect_empty(1, &closed).await?;
    asking.raw.publish(1, &open, "k", "m").await?;
    asking.raw.barrier(1).await?;
    raw.take_text(1, &open, "m").await?;
    // That another exchange may be written does not stick.
    asking
        .expect_publish_refused((&closed, "k"), exchange(&closed))
        .await?;
    raw.expect_empty(1, &closed).await
}

async fn publish_to_a_missing_exchange(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    let (closed, open) = (t.name("missing"), t.name("missing-writable"));
    asking
        .expect_publish_refused((&closed, "k"), exchange(&closed))
        .await?;
    asking.raw.publish(1, &open, "k", "m").await?;
    let text = format!("NOT_FOUND - no exchange '{open}' in vhost '{}'", t.vhost());
    let id = basic::Publish::ID;
    asking.raw.expect_channel_close(1, 404, text, id).await
}

/// One user may write the empty name, another the name `amq.default`.
async fn publish_to_the_default_exchange(t: &Trial) -> Result<(), Failure> {
    let queue = t.name("q");
    let mut raw = t.raw().await?;
    raw.declare_queue(1, &queue).await?;
    let mut reader = Asking::of(t, READER).await?;
    reader
        .expect_publish_refused(("", &queue), exchange("amq.default"))
        .await?;
    raw.expect_empty(1, &queue).await?;
    let mut divided = Asking::of(t, DIVIDED).await?;
    // The queue itself is not written by this.
    divided.raw.publish(1, "", &queue, "m").await?;
    divided.raw.barrier(1).await?;
    raw.take_text(1, &queue, "m").await.map(drop)
}

async fn get_consume_and_purge_need_read(t: &Trial) -> Result<(), Failure> {
    let (closed, open) = (t.name("q-configurable-writable"), t.name("q-readable"));
    let mut raw = t.raw().await?;
    raw.fill_queue(1, &closed, &["m"]).await?;
    raw.fill_queue(1, &open, &["a", "b", "c"]).await?;
    raw.barrier(1).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    expect_not_read(&mut asking, &closed, &closed).await?;
    raw.take_text(1, &closed, "m").await?;
    asking.raw.take_text(1, &open, "a").await?;
    let purged = asking.raw.purge(1, &open).await?;
    expect_eq("purged messages", purged, 2)?;
    asking.raw.consume(1, &open).await.map(drop)
}

async fn missing_queue(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    let (closed, open) = (t.name("missing"), t.name("missing-readable"));
    expect_not_read(&mut asking, &closed, &closed).await?;
    let text = format!("NOT_FOUND - no queue '{open}' in vhost '{}'", t.vhost());
    asking.expect_fault(get(&open), 404, text.as_str()).await?;
    asking
        .expect_fault(consume(&open), 404, text.as_str())
        .await?;
    asking.expect_fault(purge(&open), 404, text.as_str()).await
}

async fn last_declared_queue_is_read(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q-configurable");
    let mut asking = Asking::of(t, DIVIDED).await?;
    for operation in [get("").into(), consume("").into(), purge("").into()] {
        let operation: leveret_protocol::Method<'_> = operation;
        asking.raw.declare_queue(1, &name).await?;
        asking
            .expect_refused(operation, Need::Read, queue(&name))
            .await?;
    }
    Ok(())
}

async fn refused_publish_closes_in_order(t: &Trial) -> Result<(), Failure> {
    let (mut raw, open, closed) = two_exchanges(t).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    for text in ["a", "b"] {
        asking.raw.publish(1, &open, "k", text).await?;
    }
    asking
        .expect_publish_refused((&closed, "k"), exchange(&closed))
        .await?;
    raw.take_text(1, &open, "a").await?;
    raw.take_text(1, &open, "b").await?;
    raw.expect_empty(1, &open).await
}

/// The user may read this queue, and nothing else anywhere.
async fn settling_needs_nothing(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let mut raw = t.raw().await?;
    raw.fill_queue(1, &name, &["a", "b", "c", "d"]).await?;
    raw.barrier(1).await?;
    let mut reader = Asking::of(t, READER).await?.raw;
    reader.consume(1, &name).await?;
    reader.expect_texts(1, &["a", "b", "c", "d"]).await?;
    reader.ack(1, 1).await?;
    reader.nack(1, 2, false).await?;
    reader.reject(1, 3, false).await?;
    reader.nack(1, 4, true).await?;
    reader.expect_texts(1, &["d"]).await?;
    reader.recover(1).await?;
    reader.expect_texts(1, &["d"]).await?;
    reader.close().await?;
    raw.take_text(1, &name, "d").await?;
    raw.expect_empty(1, &name).await
}

async fn modes_need_nothing(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let mut raw = t.raw().await?;
    raw.fill_queue(1, &name, &["a"]).await?;
    raw.barrier(1).await?;
    let mut reader = Asking::of(t, READER).await?.raw;
    reader.prefetch(1, 1, false).await?;
    reader.prefetch(1, 2, true).await?;
    let tag = reader.consume(1, &name).await?;
    reader.expect_texts(1, &["a"]).await?;
    reader.cancel(1, &tag).await?;
    reader.open_channel(2).await?;
    reader.confirm_select(2).await?;
    reader.open_channel(3).await?;
    reader.tx_select(3).await?;
    reader.commit(3).await?;
    reader.rollback(3).await?;
    // In each mode what is refused is refused at once.
    let text = "ACCESS_REFUSED - ";
    for channel in [2, 3] {
        let publish = basic::Publish::default();
        reader
            .publish_with(channel, publish, Properties::default(), b"m")
            .await?;
        let refused = crate::raw::Text::starts(text);
        reader
            .expect_channel_close(channel, 403, refused, basic::Publish::ID)
            .await?;
    }
    Ok(())
}
