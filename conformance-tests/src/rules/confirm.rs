//! Publisher confirms.

use leveret_protocol::method::{basic, channel, confirm, queue, tx};
use leveret_protocol::{Method, Properties, Value};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("CONFIRM", &[RULES]);

rules! {
    "CONFIRM-01" select_is_repeatable [raw] "Selecting again keeps the count.";
    "CONFIRM-01" select_no_wait [raw] "With no-wait the select is not answered.";
    "CONFIRM-02" counts_from_the_select [raw] "The first publish after the select is number 1.";
    "CONFIRM-03" one_answer_each [raw] "Every publish is answered exactly once.";
    "CONFIRM-04" any_grouping [raw] "A burst is confirmed completely, however grouped.";
    "CONFIRM-05" unroutable [raw] "What reaches no queue is acked.";
    "CONFIRM-05" returned_first [raw] "… after its return, if it was mandatory.";
    "CONFIRM-06" taken_by_the_queue [raw] "An acked message is in its queue, durable or not.";
    "CONFIRM-07" taken_by_all_queues [raw] "… and in all queues it was routed to.";
    "CONFIRM-08" refused_by_one_queue [raw]
        "One queue's refusal is a nack; others keep their copy.";
    "CONFIRM-09" nack_has_requeue_set [raw] "The broker's nack has the requeue bit set.";
    "CONFIRM-10" queue_is_deleted [raw] "What waits when its queue is deleted is acked.";
    "CONFIRM-11" untestable "What waits when its queue crashes is nacked."
        "a queue is a process that can crash alone in RabbitMQ only, and no operator makes one crash";
    "CONFIRM-12" dropped_by_the_queue [raw] "What expires at once or is dropped is acked.";
    "CONFIRM-13" faulty_publish [raw] "A publish that ends the channel is not answered.";
    "CONFIRM-14" no_transaction [raw] "No transactions on a channel with confirms.";
    "CONFIRM-15" not_in_a_transaction [raw] "No confirms on a channel with transactions.";
    "CONFIRM-16" idle_channel [raw] "A confirm does not wait for further traffic.";
    "CONFIRM-17" no_ack_across_a_nack [raw]
        "An ack with multiple does not cover a refused publish.";
    "CONFIRM-18" belongs_to_its_channel [raw] "The mode stays until the channel ends.";
    "CONFIRM-19" own_sequence [raw] "Confirms and deliveries are numbered apart.";
    "CONFIRM-20" dead_lettering [raw] "Dead-lettering does not change the confirm.";
    "CONFIRM-21" channel_ends [raw] "What waits when the channel ends is never answered.";
}

/// A connection with channel 1 in confirm mode.
async fn confirming(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    Ok(raw)
}

async fn select_is_repeatable(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["first"]).await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.confirm_select(1).await?;
    raw.publish(1, "", &queue, "second").await?;
    raw.await_confirms(1, 2, 2).await
}

async fn select_no_wait(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, confirm::Select { nowait: true }).await?;
    raw.barrier(1).await?;
    raw.publish(1, "", &t.name("nowhere"), "m").await?;
    raw.await_confirms(1, 1, 1).await
}

async fn counts_from_the_select(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b"]).await?;
    raw.confirm_select(1).await?;
    raw.publish(1, "", &queue, "c").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.barrier(1).await
}

async fn one_answer_each(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for number in 1..=50 {
        match number % 2 {
            0 => raw.publish_persistent(1, &queue, "m").await?,
            _ => raw.publish(1, "", &queue, "m").await?,
        }
    }
    raw.await_confirms(1, 1, 50).await?;
    // A second answer would come before that of the next publish.
    raw.publish_persistent(1, &queue, "m").await?;
    raw.await_confirms(1, 51, 51).await?;
    raw.barrier(1).await
}

async fn any_grouping(t: &Trial) -> Result<(), Failure> {
    const COUNT: u64 = 1_000;
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for _ in 0..COUNT {
        raw.publish(1, "", &queue, "m").await?;
    }
    raw.await_confirms(1, 1, COUNT).await?;
    raw.expect_ready(1, &queue, COUNT as u32).await
}

async fn unroutable(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    raw.publish(1, "", &t.name("nowhere"), "m").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.publish(1, "amq.headers", "", "m").await?;
    raw.await_confirms(1, 2, 2).await
}

async fn returned_first(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    raw.publish_mandatory(1, "", &t.name("nowhere"), "m")
        .await?;
    raw.expect_return(1).await?;
    raw.await_confirms(1, 1, 1).await
}

async fn taken_by_the_queue(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (confirming(t).await?, t.raw().await?);
    let (durable, transient) = (t.name("durable"), t.name("transient"));
    raw.declare_queue(1, &durable).await?;
    let declare = queue::Declare {
        durable: false,
        auto_delete: true,
        ..durable_queue(&transient)
    };
    raw.declare(1, declare).await?;
    raw.publish_persistent(1, &durable, "persistent").await?;
    raw.await_confirms(1, 1, 1).await?;
    other.take_text(1, &durable, "persistent").await?;
    raw.publish(1, "", &durable, "transient").await?;
    raw.await_confirms(1, 2, 2).await?;
    other.take_text(1, &durable, "transient").await?;
    raw.publish_persistent(1, &transient, "anything").await?;
    raw.await_confirms(1, 3, 3).await?;
    other.take_text(1, &transient, "anything").await.map(drop)
}

/// Declares queues with these arguments, all bound to a new fanout exchange, whose name is returned.
async fn fan_out_to(
    t: &Trial,
    raw: &mut RawConnection,
    queues: &[(&str, &[(&str, Value<'_>)])],
) -> Result<String, Failure> {
    let exchange = t.name("x");
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    for (queue, arguments) in queues {
        raw.declare_queue_with(1, queue, arguments).await?;
        raw.bind(1, queue, &exchange, "").await?;
    }
    Ok(exchange)
}

async fn taken_by_all_queues(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (confirming(t).await?, t.raw().await?);
    let names = [t.name("one"), t.name("two"), t.name("three")];
    let queues: Vec<_> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let exchange = fan_out_to(t, &mut raw, &queues).await?;
    raw.publish(1, &exchange, "", "m").await?;
    raw.await_confirms(1, 1, 1).await?;
    for name in &names {
        other.expect_ready(1, name, 1).await?;
    }
    Ok(())
}

/// Arguments of a queue that refuses every publish after the first.
const ONE_AND_NO_MORE: [(&str, Value<'static>); 2] = [
    ("x-max-length", Value::I32(1)),
    ("x-overflow", Value::LongStr(b"reject-publish")),
];

async fn refused_by_one_queue(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (confirming(t).await?, t.raw().await?);
    let (full, free) = (t.name("full"), t.name("free"));
    let queues: [(&str, &[_]); 2] = [(&full, &ONE_AND_NO_MORE), (&free, &[])];
    let exchange = fan_out_to(t, &mut raw, &queues).await?;
    raw.publish(1, &exchange, "", "fits").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.publish(1, &exchange, "", "too many").await?;
    let nack = raw.expect_refusal(1).await?;
    expect_eq("refused publish", nack.delivery_tag, 2)?;
    other.expect_ready(1, &full, 1).await?;
    other.take_text(1, &free, "fits").await?;
    other.take_text(1, &free, "too many").await.map(drop)
}

async fn nack_has_requeue_set(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue_with(1, &queue, &ONE_AND_NO_MORE).await?;
    raw.publish(1, "", &queue, "fits").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.publish(1, "", &queue, "too many").await?;
    let nack = raw.expect_refusal(1).await?;
    let came = (nack.delivery_tag, nack.requeue);
    expect_eq("tag and requeue bit of the nack", came, (2, true))
}

/// Some confirms may be under way when the queue goes; all have to come.
async fn queue_is_deleted(t: &Trial) -> Result<(), Failure> {
    const COUNT: u64 = 200;
    let (mut raw, mut other) = (confirming(t).await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for _ in 0..COUNT {
        raw.publish_persistent(1, &queue, "m").await?;
    }
    other.delete_queue(1, &queue).await?;
    raw.await_confirms(1, 1, COUNT).await
}

async fn dropped_by_the_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (short, purged) = (t.name("short"), t.name("purged"));
    let none = [("x-max-length", Value::I32(0))];
    raw.declare_queue_with(1, &short, &none).await?;
    raw.publish_persistent(1, &short, "dropped").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.declare_queue(1, &purged).await?;
    let publish = basic::Publish {
        routing_key: purged.as_str().into(),
        ..Default::default()
    };
    let properties = Properties {
        expiration: Some("0".into()),
        delivery_mode: Some(2),
        ..Default::default()
    };
    raw.publish_with(1, publish, properties, b"expired").await?;
    raw.await_confirms(1, 2, 2).await?;
    raw.expect_empty(1, &purged).await?;
    for _ in 0..20 {
        raw.publish_persistent(1, &purged, "purged").await?;
    }
    let mut other = t.raw().await?;
    other.purge(1, &purged).await?;
    raw.await_confirms(1, 3, 22).await
}

async fn faulty_publish(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let missing = t.name("missing");
    raw.publish(1, &missing, "", "m").await?;
    let text = format!(
        "NOT_FOUND - no exchange '{missing}' in vhost '{}'",
        t.vhost()
    );
    raw.expect_channel_close(1, 404, text, basic::Publish::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.barrier(1).await
}

async fn no_transaction(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    raw.send_method(1, tx::Select {}).await?;
    let text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode";
    raw.expect_channel_close(1, 406, text, tx::Select::ID).await
}

async fn not_in_a_transaction(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.tx_select(1).await?;
    raw.send_method(1, confirm::Select { nowait: false })
        .await?;
    let text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode";
    raw.expect_channel_close(1, 406, text, confirm::Select::ID)
        .await
}

async fn idle_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for tag in 1..=3 {
        raw.publish_persistent(1, &queue, "m").await?;
        raw.await_confirms(1, tag, tag).await?;
    }
    Ok(())
}

/// Refused publishes stand between accepted ones; each answer has to be the right one.
async fn no_ack_across_a_nack(t: &Trial) -> Result<(), Failure> {
    const PAIRS: u64 = 50;
    let mut raw = confirming(t).await?;
    let (full, free) = (t.name("full"), t.name("free"));
    raw.declare_queue_with(1, &full, &ONE_AND_NO_MORE).await?;
    raw.declare_queue(1, &free).await?;
    raw.publish(1, "", &full, "fits").await?;
    raw.await_confirms(1, 1, 1).await?;
    for _ in 0..PAIRS {
        raw.publish(1, "", &free, "accepted").await?;
        raw.publish(1, "", &full, "refused").await?;
    }
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    let mut waiting: Vec<u64> = (2..=2 * PAIRS + 1).collect();
    while !waiting.is_empty() {
        let method = raw.expect_method(1).await?;
        let (tag, multiple, ack) = method.read(|method| match method {
            Method::Basic(basic::Method::Ack(ack)) => Some((ack.delivery_tag, ack.multiple, true)),
            Method::Basic(basic::Method::Nack(nack)) => {
                Some((nack.delivery_tag, nack.multiple, false))
            }
            _ => None,
        })?;
        let is_meant = |one: &u64| *one == tag || multiple && *one < tag;
        let settled = if ack { &mut accepted } else { &mut refused };
        settled.extend(waiting.extract_if(.., |one| is_meant(one)));
    }
    accepted.sort_unstable();
    refused.sort_unstable();
    let pairs = 1..=PAIRS;
    let even: Vec<u64> = pairs.clone().map(|pair| 2 * pair).collect();
    let odd: Vec<u64> = pairs.map(|pair| 2 * pair + 1).collect();
    expect_eq("accepted publishes", accepted, even)?;
    expect_eq("refused publishes", refused, odd)
}

async fn belongs_to_its_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let nowhere = t.name("nowhere");
    raw.open_channel(2).await?;
    raw.publish(2, "", &nowhere, "not counted").await?;
    raw.barrier(2).await?;
    raw.publish(1, "", &nowhere, "counted").await?;
    raw.await_confirms(1, 1, 1).await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.publish(1, "", &nowhere, "not counted").await?;
    raw.barrier(1).await?;
    // Nothing but the end of the channel has switched it off, so transactions are allowed again.
    raw.tx_select(1).await
}

async fn own_sequence(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for tag in 1..=3 {
        raw.publish(1, "", &t.name("nowhere"), "m").await?;
        raw.await_confirms(1, tag, tag).await?;
    }
    raw.publish(1, "", &queue, "m").await?;
    raw.await_confirms(1, 4, 4).await?;
    let got = raw.get_text(1, &queue, "m").await?;
    expect_eq("delivery tag", got.delivery_tag, 1)?;
    raw.ack(1, 1).await?;
    raw.publish(1, "", &queue, "n").await?;
    raw.await_confirms(1, 5, 5).await
}

async fn dead_lettering(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (main, full) = (t.name("main"), t.name("full"));
    raw.declare_queue_with(1, &full, &ONE_AND_NO_MORE).await?;
    let arguments = [
        ("x-max-length", Value::I32(0)),
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(full.as_bytes())),
    ];
    raw.declare_queue_with(1, &main, &arguments).await?;
    for tag in 1..=3 {
        raw.publish_persistent(1, &main, "m").await?;
        raw.await_confirms(1, tag, tag).await?;
    }
    raw.barrier(1).await
}

async fn channel_ends(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for _ in 0..100 {
        raw.publish_persistent(1, &queue, "m").await?;
    }
    let close = channel::Close {
        reply_code: 200,
        ..Default::default()
    };
    raw.send_method(1, close).await?;
    raw.await_method(1, channel::CloseOk::ID).await?;
    raw.open_channel(1).await?;
    raw.confirm_select(1).await?;
    raw.publish(1, "", &queue, "m").await?;
    let ack = raw.expect_confirm(1).await?;
    ensure(
        ack.delivery_tag == 1,
        format!("{} is confirmed on a new channel", ack.delivery_tag),
    )?;
    raw.barrier(1).await
}
