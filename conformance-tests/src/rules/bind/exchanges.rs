//! Bindings between exchanges.

use leveret_protocol::method::exchange;
use leveret_protocol::{TableBuf, Value};

use super::super::routing::Routing;
use super::{bind_exchange, unbind_exchange};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

rules! {
    "BIND-12" bind_and_unbind [raw] "Exchanges are bound and unbound, each with its reply.";
    "BIND-12" both_may_be_repeated [raw] "Repeating either is answered.";
    "BIND-12" arguments_are_identity [raw] "Key and arguments make the binding.";
    "BIND-12" nowait [raw] "With no-wait neither is answered.";
    "BIND-14" cycles [raw] "Cycles are allowed and routing ends.";
    "BIND-14" self_binding [raw] "So is a binding of an exchange to itself.";
    "BIND-17" message_keeps_its_origin [raw] "A delivery shows the first exchange and key.";
}

/// A queue bound to a fanout exchange, and a direct exchange in front of it, not yet bound to it.
async fn two_exchanges(t: &Trial) -> Result<(Routing, String), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let middle = t.name("middle");
    let raw = &mut routing.raw;
    raw.declare_exchange(1, transient_exchange(&middle, "fanout"))
        .await?;
    raw.bind(1, &routing.queue, &middle, "").await?;
    Ok((routing, middle))
}

async fn bind_and_unbind(t: &Trial) -> Result<(), Failure> {
    let (mut routing, middle) = two_exchanges(t).await?;
    let source = routing.exchange.clone();
    routing.expect_routed("k", false).await?;
    let bind = bind_exchange(&middle, &source, "k");
    routing.raw.call(1, bind, exchange::BindOk::ID).await?;
    routing.expect_routed("k", true).await?;
    routing.expect_routed("another key", false).await?;
    let unbind = unbind_exchange(&middle, &source, "k");
    let reply = routing.raw.call(1, unbind, exchange::UnbindOk::ID).await?;
    expect_eq("method id of unbind-ok", reply.id().method_id, 51)?;
    routing.expect_routed("k", false).await
}

async fn both_may_be_repeated(t: &Trial) -> Result<(), Failure> {
    let (mut routing, middle) = two_exchanges(t).await?;
    let (source, missing) = (routing.exchange.clone(), t.name("missing"));
    let raw = &mut routing.raw;
    for _ in 0..2 {
        let bind = bind_exchange(&middle, &source, "k");
        raw.call(1, bind, exchange::BindOk::ID).await?;
    }
    for (destination, source) in [
        (&middle, &source),
        (&middle, &source),
        (&missing, &source),
        (&middle, &missing),
    ] {
        let unbind = unbind_exchange(destination, source, "k");
        raw.call(1, unbind, exchange::UnbindOk::ID).await?;
    }
    routing.expect_routed("k", false).await
}

async fn arguments_are_identity(t: &Trial) -> Result<(), Failure> {
    let (mut routing, middle) = two_exchanges(t).await?;
    let source = routing.exchange.clone();
    let arguments = TableBuf::new().with("a", Value::I32(1));
    let bind = exchange::Bind {
        arguments: arguments.view(),
        ..bind_exchange(&middle, &source, "k")
    };
    routing.raw.call(1, bind, exchange::BindOk::ID).await?;
    let unbind = unbind_exchange(&middle, &source, "k");
    let ok = exchange::UnbindOk::ID;
    routing.raw.call(1, unbind, ok).await?;
    routing.expect_routed("k", true).await?;
    let unbind = exchange::Unbind {
        arguments: arguments.view(),
        ..unbind
    };
    routing.raw.call(1, unbind, ok).await?;
    routing.expect_routed("k", false).await
}

async fn nowait(t: &Trial) -> Result<(), Failure> {
    let (mut routing, middle) = two_exchanges(t).await?;
    let source = routing.exchange.clone();
    let bind = exchange::Bind {
        nowait: true,
        ..bind_exchange(&middle, &source, "k")
    };
    routing.raw.send_method(1, bind).await?;
    routing.raw.barrier(1).await?;
    routing.expect_routed("k", true).await?;
    let unbind = exchange::Unbind {
        nowait: true,
        ..unbind_exchange(&middle, &source, "k")
    };
    routing.raw.send_method(1, unbind).await?;
    routing.raw.barrier(1).await?;
    routing.expect_routed("k", false).await
}

async fn cycles(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    let names = [routing.exchange.clone(), t.name("second"), t.name("third")];
    let raw = &mut routing.raw;
    for name in &names[1..] {
        raw.declare_exchange(1, transient_exchange(name, "fanout"))
            .await?;
    }
    for (source, destination) in names.iter().zip(names.iter().cycle().skip(1)) {
        raw.bind_exchange(1, destination, source, "").await?;
    }
    routing.expect_routed("k", false).await?;
    routing.raw.bind(1, &routing.queue, &names[2], "").await?;
    routing.bind("").await?;
    routing.expect_routed("k", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn self_binding(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    let name = routing.exchange.clone();
    routing.raw.bind_exchange(1, &name, &name, "").await?;
    routing.expect_routed("k", false).await?;
    routing.bind("").await?;
    routing.expect_routed("k", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn message_keeps_its_origin(t: &Trial) -> Result<(), Failure> {
    let (mut routing, middle) = two_exchanges(t).await?;
    let (source, queue) = (routing.exchange.clone(), routing.queue.clone());
    let raw: &mut RawConnection = &mut routing.raw;
    raw.bind_exchange(1, &middle, &source, "k").await?;
    raw.consume(1, &queue).await?;
    raw.publish(1, &source, "k", "by two exchanges").await?;
    let delivery = raw.expect_delivery(1).await?;
    expect_eq("exchange", delivery.exchange, source)?;
    expect_eq("routing key", delivery.routing_key, "k".to_owned())
}
