//! The empty name, which stands for the queue that the channel declared last.

use leveret_protocol::method::basic;
use leveret_protocol::method::queue::{self as method, Declare};
use leveret_protocol::{Method, MethodId};

use super::{not_found, passive};
use crate::failure::Failure;
use crate::raw::{RawConnection, durable_queue};
use crate::trial::Trial;

rules! {
    "QUEUE-16" every_declare_counts [raw, also(&["QUEUE-15"])] "Every successful declare counts.";
    "QUEUE-16" each_channel_has_its_own [raw] "Each channel remembers its own.";
    "QUEUE-17" nothing_declared [raw] "Without a declare before, the empty name is 404.";
    "QUEUE-17" stands_for_last_declared [raw] "The empty name works in every method but declare.";
    "QUEUE-18" name_survives_deletion [raw] "The name is kept when its queue is deleted.";
}

/// Checks that the empty name stands for this queue.
async fn expect_last(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    raw.publish(1, "", name, name).await?;
    raw.take_text(1, "", name).await.map(drop)
}

async fn every_declare_counts(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (first, second) = (t.name("1"), t.name("2"));
    raw.declare_queue(1, &first).await?;
    expect_last(&mut raw, &first).await?;
    raw.declare_queue(1, &second).await?;
    expect_last(&mut raw, &second).await?;
    raw.declare_queue(1, &first).await?;
    expect_last(&mut raw, &first).await?;
    raw.declare(1, passive(&second)).await?;
    expect_last(&mut raw, &second).await?;
    let existing = Declare {
        nowait: true,
        ..durable_queue(&first)
    };
    raw.send_method(1, existing).await?;
    expect_last(&mut raw, &first).await?;
    let found = Declare {
        nowait: true,
        ..passive(&second)
    };
    raw.send_method(1, found).await?;
    expect_last(&mut raw, &second).await?;
    let made = raw.declare_queue(1, "").await?.name;
    t.deletes(&made);
    expect_last(&mut raw, &made).await
}

async fn each_channel_has_its_own(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (first, second) = (t.name("1"), t.name("2"));
    raw.open_channel(2).await?;
    raw.declare_queue(1, &first).await?;
    raw.declare_queue(2, &second).await?;
    expect_last(&mut raw, &first).await?;
    raw.open_channel(3).await?;
    raw.send_method(3, method::Purge::default()).await?;
    let text = "NOT_FOUND - no previously declared queue";
    raw.expect_channel_close(3, 404, text, method::Purge::ID)
        .await
}

/// Every method that takes the empty name, with the name of an exchange for those that bind.
fn attempts(exchange: &str) -> [(Method<'_>, MethodId); 6] {
    let bind = method::Bind {
        exchange: exchange.into(),
        routing_key: "key".into(),
        ..Default::default()
    };
    let unbind = method::Unbind {
        exchange: exchange.into(),
        routing_key: "key".into(),
        ..Default::default()
    };
    [
        (basic::Get::default().into(), basic::Get::ID),
        (basic::Consume::default().into(), basic::Consume::ID),
        (method::Purge::default().into(), method::Purge::ID),
        (bind.into(), method::Bind::ID),
        (unbind.into(), method::Unbind::ID),
        (method::Delete::default().into(), method::Delete::ID),
    ]
}

async fn nothing_declared(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for (attempt, id) in attempts("amq.direct") {
        raw.send_method(1, attempt).await?;
        let text = "NOT_FOUND - no previously declared queue";
        let refused = raw.expect_channel_close(1, 404, text, id).await;
        refused.map_err(|failure| failure.at(format!("{attempt:?}")))?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn stands_for_last_declared(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.declare_queue(1, &t.name("q")).await?;
    let replies = [
        basic::GetEmpty::ID,
        basic::ConsumeOk::ID,
        method::PurgeOk::ID,
        method::BindOk::ID,
        method::UnbindOk::ID,
        method::DeleteOk::ID,
    ];
    for ((attempt, _), reply) in attempts("amq.direct").into_iter().zip(replies) {
        raw.call(1, attempt, reply).await?;
    }
    Ok(())
}

async fn name_survives_deletion(t: &Trial) -> Result<(), Failure> {
    for (attempt, id) in attempts("amq.direct") {
        // These succeed for a missing queue, so they show nothing here (QUEUE-20).
        if id == method::Delete::ID || id == method::Unbind::ID {
            continue;
        }
        let mut raw = t.raw().await?;
        let name = t.name("q");
        raw.declare_queue(1, &name).await?;
        raw.delete_queue(1, &name).await?;
        raw.send_method(1, attempt).await?;
        let text = not_found(&name, t.vhost());
        let refused = raw.expect_channel_close(1, 404, text, id).await;
        refused.map_err(|failure| failure.at(format!("{attempt:?}")))?;
    }
    Ok(())
}
