//! What names may consist of, and what is removed from them.

use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{Method, MethodId, ShortStr};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::trial::Trial;

rules! {
    "TABLE-10" longest_names [raw] "Names have up to 255 bytes.";
    "TABLE-10" any_characters [raw] "Names consist of any characters.";
    "TABLE-11" line_ends_in_queue_names [raw] "CR and LF go from queue names.";
    "TABLE-11" line_ends_in_exchange_names [raw] "… and from exchange names.";
    "TABLE-11" line_ends_stay_elsewhere [raw] "… but not where messages are meant.";
    "TABLE-12" only_line_ends [raw] "A name of line ends only is no name.";
}

/// Declares, binds, uses and deletes a queue and an exchange of this name.
async fn expect_usable(t: &Trial, raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    t.deletes(name);
    let queue = raw.declare_queue(1, name).await?;
    expect_eq("name", queue.name.as_str(), name)?;
    raw.declare_exchange(1, transient_exchange(name, "direct"))
        .await?;
    raw.bind(1, name, name, name).await?;
    raw.publish(1, name, name, "to an odd name").await?;
    let message = raw.take_text(1, name, "to an odd name").await?;
    expect_eq("exchange", message.exchange.as_str(), name)?;
    expect_eq("routing key", message.routing_key.as_str(), name)?;
    raw.delete_queue(1, name).await?;
    raw.delete_exchange(1, name).await
}

async fn longest_names(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = format!("{:x<255}", t.name("long"));
    expect_eq("length", name.len(), ShortStr::LEN_MAX)?;
    expect_usable(t, &mut raw, &name).await
}

async fn any_characters(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for odd in [
        "\0",
        " a b ",
        "a/b\\c",
        "\t%?*#'\"",
        "äöü€😀",
        "\u{7f}\u{1}",
    ] {
        let name = format!("{}{odd}", t.name("odd"));
        let usable = expect_usable(t, &mut raw, &name).await;
        usable.map_err(|failure| failure.at(format!("{odd:?}")))?;
    }
    Ok(())
}

async fn line_ends_in_queue_names(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let odd = format!("\n{}\r\n", name.replace('-', "-\r"));
    let declared = raw.declare_queue(1, &odd).await?;
    expect_eq("name", &declared.name, &name)?;
    raw.inspect_queue(1, &odd).await?;
    raw.bind(1, &odd, "amq.direct", &name).await?;
    raw.unbind(1, &odd, "amq.direct", &name).await?;
    raw.publish(1, "", &name, "is there").await?;
    raw.take_text(1, &name, "is there").await?;
    raw.delete_queue(1, &odd).await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&name)
    };
    expect_not_found(t, &mut raw, passive, queue::Declare::ID, "queue", &name).await
}

async fn line_ends_in_exchange_names(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, queue) = (t.name("x"), t.name("q"));
    let odd = format!("\r\n{name}\n");
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&odd, "fanout"))
        .await?;
    raw.expect_exchange(1, &name).await?;
    raw.expect_exchange(1, &odd).await?;
    raw.bind(1, &queue, &odd, "").await?;
    raw.bind_exchange(1, "amq.fanout", &odd, &name).await?;
    let unbind = exchange::Unbind {
        destination: "amq.fan\nout".into(),
        source: odd.as_str().into(),
        routing_key: name.as_str().into(),
        ..Default::default()
    };
    raw.call(1, unbind, exchange::UnbindOk::ID).await?;
    raw.publish(1, &name, "", "routed").await?;
    raw.take_text(1, &queue, "routed").await?;
    raw.delete_exchange(1, &odd).await?;
    let passive = exchange::Declare {
        passive: true,
        ..transient_exchange(&name, "fanout")
    };
    let id = exchange::Declare::ID;
    expect_not_found(t, &mut raw, passive, id, "exchange", &name).await
}

/// Sends on channel 1, is told 404 with this very name, and opens the channel again.
async fn expect_not_found<'m>(
    t: &Trial,
    raw: &mut RawConnection,
    method: impl Into<Method<'m>>,
    id: MethodId,
    kind: &str,
    name: &str,
) -> Result<(), Failure> {
    raw.send_method(1, method).await?;
    if id == basic::Publish::ID {
        raw.send_content(1, &[0, 0], b"").await?;
    }
    let text = format!("NOT_FOUND - no {kind} '{name}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, id).await?;
    raw.open_channel(1).await
}

async fn line_ends_stay_elsewhere(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, exchange) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &name).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    let odd = format!("{name}\r\n");
    let get = basic::Get {
        queue: odd.as_str().into(),
        ..Default::default()
    };
    expect_not_found(t, &mut raw, get, basic::Get::ID, "queue", &odd).await?;
    let consume = basic::Consume {
        queue: odd.as_str().into(),
        ..Default::default()
    };
    expect_not_found(t, &mut raw, consume, basic::Consume::ID, "queue", &odd).await?;
    let purge = queue::Purge {
        queue: odd.as_str().into(),
        ..Default::default()
    };
    expect_not_found(t, &mut raw, purge, queue::Purge::ID, "queue", &odd).await?;
    let odd = format!("{exchange}\n");
    let publish = basic::Publish {
        exchange: odd.as_str().into(),
        ..Default::default()
    };
    expect_not_found(t, &mut raw, publish, basic::Publish::ID, "exchange", &odd).await
}

async fn only_line_ends(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let declared = raw.declare_queue(1, "\r\n\n").await?;
    t.deletes(&declared.name);
    ensure(
        declared.name.starts_with("amq.gen-"),
        format!("the name {:?} was not made by the server", declared.name),
    )
}
