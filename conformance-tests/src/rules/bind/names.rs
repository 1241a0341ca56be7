//! Names that are left out or need tidying.

use leveret_protocol::method::queue;

use super::super::routing::Routing;
use super::{bind, unbind};
use crate::failure::Failure;
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "BIND-06" last_declared_queue [raw] "No queue name means the last declared queue.";
    "BIND-06" no_last_declared_queue [raw] "Without one it is 404.";
    "BIND-07" both_left_out [raw] "No name and no key: the key is the queue's name.";
    "BIND-07" only_key_left_out [raw] "With a name the empty key stays empty.";
    "BIND-19" line_ends_are_removed [raw] "CR and LF are removed from both names.";
}

async fn last_declared_queue(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let exchange = routing.exchange.clone();
    let raw = &mut routing.raw;
    raw.call(1, bind("", &exchange, "k"), queue::BindOk::ID)
        .await?;
    routing.expect_routed("k", true).await?;
    // The one declared last, not the first.
    let (raw, later) = (&mut routing.raw, t.name("later"));
    raw.declare(1, durable_queue(&later)).await?;
    raw.call(1, bind("", &exchange, "l"), queue::BindOk::ID)
        .await?;
    raw.publish(1, &exchange, "l", "to the later").await?;
    raw.take_text(1, &later, "to the later").await?;
    raw.call(1, unbind("", &exchange, "l"), queue::UnbindOk::ID)
        .await?;
    routing.expect_routed("l", false).await
}

async fn no_last_declared_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let text = "NOT_FOUND - no previously declared queue";
    raw.send_method(1, bind("", "amq.direct", "k")).await?;
    raw.expect_channel_close(1, 404, text, queue::Bind::ID)
        .await?;
    raw.open_channel(1).await?;
    raw.send_method(1, unbind("", "amq.direct", "k")).await?;
    raw.expect_channel_close(1, 404, text, queue::Unbind::ID)
        .await
}

async fn both_left_out(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let (queue, exchange) = (routing.queue.clone(), routing.exchange.clone());
    let raw = &mut routing.raw;
    raw.call(1, bind("", &exchange, ""), queue::BindOk::ID)
        .await?;
    routing.expect_routed(&queue, true).await?;
    routing.expect_routed("", false).await?;
    let raw = &mut routing.raw;
    raw.call(1, unbind("", &exchange, ""), queue::UnbindOk::ID)
        .await?;
    routing.expect_routed(&queue, false).await
}

async fn only_key_left_out(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let queue = routing.queue.clone();
    routing.bind("").await?;
    routing.expect_routed("", true).await?;
    routing.expect_routed(&queue, false).await
}

async fn line_ends_are_removed(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "direct").await?;
    let queue = format!("\r\n{}\n", routing.queue);
    let exchange = format!("{}\r\n", routing.exchange);
    let raw = &mut routing.raw;
    raw.bind(1, &queue, &exchange, "k").await?;
    routing.expect_routed("k", true).await?;
    routing.raw.unbind(1, &queue, &exchange, "k").await?;
    routing.expect_routed("k", false).await
}
