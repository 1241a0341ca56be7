//! Queues, exchanges and bindings: which survive a restart, and what of them.

use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{Properties, TableBuf, Value};

use super::super::exchange::expect_gone as expect_exchange_gone;
use super::super::queue::expect_gone;
use super::{
    confirming, durable_exchange, expect_all, expect_unroutable, fill_durably,
    transient_queue_named,
};
use crate::failure::Failure;
use crate::raw::{RawConnection, Text, durable_queue, transient_exchange};
use crate::trial::Trial;

rules! {
    "DUR-01" durable_objects_survive [raw, restart] "Durable queues and exchanges survive …";
    "DUR-01" transient_objects_do_not [raw, restart] "… and transient ones do not.";
    "DUR-01" bindings_survive [raw, restart] "So do the bindings between durable ones …";
    "DUR-01" bindings_of_a_transient_queue [raw, restart] "… and not those of a transient queue.";
    "DUR-01" deleted_stays_deleted [raw, restart] "What was deleted or unbound stays so.";
    "DUR-05" exclusive_queues_are_gone [raw, restart] "Exclusive queues go, durable or not.";
    "DUR-05" auto_delete_queues_stay [raw, restart] "Durable auto-delete queues stay.";
    "DUR-07" binding_goes_with_its_exchange [raw, restart]
        "A transient exchange takes its bindings to durable queues with it.";
    "DUR-08" arguments_are_the_same [raw, restart] "Arguments survive.";
    "DUR-09" predeclared_exchanges [raw, restart] "The amq.* exchanges are there, and durable.";
}

async fn durable_objects_survive(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "topic"))
        .await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.inspect_queue(1, &queue).await?;
    raw.declare_queue(1, &queue).await?;
    raw.expect_exchange(1, &exchange).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "topic"))
        .await
}

async fn transient_objects_do_not(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "topic"))
        .await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &queue, t.vhost()).await?;
    expect_exchange_gone(&mut raw, &exchange, t.vhost()).await
}

async fn bindings_survive(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, front, behind) = (t.name("q"), t.name("front"), t.name("behind"));
    raw.declare_queue(1, &queue).await?;
    for exchange in [&front, &behind] {
        raw.declare_exchange(1, durable_exchange(exchange, "direct"))
            .await?;
    }
    raw.bind(1, &queue, &front, "straight").await?;
    raw.bind(1, &queue, &behind, "over the other").await?;
    raw.bind_exchange(1, &behind, &front, "over the other")
        .await?;
    bind_by_header(&mut raw, &queue).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    for key in ["straight", "over the other"] {
        raw.publish(1, &front, key, key).await?;
        raw.take_text(1, &queue, key).await?;
    }
    expect_unroutable(&mut raw, &front, "neither").await?;
    expect_bound_by_header(&mut raw, &queue).await
}

/// Binds a queue to `amq.headers` with an argument that has the queue's name as its value.
async fn bind_by_header(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let arguments = TableBuf::new()
        .with("x-match", Value::LongStr(b"all"))
        .with("to", Value::LongStr(queue.as_bytes()));
    let bind = queue::Bind {
        queue: queue.into(),
        exchange: "amq.headers".into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    raw.call(1, bind, queue::BindOk::ID).await.map(drop)
}

async fn expect_bound_by_header(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    for (value, text) in [("another", "not meant"), (queue, "meant")] {
        let headers = TableBuf::new().with("to", Value::LongStr(value.as_bytes()));
        let properties = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        let publish = basic::Publish {
            exchange: "amq.headers".into(),
            ..Default::default()
        };
        raw.publish_with(1, publish, properties, text.as_bytes())
            .await?;
    }
    expect_all(raw, queue, &[("meant", false)]).await
}

async fn bindings_of_a_transient_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare(1, transient_queue_named(&queue)).await?;
    raw.declare_exchange(1, durable_exchange(&exchange, "direct"))
        .await?;
    raw.bind(1, &queue, &exchange, "k").await?;
    raw.publish(1, &exchange, "k", "bound").await?;
    raw.take_text(1, &queue, "bound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_unroutable(&mut raw, &exchange, "k").await?;
    // Nor does it come back with a queue of the same name.
    raw.declare(1, transient_queue_named(&queue)).await?;
    expect_unroutable(&mut raw, &exchange, "k").await
}

async fn deleted_stays_deleted(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("deleted-q"), t.name("deleted-x"));
    let (kept, bound) = (t.name("kept-q"), t.name("kept-x"));
    for exchange in [&exchange, &bound] {
        raw.declare_exchange(1, durable_exchange(exchange, "direct"))
            .await?;
    }
    raw.declare_queue(1, &kept).await?;
    raw.bind(1, &kept, &bound, "kept").await?;
    raw.bind(1, &kept, &bound, "unbound").await?;
    fill_durably(t, &queue, &["old"]).await?;
    raw.delete_queue(1, &queue).await?;
    raw.delete_exchange(1, &exchange).await?;
    raw.unbind(1, &kept, &bound, "unbound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &queue, t.vhost()).await?;
    expect_exchange_gone(&mut raw, &exchange, t.vhost()).await?;
    expect_unroutable(&mut raw, &bound, "unbound").await?;
    raw.publish(1, &bound, "kept", "still bound").await?;
    raw.take_text(1, &kept, "still bound").await?;
    // The messages do not come back with a queue of the same name.
    raw.declare_queue(1, &queue).await?;
    raw.expect_empty(1, &queue).await
}

async fn exclusive_queues_are_gone(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (durable, transient) = (t.name("durable"), t.name("transient"));
    for declare in [durable_queue(&durable), transient_queue_named(&transient)] {
        let exclusive = queue::Declare {
            exclusive: true,
            ..declare
        };
        raw.declare(1, exclusive).await?;
    }
    raw.publish_persistent(1, &durable, "lost").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &durable, t.vhost()).await?;
    expect_gone(&mut raw, &transient, t.vhost()).await?;
    raw.declare_queue(1, &durable).await?;
    raw.expect_empty(1, &durable).await
}

async fn auto_delete_queues_stay(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let queue = t.name("q");
    let declare = queue::Declare {
        auto_delete: true,
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await?;
    raw.publish_persistent(1, &queue, "kept").await?;
    raw.await_confirms(1, 1, 1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare(1, declare).await?;
    expect_all(&mut raw, &queue, &[("kept", false)]).await
}

async fn binding_goes_with_its_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    raw.bind(1, &queue, &exchange, "k").await?;
    raw.publish(1, &exchange, "k", "bound").await?;
    raw.take_text(1, &queue, "bound").await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    expect_unroutable(&mut raw, &exchange, "k").await?;
    raw.inspect_queue(1, &queue).await.map(drop)
}

async fn arguments_are_the_same(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, exchange) = (t.name("q"), t.name("x"));
    let arguments = queue_arguments(900_000);
    raw.declare_queue_with(1, &queue, &arguments).await?;
    let alternate = TableBuf::new().with("alternate-exchange", Value::LongStr(b"amq.fanout"));
    let with_alternate = exchange::Declare {
        arguments: alternate.view(),
        ..durable_exchange(&exchange, "direct")
    };
    raw.declare_exchange(1, with_alternate).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    // Others are refused, so the things are there; the same are equivalent.
    expect_other_arguments_refused(&mut raw, &queue, &exchange).await?;
    raw.declare_queue_with(1, &queue, &arguments).await?;
    raw.declare_exchange(1, with_alternate).await
}

fn queue_arguments(ttl_ms: i32) -> [(&'static str, Value<'static>); 2] {
    [
        ("x-message-ttl", Value::I32(ttl_ms)),
        ("x-dead-letter-exchange", Value::LongStr(b"amq.direct")),
    ]
}

async fn expect_other_arguments_refused(
    raw: &mut RawConnection,
    queue: &str,
    exchange: &str,
) -> Result<(), Failure> {
    raw.send_method(1, durable_exchange(exchange, "direct"))
        .await?;
    let text = Text::contains("inequivalent arg 'alternate-exchange'");
    raw.expect_channel_close(1, 406, text, exchange::Declare::ID)
        .await?;
    raw.open_channel(1).await?;
    let other = TableBuf::from_entries(queue_arguments(900_001));
    let declare = queue::Declare {
        arguments: other.view(),
        ..durable_queue(queue)
    };
    raw.send_method(1, declare).await?;
    let text = Text::contains("inequivalent arg 'x-message-ttl'");
    raw.expect_channel_close(1, 406, text, queue::Declare::ID)
        .await?;
    raw.open_channel(1).await
}

async fn predeclared_exchanges(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, "amq.direct", &queue).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        raw.declare_exchange(1, durable_exchange(name, kind))
            .await
            .map_err(|failure| failure.at(name))?;
    }
    raw.publish(1, "amq.direct", &queue, "still bound").await?;
    raw.take_text(1, &queue, "still bound").await.map(drop)
}
