//! Routing by direct and fanout exchanges.

use leveret_protocol::method::basic;
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::routing::Routing;
use crate::failure::{Failure, expect_eq};
use crate::raw::transient_exchange;
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("ROUTE", &[RULES]);

rules! {
    "ROUTE-01" direct_compares_bytes [raw] "direct: the same bytes, nothing else.";
    "ROUTE-01" direct_knows_no_wildcards [raw] "direct: wildcards are ordinary characters.";
    "ROUTE-02" fanout_ignores_key_and_arguments [raw] "fanout: every message.";
    "ROUTE-03" once_by_several_bindings [raw] "Several matching bindings give one message.";
    "ROUTE-03" once_by_several_keys [raw] "So do several keys in CC.";
    "ROUTE-03" once_by_several_exchanges [raw] "So do several ways through other exchanges.";
    "ROUTE-04" confirmed_while_queue_goes [raw]
        "What is routed to a queue that goes at that moment is confirmed.";
}

async fn direct_compares_bytes(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    routing.bind("Key").await?;
    routing.expect_routed("Key", true).await?;
    for other in ["key", "KEY", "Ke", "Key ", "Keys", ""] {
        routing.expect_routed(other, false).await?;
    }
    routing.bind("").await?;
    routing.expect_routed("", true).await
}

async fn direct_knows_no_wildcards(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    for wildcard in ["#", "*", "a.*"] {
        routing.bind(wildcard).await?;
        routing.expect_routed(wildcard, true).await?;
    }
    routing.expect_routed("a", false).await?;
    routing.expect_routed("a.b", false).await
}

async fn fanout_ignores_key_and_arguments(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    let arguments = TableBuf::new()
        .with("x-match", Value::LongStr(b"nonsense"))
        .with("a", Value::I32(1));
    routing.bind_with("key", arguments.view()).await?;
    for key in ["key", "other", ""] {
        routing.expect_routed(key, true).await?;
    }
    Ok(())
}

async fn once_by_several_bindings(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "topic").await?;
    for key in ["#", "a.*", "a.b"] {
        routing.bind(key).await?;
    }
    routing.expect_routed("a.b", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn once_by_several_keys(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    routing.bind("a").await?;
    routing.bind("b").await?;
    let copies: ArrayBuf = ["a", "b", "b"]
        .map(|key| Value::LongStr(key.as_bytes()))
        .into_iter()
        .collect();
    let headers = TableBuf::new().with("CC", Value::Array(copies.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    let routed = routing.is_routed("a", properties).await?;
    expect_eq("whether it is routed", routed, true)?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn once_by_several_exchanges(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "fanout").await?;
    routing.bind("").await?;
    for middle in [t.name("left"), t.name("right")] {
        let (raw, queue) = (&mut routing.raw, &routing.queue);
        raw.declare_exchange(1, transient_exchange(&middle, "fanout"))
            .await?;
        raw.bind_exchange(1, &middle, &routing.exchange, "").await?;
        raw.bind(1, queue, &middle, "").await?;
    }
    routing.expect_routed("any", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

/// Cannot force the moment, but tries a hundred of them.
async fn confirmed_while_queue_goes(t: &Trial) -> Result<(), Failure> {
    const MESSAGES: u64 = 100;
    let mut other = t.raw().await?;
    let mut routing = Routing::of_type(t, "fanout").await?;
    routing.bind("").await?;
    let (raw, exchange) = (&mut routing.raw, &routing.exchange);
    raw.confirm_select(1).await?;
    for tag in 1..=MESSAGES {
        let publish = basic::Publish {
            exchange: exchange.as_str().into(),
            ..Default::default()
        };
        raw.publish_with(1, publish, Properties::default(), b"")
            .await?;
        if tag == MESSAGES / 2 {
            other.delete_queue(1, &routing.queue).await?;
        }
    }
    raw.await_confirms(1, 1, MESSAGES).await
}
