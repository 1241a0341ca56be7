//! Deleting and purging.

use leveret_protocol::method::basic::{self, Cancel};
use leveret_protocol::method::queue::{Delete, DeleteOk, Purge};

use super::{
    consume_blocked, declare_with_dead_letters, expect_gone, expect_nothing_came_to, fill,
    get_unacked, not_found, resource,
};
use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection, durable_queue};
use crate::trial::Trial;

rules! {
    "QUEUE-19" delete_counts_ready [raw] "delete-ok says how many ready messages went.";
    "QUEUE-20" delete_of_missing [raw] "Deleting a missing queue is answered with zero.";
    "QUEUE-21" if_unused "if-unused spares a queue with consumers.";
    "QUEUE-22" if_empty [raw] "if-empty spares a queue with ready messages.";
    "QUEUE-22" if_empty_ignores_unacked [raw] "… but not one whose messages are all unacked.";
    "QUEUE-23" not_empty_comes_first [raw] "Where both flags forbid, if-empty is named.";
    "QUEUE-24" delete_does_not_dead_letter [raw] "Deleting does not dead-letter.";
    "QUEUE-25" delete_with_consumers [raw] "Consumers are cancelled, their deliveries void.";
    "QUEUE-26" delete_on_the_consumers_channel [raw] "The deleter gets delete-ok and the cancel.";
    "QUEUE-27" purge_takes_ready [raw] "purge takes ready messages, not unacked ones.";
    "QUEUE-27" purge_of_missing [raw] "Purging a missing queue is 404.";
    "QUEUE-27" purge_does_not_dead_letter [raw] "Purging does not dead-letter.";
    "QUEUE-28" nowait [raw] "With no-wait there is no reply, and the effect is seen at once.";
    "QUEUE-33" untestable
        "4.x has queues that clients cannot delete."
        "such queues are declared inside a 4.x node; 3.x has none";
}

async fn delete_counts_ready(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b", "c"]).await?;
    get_unacked(&mut raw, &name).await?;
    let count = raw.delete_queue(1, &name).await?;
    expect_eq("deleted messages", count, 2)?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn delete_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    for flag in [false, true] {
        let delete = Delete {
            queue: name.as_str().into(),
            if_unused: flag,
            if_empty: flag,
            ..Default::default()
        };
        let reply = raw.call(1, delete, DeleteOk::ID).await?;
        // The count is all that the payload holds after the two numbers of the method.
        expect_eq("count", &reply.payload()[4..], &[0, 0, 0, 0][..])?;
    }
    Ok(())
}

async fn if_unused(t: &Trial) -> Result<(), Failure> {
    let (consuming, deleting) = (t.channel().await?, t.channel().await?);
    let name = t.name("q");
    client::declare_queue(&consuming, &name).await?;
    let consumer = client::consume(&consuming, &name).await?;
    let options = lapin::options::QueueDeleteOptions {
        if_unused: true,
        ..Default::default()
    };
    let text = format!(
        "PRECONDITION_FAILED - {} in use",
        resource(&name, t.vhost())
    );
    let deleted = deleting.queue_delete(name.as_str().into(), options).await;
    client::expect_error(deleted, 406, t.text(text))?;
    let cancel = lapin::options::BasicCancelOptions::default();
    consuming.basic_cancel(consumer.tag(), cancel).await?;
    let count = consuming
        .queue_delete(name.as_str().into(), options)
        .await?;
    expect_eq("deleted messages", count, 0)
}

/// Deletes on channel 1, is refused with this explanation, and opens the channel again.
async fn expect_delete_refused(
    raw: &mut RawConnection,
    delete: Delete<'_>,
    text: String,
) -> Result<(), Failure> {
    raw.send_method(1, delete).await?;
    raw.expect_channel_close(1, 406, text, Delete::ID).await?;
    raw.open_channel(1).await
}

fn not_empty(name: &str, vhost: &str) -> String {
    format!("PRECONDITION_FAILED - {} not empty", resource(name, vhost))
}

async fn if_empty(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a"]).await?;
    let delete = Delete {
        queue: name.as_str().into(),
        if_empty: true,
        ..Default::default()
    };
    expect_delete_refused(&mut raw, delete, not_empty(&name, t.vhost())).await?;
    raw.take_text(1, &name, "a").await?;
    raw.call(1, delete, DeleteOk::ID).await.map(drop)
}

async fn if_empty_ignores_unacked(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a"]).await?;
    get_unacked(&mut raw, &name).await?;
    let delete = Delete {
        queue: name.as_str().into(),
        if_empty: true,
        ..Default::default()
    };
    raw.call(1, delete, DeleteOk::ID).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn not_empty_comes_first(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b"]).await?;
    raw.open_channel(2).await?;
    consume_blocked(&mut raw, 2, &name, 1).await?;
    let delete = Delete {
        queue: name.as_str().into(),
        if_unused: true,
        if_empty: true,
        ..Default::default()
    };
    expect_delete_refused(&mut raw, delete, not_empty(&name, t.vhost())).await
}

async fn delete_does_not_dead_letter(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, dead) = (t.name("q"), t.name("dead"));
    declare_with_dead_letters(&mut raw, durable_queue(&name), &dead).await?;
    fill(&mut raw, &name, &["unacked", "ready"]).await?;
    get_unacked(&mut raw, &name).await?;
    raw.delete_queue(1, &name).await?;
    expect_nothing_came_to(&mut raw, &dead).await
}

async fn delete_with_consumers(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut deleter) = (t.raw().await?, t.raw().await?);
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b", "c", "d"]).await?;
    consume_blocked(&mut raw, 1, &name, 3).await?;
    let count = deleter.delete_queue(1, &name).await?;
    expect_eq("deleted messages", count, 1)?;
    raw.expect(1, Cancel::ID).await?;
    raw.ack(1, 1).await?;
    raw.nack(1, 2, true).await?;
    let reject = basic::Reject {
        delivery_tag: 3,
        requeue: false,
    };
    raw.send_method(1, reject).await?;
    raw.barrier(1).await
}

async fn delete_on_the_consumers_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.consume(1, &name).await?;
    let delete = Delete {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, delete).await?;
    // delete-ok was seen first, yet nothing promises it.
    let answers = [DeleteOk::ID, Cancel::ID].map(|id| Expected::method(1, id));
    let first = raw.expect_any_of(&answers).await?;
    let second = if first == 0 { Cancel::ID } else { DeleteOk::ID };
    raw.expect(1, second).await?;
    raw.barrier(1).await
}

async fn purge_takes_ready(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["unacked", "b", "c"]).await?;
    let tag = get_unacked(&mut raw, &name).await?;
    expect_eq("first purge", raw.purge(1, &name).await?, 2)?;
    expect_eq("second purge", raw.purge(1, &name).await?, 0)?;
    raw.nack(1, tag, true).await?;
    raw.take_text(1, &name, "unacked").await.map(drop)
}

async fn purge_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    for nowait in [false, true] {
        let purge = Purge {
            queue: name.as_str().into(),
            nowait,
            ..Default::default()
        };
        raw.send_method(1, purge).await?;
        let text = not_found(&name, t.vhost());
        raw.expect_channel_close(1, 404, text, Purge::ID).await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn purge_does_not_dead_letter(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, dead) = (t.name("q"), t.name("dead"));
    declare_with_dead_letters(&mut raw, durable_queue(&name), &dead).await?;
    fill(&mut raw, &name, &["a", "b"]).await?;
    expect_eq("purged messages", raw.purge(1, &name).await?, 2)?;
    expect_nothing_came_to(&mut raw, &dead).await
}

async fn nowait(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.publish(1, "", &name, "purged").await?;
    let purge = Purge {
        queue: name.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    raw.send_method(1, purge).await?;
    raw.expect_empty(1, &name).await?;
    let delete = Delete {
        queue: name.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    raw.send_method(1, delete).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}
