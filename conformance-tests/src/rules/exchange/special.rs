//! Exchanges that clients cannot use like others: internal ones and the default exchange.

use leveret_protocol::method::{basic, exchange as method, queue};
use leveret_protocol::{Method, MethodId, TableBuf, Value};

use super::{DEFAULT_EXCHANGE_REFUSED, resource};
use crate::failure::Failure;
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::trial::Trial;

rules! {
    "EXCH-28" no_publish_to_internal [raw] "Clients cannot publish to an internal exchange.";
    "EXCH-01" no_publish_to_trace [raw] "… and amq.rabbitmq.trace is one.";
    "EXCH-28" internal_by_binding [raw] "It is reached by a binding from another exchange.";
    "EXCH-28" internal_as_alternate [raw] "… as an alternate exchange.";
    "EXCH-28" internal_as_dead_letter_exchange [raw] "… and as a dead-letter exchange.";
    "EXCH-31" default_exchange_is_fixed [raw] "No binding to or from the default exchange.";
    "EXCH-32" default_exchange_routes_by_name [raw] "It routes to the queue named by the key.";
}

fn internal(name: &str) -> method::Declare<'_> {
    method::Declare {
        internal: true,
        ..transient_exchange(name, "fanout")
    }
}

async fn expect_publish_refused(
    raw: &mut RawConnection,
    name: &str,
    vhost: &str,
) -> Result<(), Failure> {
    raw.publish(1, name, "", "refused").await?;
    let exchange = resource(name, vhost);
    let text = format!("ACCESS_REFUSED - cannot publish to internal {exchange}");
    raw.expect_channel_close(1, 403, text, basic::Publish::ID)
        .await
}

async fn no_publish_to_internal(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.declare_exchange(1, internal(&name)).await?;
    expect_publish_refused(&mut raw, &name, t.vhost()).await
}

async fn no_publish_to_trace(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    expect_publish_refused(&mut raw, "amq.rabbitmq.trace", t.vhost()).await
}

/// A connection, an internal exchange and a queue bound to it.
async fn internal_with_queue(t: &Trial) -> Result<(RawConnection, String, String), Failure> {
    let mut raw = t.raw().await?;
    let (name, queue) = (t.name("internal"), t.name("q"));
    raw.declare_exchange(1, internal(&name)).await?;
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &name, "").await?;
    Ok((raw, name, queue))
}

async fn internal_by_binding(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = internal_with_queue(t).await?;
    let source = t.name("source");
    raw.declare_exchange(1, transient_exchange(&source, "fanout"))
        .await?;
    raw.bind_exchange(1, &name, &source, "").await?;
    raw.publish(1, &source, "", "by a binding").await?;
    raw.take_text(1, &queue, "by a binding").await.map(drop)
}

async fn internal_as_alternate(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = internal_with_queue(t).await?;
    let main = t.name("main");
    let arguments = TableBuf::new().with("alternate-exchange", Value::LongStr(name.as_bytes()));
    let declare = method::Declare {
        arguments: arguments.view(),
        ..transient_exchange(&main, "fanout")
    };
    raw.declare_exchange(1, declare).await?;
    raw.publish(1, &main, "", "by the alternate").await?;
    raw.take_text(1, &queue, "by the alternate").await.map(drop)
}

async fn internal_as_dead_letter_exchange(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = internal_with_queue(t).await?;
    let main = t.name("main");
    let arguments = TableBuf::new().with("x-dead-letter-exchange", Value::LongStr(name.as_bytes()));
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&main)
    };
    raw.declare(1, declare).await?;
    // Dead-lettering happens after the reject, at no moment the channel could wait for; the
    // delivery itself is the event.
    raw.consume(1, &queue).await?;
    raw.publish(1, "", &main, "dead").await?;
    let got = raw.get(1, &main).await?;
    let tag = got.map_or(0, |message| message.delivery_tag);
    raw.nack(1, tag, false).await?;
    let dead = raw.expect_delivery(1).await?;
    crate::expect_eq("body", dead.text(), "dead")
}

async fn default_exchange_is_fixed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, other) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&other, "fanout"))
        .await?;
    let exchange_bind = |destination: &'static str, source: &'static str| method::Bind {
        destination: destination.into(),
        source: source.into(),
        ..Default::default()
    };
    let attempts: [(Method<'_>, MethodId); 6] = [
        (
            queue::Bind {
                queue: queue.as_str().into(),
                routing_key: "k".into(),
                ..Default::default()
            }
            .into(),
            queue::Bind::ID,
        ),
        (
            queue::Unbind {
                queue: queue.as_str().into(),
                routing_key: queue.as_str().into(),
                ..Default::default()
            }
            .into(),
            queue::Unbind::ID,
        ),
        (exchange_bind("", "amq.fanout").into(), method::Bind::ID),
        (exchange_bind("amq.fanout", "").into(), method::Bind::ID),
        (
            method::Unbind {
                destination: other.as_str().into(),
                ..Default::default()
            }
            .into(),
            method::Unbind::ID,
        ),
        (
            method::Unbind {
                source: other.as_str().into(),
                ..Default::default()
            }
            .into(),
            method::Unbind::ID,
        ),
    ];
    for (attempt, id) in attempts {
        raw.send_method(1, attempt).await?;
        let refused = raw.expect_channel_close(1, 403, DEFAULT_EXCHANGE_REFUSED, id);
        let refused = refused.await;
        refused.map_err(|failure| failure.at(format!("{attempt:?}")))?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn default_exchange_routes_by_name(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, other) = (t.name("q"), t.name("other"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_queue(1, &other).await?;
    raw.publish(1, "", &queue, "by name").await?;
    raw.take_text(1, &queue, "by name").await?;
    raw.expect_empty(1, &other).await?;
    let missing = t.name("missing");
    raw.publish_mandatory(1, "", &missing, "nowhere").await?;
    let returned = raw.expect_return(1).await?;
    crate::expect_eq("reply code", returned.reply_code, 312)
}
