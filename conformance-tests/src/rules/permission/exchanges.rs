//! Declaring and deleting exchanges.

use leveret_protocol::method::exchange::{Declare, Delete};
use leveret_protocol::{TableBuf, Value};

use super::{Asking, DIVIDED, Need, exchange};
use crate::failure::Failure;
use crate::raw::{RawConnection, transient_exchange};
use crate::registry::Follows;
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-05" declare_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED]), also(&["PERM-01"])]
        "To declare is to configure.";
    "PERM-05" redeclare_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also what is there.";
    "PERM-05" delete_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "So is to delete, also what is missing.";
    "PERM-04" passive_needs_nothing_of_exchanges [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V3)]
        "Whether an exchange exists may be asked by anybody.";
    "PERM-04" passive_needs_any_of_exchanges [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V4), since((4, 3))]
        "From 4.3 it may be asked by who may do anything with it.";
    "PERM-09" alternate_needs_more [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "A new alternate is written, what leads there read.";
    "PERM-09" default_exchange_as_alternate [raw, fixtures, variants(&[ACCESS_REFUSED]), also(&["PERM-02"])]
        "… also if it is the default exchange.";
    "PERM-09" redeclare_asks_no_more [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Of an exchange that is there nothing more is asked.";
}

async fn expect_missing(raw: &mut RawConnection, t: &Trial, name: &str) -> Result<(), Failure> {
    raw.send_method(1, passive(name)).await?;
    let text = format!("NOT_FOUND - no exchange '{name}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, Declare::ID).await?;
    raw.open_channel(1).await
}

async fn declare_needs_configure(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    let (closed, open) = (t.name("x-writable-readable"), t.name("x-configurable"));
    let refused = transient_exchange(&closed, "direct");
    asking
        .expect_refused(refused, Need::Configure, exchange(&closed))
        .await?;
    let nowait = Declare {
        nowait: true,
        ..refused
    };
    asking
        .expect_refused(nowait, Need::Configure, exchange(&closed))
        .await?;
    expect_missing(&mut t.raw().await?, t, &closed).await?;
    let allowed = transient_exchange(&open, "direct");
    asking.raw.declare_exchange(1, allowed).await
}

async fn redeclare_needs_configure(t: &Trial) -> Result<(), Failure> {
    let name = t.name("x-writable-readable");
    let same = transient_exchange(&name, "direct");
    t.raw().await?.declare_exchange(1, same).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking
        .expect_refused(same, Need::Configure, exchange(&name))
        .await?;
    let other = transient_exchange(&name, "fanout");
    asking
        .expect_refused(other, Need::Configure, exchange(&name))
        .await
}

async fn delete_needs_configure(t: &Trial) -> Result<(), Failure> {
    let (closed, open) = (t.name("x-writable-readable"), t.name("x-configurable"));
    let mut raw = t.raw().await?;
    for name in [&closed, &open] {
        raw.declare_exchange(1, transient_exchange(name, "direct"))
            .await?;
    }
    let mut asking = Asking::of(t, DIVIDED).await?;
    for name in [&closed, &t.name("missing")] {
        let delete = Delete {
            exchange: name.as_str().into(),
            ..Default::default()
        };
        asking
            .expect_refused(delete, Need::Configure, exchange(name))
            .await?;
        let nowait = Delete {
            nowait: true,
            ..delete
        };
        asking
            .expect_refused(nowait, Need::Configure, exchange(name))
            .await?;
    }
    raw.expect_exchange(1, &closed).await?;
    asking.raw.delete_exchange(1, &open).await?;
    asking.raw.delete_exchange(1, &open).await
}

fn passive(name: &str) -> Declare<'_> {
    Declare {
        passive: true,
        ..transient_exchange(name, "")
    }
}

async fn passive_needs_nothing_of_exchanges(t: &Trial) -> Result<(), Failure> {
    let name = t.name("x");
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking.raw.expect_exchange(1, &name).await?;
    expect_missing(&mut asking.raw, t, &t.name("missing")).await
}

async fn passive_needs_any_of_exchanges(t: &Trial) -> Result<(), Failure> {
    let closed = t.name("x");
    let mut raw = t.raw().await?;
    raw.declare_exchange(1, transient_exchange(&closed, "direct"))
        .await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking
        .expect_refused(passive(&closed), Need::Configure, exchange(&closed))
        .await?;
    for word in ["configurable", "writable", "readable"] {
        let name = t.name(word);
        raw.declare_exchange(1, transient_exchange(&name, "direct"))
            .await?;
        asking.raw.expect_exchange(1, &name).await?;
    }
    Ok(())
}

fn alternate_is(name: &str) -> TableBuf {
    TableBuf::new().with("alternate-exchange", Value::LongStr(name.as_bytes()))
}

async fn alternate_needs_more(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    // The alternate need not be there.
    let (writable, other) = (t.name("a-writable"), t.name("a-configurable-readable"));
    let (full, half) = (
        t.name("x-configurable-readable"),
        t.name("x-configurable-writable"),
    );
    let bare = t.name("x-readable-writable");
    for (name, alternate, need, culprit) in [
        (&bare, &other, Need::Configure, &bare),
        (&half, &other, Need::Read, &half),
        (&full, &other, Need::Write, &other),
    ] {
        let arguments = alternate_is(alternate);
        let declare = Declare {
            arguments: arguments.view(),
            ..transient_exchange(name, "direct")
        };
        asking
            .expect_refused(declare, need, exchange(culprit))
            .await?;
    }
    let arguments = alternate_is(&writable);
    let declare = Declare {
        arguments: arguments.view(),
        ..transient_exchange(&full, "direct")
    };
    asking.raw.declare_exchange(1, declare).await
}

async fn default_exchange_as_alternate(t: &Trial) -> Result<(), Failure> {
    let name = t.name("x-configurable-readable");
    let arguments = alternate_is("");
    let declare = Declare {
        arguments: arguments.view(),
        ..transient_exchange(&name, "direct")
    };
    // This one may read and configure the name, and write nothing but "writable".
    let mut restricted = Asking::of(t, "restricted").await?;
    restricted
        .expect_refused(declare, Need::Write, exchange("amq.default"))
        .await?;
    let mut divided = Asking::of(t, DIVIDED).await?;
    divided.raw.declare_exchange(1, declare).await
}

async fn redeclare_asks_no_more(t: &Trial) -> Result<(), Failure> {
    let name = t.name("x-configurable");
    let arguments = alternate_is(&t.name("a"));
    let declare = Declare {
        arguments: arguments.view(),
        ..transient_exchange(&name, "direct")
    };
    t.raw().await?.declare_exchange(1, declare).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking.raw.declare_exchange(1, declare).await
}
