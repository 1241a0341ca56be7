//! Declaring an exchange that exists already: what is compared, and how a difference is told.

use leveret_protocol::method::exchange::Declare;
use leveret_protocol::{TableBuf, Value};

use super::{expect_declare_refused, resource};
use crate::failure::Failure;
use crate::raw::transient_exchange;
use crate::trial::Trial;

rules! {
    "EXCH-09" equal_redeclare [raw] "An equal declare is answered and changes nothing.";
    "EXCH-10" different_type [raw] "Another type is 406 and told with both values.";
    "EXCH-11" different_durable [raw] "So is another durable.";
    "EXCH-12" different_auto_delete [raw] "So is another auto-delete, as 'auto_delete'.";
    "EXCH-13" different_internal [raw] "So is another internal.";
    "EXCH-13" first_difference_wins [raw]
        "Type, durable, auto_delete, internal and arguments are compared in this order.";
    "EXCH-14" different_alternate [raw] "Another alternate exchange is 406.";
    "EXCH-14" alternate_on_one_side [raw] "So is one that is named on one side only.";
    "EXCH-14" other_arguments_do_not_matter [raw] "No other argument is compared.";
    "EXCH-15" alternate_must_be_a_string [raw] "alternate-exchange must be a longstr.";
}

/// The text of a refused redeclare.
fn inequivalent(t: &Trial, name: &str, argument: &str, difference: &str) -> String {
    let exchange = resource(name, t.vhost());
    format!("PRECONDITION_FAILED - inequivalent arg '{argument}' for {exchange}: {difference}")
}

async fn equal_redeclare(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, queue) = (t.name("x"), t.name("q"));
    raw.declare_exchange(1, transient_exchange(&name, "fanout"))
        .await?;
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &name, "").await?;
    raw.declare_exchange(1, transient_exchange(&name, "fanout"))
        .await?;
    raw.publish(1, &name, "", "still bound").await?;
    raw.take_text(1, &queue, "still bound").await.map(drop)
}

/// Declares a direct exchange, then `again` under the same name, and expects the difference.
async fn expect_difference(
    t: &Trial,
    again: Declare<'_>,
    argument: &str,
    difference: &str,
) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await?;
    let again = Declare {
        exchange: name.as_str().into(),
        ..again
    };
    let text = inequivalent(t, &name, argument, difference);
    expect_declare_refused(&mut raw, again, 406, text).await
}

async fn different_type(t: &Trial) -> Result<(), Failure> {
    let difference = "received 'fanout' but current is 'direct'";
    expect_difference(t, transient_exchange("", "fanout"), "type", difference).await
}

async fn different_durable(t: &Trial) -> Result<(), Failure> {
    let again = Declare {
        durable: true,
        ..transient_exchange("", "direct")
    };
    let difference = "received 'true' but current is 'false'";
    expect_difference(t, again, "durable", difference).await
}

async fn different_auto_delete(t: &Trial) -> Result<(), Failure> {
    let again = Declare {
        auto_delete: true,
        ..transient_exchange("", "direct")
    };
    let difference = "received 'true' but current is 'false'";
    expect_difference(t, again, "auto_delete", difference).await
}

async fn different_internal(t: &Trial) -> Result<(), Failure> {
    let again = Declare {
        internal: true,
        ..transient_exchange("", "direct")
    };
    let difference = "received 'true' but current is 'false'";
    expect_difference(t, again, "internal", difference).await
}

async fn first_difference_wins(t: &Trial) -> Result<(), Failure> {
    let arguments = alternate("some-exchange");
    let internal = Declare {
        internal: true,
        arguments: arguments.view(),
        ..transient_exchange("", "direct")
    };
    let auto_delete = Declare {
        auto_delete: true,
        ..internal
    };
    let durable = Declare {
        durable: true,
        ..auto_delete
    };
    let kind = Declare {
        kind: "fanout".into(),
        ..durable
    };
    let flag = "received 'true' but current is 'false'";
    expect_difference(t, internal, "internal", flag).await?;
    expect_difference(t, auto_delete, "auto_delete", flag).await?;
    expect_difference(t, durable, "durable", flag).await?;
    let types = "received 'fanout' but current is 'direct'";
    expect_difference(t, kind, "type", types).await
}

fn alternate(name: &str) -> TableBuf {
    TableBuf::new().with("alternate-exchange", Value::LongStr(name.as_bytes()))
}

async fn different_alternate(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    let (first, second) = (alternate("a"), alternate("b"));
    let with = |arguments| Declare {
        arguments,
        ..transient_exchange(&name, "direct")
    };
    raw.declare_exchange(1, with(first.view())).await?;
    raw.declare_exchange(1, with(first.view())).await?;
    let difference = "received 'b' but current is 'a'";
    let text = inequivalent(t, &name, "alternate-exchange", difference);
    expect_declare_refused(&mut raw, with(second.view()), 406, text).await
}

async fn alternate_on_one_side(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (with, without) = (t.name("with"), t.name("without"));
    let arguments = alternate("a");
    let declare_with = |name| Declare {
        arguments: arguments.view(),
        ..transient_exchange(name, "direct")
    };
    raw.declare_exchange(1, declare_with(&with)).await?;
    raw.declare_exchange(1, transient_exchange(&without, "direct"))
        .await?;

    let difference = "received none but current is the value 'a' of type 'longstr'";
    let text = inequivalent(t, &with, "alternate-exchange", difference);
    expect_declare_refused(&mut raw, transient_exchange(&with, "direct"), 406, text).await?;

    let difference = "received the value 'a' of type 'longstr' but current is none";
    let text = inequivalent(t, &without, "alternate-exchange", difference);
    expect_declare_refused(&mut raw, declare_with(&without), 406, text).await
}

async fn other_arguments_do_not_matter(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    let arguments = TableBuf::new().with("x-anything", Value::I32(1));
    let with_argument = Declare {
        arguments: arguments.view(),
        ..transient_exchange(&name, "direct")
    };
    raw.declare_exchange(1, with_argument).await?;
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await
}

async fn alternate_must_be_a_string(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    let arguments = TableBuf::new().with("alternate-exchange", Value::I32(1));
    let declare = Declare {
        arguments: arguments.view(),
        ..transient_exchange(&name, "direct")
    };
    let text = format!(
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in {}",
        resource(&name, t.vhost())
    );
    expect_declare_refused(&mut raw, declare, 406, text).await
}
