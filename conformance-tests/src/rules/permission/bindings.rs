//! Binding and unbinding: what messages go to is written, what they come from is read.

use leveret_protocol::Method;
use leveret_protocol::method::{exchange as exchanges, queue as queues};

use super::{Asking, DIVIDED, Need, exchange, queue};
use crate::failure::Failure;
use crate::raw::{RawConnection, transient_exchange};
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-06" queue_is_written_exchange_read [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "A binding writes the queue and reads the exchange.";
    "PERM-06" both_are_missing [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also if neither is there.";
    "PERM-06" unbind_is_asked_alike [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "To take it away, the same is asked.";
    "PERM-06" last_declared_queue_is_bound [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "An empty name stands for one that is asked about.";
    "PERM-07" destination_is_written_source_read [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Likewise between exchanges.";
    "PERM-07" both_exchanges_are_missing [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also if neither is there.";
    "PERM-07" unbind_of_exchanges_is_asked_alike [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "To take it away, the same is asked.";
}

fn bind<'a>(queue: &'a str, exchange: &'a str) -> Method<'a> {
    let bind = queues::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "k".into(),
        ..Default::default()
    };
    bind.into()
}

fn unbind<'a>(queue: &'a str, exchange: &'a str) -> Method<'a> {
    let unbind = queues::Unbind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "k".into(),
        ..Default::default()
    };
    unbind.into()
}

fn bind_exchange<'a>(destination: &'a str, source: &'a str) -> Method<'a> {
    let bind = exchanges::Bind {
        destination: destination.into(),
        source: source.into(),
        routing_key: "k".into(),
        ..Default::default()
    };
    bind.into()
}

fn unbind_exchange<'a>(destination: &'a str, source: &'a str) -> Method<'a> {
    let unbind = exchanges::Unbind {
        destination: destination.into(),
        source: source.into(),
        routing_key: "k".into(),
        ..Default::default()
    };
    unbind.into()
}

/// Names of two ends, each with the permission that a binding asks for there and without it.
struct Ends {
    writable: String,
    no_destination: String,
    readable: String,
    no_source: String,
}

impl Ends {
    fn new(t: &Trial) -> Self {
        Self {
            writable: t.name("to-writable"),
            no_destination: t.name("to-configurable-readable"),
            readable: t.name("from-readable"),
            no_source: t.name("from-configurable-writable"),
        }
    }

    /// Declares the sources, and the destinations as queues.
    async fn with_queues(t: &Trial) -> Result<(Self, RawConnection), Failure> {
        let (ends, mut raw) = (Self::new(t), t.raw().await?);
        for name in [&ends.writable, &ends.no_destination] {
            raw.declare_queue(1, name).await?;
        }
        ends.declare_sources(&mut raw).await?;
        Ok((ends, raw))
    }

    /// Declares the sources, and the destinations as exchanges with a queue behind each.
    async fn with_exchanges(t: &Trial) -> Result<(Self, RawConnection), Failure> {
        let (ends, mut raw) = Self::with_queues(t).await?;
        for name in [&ends.writable, &ends.no_destination] {
            raw.declare_exchange(1, transient_exchange(name, "fanout"))
                .await?;
            raw.bind(1, name, name, "").await?;
        }
        Ok((ends, raw))
    }

    async fn declare_sources(&self, raw: &mut RawConnection) -> Result<(), Failure> {
        for name in [&self.readable, &self.no_source] {
            raw.declare_exchange(1, transient_exchange(name, "direct"))
                .await?;
        }
        Ok(())
    }

    /// Who may not write the destination is told so, whatever the source is.
    async fn expect_refused(
        &self,
        t: &Trial,
        operation: for<'a> fn(&'a str, &'a str) -> Method<'a>,
        destination: fn(&str) -> String,
    ) -> Result<Asking, Failure> {
        let mut asking = Asking::of(t, DIVIDED).await?;
        for source in [&self.readable, &self.no_source] {
            let refused = operation(&self.no_destination, source);
            let culprit = destination(&self.no_destination);
            asking.expect_refused(refused, Need::Write, culprit).await?;
        }
        let refused = operation(&self.writable, &self.no_source);
        let culprit = exchange(&self.no_source);
        asking.expect_refused(refused, Need::Read, culprit).await?;
        Ok(asking)
    }
}

/// Whether the queue gets what is published to the exchange.
async fn expect_routed(
    raw: &mut RawConnection,
    from: &str,
    to: &str,
    routed: bool,
) -> Result<(), Failure> {
    raw.publish(1, from, "k", "m").await?;
    match routed {
        true => raw.take_text(1, to, "m").await.map(drop),
        false => raw.expect_empty(1, to).await,
    }
}

async fn queue_is_written_exchange_read(t: &Trial) -> Result<(), Failure> {
    let (ends, mut raw) = Ends::with_queues(t).await?;
    let mut asking = ends.expect_refused(t, bind, queue).await?;
    asking
        .raw
        .bind(1, &ends.writable, &ends.readable, "k")
        .await?;
    expect_routed(&mut raw, &ends.readable, &ends.writable, true).await?;
    raw.expect_empty(1, &ends.no_destination).await?;
    expect_routed(&mut raw, &ends.no_source, &ends.writable, false).await
}

async fn both_are_missing(t: &Trial) -> Result<(), Failure> {
    let ends = Ends::new(t);
    let mut asking = ends.expect_refused(t, bind, queue).await?;
    let (to, from) = (&ends.writable, &ends.readable);
    let text = format!("NOT_FOUND - no exchange '{from}' in vhost '{}'", t.vhost());
    asking.expect_fault(bind(to, from), 404, text).await
}

async fn unbind_is_asked_alike(t: &Trial) -> Result<(), Failure> {
    let (ends, mut raw) = Ends::with_queues(t).await?;
    for (to, from) in [
        (&ends.writable, &ends.readable),
        (&ends.writable, &ends.no_source),
        (&ends.no_destination, &ends.readable),
    ] {
        raw.bind(1, to, from, "k").await?;
    }
    let mut asking = ends.expect_refused(t, unbind, queue).await?;
    asking
        .raw
        .unbind(1, &ends.writable, &ends.readable, "k")
        .await?;
    expect_routed(&mut raw, &ends.readable, &ends.writable, false).await?;
    raw.take_text(1, &ends.no_destination, "m").await?;
    expect_routed(&mut raw, &ends.no_source, &ends.writable, true).await?;
    // Where nothing is left to take away, it is asked all the same.
    Ends::new(t)
        .expect_refused(t, unbind, queue)
        .await
        .map(drop)
}

async fn last_declared_queue_is_bound(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    let (closed, open) = (t.name("q-configurable"), t.name("q-configurable-writable"));
    let from = t.name("from-readable");
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, transient_exchange(&from, "direct"))
        .await?;
    asking.raw.declare_queue(1, &closed).await?;
    asking
        .expect_refused(bind("", &from), Need::Write, queue(&closed))
        .await?;
    asking.raw.declare_queue(1, &closed).await?;
    asking
        .expect_refused(unbind("", &from), Need::Write, queue(&closed))
        .await?;
    asking.raw.declare_queue(1, &open).await?;
    // The key is the queue's name as well then.
    asking.raw.bind(1, "", &from, "").await?;
    raw.publish(1, &from, &open, "m").await?;
    raw.take_text(1, &open, "m").await?;
    asking.raw.unbind(1, "", &from, "").await?;
    raw.publish(1, &from, &open, "m").await?;
    raw.expect_empty(1, &open).await
}

async fn destination_is_written_source_read(t: &Trial) -> Result<(), Failure> {
    let (ends, mut raw) = Ends::with_exchanges(t).await?;
    let mut asking = ends.expect_refused(t, bind_exchange, exchange).await?;
    let (to, from) = (&ends.writable, &ends.readable);
    asking.raw.bind_exchange(1, to, from, "k").await?;
    expect_routed(&mut raw, from, to, true).await?;
    expect_routed(&mut raw, &ends.no_source, to, false).await
}

async fn both_exchanges_are_missing(t: &Trial) -> Result<(), Failure> {
    let ends = Ends::new(t);
    let mut asking = ends.expect_refused(t, bind_exchange, exchange).await?;
    let (to, from) = (&ends.writable, &ends.readable);
    let text = format!("NOT_FOUND - no exchange '{from}' in vhost '{}'", t.vhost());
    asking
        .expect_fault(bind_exchange(to, from), 404, text)
        .await
}

async fn unbind_of_exchanges_is_asked_alike(t: &Trial) -> Result<(), Failure> {
    let (ends, mut raw) = Ends::with_exchanges(t).await?;
    for from in [&ends.readable, &ends.no_source] {
        raw.bind_exchange(1, &ends.writable, from, "k").await?;
    }
    let mut asking = ends.expect_refused(t, unbind_exchange, exchange).await?;
    let allowed = unbind_exchange(&ends.writable, &ends.readable);
    let reply = exchanges::UnbindOk::ID;
    asking.raw.call(1, allowed, reply).await?;
    expect_routed(&mut raw, &ends.readable, &ends.writable, false).await?;
    expect_routed(&mut raw, &ends.no_source, &ends.writable, true).await
}
