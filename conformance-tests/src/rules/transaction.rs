//! Transactions.

use leveret_protocol::method::{basic, channel, queue, tx};
use leveret_protocol::{Properties, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection, Text, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("TX", &[RULES]);

rules! {
    "TX-01" select_is_repeatable [raw] "Selecting again changes nothing in the open transaction.";
    "TX-02" needs_select [raw] "Without a select there is nothing to commit or roll back.";
    "TX-03" visible_after_commit [raw] "What is published can be seen from the commit on.";
    "TX-03" empty_commit [raw] "An empty commit succeeds.";
    "TX-04" rollback_drops_publishes [raw] "A rollback drops publishes; a new transaction begins.";
    "TX-05" errors_are_immediate [raw] "Errors do not wait for the commit.";
    "TX-06" routed_when_published [raw] "Bindings made before the commit come too late.";
    "TX-06" returned_at_commit [raw] "Mandatory publishes are returned before commit-ok.";
    "TX-07" queue_deleted_before_commit [raw] "A queue deleted before the commit does not count.";
    "TX-08" settled_at_commit [raw] "Acks, nacks and rejects take effect at the commit.";
    "TX-09" settled_twice [raw] "A tag is settled once, also within one transaction.";
    "TX-10" rollback_undoes_acks [raw] "After a rollback the tags can be settled again.";
    "TX-11" requeued_at_commit [raw] "A requeue happens at the commit.";
    "TX-12" publishes_first [raw] "A commit publishes first, then settles.";
    "TX-12" settles_in_order [raw] "It settles in the given order, but neighbours by their tags.";
    "TX-13" queues_have_accepted [raw] "With commit-ok every queue has its messages.";
    "TX-14" partial_completion [raw] "A refused publish fails the commit; others stay accepted.";
    "TX-15" undone_by_channel_close [raw] "The end of the channel drops what is not committed.";
    "TX-15" undone_by_loss [raw] "… and so does the loss of the connection.";
    "TX-16" declarations_are_immediate [raw]
        "Declaring, binding, purging and deleting do not wait.";
    "TX-16" reading_is_immediate [raw] "Neither do consume, get, cancel and qos.";
    "TX-17" command_during_commit [raw] "A command during a commit may end the connection.";
    "TX-18" no_ack_is_unaffected [raw] "Deliveries without acks are not part of it.";
    "TX-19" no_confirms [raw] "Publishes are not confirmed.";
    "TX-20" multiple_covers_all [raw] "Multiple covers deliveries from before the select too.";
}

/// A connection with channel 1 in transaction mode, and a queue with these messages.
async fn transactional(t: &Trial, texts: &[&str]) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, texts).await?;
    raw.tx_select(1).await?;
    Ok((raw, queue))
}

async fn select_is_repeatable(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    raw.publish(1, "", &queue, "first").await?;
    raw.tx_select(1).await?;
    raw.expect_empty(1, &queue).await?;
    raw.publish(1, "", &queue, "second").await?;
    raw.commit(1).await?;
    raw.take_text(1, &queue, "first").await?;
    raw.take_text(1, &queue, "second").await.map(drop)
}

async fn needs_select(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let text = "PRECONDITION_FAILED - channel is not transactional";
    raw.send_method(1, tx::Commit {}).await?;
    raw.expect_channel_close(1, 406, text, tx::Commit::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.send_method(1, tx::Rollback {}).await?;
    raw.expect_channel_close(1, 406, text, tx::Rollback::ID)
        .await
}

async fn visible_after_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let mut other = t.raw().await?;
    raw.publish_all(1, &queue, &["a", "b"]).await?;
    raw.barrier(1).await?;
    raw.expect_empty(1, &queue).await?;
    other.expect_empty(1, &queue).await?;
    raw.commit(1).await?;
    other.take_text(1, &queue, "a").await?;
    other.take_text(1, &queue, "b").await.map(drop)
}

async fn empty_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _) = transactional(t, &[]).await?;
    raw.commit(1).await?;
    raw.commit(1).await?;
    raw.rollback(1).await
}

async fn rollback_drops_publishes(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    raw.publish(1, "", &queue, "dropped").await?;
    raw.rollback(1).await?;
    raw.publish(1, "", &queue, "kept").await?;
    raw.expect_empty(1, &queue).await?;
    raw.commit(1).await?;
    raw.publish(1, "", &queue, "dropped too").await?;
    raw.rollback(1).await?;
    raw.commit(1).await?;
    raw.take_text(1, &queue, "kept").await?;
    raw.expect_empty(1, &queue).await
}

async fn errors_are_immediate(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let missing = t.name("missing");
    raw.publish(1, "", &queue, "dropped with the channel")
        .await?;
    raw.publish(1, &missing, "", "m").await?;
    let text = format!(
        "NOT_FOUND - no exchange '{missing}' in vhost '{}'",
        t.vhost()
    );
    raw.expect_channel_close(1, 404, text, basic::Publish::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await?;
    raw.tx_select(1).await?;
    let publish = basic::Publish {
        routing_key: queue.as_str().into(),
        ..Default::default()
    };
    let properties = Properties {
        expiration: Some("soon".into()),
        ..Default::default()
    };
    raw.publish_with(1, publish, properties, b"m").await?;
    let text = Text::starts("PRECONDITION_FAILED - invalid expiration 'soon'");
    raw.expect_channel_close(1, 406, text, basic::Publish::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.tx_select(1).await?;
    raw.ack(1, 5).await?;
    raw.expect_unknown_tag(1, 5, basic::Ack::ID).await
}

async fn routed_when_published(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let (exchange, late) = (t.name("x"), t.name("late"));
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.declare_queue(1, &late).await?;
    raw.bind(1, &queue, &exchange, "").await?;
    raw.publish(1, &exchange, "", "m").await?;
    raw.barrier(1).await?;
    raw.bind(1, &late, &exchange, "").await?;
    raw.unbind(1, &queue, &exchange, "").await?;
    raw.commit(1).await?;
    raw.take_text(1, &queue, "m").await?;
    raw.expect_empty(1, &late).await
}

/// Commits, with a return of this text before commit-ok.
async fn expect_return_at_commit(raw: &mut RawConnection, text: &str) -> Result<(), Failure> {
    raw.barrier(1).await?;
    raw.send_method(1, tx::Commit {}).await?;
    let returned = raw.expect_return(1).await?;
    let came = (returned.reply_code, returned.text());
    expect_eq("the return", came, (312, text.to_owned()))?;
    raw.expect(1, tx::CommitOk::ID).await.map(drop)
}

async fn returned_at_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let nowhere = t.name("nowhere");
    raw.publish_mandatory(1, "", &nowhere, "returned").await?;
    raw.publish_mandatory(1, "", &queue, "routed").await?;
    expect_return_at_commit(&mut raw, "returned").await?;
    raw.take_text(1, &queue, "routed").await?;
    raw.publish_mandatory(1, "", &nowhere, "rolled back")
        .await?;
    raw.rollback(1).await?;
    raw.commit(1).await
}

async fn queue_deleted_before_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let mut other = t.raw().await?;
    raw.publish_mandatory(1, "", &queue, "no queue any more")
        .await?;
    raw.publish(1, "", &queue, "lost").await?;
    raw.barrier(1).await?;
    other.delete_queue(1, &queue).await?;
    expect_return_at_commit(&mut raw, "no queue any more").await
}

async fn settled_at_commit(t: &Trial) -> Result<(), Failure> {
    let texts = ["acked", "requeued", "rejected"];
    let (mut raw, dead) = dead_lettering(t, &texts).await?;
    let main = t.name("main");
    raw.ack(1, 1).await?;
    raw.nack(1, 2, true).await?;
    raw.reject(1, 3, false).await?;
    raw.expect_empty(1, &main).await?;
    raw.consume(1, &dead).await?;
    raw.expect_no_delivery(1, &dead).await?;
    raw.send_method(1, tx::Commit {}).await?;
    // The dead letter is under way on its own and may come on either side of commit-ok.
    let method = raw.expect_method(1).await?;
    if method.id() == tx::CommitOk::ID {
        raw.expect_texts(1, &["rejected"]).await?;
    } else {
        let dead_letter = raw.read_content(1, &method).await?;
        expect_eq("dead letter", dead_letter.text(), "rejected")?;
        raw.expect(1, tx::CommitOk::ID).await?;
    }
    raw.take_text(1, &main, "requeued").await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &main).await
}

async fn settled_twice(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["m"]).await?;
    for settle_again in [basic::Ack::ID, basic::Nack::ID, basic::Reject::ID] {
        let tag = raw.get_text(1, &queue, "m").await?.delivery_tag;
        raw.ack(1, tag).await?;
        match settle_again {
            basic::Ack::ID => raw.ack(1, tag).await?,
            basic::Nack::ID => raw.nack(1, tag, true).await?,
            _ => raw.reject(1, tag, true).await?,
        }
        raw.expect_unknown_tag(1, tag, settle_again).await?;
        raw.open_channel(1).await?;
        raw.tx_select(1).await?;
    }
    Ok(())
}

async fn rollback_undoes_acks(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["a", "b"]).await?;
    raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["a", "b"]).await?;
    raw.ack(1, 1).await?;
    raw.nack(1, 2, true).await?;
    raw.rollback(1).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.ack(1, 2).await?;
    raw.ack(1, 1).await?;
    raw.commit(1).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await
}

async fn requeued_at_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["a", "b", "c"]).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.get_text(1, &queue, "b").await?;
    raw.nack_up_to(1, 2, true).await?;
    raw.expect_ready(1, &queue, 1).await?;
    raw.commit(1).await?;
    for (text, redelivered) in [("a", true), ("b", true), ("c", false)] {
        let message = raw.take_text(1, &queue, text).await?;
        expect_eq("redelivered", message.redelivered, redelivered)?;
    }
    Ok(())
}

/// A connection that has these messages of a queue, in a transaction. Rejected ones go to another
/// queue, whose name is returned, and show the order there.
async fn dead_lettering(t: &Trial, texts: &[&str]) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let (main, dead) = (t.name("main"), t.name("dead"));
    raw.declare_queue(1, &dead).await?;
    let exchange = ("x-dead-letter-exchange", Value::LongStr(b""));
    let key = ("x-dead-letter-routing-key", Value::LongStr(dead.as_bytes()));
    raw.declare_queue_with(1, &main, &[exchange, key]).await?;
    raw.publish_all(1, &main, texts).await?;
    raw.tx_select(1).await?;
    for text in texts {
        raw.get_text(1, &main, text).await?;
    }
    Ok((raw, dead))
}

async fn publishes_first(t: &Trial) -> Result<(), Failure> {
    let (mut raw, dead) = dead_lettering(t, &["rejected"]).await?;
    raw.reject(1, 1, false).await?;
    raw.publish(1, "", &dead, "published").await?;
    raw.commit(1).await?;
    raw.consume(1, &dead).await?;
    raw.expect_texts(1, &["published", "rejected"])
        .await
        .map(drop)
}

async fn settles_in_order(t: &Trial) -> Result<(), Failure> {
    let (mut raw, dead) = dead_lettering(t, &["a", "b", "c", "d"]).await?;
    raw.reject(1, 3, false).await?;
    raw.reject(1, 2, false).await?;
    raw.ack(1, 4).await?;
    raw.reject(1, 1, false).await?;
    raw.commit(1).await?;
    raw.consume(1, &dead).await?;
    raw.expect_texts(1, &["b", "c", "a"]).await.map(drop)
}

async fn queues_have_accepted(t: &Trial) -> Result<(), Failure> {
    const COUNT: u32 = 100;
    let (mut raw, queue) = transactional(t, &[]).await?;
    let mut other = t.raw().await?;
    let second = t.name("second");
    raw.declare_queue(1, &second).await?;
    for _ in 0..COUNT {
        raw.publish_persistent(1, &queue, "m").await?;
        raw.publish(1, "", &second, "m").await?;
    }
    raw.commit(1).await?;
    other.expect_ready(1, &queue, COUNT).await?;
    other.expect_ready(1, &second, COUNT).await
}

async fn partial_completion(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    let full = t.name("full");
    let arguments = [
        ("x-max-length", Value::I32(1)),
        ("x-overflow", Value::LongStr(b"reject-publish")),
    ];
    raw.declare_queue_with(1, &full, &arguments).await?;
    raw.publish_all(1, &full, &["fits", "too many"]).await?;
    raw.publish(1, "", &queue, "accepted").await?;
    raw.send_method(1, tx::Commit {}).await?;
    let text = "PRECONDITION_FAILED - partial tx completion";
    raw.expect_channel_close(1, 406, text, tx::Commit::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.take_text(1, &full, "fits").await?;
    raw.expect_empty(1, &full).await?;
    raw.take_text(1, &queue, "accepted").await.map(drop)
}

/// A transaction with a publish and an ack in it.
async fn half_done(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let (mut raw, queue) = transactional(t, &["acked"]).await?;
    raw.get_text(1, &queue, "acked").await?;
    raw.ack(1, 1).await?;
    raw.publish(1, "", &queue, "published").await?;
    raw.barrier(1).await?;
    Ok((raw, queue))
}

async fn undone_by_channel_close(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = half_done(t).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    let message = raw.take_text(1, &queue, "acked").await?;
    expect_eq("redelivered", message.redelivered, true)?;
    raw.expect_empty(1, &queue).await
}

async fn undone_by_loss(t: &Trial) -> Result<(), Failure> {
    let (raw, queue) = half_done(t).await?;
    let mut other = t.raw().await?;
    other.consume(1, &queue).await?;
    drop(raw);
    let message = other.expect_delivery(1).await?;
    let came = (message.text(), message.redelivered);
    expect_eq("what comes back", came, ("acked".to_owned(), true))?;
    other.expect_no_delivery(1, &queue).await
}

async fn declarations_are_immediate(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["purged"]).await?;
    let mut other = t.raw().await?;
    let (exchange, doomed) = (t.name("x"), t.name("doomed"));
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.declare_queue(1, &doomed).await?;
    raw.purge(1, &queue).await?;
    raw.bind(1, &queue, &exchange, "").await?;
    raw.delete_queue(1, &doomed).await?;
    other.publish(1, &exchange, "", "by the binding").await?;
    other.take_text(1, &queue, "by the binding").await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&doomed)
    };
    other.send_method(1, passive).await?;
    let text = format!("NOT_FOUND - no queue '{doomed}' in vhost '{}'", t.vhost());
    other
        .expect_channel_close(1, 404, text, queue::Declare::ID)
        .await?;
    raw.rollback(1).await?;
    raw.expect_exchange(1, &exchange).await
}

async fn reading_is_immediate(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["a", "b", "c"]).await?;
    raw.get_text(1, &queue, "a").await?;
    raw.prefetch(1, 1, false).await?;
    let tag = raw.consume(1, &queue).await?;
    raw.expect_texts(1, &["b"]).await?;
    raw.expect_no_delivery(1, &queue).await?;
    raw.cancel(1, &tag).await?;
    raw.rollback(1).await?;
    raw.take_text(1, &queue, "c").await.map(drop)
}

/// Whether the command finds the commit still under way is a race; both outcomes are right.
async fn command_during_commit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    for _ in 0..500 {
        raw.publish_persistent(1, &queue, "m").await?;
    }
    let flow = channel::Flow { active: true };
    raw.send_methods(&[(1, tx::Commit {}.into()), (1, flow.into())])
        .await?;
    let text = "CHANNEL_ERROR - unexpected command while processing 'tx.commit'";
    let too_early = Expected::connection_close(504, text, channel::Flow::ID);
    let committed = Expected::method(1, tx::CommitOk::ID);
    if raw.expect_any_of(&[committed, too_early]).await? == 0 {
        raw.expect(1, channel::FlowOk::ID).await?;
    }
    Ok(())
}

async fn no_ack_is_unaffected(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &["delivered", "taken"]).await?;
    let consume = basic::Consume {
        queue: queue.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    let tag = raw.consume_with(1, consume).await?;
    raw.expect_texts(1, &["delivered", "taken"]).await?;
    raw.cancel(1, &tag).await?;
    raw.rollback(1).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await
}

async fn no_confirms(t: &Trial) -> Result<(), Failure> {
    let (mut raw, queue) = transactional(t, &[]).await?;
    raw.publish_persistent(1, &queue, "m").await?;
    raw.commit(1).await?;
    raw.expect_ready(1, &queue, 1).await?;
    raw.barrier(1).await
}

async fn multiple_covers_all(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["before", "after", "later"])
        .await?;
    raw.get_text(1, &queue, "before").await?;
    raw.tx_select(1).await?;
    raw.get_text(1, &queue, "after").await?;
    raw.get_text(1, &queue, "later").await?;
    raw.ack_up_to(1, 2).await?;
    raw.commit(1).await?;
    raw.ack(1, 1).await?;
    raw.expect_unknown_tag(1, 1, basic::Ack::ID).await?;
    raw.open_channel(1).await?;
    raw.take_text(1, &queue, "later").await?;
    raw.expect_empty(1, &queue).await
}
