//! What is told first when several things stand against an operation.

use leveret_protocol::Method;
use leveret_protocol::method::{basic, exchange as exchanges, queue as queues};

use super::{Asking, DIVIDED, Need, READER, exchange, queue};
use crate::failure::Failure;
use crate::raw::{RawConnection, Text, durable_queue, transient_exchange};
use crate::rules::access::ACCESS_REFUSED;
use crate::rules::exchange::UNKNOWN_TYPES;
use crate::trial::Trial;

rules! {
    "PERM-12" unknown_type_comes_first [raw, fixtures, variants(&[ACCESS_REFUSED, UNKNOWN_TYPES])]
        "An exchange's type must be known …";
    "PERM-12" default_exchange_comes_next [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… then it must not be the default exchange …";
    "PERM-12" bindings_of_the_default_exchange [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… for bindings once the destination may be written …";
    "PERM-12" system_exchanges_are_not_deleted [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… nor, to be deleted, one of the system's …";
    "PERM-12" permission_comes_before_the_rest [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… then permission, reserved names, existence.";
    "PERM-12" reserved_queue_names_come_first [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Reserved names of queues come before permission.";
    "PERM-17" permission_before_exclusivity [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Permission comes before exclusivity …";
    "PERM-17" existence_before_exclusivity [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… and so does existence.";
}

const DEFAULT_EXCHANGE: &str = "ACCESS_REFUSED - operation not permitted on the default exchange";

async fn unknown_type_comes_first(t: &Trial) -> Result<(), Failure> {
    for name in [t.name("x").as_str(), "", "amq.unknown"] {
        let mut raw = Asking::of(t, READER).await?.raw;
        raw.send_method(1, transient_exchange(name, "no-such-type"))
            .await?;
        let refusals = crate::rules::exchange::unknown_type_refusals("no-such-type");
        raw.expect_variant(t, &refusals).await?;
    }
    Ok(())
}

async fn default_exchange_comes_next(t: &Trial) -> Result<(), Failure> {
    // It may configure no exchange, whatever name the default one has.
    let mut asking = Asking::of(t, DIVIDED).await?;
    let declare = transient_exchange("", "direct");
    asking.expect_fault(declare, 403, DEFAULT_EXCHANGE).await?;
    let delete = exchanges::Delete::default();
    asking.expect_fault(delete, 403, DEFAULT_EXCHANGE).await
}

fn bind<'a>(queue: &'a str, exchange: &'a str) -> queues::Bind<'a> {
    queues::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        ..Default::default()
    }
}

fn bind_exchange<'a>(destination: &'a str, source: &'a str) -> exchanges::Bind<'a> {
    exchanges::Bind {
        destination: destination.into(),
        source: source.into(),
        ..Default::default()
    }
}

/// The user may write the default exchange and not read it.
async fn bindings_of_the_default_exchange(t: &Trial) -> Result<(), Failure> {
    let (closed, open) = (t.name("to"), t.name("to-writable"));
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking
        .expect_refused(bind(&closed, ""), Need::Write, queue(&closed))
        .await?;
    asking
        .expect_fault(bind(&open, ""), 403, DEFAULT_EXCHANGE)
        .await?;
    asking
        .expect_refused(bind_exchange(&closed, ""), Need::Write, exchange(&closed))
        .await?;
    asking
        .expect_fault(bind_exchange(&open, ""), 403, DEFAULT_EXCHANGE)
        .await?;
    asking
        .expect_fault(bind_exchange("", &closed), 403, DEFAULT_EXCHANGE)
        .await?;
    let mut reader = Asking::of(t, READER).await?;
    let to_default = bind_exchange("", "amq.fanout");
    reader
        .expect_refused(to_default, Need::Write, exchange("amq.default"))
        .await
}

async fn system_exchanges_are_not_deleted(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, READER).await?;
    for name in ["amq.direct", "amq.missing"] {
        let delete = exchanges::Delete {
            exchange: name.into(),
            ..Default::default()
        };
        let text = format!(
            "ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '{}' not allowed",
            t.vhost()
        );
        asking.expect_fault(delete, 403, text).await?;
    }
    Ok(())
}

async fn permission_comes_before_the_rest(t: &Trial) -> Result<(), Failure> {
    let mut reader = Asking::of(t, READER).await?;
    for (name, kind) in [("amq.missing", "direct"), ("amq.direct", "fanout")] {
        let declare = transient_exchange(name, kind);
        reader
            .expect_refused(declare, Need::Configure, exchange(name))
            .await?;
    }
    let missing = t.name("missing");
    let delete = exchanges::Delete {
        exchange: missing.as_str().into(),
        if_unused: true,
        ..Default::default()
    };
    reader
        .expect_refused(delete, Need::Configure, exchange(&missing))
        .await?;
    let mut restricted = Asking::of(t, "restricted").await?;
    let declare = transient_exchange("amq.missing", "direct");
    let text = "ACCESS_REFUSED - exchange name 'amq.missing' contains reserved prefix 'amq.*'";
    restricted.expect_fault(declare, 403, text).await
}

async fn reserved_queue_names_come_first(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, READER).await?;
    let text = "ACCESS_REFUSED - queue name 'amq.missing' contains reserved prefix 'amq.*'";
    asking
        .expect_fault(durable_queue("amq.missing"), 403, text)
        .await
}

/// Everything that somebody else's exclusive queue is locked against, with what it asks for.
fn operations(name: &str) -> [(Method<'_>, Need); 6] {
    let get = basic::Get {
        queue: name.into(),
        ..Default::default()
    };
    let consume = basic::Consume {
        queue: name.into(),
        ..Default::default()
    };
    let purge = queues::Purge {
        queue: name.into(),
        ..Default::default()
    };
    let delete = queues::Delete {
        queue: name.into(),
        ..Default::default()
    };
    [
        (durable_queue(name).into(), Need::Configure),
        (delete.into(), Need::Configure),
        (bind(name, "amq.direct").into(), Need::Write),
        (get.into(), Need::Read),
        (consume.into(), Need::Read),
        (purge.into(), Need::Read),
    ]
}

/// A connection that has an exclusive queue of this name.
async fn owner_of(t: &Trial, name: &str) -> Result<RawConnection, Failure> {
    let mut owner = t.raw().await?;
    let exclusive = queues::Declare {
        exclusive: true,
        ..durable_queue(name)
    };
    owner.declare(1, exclusive).await?;
    Ok(owner)
}

fn locked(name: &str, vhost: &str) -> Text {
    Text::starts(format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'"
    ))
}

async fn permission_before_exclusivity(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let _owner = owner_of(t, &name).await?;
    let mut divided = Asking::of(t, DIVIDED).await?;
    // Somebody who may do everything is told of the lock.
    let mut other = Asking::logged_in(t, &t.handshake()).await?;
    for (operation, need) in operations(&name) {
        divided
            .expect_refused(operation, need, queue(&name))
            .await?;
        other
            .expect_fault(operation, 405, locked(&name, t.vhost()))
            .await?;
    }
    Ok(())
}

async fn existence_before_exclusivity(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    let _owner = owner_of(t, &name).await?;
    let mut other = Asking::logged_in(t, &t.handshake()).await?;
    let missing = t.name("missing");
    let text = format!(
        "NOT_FOUND - no exchange '{missing}' in vhost '{}'",
        t.vhost()
    );
    other.expect_fault(bind(&name, &missing), 404, text).await?;
    other
        .expect_fault(bind(&name, "amq.direct"), 405, locked(&name, t.vhost()))
        .await
}
