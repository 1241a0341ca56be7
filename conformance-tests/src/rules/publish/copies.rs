//! The headers CC and BCC: further routing keys.

use leveret_protocol::{ArrayBuf, Properties, Table, TableBuf, Value};

use super::{expect_refused, to};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

rules! {
    "PUB-08" copies_are_arrays [raw] "CC and BCC must be arrays.";
    "PUB-08" other_elements_are_ignored [raw] "Only long strings in them are keys.";
    "PUB-08" upper_case_only [raw] "Only the upper-case names mean something.";
    "PUB-09" on_the_default_exchange [raw] "They are further keys on the default exchange,";
    "PUB-09" on_a_direct_exchange [raw] "… on a direct one,";
    "PUB-09" on_a_topic_exchange [raw] "… and on a topic one.";
    "PUB-09" not_on_a_headers_exchange [raw] "A headers exchange ignores them.";
    "PUB-10" blind_ones_are_removed [raw] "BCC is taken out, CC stays, the routing key too.";
    "PUB-10" one_copy_each [raw] "A queue that is reached twice gets one copy.";
}

fn with_headers(headers: Table<'_>) -> Properties<'_> {
    Properties {
        headers: Some(headers),
        ..Default::default()
    }
}

fn keys(keys: &[&str]) -> ArrayBuf {
    keys.iter()
        .map(|key| Value::LongStr(key.as_bytes()))
        .collect()
}

/// Headers with these keys as CC and as BCC.
fn copies(cc: &[&str], bcc: &[&str]) -> TableBuf {
    TableBuf::new()
        .with("CC", Value::Array(keys(cc).view()))
        .with("BCC", Value::Array(keys(bcc).view()))
}

async fn copies_are_arrays(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let wrong = [
        (Value::LongStr(b"key"), "longstr"),
        (Value::I32(1), "signedint"),
        (Value::Bool(true), "bool"),
    ];
    for name in ["CC", "BCC"] {
        for (value, kind) in wrong {
            let headers = TableBuf::new().with(name, value);
            let text = format!(
                "PRECONDITION_FAILED - invalid message: \
                 {{unacceptable_type_in_header,\"{name}\",{kind}}}"
            );
            let properties = with_headers(headers.view());
            expect_refused(&mut raw, to("", "nowhere"), properties, 406, text).await?;
        }
    }
    Ok(())
}

async fn declare_queues<const N: usize>(
    t: &Trial,
    raw: &mut RawConnection,
    suffixes: [&str; N],
) -> Result<[String; N], Failure> {
    let names = suffixes.map(|suffix| t.name(suffix));
    for name in &names {
        raw.declare_queue(1, name).await?;
    }
    Ok(names)
}

async fn other_elements_are_ignored(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let [own, copy] = declare_queues(t, &mut raw, ["own", "copy"]).await?;
    let nested = keys(&["nested"]);
    let mixed: ArrayBuf = [
        Value::I32(5),
        Value::Void,
        Value::Array(nested.view()),
        Value::LongStr(copy.as_bytes()),
    ]
    .into_iter()
    .collect();
    let headers = TableBuf::new().with("CC", Value::Array(mixed.view()));
    let properties = with_headers(headers.view());
    raw.publish_with(1, to("", &own), properties, b"copied")
        .await?;
    raw.take_text(1, &own, "copied").await?;
    let message = raw.take_text(1, &copy, "copied").await?;
    expect_eq("properties", message.properties()?, properties)
}

async fn upper_case_only(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let [own, copy] = declare_queues(t, &mut raw, ["own", "copy"]).await?;
    let array = keys(&[&copy]);
    let headers = TableBuf::new()
        .with("cc", Value::Array(array.view()))
        .with("Bcc", Value::Array(array.view()))
        .with("bcc", Value::LongStr(b"no array"));
    let properties = with_headers(headers.view());
    raw.publish_with(1, to("", &own), properties, b"not copied")
        .await?;
    let message = raw.take_text(1, &own, "not copied").await?;
    expect_eq("properties", message.properties()?, properties)?;
    raw.expect_empty(1, &copy).await
}

async fn on_the_default_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queues = declare_queues(t, &mut raw, ["own", "cc-1", "cc-2", "bcc"]).await?;
    let [own, first, second, blind] = &queues;
    let headers = copies(&[first, second], &[blind]);
    let properties = with_headers(headers.view());
    raw.publish_with(1, to("", own), properties, b"copied")
        .await?;
    for queue in &queues {
        raw.take_text(1, queue, "copied").await?;
        raw.expect_empty(1, queue).await?;
    }
    // The further keys are enough for a message whose own key leads nowhere.
    raw.publish_with(1, to("", &t.name("missing")), properties, b"only copies")
        .await?;
    raw.expect_empty(1, own).await?;
    for queue in [first, second, blind] {
        raw.take_text(1, queue, "only copies").await?;
    }
    Ok(())
}

/// Publishes with keys that two of three bindings of an exchange of this type match.
async fn expect_copies_on(
    t: &Trial,
    kind: &str,
    bindings: [&str; 3],
    keys: [&str; 2],
) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let exchange = t.name("x");
    raw.declare_exchange(1, transient_exchange(&exchange, kind))
        .await?;
    let queues = declare_queues(t, &mut raw, ["cc", "bcc", "neither"]).await?;
    for (queue, key) in queues.iter().zip(bindings) {
        raw.bind(1, queue, &exchange, key).await?;
    }
    let headers = copies(&keys[..1], &keys[1..]);
    let publish = to(&exchange, "own.key");
    raw.publish_with(1, publish, with_headers(headers.view()), b"copied")
        .await?;
    let [visible, blind, neither] = &queues;
    for queue in [visible, blind] {
        let message = raw.take_text(1, queue, "copied").await?;
        expect_eq("routing key", message.routing_key.as_str(), "own.key")?;
    }
    raw.expect_empty(1, neither).await
}

async fn on_a_direct_exchange(t: &Trial) -> Result<(), Failure> {
    expect_copies_on(t, "direct", ["cc", "bcc", "neither"], ["cc", "bcc"]).await
}

async fn on_a_topic_exchange(t: &Trial) -> Result<(), Failure> {
    let bindings = ["copy.*", "#.blind", "neither.#"];
    expect_copies_on(t, "topic", bindings, ["copy.visible", "very.very.blind"]).await
}

async fn not_on_a_headers_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let exchange = t.name("x");
    raw.declare_exchange(1, transient_exchange(&exchange, "headers"))
        .await?;
    let [matching, other] = declare_queues(t, &mut raw, ["matching", "other"]).await?;
    for (queue, number) in [(&matching, 1), (&other, 2)] {
        let arguments = TableBuf::new().with("number", Value::I32(number));
        let bind = leveret_protocol::method::queue::Bind {
            queue: queue.as_str().into(),
            exchange: exchange.as_str().into(),
            routing_key: queue.as_str().into(),
            arguments: arguments.view(),
            ..Default::default()
        };
        let reply = leveret_protocol::method::queue::BindOk::ID;
        raw.call(1, bind, reply).await?;
    }
    let headers = copies(&[&other], &[&other]).with("number", Value::I32(1));
    let properties = with_headers(headers.view());
    raw.publish_with(1, to(&exchange, &other), properties, b"by headers")
        .await?;
    raw.take_text(1, &matching, "by headers").await?;
    raw.expect_empty(1, &other).await
}

async fn blind_ones_are_removed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queues = declare_queues(t, &mut raw, ["own", "cc", "bcc"]).await?;
    let [own, visible, blind] = &queues;
    let headers = copies(&[visible], &[blind]).with("other", Value::I32(1));
    let cc = keys(&[visible]);
    let left = TableBuf::new()
        .with("CC", Value::Array(cc.view()))
        .with("other", Value::I32(1));
    raw.publish_with(1, to("", own), with_headers(headers.view()), b"copied")
        .await?;
    for queue in &queues {
        let message = raw.take_text(1, queue, "copied").await?;
        expect_eq("routing key", &message.routing_key, own)?;
        let came = message.properties()?;
        expect_eq("properties", came, with_headers(left.view()))?;
    }
    Ok(())
}

async fn one_copy_each(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let [own, copy] = declare_queues(t, &mut raw, ["own", "copy"]).await?;
    let headers = copies(&[&own, &copy, &copy], &[&copy, &own]);
    raw.publish_with(1, to("", &own), with_headers(headers.view()), b"once")
        .await?;
    for queue in [&own, &copy] {
        raw.take_text(1, queue, "once").await?;
        raw.expect_empty(1, queue).await?;
    }
    Ok(())
}
