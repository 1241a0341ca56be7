//! Declaring what exists already: what is compared, and in which order.

use leveret_protocol::method::queue::Declare;
use leveret_protocol::{TableBuf, Value};

use super::{expect_declare_refused, locked, resource, transient};
use crate::failure::Failure;
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "QUEUE-11" different_durable [raw] "Another durability is refused.";
    "QUEUE-12" different_auto_delete [raw] "Another auto-delete flag is refused.";
    "QUEUE-13" different_exclusive [raw] "Another exclusivity counts as a locked queue.";
    "QUEUE-14" first_difference_wins [raw] "Exclusivity, durability, auto-delete, arguments.";
}

/// Declares `first`, then `again` under the same name, and expects a refusal with this code and the
/// text that `text` makes of the name.
async fn expect_refused(
    t: &Trial,
    first: Declare<'_>,
    again: Declare<'_>,
    code: u16,
    text: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let queue = name.as_str().into();
    raw.declare(1, Declare { queue, ..first }).await?;
    let again = Declare { queue, ..again };
    expect_declare_refused(&mut raw, again, code, text(&name)).await?;
    raw.declare(1, Declare { queue, ..first }).await?;
    raw.delete_queue(1, &name).await.map(drop)
}

/// What is said about an argument or flag that differs.
fn inequivalent(t: &Trial, argument: &str, difference: &str) -> impl Fn(&str) -> String {
    move |name| {
        let queue = resource(name, t.vhost());
        format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for {queue}: {difference}")
    }
}

const MORE: &str = "received 'true' but current is 'false'";
const LESS: &str = "received 'false' but current is 'true'";

async fn different_durable(t: &Trial) -> Result<(), Failure> {
    let (transient, durable) = (transient(""), durable_queue(""));
    let text = |difference| inequivalent(t, "durable", difference);
    expect_refused(t, transient, durable, 406, text(MORE)).await?;
    expect_refused(t, durable, transient, 406, text(LESS)).await
}

async fn different_auto_delete(t: &Trial) -> Result<(), Failure> {
    let stays = durable_queue("");
    let goes = Declare {
        auto_delete: true,
        ..stays
    };
    let text = |difference| inequivalent(t, "auto_delete", difference);
    expect_refused(t, stays, goes, 406, text(MORE)).await?;
    expect_refused(t, goes, stays, 406, text(LESS)).await
}

async fn different_exclusive(t: &Trial) -> Result<(), Failure> {
    let shared = durable_queue("");
    let exclusive = Declare {
        exclusive: true,
        ..shared
    };
    let text = |name: &str| locked(name, t.vhost());
    expect_refused(t, shared, exclusive, 405, text).await?;
    expect_refused(t, exclusive, shared, 405, text).await
}

async fn first_difference_wins(t: &Trial) -> Result<(), Failure> {
    let length = TableBuf::new().with("x-max-length", Value::I32(5));
    let first = transient("");
    let arguments = Declare {
        arguments: length.view(),
        ..first
    };
    let auto_delete = Declare {
        auto_delete: true,
        ..arguments
    };
    let durable = Declare {
        durable: true,
        ..auto_delete
    };
    let exclusive = Declare {
        exclusive: true,
        ..durable
    };
    let value = "received the value '5' of type 'signedint' but current is none";
    let text = inequivalent(t, "x-max-length", value);
    expect_refused(t, first, arguments, 406, text).await?;
    let text = inequivalent(t, "auto_delete", MORE);
    expect_refused(t, first, auto_delete, 406, text).await?;
    let text = inequivalent(t, "durable", MORE);
    expect_refused(t, first, durable, 406, text).await?;
    let text = |name: &str| locked(name, t.vhost());
    expect_refused(t, first, exclusive, 405, text).await
}
