//! What makes two bindings the same, how long a binding lives, and what it does to a message.

use leveret_protocol::{TableBuf, Value};

use super::super::routing::Routing;
use super::bind;
use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{durable_queue, transient_exchange};
use crate::trial::Trial;

rules! {
    "BIND-01" same_bind_again "Binding again is answered and changes nothing.";
    "BIND-02" arguments_are_identity [raw] "Other arguments make another binding.";
    "BIND-02" order_of_arguments [raw] "The order of the arguments does not matter.";
    "BIND-02" type_of_arguments [raw] "Their types do.";
    "BIND-03" one_message_for_several_bindings [raw] "Several matches bring one message.";
    "BIND-08" nowait_bind [raw] "With no-wait there is no reply.";
    "BIND-09" unbind_removes_one [raw] "Unbind removes the identical binding only.";
    "BIND-10" unbind_of_missing [raw] "Unbinding what does not exist is answered.";
    "BIND-15" durable_queue_transient_exchange [raw]
        "A durable queue can be bound to a transient exchange, whose end ends the binding.";
    "BIND-16" gone_with_queue [raw] "A queue's bindings go with it.";
    "BIND-16" gone_with_exchange [raw] "An exchange's bindings go with it.";
    "BIND-21" bound_at_once [raw] "What is published after bind-ok is routed.";
}

async fn same_bind_again(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let (exchange, queue) = (t.name("x"), t.name("q"));
    client::declare_exchange(&channel, &exchange, lapin::ExchangeKind::Direct).await?;
    client::declare_queue(&channel, &queue).await?;
    client::bind(&channel, &queue, &exchange, "k").await?;
    client::bind(&channel, &queue, &exchange, "k").await?;
    client::publish(&channel, &exchange, "k", "once").await?;
    client::expect_take(&channel, &queue, Some("once")).await?;
    client::expect_take(&channel, &queue, None).await?;

    let mut raw = t.raw().await?;
    raw.unbind(1, &queue, &exchange, "k").await?;
    raw.publish(1, &exchange, "k", "after unbind").await?;
    raw.expect_empty(1, &queue).await
}

async fn arguments_are_identity(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let arguments = TableBuf::new().with("a", Value::I32(1));
    let different = TableBuf::new().with("a", Value::I32(2));
    routing.bind("k").await?;
    routing.bind_with("k", arguments.view()).await?;
    routing.unbind("k").await?;
    routing.expect_routed("k", true).await?;
    routing.unbind_with("k", different.view()).await?;
    routing.expect_routed("k", true).await?;
    routing.unbind_with("k", arguments.view()).await?;
    routing.expect_routed("k", false).await
}

async fn order_of_arguments(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let (a, b) = (("a", Value::I32(1)), ("b", Value::LongStr(b"x")));
    let one = TableBuf::from_entries([b, a]);
    let other = TableBuf::from_entries([a, b]);
    routing.bind_with("k", one.view()).await?;
    routing.unbind_with("k", other.view()).await?;
    routing.expect_routed("k", false).await
}

async fn type_of_arguments(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let short = TableBuf::new().with("a", Value::I32(2));
    let long = TableBuf::new().with("a", Value::I64(2));
    routing.bind_with("k", short.view()).await?;
    routing.unbind_with("k", long.view()).await?;
    routing.expect_routed("k", true).await?;
    routing.unbind_with("k", short.view()).await?;
    routing.expect_routed("k", false).await
}

async fn one_message_for_several_bindings(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let arguments = TableBuf::new().with("a", Value::I32(1));
    routing.bind("k").await?;
    routing.bind_with("k", arguments.view()).await?;
    routing.expect_routed("k", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn nowait_bind(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let mut bind = bind(&routing.queue, &routing.exchange, "k");
    bind.nowait = true;
    routing.raw.send_method(1, bind).await?;
    routing.raw.barrier(1).await?;
    routing.expect_routed("k", true).await
}

async fn unbind_removes_one(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    for key in ["a", "b", ""] {
        routing.bind(key).await?;
    }
    routing.unbind("a").await?;
    routing.expect_routed("a", false).await?;
    routing.expect_routed("b", true).await?;
    routing.unbind("").await?;
    routing.expect_routed("", false).await?;
    routing.expect_routed("b", true).await
}

async fn unbind_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    routing.unbind("never bound").await?;
    let (queue, exchange) = (routing.queue.clone(), routing.exchange.clone());
    let missing = t.name("missing");
    let raw = &mut routing.raw;
    for (queue, exchange) in [
        (&queue, &missing),
        (&missing, &exchange),
        (&missing, &missing),
    ] {
        raw.unbind(1, queue, exchange, "k").await?;
    }
    routing.bind("k").await?;
    routing.expect_routed("k", true).await
}

async fn durable_queue_transient_exchange(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    routing.bind("k").await?;
    routing.expect_routed("k", true).await?;
    let raw = &mut routing.raw;
    raw.delete_exchange(1, &routing.exchange).await?;
    raw.declare_exchange(1, transient_exchange(&routing.exchange, "fanout"))
        .await?;
    routing.expect_routed("k", false).await
}

async fn gone_with_queue(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    routing.bind("k").await?;
    routing.raw.delete_queue(1, &routing.queue).await?;
    routing.expect_routed("k", false).await?;
    let again = durable_queue(&routing.queue);
    routing.raw.declare(1, again).await?;
    routing.expect_routed("k", false).await
}

async fn gone_with_exchange(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    let middle = t.name("middle");
    routing
        .raw
        .declare_exchange(1, transient_exchange(&middle, "fanout"))
        .await?;
    routing
        .raw
        .bind_exchange(1, &middle, &routing.exchange, "")
        .await?;
    routing.raw.bind(1, &routing.queue, &middle, "").await?;
    routing.expect_routed("k", true).await?;
    routing.raw.delete_exchange(1, &middle).await?;
    routing.expect_routed("k", false).await?;
    // Neither the binding to it nor the one from it has come back.
    routing
        .raw
        .declare_exchange(1, transient_exchange(&middle, "fanout"))
        .await?;
    routing.expect_routed("k", false).await?;
    routing
        .raw
        .bind_exchange(1, &middle, &routing.exchange, "")
        .await?;
    routing.expect_routed("k", false).await
}

async fn bound_at_once(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    for round in 0..20 {
        let key = format!("key-{round}");
        routing.bind(&key).await?;
        routing.expect_routed(&key, true).await?;
    }
    expect_eq("message count", routing.purge().await?, 20)
}
