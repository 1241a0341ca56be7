//! Policies: settings that an operator gives to queues and exchanges by their names.

use std::time::Duration;

use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::operator::{PolicyOrder, Setting};
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("POL", &[RULES]);

rules! {
    "POL-01" living_queue [raw, operator]
        "A policy applies to queues that are there, and is taken back.";
    "POL-01" new_queue [raw, operator] "… and to those that are declared later.";
    "POL-01" highest_priority [raw, operator] "Only one applies: that of the highest priority.";
    "POL-01" kinds_of_objects [raw, operator] "It applies to nothing but what it is for.";
    "POL-02" smallest_limit [raw, operator, also(&["LEN-10"])] "The smaller limit counts.";
    "POL-02" operators_limit [raw, operator] "An operator policy limits what a policy allows.";
    "POL-02" smallest_ttl [raw, operator, also(&["LEN-10"])] "So does the smaller TTL.";
    "POL-02" dead_letters_by_policy [raw, operator, also(&["DLX-24"])] "It gives an exchange …";
    "POL-02" dead_letters_by_argument [raw, operator, also(&["DLX-24"])]
        "… which an argument overrides.";
    "POL-02" overflow_by_argument [raw, operator] "An argument decides what happens above a limit.";
    "POL-02" alternate_by_policy [raw, operator, also(&["AE-07"])] "It gives an alternate …";
    "POL-02" alternate_by_argument [raw, operator, also(&["AE-07"])]
        "… which an argument overrides.";
    "POL-03" not_part_of_the_declaration [raw, operator] "A policy does not show on redeclaration.";
    "POL-04" lower_limit [raw, operator] "A limit that becomes lower holds at once.";
    "POL-04" later_ttl [raw, operator] "A time to live is for messages that come later.";
    "POL-04" later_expiry [raw, operator] "An unused queue that gets an expiry goes.";
}

/// How long a queue may take to do what is due.
const SOON: Duration = Duration::from_millis(1500);

fn limit(t: &Trial, suffix: &str, names: &str, messages: i64) -> PolicyOrder {
    t.policy(suffix, names, &[("max-length", messages.into())])
}

/// Publishes a text and waits until the broker answers for it.
async fn publish_to(
    raw: &mut RawConnection,
    exchange: &str,
    routing_key: &str,
    text: &str,
) -> Result<(), Failure> {
    raw.publish(1, exchange, routing_key, text).await?;
    raw.expect_confirm(1).await.map(drop)
}

/// Publishes texts to a queue, one after the other.
async fn publish(raw: &mut RawConnection, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    for text in texts {
        publish_to(raw, "", queue, text).await?;
    }
    Ok(())
}

async fn expect_texts(raw: &mut RawConnection, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    for text in texts {
        raw.take_text(1, queue, text).await?;
    }
    raw.expect_empty(1, queue).await
}

/// A connection whose channel 1 has publisher confirms.
async fn confirming(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    Ok(raw)
}

async fn living_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    let policy = limit(t, "p", &name, 1);
    t.set_policy(policy.clone()).await?;
    publish(&mut raw, &name, &["a", "b"]).await?;
    expect_texts(&mut raw, &name, &["b"]).await?;
    t.clear_policy(&policy.name).await?;
    publish(&mut raw, &name, &["c", "d"]).await?;
    expect_texts(&mut raw, &name, &["c", "d"]).await
}

async fn new_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    t.set_policy(limit(t, "p", &name, 1)).await?;
    raw.declare_queue(1, &name).await?;
    publish(&mut raw, &name, &["a", "b"]).await?;
    expect_texts(&mut raw, &name, &["b"]).await
}

async fn highest_priority(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    t.set_policy(limit(t, "low", &name, 1)).await?;
    let high = t.policy("high", &name, &[("max-length-bytes", 2.into())]);
    let high = PolicyOrder {
        priority: 1,
        ..high
    };
    t.set_policy(high.clone()).await?;
    publish(&mut raw, &name, &["a", "b", "c"]).await?;
    expect_texts(&mut raw, &name, &["b", "c"]).await?;
    t.clear_policy(&high.name).await?;
    publish(&mut raw, &name, &["d", "e"]).await?;
    expect_texts(&mut raw, &name, &["e"]).await
}

async fn kinds_of_objects(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (name, other) = (t.name("q"), t.name("other"));
    raw.declare_queue(1, &name).await?;
    raw.declare_queue(1, &other).await?;
    let of_exchanges = PolicyOrder {
        apply_to: "exchanges",
        priority: 1,
        ..limit(t, "exchanges", &name, 1)
    };
    t.set_policy(of_exchanges).await?;
    let of_queues = PolicyOrder {
        apply_to: "queues",
        ..limit(t, "queues", &name, 2)
    };
    t.set_policy(of_queues).await?;
    for (name, left) in [(&name, &["b", "c"][..]), (&other, &["a", "b", "c"])] {
        publish(&mut raw, name, &["a", "b", "c"]).await?;
        expect_texts(&mut raw, name, left).await?;
    }
    Ok(())
}

async fn smallest_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    let arguments = [("x-max-length", Value::I32(2))];
    raw.declare_queue_with(1, &name, &arguments).await?;
    for (messages, left) in [(1, &["c"][..]), (3, &["b", "c"])] {
        t.set_policy(limit(t, "p", &name, messages)).await?;
        publish(&mut raw, &name, &["a", "b", "c"]).await?;
        expect_texts(&mut raw, &name, left).await?;
    }
    Ok(())
}

async fn operators_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    t.set_policy(limit(t, "p", &name, 3)).await?;
    let mut operators = limit(t, "p", &name, 2);
    operators.name.is_operators = true;
    t.set_policy(operators).await?;
    publish(&mut raw, &name, &["a", "b", "c", "d"]).await?;
    expect_texts(&mut raw, &name, &["c", "d"]).await?;
    t.set_policy(limit(t, "p", &name, 1)).await?;
    publish(&mut raw, &name, &["a", "b"]).await?;
    expect_texts(&mut raw, &name, &["b"]).await
}

async fn smallest_ttl(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    let arguments = [("x-message-ttl", Value::I32(60_000))];
    raw.declare_queue_with(1, &name, &arguments).await?;
    let ttl = t.policy("p", &name, &[("message-ttl", 100.into())]);
    t.set_policy(ttl).await?;
    publish(&mut raw, &name, &["a"]).await?;
    tokio::time::sleep(SOON).await;
    raw.expect_empty(1, &name).await
}

/// Rejects the message that is published now.
async fn die(raw: &mut RawConnection, queue: &str, text: &str) -> Result<(), Failure> {
    publish(raw, queue, &[text]).await?;
    let got = raw.get(1, queue).await?;
    let got = got.ok_or_else(|| Failure::expected(text, "get-empty"))?;
    let reject = basic::Reject {
        delivery_tag: got.delivery_tag,
        requeue: false,
    };
    raw.send_method(1, reject).await?;
    raw.barrier(1).await
}

/// Waits until the text has come; a dead letter takes its way by itself.
async fn await_text(raw: &mut RawConnection, queue: &str, text: &str) -> Result<(), Failure> {
    let until = tokio::time::Instant::now() + SOON;
    while raw.inspect_queue(1, queue).await?.message_count == 0 {
        if tokio::time::Instant::now() > until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    expect_texts(raw, queue, &[text]).await
}

/// Dead letters to a queue, through the default exchange.
fn dead_to(to: &str) -> [(&'static str, Setting); 2] {
    [
        ("dead-letter-exchange", "".into()),
        ("dead-letter-routing-key", to.into()),
    ]
}

async fn dead_letters_by_policy(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (from, to) = (t.name("from"), t.name("to"));
    raw.declare_queue(1, &from).await?;
    raw.declare_queue(1, &to).await?;
    let policy = t.policy("p", &from, &dead_to(&to));
    t.set_policy(policy.clone()).await?;
    die(&mut raw, &from, "a").await?;
    await_text(&mut raw, &to, "a").await?;
    t.clear_policy(&policy.name).await?;
    die(&mut raw, &from, "b").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    raw.expect_empty(1, &to).await
}

async fn dead_letters_by_argument(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (from, to, other) = (t.name("from"), t.name("to"), t.name("other"));
    raw.declare_queue(1, &to).await?;
    raw.declare_queue(1, &other).await?;
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(to.as_bytes())),
    ];
    raw.declare_queue_with(1, &from, &arguments).await?;
    t.set_policy(t.policy("p", &from, &dead_to(&other))).await?;
    die(&mut raw, &from, "a").await?;
    await_text(&mut raw, &to, "a").await?;
    raw.expect_empty(1, &other).await
}

async fn overflow_by_argument(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (argued, plain) = (t.name("q-argued"), t.name("q-plain"));
    let arguments = [("x-overflow", Value::LongStr(b"drop-head"))];
    raw.declare_queue_with(1, &argued, &arguments).await?;
    raw.declare_queue(1, &plain).await?;
    let names = argued.trim_end_matches("argued");
    let settings = [
        ("max-length", 1.into()),
        ("overflow", "reject-publish".into()),
    ];
    t.set_policy(t.policy("p", names, &settings)).await?;
    publish(&mut raw, &argued, &["a", "b"]).await?;
    expect_texts(&mut raw, &argued, &["b"]).await?;
    publish(&mut raw, &plain, &["a"]).await?;
    raw.publish(1, "", &plain, "b").await?;
    raw.expect(1, basic::Nack::ID).await?;
    expect_texts(&mut raw, &plain, &["a"]).await
}

/// An exchange that nothing is bound to.
async fn declare_unbound(
    raw: &mut RawConnection,
    name: &str,
    arguments: &TableBuf,
) -> Result<(), Failure> {
    let declare = exchange::Declare {
        arguments: arguments.view(),
        ..transient_exchange(name, "direct")
    };
    raw.declare_exchange(1, declare).await
}

/// A queue behind a fanout exchange of its name.
async fn declare_behind_fanout(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    raw.declare_queue(1, name).await?;
    raw.declare_exchange(1, transient_exchange(name, "fanout"))
        .await?;
    raw.bind(1, name, name, "").await
}

async fn alternate_by_policy(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (from, to) = (t.name("from"), t.name("to"));
    declare_unbound(&mut raw, &from, &TableBuf::new()).await?;
    declare_behind_fanout(&mut raw, &to).await?;
    let policy = t.policy("p", &from, &[("alternate-exchange", to.as_str().into())]);
    t.set_policy(policy.clone()).await?;
    publish_to(&mut raw, &from, "k", "a").await?;
    expect_texts(&mut raw, &to, &["a"]).await?;
    t.clear_policy(&policy.name).await?;
    publish_to(&mut raw, &from, "k", "b").await?;
    raw.expect_empty(1, &to).await
}

async fn alternate_by_argument(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let (from, to, other) = (t.name("from"), t.name("to"), t.name("other"));
    let argument = Value::LongStr(to.as_bytes());
    let arguments = TableBuf::new().with("alternate-exchange", argument);
    declare_unbound(&mut raw, &from, &arguments).await?;
    declare_behind_fanout(&mut raw, &to).await?;
    declare_behind_fanout(&mut raw, &other).await?;
    let policy = t.policy("p", &from, &[("alternate-exchange", other.as_str().into())]);
    t.set_policy(policy).await?;
    publish_to(&mut raw, &from, "k", "a").await?;
    expect_texts(&mut raw, &to, &["a"]).await?;
    raw.expect_empty(1, &other).await
}

async fn not_part_of_the_declaration(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let arguments = [("x-max-length", Value::I32(2))];
    raw.declare_queue_with(1, &name, &arguments).await?;
    let settings = [("max-length", 1.into()), ("expires", 60_000.into())];
    t.set_policy(t.policy("p", &name, &settings)).await?;
    raw.declare_queue_with(1, &name, &arguments).await?;
    let as_the_policy_has_it = TableBuf::new().with("x-max-length", Value::I32(1));
    let declare = queue::Declare {
        arguments: as_the_policy_has_it.view(),
        ..durable_queue(&name)
    };
    raw.send_method(1, declare).await?;
    let text = format!(
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}' in vhost '{}': \
         received '1' but current is '2'",
        t.vhost()
    );
    raw.expect_channel_close(1, 406, text, queue::Declare::ID)
        .await
}

async fn lower_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    publish(&mut raw, &name, &["a", "b", "c"]).await?;
    t.set_policy(limit(t, "p", &name, 2)).await?;
    expect_eq(
        "messages",
        raw.inspect_queue(1, &name).await?.message_count,
        2,
    )?;
    t.set_policy(limit(t, "p", &name, 1)).await?;
    expect_texts(&mut raw, &name, &["c"]).await
}

async fn later_ttl(t: &Trial) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    publish(&mut raw, &name, &["old"]).await?;
    let ttl = t.policy("p", &name, &[("message-ttl", 100.into())]);
    t.set_policy(ttl.clone()).await?;
    publish(&mut raw, &name, &["new"]).await?;
    tokio::time::sleep(SOON).await;
    expect_eq(
        "messages",
        raw.inspect_queue(1, &name).await?.message_count,
        2,
    )?;
    // What was published while it held keeps its deadline when it is taken back.
    t.clear_policy(&ttl.name).await?;
    expect_texts(&mut raw, &name, &["old"]).await
}

async fn later_expiry(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    t.set_policy(t.policy("p", &name, &[("expires", 500.into())]))
        .await?;
    tokio::time::sleep(2 * SOON).await;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue(&name)
    };
    raw.send_method(1, passive).await?;
    let text = format!("NOT_FOUND - no queue '{name}' in vhost '{}'", t.vhost());
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await
}
