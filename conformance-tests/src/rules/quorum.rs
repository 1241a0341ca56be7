//! Quorum queues on one node.

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::profile::Variant;
use crate::raw::{Expected, Message, RawConnection, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("QQ", &[RULES]);

variants! { COUNT_OF_RETURNS: "QQ-03" {
    A_GET_TELLS_0 "get-tells-0" "A get tells x-delivery-count from 0 on.";
    ONCE_RETURNED "once-returned" "x-delivery-count is there once the message came back.";
} }

variants! { DEFAULT_LIMIT: "QQ-04" {
    NO_LIMIT "no-default-limit" "Without x-delivery-limit a message may come back for ever.";
    LIMIT_OF_20 "20-by-default" "Without x-delivery-limit a message may come back 20 times.";
} }

variants! {
    /// Also those of QOS-12.
    pub(super) GLOBAL_PREFETCH: "QQ-07" {
        GLOBAL_IS_REFUSED "refused" "A consumer on a channel with a limit ends the connection with 540.";
        GLOBAL_IS_PER_CONSUMER "per-consumer" "The channel's limit is one of each consumer.";
    }
}

rules! {
    "QQ-01" durable_shared_and_lasting [raw, quorum_queues]
        "A quorum queue is durable and neither exclusive nor auto-delete.";
    "QQ-02" not_server_named [raw, quorum_queues] "Its name is given by the client.";
    "QQ-03" deliveries_are_counted [raw, quorum_queues]
        "A delivery tells how often the message came back, once it has …";
    "QQ-03" gets_are_counted [raw, quorum_queues, variants(&[COUNT_OF_RETURNS])]
        "… and so does a get.";
    "QQ-04" dead_letters_above_the_limit [raw, quorum_queues]
        "What comes back once more than it may is dead-lettered …";
    "QQ-04" drops_above_the_limit [raw, quorum_queues] "… or dropped.";
    "QQ-04" limit_by_default [raw, quorum_queues, variants(&[DEFAULT_LIMIT])]
        "There may be a limit where none was asked for.";
    "QQ-04" a_lost_channel_counts [raw, quorum_queues] "A channel that ends returns, too.";
    "QQ-05" returns_to_the_head [raw, quorum_queues]
        "With a delivery limit, what comes back is delivered next.";
    "QQ-06" everything_is_persistent [raw, quorum_queues, restart]
        "Messages without delivery-mode 2 outlast a restart as well.";
    "QQ-06" counts_are_kept [raw, quorum_queues, restart]
        "… and so does how often a message came back.";
    "QQ-07" no_global_prefetch [raw, quorum_queues, variants(&[GLOBAL_PREFETCH]), also(&["QOS-12"])]
        "A channel with a limit of its own cannot consume.";
    "QQ-08" no_get_with_single_consumer [raw, quorum_queues, also(&["GET-09", "SAC-08"])]
        "With a single active consumer there is no get.";
    "QQ-09" deleted_without_conditions [raw, quorum_queues] "It is deleted without conditions.";
    "QQ-10" overflow_at_declaration [raw, quorum_queues] "Every x-overflow is accepted.";
    "QQ-10" arguments_of_clusters [raw, quorum_queues]
        "Arguments about members and memory are accepted.";
}

/// The type quorum and these arguments.
fn quorum(arguments: &[(&'static str, Value<'static>)]) -> Vec<(&'static str, Value<'static>)> {
    let kind = [("x-queue-type", Value::LongStr(b"quorum"))];
    kind.into_iter().chain(arguments.iter().copied()).collect()
}

/// A connection, and the name of a quorum queue with these arguments on its channel 1, which confirms.
async fn with_queue(
    t: &Trial,
    arguments: &[(&'static str, Value<'static>)],
) -> Result<(RawConnection, String), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue_with(1, &name, &quorum(arguments)).await?;
    raw.confirm_select(1).await?;
    Ok((raw, name))
}

/// Publishes these texts, which are in the queue when this returns.
async fn fill(raw: &mut RawConnection, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    raw.publish_all(1, queue, texts).await?;
    raw.await_confirms(1, 1, texts.len() as u64).await
}

fn count(message: &Message) -> Result<Option<i64>, Failure> {
    let properties = message.properties()?;
    let header = properties
        .headers
        .and_then(|headers| headers.get("x-delivery-count"));
    match header {
        None => Ok(None),
        Some(Value::I64(count)) => Ok(Some(count)),
        Some(other) => Err(Failure::expected("a long", format!("{other:?}"))),
    }
}

async fn durable_shared_and_lasting(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, arguments) = (t.name("q"), TableBuf::from_entries(quorum(&[])));
    let fits = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    let transient = queue::Declare {
        durable: false,
        ..fits
    };
    let exclusive = queue::Declare {
        exclusive: true,
        ..fits
    };
    let auto_delete = queue::Declare {
        auto_delete: true,
        ..fits
    };
    let all = queue::Declare {
        durable: false,
        exclusive: true,
        ..auto_delete
    };
    for (declare, property) in [
        (transient, "non-durable"),
        (exclusive, "exclusive-owner"),
        (auto_delete, "auto-delete"),
        (all, "auto-delete"),
    ] {
        raw.send_method(1, declare).await?;
        let vhost = t.vhost();
        let text = format!(
            "PRECONDITION_FAILED - invalid property '{property}' for queue '{name}' in vhost '{vhost}'"
        );
        raw.expect_channel_close(1, 406, text, queue::Declare::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    raw.declare(1, fits).await?;
    raw.delete_queue(1, &name).await.map(drop)
}

async fn not_server_named(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let arguments = TableBuf::from_entries(quorum(&[]));
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue("")
    };
    raw.send_method(1, declare).await?;
    let text =
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue";
    raw.expect_channel_close(1, 406, text, queue::Declare::ID)
        .await
}

async fn deliveries_are_counted(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a"]).await?;
    raw.consume(1, &name).await?;
    for returns in 0..3 {
        let message = raw.expect_delivery(1).await?;
        let told = (returns > 0).then_some(returns);
        expect_eq("x-delivery-count", count(&message)?, told)?;
        expect_eq("redelivered", message.redelivered, returns > 0)?;
        // Not by nack, which some brokers do not count (ACK-17).
        raw.reject(1, message.delivery_tag, true).await?;
    }
    Ok(())
}

async fn gets_are_counted(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a"]).await?;
    let first = raw.get_text(1, &name, "a").await?;
    let alternatives = [(A_GET_TELLS_0, Some(0)), (ONCE_RETURNED, None)];
    t.expect_variant_of("x-delivery-count", count(&first)?, &alternatives)?;
    raw.reject(1, first.delivery_tag, true).await?;
    raw.consume(1, &name).await?;
    let again = raw.expect_delivery(1).await?;
    expect_eq("x-delivery-count", count(&again)?, Some(1))
}

/// Returns the only message until it may not come back any more.
async fn return_twice(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    fill(raw, name, &["a"]).await?;
    raw.consume(1, name).await?;
    for returns in 0..2 {
        let message = raw.expect_delivery(1).await?;
        expect_eq("redelivered", message.redelivered, returns > 0)?;
        raw.reject(1, message.delivery_tag, true).await?;
    }
    Ok(())
}

/// More returns than any broker allows by default.
const MANY_RETURNS: usize = 24;

async fn limit_by_default(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a"]).await?;
    let mut deliveries = 0;
    while let Some(message) = raw.get(1, &name).await? {
        deliveries += 1;
        if deliveries > MANY_RETURNS {
            break;
        }
        raw.reject(1, message.delivery_tag, true).await?;
    }
    let alternatives = [(NO_LIMIT, MANY_RETURNS + 1), (LIMIT_OF_20, 21)];
    t.expect_variant_of("deliveries", deliveries, &alternatives)
        .map(drop)
}

async fn dead_letters_above_the_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, dead) = (t.name("q"), t.name("dead"));
    raw.declare_queue(1, &dead).await?;
    let key = Value::LongStr(dead.as_bytes());
    let arguments = TableBuf::from_entries([
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-delivery-limit", Value::I32(1)),
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", key),
    ]);
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    raw.declare(1, declare).await?;
    raw.confirm_select(1).await?;
    return_twice(&mut raw, &name).await?;
    raw.open_channel(2).await?;
    raw.consume(2, &dead).await?;
    let letter = raw.expect_delivery(2).await?;
    expect_eq("redelivered", letter.redelivered, false)?;
    let headers = letter.properties()?.headers.unwrap_or_default();
    let reason = headers.get("x-first-death-reason");
    expect_eq("reason", reason, Some(Value::LongStr(b"delivery_limit")))
}

async fn drops_above_the_limit(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[("x-delivery-limit", Value::I32(1))]).await?;
    return_twice(&mut raw, &name).await?;
    // What comes next is delivered next: the other one is gone.
    raw.open_channel(2).await?;
    raw.publish(2, "", &name, "b").await?;
    let next = raw.expect_delivery(1).await?;
    expect_eq("body", next.text(), "b")
}

async fn a_lost_channel_counts(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a"]).await?;
    raw.open_channel(2).await?;
    raw.consume(2, &name).await?;
    raw.expect_delivery(2).await?;
    raw.close_channel(2).await?;
    raw.consume(1, &name).await?;
    let again = raw.expect_delivery(1).await?;
    expect_eq("x-delivery-count", count(&again)?, Some(1))
}

async fn returns_to_the_head(t: &Trial) -> Result<(), Failure> {
    // Without a limit RabbitMQ, from 3.10 on, appends it as if it were new.
    let (mut raw, name) = with_queue(t, &[("x-delivery-limit", Value::I32(5))]).await?;
    fill(&mut raw, &name, &["a", "b", "c"]).await?;
    raw.prefetch(1, 2, false).await?;
    raw.consume(1, &name).await?;
    let first = raw.expect_delivery(1).await?;
    let second = raw.expect_delivery(1).await?;
    expect_eq("second body", second.text(), "b")?;
    raw.nack(1, second.delivery_tag, true).await?;
    let next = raw.expect_delivery(1).await?;
    expect_eq("what comes next", next.text(), "b")?;
    expect_eq("redelivered", next.redelivered, true)?;
    raw.ack(1, first.delivery_tag).await?;
    let last = raw.expect_delivery(1).await?;
    expect_eq("what comes last", last.text(), "c")
}

async fn everything_is_persistent(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a", "b"]).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.consume(1, &name).await?;
    for text in ["a", "b"] {
        let message = raw.expect_delivery(1).await?;
        expect_eq("body", message.text(), text)?;
        let mode = message.properties()?.delivery_mode;
        expect_eq("delivery-mode", mode, None)?;
        raw.ack(1, message.delivery_tag).await?;
    }
    Ok(())
}

async fn counts_are_kept(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    fill(&mut raw, &name, &["a"]).await?;
    raw.consume(1, &name).await?;
    let first = raw.expect_delivery(1).await?;
    raw.nack(1, first.delivery_tag, true).await?;
    let second = raw.expect_delivery(1).await?;
    expect_eq("x-delivery-count", count(&second)?, Some(1))?;
    // Closing the channel returns it once more. RabbitMQ counts ready messages of quorum queues late, so
    // nothing is asked about them.
    raw.close_channel(1).await?;
    t.restart().await?;
    let mut raw = t.raw().await?;
    raw.consume(1, &name).await?;
    let third = raw.expect_delivery(1).await?;
    expect_eq("x-delivery-count", count(&third)?, Some(2))?;
    expect_eq("redelivered", third.redelivered, true)
}

async fn no_global_prefetch(t: &Trial) -> Result<(), Failure> {
    let (mut raw, name) = with_queue(t, &[]).await?;
    raw.prefetch(1, 1, true).await?;
    let consume = basic::Consume {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, consume).await?;
    let answers = global_prefetch_answers(t, &name);
    raw.expect_variant(t, &answers).await.map(drop)
}

/// How a consumer of a quorum queue is answered on a channel that has a limit.
pub(super) fn global_prefetch_answers(t: &Trial, queue: &str) -> [(Variant, Expected); 2] {
    let text = format!(
        "NOT_IMPLEMENTED - queue '{queue}' in vhost '{}' does not support global qos",
        t.vhost()
    );
    let refused = Expected::connection_close(540, text, basic::Consume::ID);
    let consumes = Expected::method(1, basic::ConsumeOk::ID);
    [
        (GLOBAL_IS_REFUSED, refused),
        (GLOBAL_IS_PER_CONSUMER, consumes),
    ]
}

async fn no_get_with_single_consumer(t: &Trial) -> Result<(), Failure> {
    let single = ("x-single-active-consumer", Value::Bool(true));
    let (mut raw, name) = with_queue(t, &[single]).await?;
    let get = basic::Get {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' in vhost '{}'. basic.get \
         operations are not supported by quorum queues with single active consumer",
        t.vhost()
    );
    raw.expect_channel_close(1, 405, text, basic::Get::ID).await
}

async fn deleted_without_conditions(t: &Trial) -> Result<(), Failure> {
    for (if_unused, if_empty, flag) in [
        (true, false, "if-unused"),
        (false, true, "if-empty"),
        (true, true, "if-unused"),
    ] {
        let (mut raw, name) = with_queue(t, &[]).await?;
        let delete = queue::Delete {
            queue: name.as_str().into(),
            if_unused,
            if_empty,
            ..Default::default()
        };
        raw.send_method(1, delete).await?;
        let text = format!(
            "NOT_IMPLEMENTED - cannot delete queue '{name}' in vhost '{}'. queue.delete operations \
             with {flag} flag set are not supported by quorum queues",
            t.vhost()
        );
        raw.expect_connection_close(540, text, queue::Delete::ID)
            .await?;
        let mut raw = t.raw().await?;
        raw.delete_queue(1, &name).await?;
    }
    Ok(())
}

async fn overflow_at_declaration(t: &Trial) -> Result<(), Failure> {
    for overflow in ["drop-head", "reject-publish", "reject-publish-dlx"] {
        let overflow = ("x-overflow", Value::LongStr(overflow.as_bytes()));
        let (mut raw, name) = with_queue(t, &[overflow, ("x-max-length", Value::I32(5))]).await?;
        fill(&mut raw, &name, &["a"]).await?;
        raw.delete_queue(1, &name).await?;
    }
    Ok(())
}

async fn arguments_of_clusters(t: &Trial) -> Result<(), Failure> {
    for argument in [
        ("x-quorum-initial-group-size", Value::I32(1)),
        ("x-max-in-memory-length", Value::I32(5)),
        ("x-max-in-memory-bytes", Value::I32(5000)),
        ("x-queue-leader-locator", Value::LongStr(b"client-local")),
        ("x-dead-letter-strategy", Value::LongStr(b"at-least-once")),
    ] {
        let (mut raw, name) = with_queue(t, &[argument]).await?;
        fill(&mut raw, &name, &["a", "b"]).await?;
        raw.delete_queue(1, &name).await?;
    }
    Ok(())
}
