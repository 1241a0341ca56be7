//! Declaring and deleting queues.

use leveret_protocol::method::queue::{Declare, Delete};
use leveret_protocol::{TableBuf, Value};

use super::{Asking, DIVIDED, Need, READER, exchange, queue};
use crate::failure::Failure;
use crate::raw::{RawConnection, Text, durable_queue};
use crate::registry::Follows;
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-03" declare_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED]), also(&["PERM-01"])]
        "To declare is to configure.";
    "PERM-03" redeclare_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also what is there.";
    "PERM-03" server_named_queue [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also what the server names.";
    "PERM-03" delete_needs_configure [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "So is to delete, also what is missing.";
    "PERM-03" last_declared_queue [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "An empty name stands for one that is asked about.";
    "PERM-04" passive_needs_nothing [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V3)]
        "Whether a queue exists may be asked by anybody.";
    "PERM-04" passive_needs_any [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V4), since((4, 3))]
        "From 4.3 it may be asked by who may do anything with it.";
    "PERM-08" dead_letters_need_more [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "A new queue's dead letters: it is read, the other written.";
    "PERM-08" dead_letters_to_the_default_exchange [raw, fixtures, variants(&[ACCESS_REFUSED]), also(&["PERM-02"])]
        "… also to the default exchange.";
    "PERM-08" redeclare_asks_no_more [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Of a queue that is there nothing more is asked.";
}

pub(super) async fn expect_missing(
    raw: &mut RawConnection,
    t: &Trial,
    name: &str,
) -> Result<(), Failure> {
    let passive = Declare {
        passive: true,
        ..durable_queue(name)
    };
    raw.send_method(1, passive).await?;
    let text = format!("NOT_FOUND - no queue '{name}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, Declare::ID).await?;
    raw.open_channel(1).await
}

async fn declare_needs_configure(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    let (closed, open) = (t.name("q-writable-readable"), t.name("q-configurable"));
    let refused = durable_queue(&closed);
    asking
        .expect_refused(refused, Need::Configure, queue(&closed))
        .await?;
    let nowait = Declare {
        nowait: true,
        ..refused
    };
    asking
        .expect_refused(nowait, Need::Configure, queue(&closed))
        .await?;
    expect_missing(&mut t.raw().await?, t, &closed).await?;
    asking.raw.declare_queue(1, &open).await.map(drop)
}

async fn redeclare_needs_configure(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q-writable-readable");
    t.raw().await?.declare_queue(1, &name).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    let same = durable_queue(&name);
    asking
        .expect_refused(same, Need::Configure, queue(&name))
        .await?;
    let other = Declare {
        durable: false,
        ..same
    };
    asking
        .expect_refused(other, Need::Configure, queue(&name))
        .await
}

/// The name is made before anybody asks whether it may be.
async fn server_named_queue(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, READER).await?;
    let nameless = durable_queue("");
    let access = (asking.told)(Need::Configure);
    let text = Text::starts(format!("ACCESS_REFUSED - {access} to queue 'amq.gen-"));
    asking.expect_fault(nameless, 403, text).await?;
    let mut other = Asking::of(t, "restricted").await?;
    let declared = other.raw.declare(1, nameless).await?;
    t.deletes(&declared.name);
    Ok(())
}

async fn delete_needs_configure(t: &Trial) -> Result<(), Failure> {
    let (closed, open) = (t.name("q-writable-readable"), t.name("q-configurable"));
    let mut raw = t.raw().await?;
    raw.fill_queue(1, &closed, &["m"]).await?;
    raw.declare_queue(1, &open).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    let missing = t.name("missing");
    for name in [&closed, &missing] {
        let delete = Delete {
            queue: name.as_str().into(),
            ..Default::default()
        };
        asking
            .expect_refused(delete, Need::Configure, queue(name))
            .await?;
        let nowait = Delete {
            nowait: true,
            ..delete
        };
        asking
            .expect_refused(nowait, Need::Configure, queue(name))
            .await?;
    }
    raw.take_text(1, &closed, "m").await?;
    asking.raw.delete_queue(1, &open).await?;
    asking.raw.delete_queue(1, &open).await.map(drop)
}

async fn last_declared_queue(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q-readable");
    let mut raw = t.raw().await?;
    raw.fill_queue(1, &name, &["m"]).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking.raw.consume(1, &name).await?;
    asking.raw.expect_texts(1, &["m"]).await?;
    // A declare that is refused is none.
    asking
        .expect_refused(durable_queue(&name), Need::Configure, queue(&name))
        .await?;
    let text = "NOT_FOUND - no previously declared queue";
    asking.expect_fault(Delete::default(), 404, text).await?;
    let open = t.name("q-configurable");
    asking.raw.declare_queue(1, &open).await?;
    let text = asking.refusal(Need::Read, queue(&open));
    let purge = leveret_protocol::method::queue::Purge::default();
    asking.expect_fault(purge, 403, text).await?;
    asking.raw.declare_queue(1, &open).await?;
    asking.raw.delete_queue(1, "").await?;
    expect_missing(&mut raw, t, &open).await
}

fn passive(name: &str) -> Declare<'_> {
    Declare {
        passive: true,
        ..durable_queue(name)
    }
}

async fn passive_needs_nothing(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q");
    t.raw().await?.declare_queue(1, &name).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking.raw.declare(1, passive(&name)).await?;
    expect_missing(&mut asking.raw, t, &t.name("missing")).await
}

async fn passive_needs_any(t: &Trial) -> Result<(), Failure> {
    let closed = t.name("q");
    let mut raw = t.raw().await?;
    raw.declare_queue(1, &closed).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking
        .expect_refused(passive(&closed), Need::Configure, queue(&closed))
        .await?;
    for word in ["configurable", "writable", "readable"] {
        let name = t.name(word);
        raw.declare_queue(1, &name).await?;
        asking.raw.declare(1, passive(&name)).await?;
    }
    Ok(())
}

fn dead_letters_to(exchange: &str) -> TableBuf {
    TableBuf::new().with(
        "x-dead-letter-exchange",
        Value::LongStr(exchange.as_bytes()),
    )
}

async fn dead_letters_need_more(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::of(t, DIVIDED).await?;
    // The exchange need not be there.
    let (writable, other) = (t.name("x-writable"), t.name("x-configurable-readable"));
    let (full, half) = (
        t.name("q-configurable-readable"),
        t.name("q-configurable-writable"),
    );
    let bare = t.name("q-readable-writable");
    for (name, dead_letter_exchange, need, culprit) in [
        (&bare, &other, Need::Configure, queue(&bare)),
        (&half, &other, Need::Read, queue(&half)),
        (&full, &other, Need::Write, exchange(&other)),
    ] {
        let arguments = dead_letters_to(dead_letter_exchange);
        let declare = Declare {
            arguments: arguments.view(),
            ..durable_queue(name)
        };
        asking.expect_refused(declare, need, culprit).await?;
    }
    let arguments = dead_letters_to(&writable);
    let declare = Declare {
        arguments: arguments.view(),
        ..durable_queue(&full)
    };
    asking.raw.declare(1, declare).await.map(drop)
}

async fn dead_letters_to_the_default_exchange(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q-configurable-readable");
    let arguments = dead_letters_to("");
    let declare = Declare {
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    // This one may read and configure the name, and write nothing but "writable".
    let mut restricted = Asking::of(t, "restricted").await?;
    restricted
        .expect_refused(declare, Need::Write, exchange("amq.default"))
        .await?;
    let mut divided = Asking::of(t, DIVIDED).await?;
    divided.raw.declare(1, declare).await.map(drop)
}

async fn redeclare_asks_no_more(t: &Trial) -> Result<(), Failure> {
    let name = t.name("q-configurable");
    let arguments = dead_letters_to(&t.name("x"));
    let declare = Declare {
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    t.raw().await?.declare(1, declare).await?;
    let mut asking = Asking::of(t, DIVIDED).await?;
    asking.raw.declare(1, declare).await.map(drop)
}
