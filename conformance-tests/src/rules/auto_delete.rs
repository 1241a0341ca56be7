//! Queues that go with their last consumer.

use leveret_protocol::method::queue::{Declare, DeclareOk};

use super::queue::{
    declare_with_dead_letters, expect_gone, expect_nothing_came_to, fill, not_found, passive,
};
use crate::failure::Failure;
use crate::raw::{Expected, RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("AUTODEL", &[RULES]);

rules! {
    "AUTODEL-01" goes_with_the_last_consumer [raw] "It goes when its last consumer is cancelled.";
    "AUTODEL-01" goes_with_the_channel [raw] "… or when the consumer's channel is closed,";
    "AUTODEL-01" goes_with_the_connection [raw] "… or its connection,";
    "AUTODEL-01" goes_with_a_lost_connection [raw] "… or when the connection is lost.";
    "AUTODEL-02" never_consumed_stays [raw] "It stays until it has had a consumer.";
    "AUTODEL-03" gone_with_the_answer [raw] "It is gone, bindings too, when cancel-ok comes,";
    "AUTODEL-03" gone_with_close_ok [raw] "… or channel.close-ok.";
    "AUTODEL-04" stays_for_the_other_consumer [raw] "It stays while one consumer is left.";
    "AUTODEL-05" does_not_dead_letter [raw] "Its messages are dropped, not dead-lettered.";
    "AUTODEL-06" survives_a_restart [raw, restart]
        "A durable one that never had a consumer survives a restart.";
    "AUTODEL-07" goes_after_channel_exception [raw] "A channel exception takes the consumer too.";
}

fn auto_delete(name: &str) -> Declare<'_> {
    Declare {
        auto_delete: true,
        ..durable_queue(name)
    }
}

/// A connection with a consumer on channel 2 of an auto-delete queue, and the consumer's tag.
async fn consumed(t: &Trial, name: &str) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    raw.declare(1, auto_delete(name)).await?;
    raw.open_channel(2).await?;
    let tag = raw.consume(2, name).await?;
    Ok((raw, tag))
}

async fn goes_with_the_last_consumer(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let (mut raw, tag) = consumed(t, &name).await?;
    raw.inspect_queue(1, &name).await?;
    raw.cancel(2, &tag).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn goes_with_the_channel(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let (mut raw, _) = consumed(t, &name).await?;
    raw.close_channel(2).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn goes_with_the_connection(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let (raw, _) = consumed(t, &name).await?;
    raw.close().await?;
    await_gone(&mut t.raw().await?, &name, t.vhost()).await
}

async fn goes_with_a_lost_connection(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let (raw, _) = consumed(t, &name).await?;
    drop(raw);
    await_gone(&mut t.raw().await?, &name, t.vhost()).await
}

/// Asks for the queue until it is gone. The broker tells nobody when it notices the end of a
/// connection, so asking is the only way to know; the test's deadline bounds it.
async fn await_gone(raw: &mut RawConnection, name: &str, vhost: &str) -> Result<(), Failure> {
    let exists = Expected::method(1, DeclareOk::ID);
    let gone = Expected::channel_close(1, 404, not_found(name, vhost), Declare::ID);
    let answers = [exists, gone];
    loop {
        raw.send_method(1, passive(name)).await?;
        if raw.expect_any_of(&answers).await? == 1 {
            return Ok(());
        }
    }
}

async fn never_consumed_stays(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let mut raw = t.raw().await?;
    raw.declare(1, auto_delete(&name)).await?;
    fill(&mut raw, &name, &["a"]).await?;
    // A get is not a consumer.
    raw.take_text(1, &name, "a").await?;
    raw.close_channel(1).await?;
    raw.close().await?;
    let mut other = t.raw().await?;
    other.inspect_queue(1, &name).await.map(drop)
}

/// An auto-delete queue that is consumed on channel 2 and bound to an exchange, and the tag.
async fn bound(t: &Trial, name: &str, exchange: &str) -> Result<(RawConnection, String), Failure> {
    let (mut raw, tag) = consumed(t, name).await?;
    raw.declare_exchange(1, transient_exchange(exchange, "fanout"))
        .await?;
    raw.bind(1, name, exchange, "").await?;
    Ok((raw, tag))
}

/// Checks that the queue is gone and its binding does not come back with it.
async fn expect_gone_with_binding(
    raw: &mut RawConnection,
    name: &str,
    exchange: &str,
    vhost: &str,
) -> Result<(), Failure> {
    expect_gone(raw, name, vhost).await?;
    raw.declare(1, auto_delete(name)).await?;
    raw.publish_mandatory(1, exchange, "", "nowhere").await?;
    raw.expect_return(1).await.map(drop)
}

async fn gone_with_the_answer(t: &Trial) -> Result<(), Failure> {
    let (name, exchange) = (t.name("q"), t.name("x"));
    let (mut raw, tag) = bound(t, &name, &exchange).await?;
    raw.cancel(2, &tag).await?;
    expect_gone_with_binding(&mut raw, &name, &exchange, t.vhost()).await
}

async fn gone_with_close_ok(t: &Trial) -> Result<(), Failure> {
    let (name, exchange) = (t.name("q"), t.name("x"));
    let (mut raw, _) = bound(t, &name, &exchange).await?;
    raw.close_channel(2).await?;
    expect_gone_with_binding(&mut raw, &name, &exchange, t.vhost()).await
}

async fn stays_for_the_other_consumer(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let (mut raw, first) = consumed(t, &name).await?;
    let mut other = t.raw().await?;
    let second = other.consume(1, &name).await?;
    raw.cancel(2, &first).await?;
    raw.inspect_queue(1, &name).await?;
    other.cancel(1, &second).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn does_not_dead_letter(t: &Trial) -> Result<(), Failure> {
    let (name, dead) = (t.name("q"), t.name("dead"));
    let mut raw = t.raw().await?;
    declare_with_dead_letters(&mut raw, auto_delete(&name), &dead).await?;
    fill(&mut raw, &name, &["unacked", "ready"]).await?;
    raw.prefetch(1, 1, false).await?;
    let tag = raw.consume(1, &name).await?;
    raw.expect_delivery(1).await?;
    raw.cancel(1, &tag).await?;
    expect_gone(&mut raw, &name, t.vhost()).await?;
    expect_nothing_came_to(&mut raw, &dead).await
}

async fn goes_after_channel_exception(t: &Trial) -> Result<(), Failure> {
    let (name, missing) = (t.name("q"), t.name("missing"));
    let (mut raw, _) = consumed(t, &name).await?;
    raw.send_method(2, passive(&missing)).await?;
    let text = not_found(&missing, t.vhost());
    raw.expect_channel_close(2, 404, text, Declare::ID).await?;
    // Nothing is promised about the moment here.
    await_gone(&mut raw, &name, t.vhost()).await
}

async fn survives_a_restart(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    t.raw().await?.declare(1, auto_delete(&name)).await?;
    t.restart().await?;
    // It goes with its first consumer, as it would have before.
    let mut raw = t.raw().await?;
    raw.inspect_queue(1, &name).await?;
    let tag = raw.consume(1, &name).await?;
    raw.cancel(1, &tag).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}
