//! Types of queue, their arguments, and the order of the checks.

use leveret_protocol::method::queue;
use leveret_protocol::{TableBuf, Value};

use super::{Arguments, one, text};
use crate::failure::Failure;
use crate::profile::Variant;
use crate::raw::{Expected, Text, durable_queue};
use crate::registry::Follows;
use crate::trial::Trial;

variants! { TYPES: "QARG-10" {
    HAS_ALL_TYPES "has-all-types" "There are quorum queues and streams.";
    LACKS_TYPES "lacks-types" "A type that is known and not there ends the connection with 540.";
} }

variants! { LENT_ARGUMENTS: "QARG-12" {
    KEPT "kept" "A classic queue takes no delivery limit and no dead-letter strategy.";
    LENT "lent" "A classic queue takes a delivery limit and a dead-letter strategy.";
    LOCATOR_REFUSED "locator-refused" "A classic queue takes no x-queue-leader-locator.";
    LOCATOR_TAKEN "locator-taken" "A classic queue takes x-queue-leader-locator.";
} }

rules! {
    "QARG-10" classic [raw] "The type classic is an ordinary queue.";
    "QARG-10" other_types [raw, variants(&[TYPES])] "quorum and stream are known types.";
    "QARG-10" no_such_type [raw] "Any other type is refused.";
    "QARG-12" arguments_of_other_types [raw] "A classic queue refuses what only others know.";
    "QARG-12" arguments_that_may_be_lent [raw, variants(&[LENT_ARGUMENTS])]
        "… the delivery limit and the dead-letter strategy, too.";
    "QARG-12" leader_locator [raw, variants(&[LENT_ARGUMENTS])] "… x-queue-leader-locator as well.";
    "QARG-12" arguments_of_classic_queues [raw] "… and the others what only it knows.";
    "QARG-14" further_arguments [raw, quorum_queues, follows(Follows::V4), since((4, 3))]
        "From 4.3 quorum queues know when deliveries expire and returns are delayed …";
    "QARG-14" no_type [raw, follows(Follows::V4), since((4, 3))]
        "… and an empty or undefined type is the default one.";
    "QARG-15" order_of_checks [raw]
        "Dead-letter exchange, type, values, what the type knows, and last the properties.";
}

async fn classic(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let classic = one("x-queue-type", text("classic"));
    queue.expect_accepted(&classic).await
}

async fn further_arguments(t: &Trial) -> Result<(), Failure> {
    for (key, value) in [
        ("x-consumer-timeout", Value::I32(60_000)),
        ("x-delayed-retry-type", text("all")),
        ("x-delayed-retry-min", Value::I32(1000)),
        ("x-delayed-retry-max", Value::I32(2000)),
    ] {
        let mut queue = Arguments::of_queue(t).await?;
        let quorum = one("x-queue-type", text("quorum")).with(key, value);
        queue.expect_accepted(&quorum).await?;
        let classic = one("x-queue-type", text("classic")).with(key, value);
        queue.expect_refused(&classic, Text::contains(key)).await?;
    }
    Ok(())
}

async fn no_type(t: &Trial) -> Result<(), Failure> {
    for kind in ["", "undefined"] {
        let mut queue = Arguments::of_queue(t).await?;
        queue
            .expect_declared(&one("x-queue-type", text(kind)))
            .await?;
        queue.expect_declared(&TableBuf::new()).await?;
        queue.raw.delete_queue(1, &queue.queue).await?;
    }
    Ok(())
}

async fn other_types(t: &Trial) -> Result<(), Failure> {
    for kind in ["quorum", "stream"] {
        let mut queue = Arguments::of_queue(t).await?;
        let resource = queue.resource();
        let why = format!("NOT_IMPLEMENTED - queue type '{kind}' of {resource} is not available");
        let answers = [
            (HAS_ALL_TYPES, declared()),
            (
                LACKS_TYPES,
                Expected::connection_close(540, why, queue::Declare::ID),
            ),
        ];
        queue
            .expect_variant(&one("x-queue-type", text(kind)), &answers)
            .await?;
    }
    Ok(())
}

fn declared() -> Expected {
    Expected::method(1, queue::DeclareOk::ID)
}

async fn no_such_type(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-queue-type";
    for kind in ["nonsense", "Classic"] {
        let why = format!("\"unsupported queue type '{kind}'\"");
        queue.expect_invalid(key, text(kind), &why).await?;
    }
    let why = "{unacceptable_type,signedint}";
    queue.expect_invalid(key, Value::I32(1), why).await
}

/// Declares and is told that the argument is not one of this type of queue.
async fn expect_not_for_type(
    queue: &mut Arguments<'_>,
    arguments: &TableBuf,
    key: &str,
    module: &str,
) -> Result<(), Failure> {
    let text = not_for_type(queue, key, module);
    queue.expect_refused(arguments, text).await
}

fn not_for_type(queue: &Arguments<'_>, key: &str, module: &str) -> String {
    let resource = queue.resource();
    format!("PRECONDITION_FAILED - invalid arg '{key}' for {resource} of queue type {module}")
}

const CLASSIC: &str = "rabbit_classic_queue";

async fn arguments_of_other_types(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    for (key, value) in [
        ("x-quorum-initial-group-size", Value::I32(3)),
        ("x-max-in-memory-length", Value::I32(5)),
        ("x-max-age", text("1D")),
        ("x-stream-max-segment-size-bytes", Value::I32(5)),
        ("x-initial-cluster-size", Value::I32(3)),
    ] {
        expect_not_for_type(&mut queue, &one(key, value), key, CLASSIC).await?;
    }
    Ok(())
}

/// Declares a classic queue, which takes the argument or does not.
async fn expect_lent_or_kept(
    queue: &mut Arguments<'_>,
    (key, value): (&str, Value<'_>),
    (lent, kept): (Variant, Variant),
) -> Result<(), Failure> {
    let text = not_for_type(queue, key, CLASSIC);
    let refused = Expected::channel_close(1, 406, text, queue::Declare::ID);
    let answers = [(lent, declared()), (kept, refused)];
    queue
        .expect_variant(&one(key, value), &answers)
        .await
        .map(drop)
}

async fn arguments_that_may_be_lent(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    for argument in [
        ("x-delivery-limit", Value::I32(5)),
        ("x-dead-letter-strategy", text("at-least-once")),
    ] {
        expect_lent_or_kept(&mut queue, argument, (LENT, KEPT)).await?;
    }
    Ok(())
}

async fn leader_locator(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let argument = ("x-queue-leader-locator", text("client-local"));
    expect_lent_or_kept(&mut queue, argument, (LOCATOR_TAKEN, LOCATOR_REFUSED)).await
}

async fn arguments_of_classic_queues(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    for (kind, module, key, value) in [
        (
            "quorum",
            "rabbit_quorum_queue",
            "x-max-priority",
            Value::I32(5),
        ),
        (
            "quorum",
            "rabbit_quorum_queue",
            "x-queue-mode",
            text("lazy"),
        ),
        (
            "stream",
            "rabbit_stream_queue",
            "x-message-ttl",
            Value::I32(5),
        ),
        (
            "stream",
            "rabbit_stream_queue",
            "x-max-priority",
            Value::I32(5),
        ),
    ] {
        let arguments = one("x-queue-type", text(kind)).with(key, value);
        expect_not_for_type(&mut queue, &arguments, key, module).await?;
    }
    Ok(())
}

async fn order_of_checks(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let stranger = one("x-max-in-memory-length", Value::I32(5));
    let wrong_value = stranger.clone().with("x-message-ttl", Value::I32(-1));
    let wrong_type = wrong_value.clone().with("x-queue-type", text("nonsense"));
    let wrong_exchange = wrong_type
        .clone()
        .with("x-dead-letter-exchange", Value::I32(1));

    let resource = queue.resource();
    let refusal = format!(
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in \
         {resource}"
    );
    queue.expect_refused(&wrong_exchange, refusal).await?;
    let refusal = queue.invalid("x-queue-type", "\"unsupported queue type 'nonsense'\"");
    queue.expect_refused(&wrong_type, refusal).await?;
    let refusal = queue.invalid("x-message-ttl", "{value_negative,-1}");
    queue.expect_refused(&wrong_value, refusal).await?;
    expect_not_for_type(&mut queue, &stranger, "x-max-in-memory-length", CLASSIC).await?;
    expect_type_before_properties(&mut queue).await
}

/// A quorum queue that is not durable is wrong too, but less so than one with a priority.
async fn expect_type_before_properties(queue: &mut Arguments<'_>) -> Result<(), Failure> {
    let priority = one("x-queue-type", text("quorum")).with("x-max-priority", Value::I32(5));
    let transient = queue::Declare {
        durable: false,
        arguments: priority.view(),
        ..durable_queue(&queue.queue)
    };
    queue.raw.send_method(1, transient).await?;
    let refusal = format!(
        "PRECONDITION_FAILED - invalid arg 'x-max-priority' for {} of queue type \
         rabbit_quorum_queue",
        queue.resource()
    );
    queue
        .raw
        .expect_channel_close(1, 406, refusal, queue::Declare::ID)
        .await
}
