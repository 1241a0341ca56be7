//! Deleting exchanges, and exchanges that delete themselves.

use lapin::ExchangeKind;
use lapin::options::{ExchangeBindOptions, ExchangeDeleteOptions};
use lapin::types::FieldTable;
use leveret_protocol::method::exchange::{self as method, Declare, Delete};

use super::{DEFAULT_EXCHANGE_REFUSED, expect_gone, resource};
use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

rules! {
    "EXCH-18" bindings_go_queues_stay "Deleting takes the bindings, both ways, only.";
    "EXCH-18" name_is_free_again [raw] "The name can be declared with another type.";
    "EXCH-19" delete_of_missing [raw] "Deleting a missing exchange is answered delete-ok.";
    "EXCH-20" default_exchange_stays [raw] "The default exchange cannot be deleted.";
    "EXCH-21" system_exchanges_stay [raw] "No amq.* name can be deleted.";
    "EXCH-21" system_exchanges_before_permission [raw, fixtures] "… whatever the user may do.";
    "EXCH-22" if_unused_as_source "if-unused spares an exchange that is bound from.";
    "EXCH-23" if_unused_as_destination "if-unused takes one that is bound to only.";
    "EXCH-24" nowait_delete [raw] "With no-wait there is no reply.";
    "EXCH-25" never_bound_stays [raw] "An auto-delete exchange stays until it was bound.";
    "EXCH-25" gone_by_unbind [raw] "It goes when its last binding is removed.";
    "EXCH-25" gone_by_queue_delete [raw] "… or goes with the last bound queue.";
    "EXCH-25" gone_by_exchange_delete [raw] "… or with the last bound exchange.";
    "EXCH-26" unbound_as_destination_stays [raw] "Losing a binding to it does not count.";
    "EXCH-27" auto_delete_cascades [raw] "One auto-delete may cause another.";
}

async fn bindings_go_queues_stay(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let (source, middle) = (t.name("source"), t.name("middle"));
    let (queue, other) = (t.name("q"), t.name("other"));
    for name in [&source, &middle] {
        client::declare_exchange(&channel, name, ExchangeKind::Fanout).await?;
    }
    client::declare_queue(&channel, &queue).await?;
    client::declare_queue(&channel, &other).await?;
    client::bind(&channel, &queue, &middle, "").await?;
    client::bind(&channel, &other, &source, "").await?;
    bind_exchange(&channel, &middle, &source).await?;

    let options = ExchangeDeleteOptions::default();
    let name = middle.as_str().into();
    channel.exchange_delete(name, options).await?;
    client::declare_exchange(&channel, &middle, ExchangeKind::Fanout).await?;

    client::publish(&channel, &source, "", "to the source").await?;
    client::publish(&channel, &middle, "", "to the middle").await?;
    client::expect_take(&channel, &other, Some("to the source")).await?;
    client::expect_take(&channel, &queue, None).await
}

async fn bind_exchange(
    channel: &lapin::Channel,
    destination: &str,
    source: &str,
) -> Result<(), Failure> {
    let options = ExchangeBindOptions::default();
    let arguments = FieldTable::default();
    Ok(channel
        .exchange_bind(
            destination.into(),
            source.into(),
            "".into(),
            options,
            arguments,
        )
        .await?)
}

async fn name_is_free_again(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await?;
    raw.delete_exchange(1, &name).await?;
    expect_gone(&mut raw, &name, t.vhost()).await?;
    raw.declare_exchange(1, transient_exchange(&name, "topic"))
        .await
}

async fn delete_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    for if_unused in [false, true] {
        let delete = Delete {
            exchange: name.as_str().into(),
            if_unused,
            ..Default::default()
        };
        raw.call(1, delete, method::DeleteOk::ID).await?;
    }
    Ok(())
}

/// Deletes on channel 1, is refused, and opens the channel again.
async fn expect_delete_refused(
    raw: &mut RawConnection,
    name: &str,
    text: &str,
) -> Result<(), Failure> {
    let delete = Delete {
        exchange: name.into(),
        ..Default::default()
    };
    raw.send_method(1, delete).await?;
    raw.expect_channel_close(1, 403, text, Delete::ID).await?;
    raw.open_channel(1).await
}

async fn default_exchange_stays(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    expect_delete_refused(&mut raw, "", DEFAULT_EXCHANGE_REFUSED).await
}

async fn expect_system_exchanges_stay(raw: &mut RawConnection, t: &Trial) -> Result<(), Failure> {
    let missing = format!("amq.{}", t.name("x"));
    for name in ["amq.direct", "amq.topic", &missing] {
        let exchange = resource(name, t.vhost());
        let text = format!("ACCESS_REFUSED - deletion of system {exchange} not allowed");
        expect_delete_refused(raw, name, &text).await?;
    }
    raw.expect_exchange(1, "amq.direct").await
}

async fn system_exchanges_stay(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    expect_system_exchanges_stay(&mut raw, t).await
}

async fn system_exchanges_before_permission(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("reader")).await?;
    raw.open_channel(1).await?;
    expect_system_exchanges_stay(&mut raw, t).await
}

async fn if_unused_as_source(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let (name, queue) = (t.name("x"), t.name("q"));
    client::declare_exchange(&channel, &name, ExchangeKind::Fanout).await?;
    client::declare_queue(&channel, &queue).await?;
    client::bind(&channel, &queue, &name, "").await?;
    let text = format!(
        "PRECONDITION_FAILED - {} in use",
        resource(&name, t.vhost())
    );
    let options = ExchangeDeleteOptions {
        if_unused: true,
        ..Default::default()
    };
    let deleted = channel.exchange_delete(name.as_str().into(), options);
    client::expect_error(deleted.await, 406, t.text(text))?;

    let channel = t.channel().await?;
    client::publish(&channel, &name, "", "still there").await?;
    client::expect_take(&channel, &queue, Some("still there")).await
}

async fn if_unused_as_destination(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let (source, destination) = (t.name("source"), t.name("destination"));
    for name in [&source, &destination] {
        client::declare_exchange(&channel, name, ExchangeKind::Fanout).await?;
    }
    bind_exchange(&channel, &destination, &source).await?;
    let options = ExchangeDeleteOptions {
        if_unused: true,
        ..Default::default()
    };
    let name = destination.as_str().into();
    channel.exchange_delete(name, options).await?;
    let mut raw = t.raw().await?;
    expect_gone(&mut raw, &destination, t.vhost()).await
}

async fn nowait_delete(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await?;
    let delete = Delete {
        exchange: name.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    raw.send_method(1, delete).await?;
    raw.barrier(1).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

fn auto_delete(name: &str) -> Declare<'_> {
    Declare {
        auto_delete: true,
        ..transient_exchange(name, "fanout")
    }
}

/// A connection, an auto-delete exchange and a queue that is bound to it.
async fn bound_auto_delete(t: &Trial) -> Result<(RawConnection, String, String), Failure> {
    let mut raw = t.raw().await?;
    let (name, queue) = (t.name("x"), t.name("q"));
    raw.declare_exchange(1, auto_delete(&name)).await?;
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &name, "").await?;
    Ok((raw, name, queue))
}

async fn never_bound_stays(t: &Trial) -> Result<(), Failure> {
    let name = t.name("x");
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, auto_delete(&name)).await?;
    raw.close_channel(1).await?;
    raw.close().await?;
    let mut raw = t.raw().await?;
    raw.expect_exchange(1, &name).await
}

async fn gone_by_unbind(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = bound_auto_delete(t).await?;
    raw.bind(1, &queue, &name, "second").await?;
    raw.unbind(1, &queue, &name, "").await?;
    raw.expect_exchange(1, &name).await?;
    raw.unbind(1, &queue, &name, "second").await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn gone_by_queue_delete(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = bound_auto_delete(t).await?;
    let count = raw.delete_queue(1, &queue).await?;
    expect_eq("message count", count, 0)?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn gone_by_exchange_delete(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (source, destination) = (t.name("source"), t.name("destination"));
    raw.declare_exchange(1, auto_delete(&source)).await?;
    raw.declare_exchange(1, transient_exchange(&destination, "fanout"))
        .await?;
    raw.bind_exchange(1, &destination, &source, "").await?;
    raw.delete_exchange(1, &destination).await?;
    expect_gone(&mut raw, &source, t.vhost()).await
}

async fn unbound_as_destination_stays(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (source, destination) = (t.name("source"), t.name("destination"));
    raw.declare_exchange(1, transient_exchange(&source, "fanout"))
        .await?;
    raw.declare_exchange(1, auto_delete(&destination)).await?;
    raw.bind_exchange(1, &destination, &source, "").await?;
    raw.delete_exchange(1, &source).await?;
    raw.expect_exchange(1, &destination).await
}

async fn auto_delete_cascades(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name, queue) = bound_auto_delete(t).await?;
    let source = t.name("source");
    raw.declare_exchange(1, auto_delete(&source)).await?;
    raw.bind_exchange(1, &name, &source, "").await?;
    raw.unbind(1, &queue, &name, "").await?;
    expect_gone(&mut raw, &name, t.vhost()).await?;
    expect_gone(&mut raw, &source, t.vhost()).await
}
