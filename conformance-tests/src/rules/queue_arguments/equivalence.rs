//! Which arguments are compared when a queue is declared again, and how.

use leveret_protocol::method::queue;
use leveret_protocol::{ArrayBuf, TableBuf, Value};

use super::{Arguments, one, text};
use crate::failure::Failure;
use crate::raw::{Expected, Handshake, RawConnection, Text, durable_queue};
use crate::trial::Trial;
variants! { ABSENT_TYPE: "QARG-30" {
    NONE_IS_COMPARED "absent-type-is-none" "A type is told to differ from none.";
    DEFAULT_IS_COMPARED "absent-type-is-default" "A type is told to differ from the vhost's default.";
} }

variants! { TYPES_OF_VHOSTS: "QARG-35" {
    VHOST_HAS_TYPE "vhosts-have-types" "A vhost's default type stands in for the absent one.";
    VHOST_HAS_NONE "vhosts-have-none" "Vhosts have no default type.";
} }

rules! {
    "QARG-30" known_arguments_are_compared [raw, variants(&[ABSENT_TYPE])]
        "Every argument that the type knows counts.";
    "QARG-30" modes_are_compared [raw] "… mode and version too.";
    "QARG-30" other_arguments_are_not [raw] "Arguments of other types do not count.";
    "QARG-31" values_not_tags [raw] "Equal numbers and equal bytes are equivalent.";
    "QARG-31" integers_and_doubles_differ [raw] "An integer and a double never are.";
    "QARG-32" both_values_are_told [raw] "A difference is told with both values.";
    "QARG-33" absence_is_told [raw] "If one is absent, the other is told with its type.";
    "QARG-33" names_of_types [raw] "Each type has its name.";
    "QARG-34" classic_is_the_default [raw] "No type and the type classic are equivalent.";
    "QARG-35" default_type_of_a_vhost [raw, fixtures, quorum_queues, variants(&[TYPES_OF_VHOSTS])]
        "A vhost may have another type for queues that are declared without one …";
    "QARG-35" default_type_that_does_not_fit [raw, fixtures, quorum_queues, variants(&[TYPES_OF_VHOSTS])]
        "… unless this type cannot be what the queue is to be.";
    "QARG-36" values_are_not_validated_again [raw] "A wrong value is merely different.";
}

/// Declares with the argument, once more with it, and then without it.
async fn expect_compared(
    queue: &mut Arguments<'_>,
    always: &TableBuf,
    key: &str,
    value: Value<'_>,
) -> Result<(), Failure> {
    let with = always.clone().with(key, value);
    queue.expect_declared(&with).await?;
    queue.expect_declared(&with).await?;
    let refusal = queue.inequivalent(key, "received none but current is the value ");
    queue.expect_refused(always, Text::starts(refusal)).await?;
    queue.raw.delete_queue(1, &queue.queue).await?;
    queue.expect_declared(always).await?;
    let refusal = Text::starts(queue.inequivalent(key, "received the value "));
    queue.expect_refused(&with, refusal).await?;
    queue.raw.delete_queue(1, &queue.queue).await.map(drop)
}

async fn known_arguments_are_compared(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let none = TableBuf::new();
    for (key, value) in [
        ("x-expires", Value::I32(60_000)),
        ("x-message-ttl", Value::I32(60_000)),
        ("x-dead-letter-exchange", text("amq.direct")),
        ("x-max-length", Value::I32(5)),
        ("x-max-length-bytes", Value::I32(5)),
        ("x-max-priority", Value::I32(5)),
        ("x-overflow", text("reject-publish")),
        ("x-single-active-consumer", Value::Bool(true)),
        ("x-queue-master-locator", text("client-local")),
    ] {
        expect_compared(&mut queue, &none, key, value).await?;
    }
    let exchange = one("x-dead-letter-exchange", text(""));
    let key = "x-dead-letter-routing-key";
    expect_compared(&mut queue, &exchange, key, text("k")).await?;
    queue.expect_declared(&none).await?;
    let none = "received the value 'quorum' of type 'longstr' but current is none";
    let default = "received 'quorum' but current is 'classic'";
    let differences = [(NONE_IS_COMPARED, none), (DEFAULT_IS_COMPARED, default)];
    let refusals = differences.map(|(variant, difference)| {
        let text = queue.inequivalent("x-queue-type", difference);
        (
            variant,
            Expected::channel_close(1, 406, text, queue::Declare::ID),
        )
    });
    queue
        .expect_variant(&one("x-queue-type", text("quorum")), &refusals)
        .await
        .map(drop)
}

async fn modes_are_compared(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let none = TableBuf::new();
    expect_compared(&mut queue, &none, "x-queue-mode", text("lazy")).await?;
    expect_compared(&mut queue, &none, "x-queue-version", Value::I32(2)).await
}

async fn other_arguments_are_not(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    queue.expect_declared(&TableBuf::new()).await?;
    let stranger = one("x-max-in-memory-length", Value::I32(5)).with("x-max-age", text("1D"));
    queue.expect_declared(&stranger).await
}

async fn values_not_tags(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let declared = one("x-max-length", Value::I32(100)).with("x-overflow", text("drop-head"));
    queue.expect_declared(&declared).await?;
    for number in [
        Value::I8(100),
        Value::U8(100),
        Value::I16(100),
        Value::U16(100),
        Value::U32(100),
        Value::I64(100),
    ] {
        let again = one("x-max-length", number).with("x-overflow", text("drop-head"));
        queue.expect_declared(&again).await?;
    }
    let bytes = Value::ByteArray(b"drop-head");
    let again = one("x-max-length", Value::I32(100)).with("x-overflow", bytes);
    queue.expect_declared(&again).await
}

async fn integers_and_doubles_differ(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-max-length";
    queue.expect_declared(&one(key, Value::I32(100))).await?;
    // How a double is printed is the business of its runtime.
    let refusal = Text::starts(queue.inequivalent(key, "received '"));
    let double = one(key, Value::F64(100.0));
    queue.expect_refused(&double, refusal).await
}

async fn both_values_are_told(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let declared = one("x-message-ttl", Value::I32(60_000)).with("x-overflow", text("drop-head"));
    queue.expect_declared(&declared).await?;
    let again = one("x-message-ttl", Value::I32(70_000)).with("x-overflow", text("drop-head"));
    let difference = "received '70000' but current is '60000'";
    let refusal = queue.inequivalent("x-message-ttl", difference);
    queue.expect_refused(&again, refusal).await?;
    let again = one("x-message-ttl", Value::I32(60_000)).with("x-overflow", text("reject-publish"));
    let difference = "received 'reject-publish' but current is 'drop-head'";
    let refusal = queue.inequivalent("x-overflow", difference);
    queue.expect_refused(&again, refusal).await
}

async fn absence_is_told(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let declared = one("x-message-ttl", Value::I32(60_000));
    queue.expect_declared(&declared).await?;
    let difference = "received none but current is the value '60000' of type 'signedint'";
    let refusal = queue.inequivalent("x-message-ttl", difference);
    queue.expect_refused(&TableBuf::new(), refusal).await?;
    let further = declared.with("x-overflow", text("drop-head"));
    let difference = "received the value 'drop-head' of type 'longstr' but current is none";
    let refusal = queue.inequivalent("x-overflow", difference);
    queue.expect_refused(&further, refusal).await
}

async fn names_of_types(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    queue.expect_declared(&TableBuf::new()).await?;
    let (table, array) = (
        one("k", Value::I32(1)),
        ArrayBuf::from_iter([Value::I32(1)]),
    );
    for (value, kind) in [
        (text("5"), "longstr"),
        (Value::I32(5), "signedint"),
        (Value::I64(5), "long"),
        (Value::I16(5), "short"),
        (Value::I8(5), "byte"),
        (Value::U8(5), "unsignedbyte"),
        (Value::U16(5), "unsignedshort"),
        (Value::U32(5), "unsignedint"),
        (Value::ByteArray(b"5"), "binary"),
    ] {
        let difference = format!("received the value '5' of type '{kind}' but current is none");
        let refusal = queue.inequivalent("x-max-length", &difference);
        queue
            .expect_refused(&one("x-max-length", value), refusal)
            .await?;
    }
    let decimal = Value::Decimal { scale: 0, bits: 5 };
    // How these values are printed is the business of the runtime that prints them.
    for (value, kind) in [
        (Value::Bool(true), "bool"),
        (Value::F64(5.0), "double"),
        (Value::F32(5.0), "float"),
        (decimal, "decimal"),
        (Value::Timestamp(5), "timestamp"),
        (Value::Table(table.view()), "table"),
        (Value::Array(array.view()), "array"),
        (Value::Void, "void"),
    ] {
        let refusal = Text::contains(format!("of type '{kind}' but current is none"));
        queue
            .expect_refused(&one("x-max-length", value), refusal)
            .await?;
    }
    Ok(())
}

async fn classic_is_the_default(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let (none, classic) = (TableBuf::new(), one("x-queue-type", text("classic")));
    for (first, second) in [(&none, &classic), (&classic, &none)] {
        queue.expect_declared(first).await?;
        queue.expect_declared(second).await?;
        queue.raw.delete_queue(1, &queue.queue).await?;
    }
    Ok(())
}

async fn values_are_not_validated_again(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let always = one("x-max-length", Value::I32(5)).with("x-overflow", text("drop-head"));
    queue.expect_declared(&always).await?;
    let negative = one("x-max-length", Value::I32(-1)).with("x-overflow", text("drop-head"));
    let difference = "received '-1' but current is '5'";
    let refusal = queue.inequivalent("x-max-length", difference);
    queue.expect_refused(&negative, refusal).await?;
    let nonsense = one("x-max-length", Value::I32(5)).with("x-overflow", text("nonsense"));
    let difference = "received 'nonsense' but current is 'drop-head'";
    let refusal = queue.inequivalent("x-overflow", difference);
    queue.expect_refused(&nonsense, refusal).await?;
    let number = always.with("x-dead-letter-exchange", Value::I32(1));
    let difference = "received the value '1' of type 'signedint' but current is none";
    let refusal = queue.inequivalent("x-dead-letter-exchange", difference);
    queue.expect_refused(&number, refusal).await
}

/// A vhost of the fixtures whose queues are quorum queues.
const QUORUM_VHOST: &str = "leveret-quorum";

async fn of_quorum_vhost(t: &Trial) -> Result<(RawConnection, String), Failure> {
    let handshake = Handshake {
        vhost: QUORUM_VHOST.to_owned(),
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    Ok((raw, t.name_in(QUORUM_VHOST, "q")))
}

/// Declares a queue without a type in a vhost whose default is quorum, and finds it to be of this type.
async fn expect_type(
    t: &Trial,
    raw: &mut RawConnection,
    declare: queue::Declare<'_>,
    is_quorum: bool,
) -> Result<(), Failure> {
    raw.declare(1, declare).await?;
    let refused = |difference: &str| {
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{}' in vhost \
             '{QUORUM_VHOST}': {difference}",
            declare.queue.to_text()
        );
        Expected::channel_close(1, 406, text, queue::Declare::ID)
    };
    let none = refused("received the value 'quorum' of type 'longstr' but current is none");
    let default = match is_quorum {
        true => Expected::method(1, queue::DeclareOk::ID),
        false => refused("received 'quorum' but current is 'classic'"),
    };
    let quorum = one("x-queue-type", text("quorum"));
    raw.send_method(1, with(declare, &quorum)).await?;
    let answers = [(VHOST_HAS_TYPE, default), (VHOST_HAS_NONE, none)];
    if raw.expect_variant(t, &answers).await? == VHOST_HAS_NONE {
        return Ok(());
    }
    let classic = one("x-queue-type", text("classic"));
    if !is_quorum {
        raw.open_channel(1).await?;
        return raw.declare(1, with(declare, &classic)).await.map(drop);
    }
    raw.send_method(1, with(declare, &classic)).await?;
    let different = refused("received 'classic' but current is 'quorum'");
    raw.expect_any_of(&[different]).await.map(drop)
}

fn with<'d>(declare: queue::Declare<'d>, arguments: &'d TableBuf) -> queue::Declare<'d> {
    queue::Declare {
        arguments: arguments.view(),
        ..declare
    }
}

async fn default_type_of_a_vhost(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = of_quorum_vhost(t).await?;
    expect_type(t, &mut raw, durable_queue(&name), true).await
}

async fn default_type_that_does_not_fit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = of_quorum_vhost(t).await?;
    let auto_delete = queue::Declare {
        auto_delete: true,
        ..durable_queue(&name)
    };
    expect_type(t, &mut raw, auto_delete, false).await
}
