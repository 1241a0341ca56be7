//! Where dead letters go, and what is asked on the way.

use leveret_protocol::method::{basic, exchange, queue};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::{DeadLettering, declare_leading_to, headers_of};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection, Text, durable_queue, transient_exchange};
use crate::trial::Trial;

rules! {
    "DLX-03" key_of_the_queue [raw, also(&["DLX-05"])] "Dead letters go out with the queue's key …";
    "DLX-03" keys_of_the_message [raw, also(&["DLX-05"])] "… or with all that the message had.";
    "DLX-04" cc_goes_with_a_key [raw] "With a key of the queue's the header CC is taken off …";
    "DLX-04" cc_stays_without [raw] "… and without one it stays.";
    "DLX-16" missing_exchange [raw] "Without the exchange the message is dropped silently …";
    "DLX-16" unroutable [raw] "… as it is where the exchange routes nowhere.";
    "DLX-21" default_exchange [raw] "The exchange may be the default one …";
    "DLX-21" internal_exchange [raw] "… or an internal one …";
    "DLX-21" headers_exchange [raw] "… or one that looks at the headers, x-death among them.";
    "DLX-22" target_refuses [raw]
        "The message leaves its queue whether or not the target takes it.";
    "DLX-23" nobody_is_asked [raw, fixtures] "Nobody needs permission when a message dies …";
    "DLX-23" asked_at_declare [raw, fixtures, also(&["QARG-15"])]
        "… but the declarer of its queue did.";
}

async fn key_of_the_queue(t: &Trial) -> Result<(), Failure> {
    let key = ("x-dead-letter-routing-key", Value::LongStr(b"the queue's"));
    let mut letters = DeadLettering::with(t, &[key]).await?;
    let message = letters.reject(Properties::default()).await?;
    let origin = (message.exchange.as_str(), message.routing_key.as_str());
    let expected = (letters.dlx.as_str(), "the queue's");
    expect_eq("exchange and key", origin, expected)
}

/// Publishes with a key and two more in CC and BCC, and rejects.
async fn reject_with_copies(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let cc = ArrayBuf::from_iter([Value::LongStr(b"copy")]);
    let bcc = ArrayBuf::from_iter([Value::LongStr(b"blind")]);
    let headers = TableBuf::new()
        .with("CC", Value::Array(cc.view()))
        .with("BCC", Value::Array(bcc.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    raw.publish_message(1, ("", queue), properties, "m").await?;
    let message = raw.get_text(1, queue, "m").await?;
    raw.reject(1, message.delivery_tag, false).await
}

async fn keys_of_the_message(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let (source, direct) = (letters.source.clone(), t.name("direct"));
    let raw = &mut letters.raw;
    raw.declare_exchange(1, transient_exchange(&direct, "direct"))
        .await?;
    raw.bind_exchange(1, &direct, &letters.dlx, "").await?;
    let sinks = [
        (t.name("own"), source.as_str()),
        (t.name("copy"), "copy"),
        (t.name("blind"), "blind"),
    ];
    let mut readers = Vec::new();
    for (sink, key) in &sinks {
        raw.declare_queue(1, sink).await?;
        raw.bind(1, sink, &direct, key).await?;
        let mut reader = t.raw().await?;
        reader.consume_no_ack(1, sink).await?;
        readers.push(reader);
    }
    reject_with_copies(raw, &source).await?;
    for reader in &mut readers {
        let message = reader.expect_delivery(1).await?;
        let origin = (message.exchange, message.routing_key);
        let expected = (letters.dlx.clone(), source.clone());
        expect_eq("exchange and key", origin, expected)?;
    }
    Ok(())
}

fn has_cc(message: &Message) -> Result<bool, Failure> {
    Ok(headers_of(message)?.view().get("CC").is_some())
}

async fn cc_goes_with_a_key(t: &Trial) -> Result<(), Failure> {
    let key = ("x-dead-letter-routing-key", Value::LongStr(b"key"));
    let mut letters = DeadLettering::with(t, &[key]).await?;
    let source = letters.source.clone();
    reject_with_copies(&mut letters.raw, &source).await?;
    let message = letters.next().await?;
    expect_eq("whether there is a header CC", has_cc(&message)?, false)
}

async fn cc_stays_without(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    reject_with_copies(&mut letters.raw, &source).await?;
    let message = letters.next().await?;
    expect_eq("whether there is a header CC", has_cc(&message)?, true)
}

/// Publishes and rejects; when this is done the queue has let go of the message, and nothing was returned.
async fn reject_mandatory(raw: &mut RawConnection, queue: &str, text: &str) -> Result<(), Failure> {
    raw.publish_mandatory(1, "", queue, text).await?;
    let message = raw.get_text(1, queue, text).await?;
    raw.reject(1, message.delivery_tag, false).await?;
    raw.expect_empty(1, queue).await?;
    raw.barrier(1).await
}

async fn missing_exchange(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let (source, dlx) = (letters.source.clone(), letters.dlx.clone());
    letters.raw.delete_exchange(1, &dlx).await?;
    reject_mandatory(&mut letters.raw, &source, "dropped").await?;
    let raw = &mut letters.raw;
    raw.declare_exchange(1, transient_exchange(&dlx, "fanout"))
        .await?;
    raw.bind(1, &letters.sink, &dlx, "").await?;
    reject_mandatory(raw, &source, "arrives").await?;
    letters.next_text("arrives").await.map(drop)
}

async fn unroutable(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let (source, dlx, sink) = (
        letters.source.clone(),
        letters.dlx.clone(),
        letters.sink.clone(),
    );
    letters.raw.unbind(1, &sink, &dlx, "").await?;
    reject_mandatory(&mut letters.raw, &source, "dropped").await?;
    letters.raw.bind(1, &sink, &dlx, "").await?;
    reject_mandatory(&mut letters.raw, &source, "arrives").await?;
    letters.next_text("arrives").await.map(drop)
}

async fn default_exchange(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut dead) = (t.raw().await?, t.raw().await?);
    let (source, sink) = (t.name("source"), t.name("sink"));
    raw.declare_queue(1, &sink).await?;
    declare_leading_to(&mut raw, &source, &sink, &[]).await?;
    dead.consume_no_ack(1, &sink).await?;
    reject_mandatory(&mut raw, &source, "m").await?;
    let message = dead.expect_delivery(1).await?;
    let origin = (message.exchange.as_str(), message.routing_key.as_str());
    expect_eq("exchange and key", origin, ("", sink.as_str()))
}

/// Puts an exchange between the queue and the sink that is not fed otherwise.
async fn through(
    letters: &mut DeadLettering,
    declare: exchange::Declare<'_>,
    bound_with: &TableBuf,
) -> Result<(), Failure> {
    let (dlx, sink) = (letters.dlx.clone(), letters.sink.clone());
    let raw = &mut letters.raw;
    raw.delete_exchange(1, &dlx).await?;
    raw.declare_exchange(1, declare).await?;
    let bind = queue::Bind {
        queue: sink.as_str().into(),
        exchange: dlx.as_str().into(),
        arguments: bound_with.view(),
        ..Default::default()
    };
    raw.call(1, bind, queue::BindOk::ID).await.map(drop)
}

async fn internal_exchange(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let dlx = letters.dlx.clone();
    let internal = exchange::Declare {
        internal: true,
        ..transient_exchange(&dlx, "fanout")
    };
    through(&mut letters, internal, &TableBuf::new()).await?;
    letters.reject(Properties::default()).await.map(drop)
}

async fn headers_exchange(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let dlx = letters.dlx.clone();
    let bound_with = TableBuf::new()
        .with("x-match", Value::LongStr(b"all-with-x"))
        .with("x-first-death-reason", Value::LongStr(b"rejected"))
        .with("x-death", Value::Void);
    let headers = transient_exchange(&dlx, "headers");
    through(&mut letters, headers, &bound_with).await?;
    letters.reject(Properties::default()).await.map(drop)
}

async fn target_refuses(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (source, full) = (t.name("source"), t.name("full"));
    let none = [
        ("x-max-length", Value::I32(0)),
        ("x-overflow", Value::LongStr(b"reject-publish")),
    ];
    raw.declare_queue_with(1, &full, &none).await?;
    declare_leading_to(&mut raw, &source, &full, &[]).await?;
    reject_mandatory(&mut raw, &source, "refused").await?;
    raw.expect_ready(1, &full, 0).await?;
    let left = raw.delete_queue(1, &source).await?;
    expect_eq("messages left in the queue", left, 0)
}

async fn nobody_is_asked(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let (dlx, readable) = (letters.dlx.clone(), t.name("readable"));
    let argument = ("x-dead-letter-exchange", Value::LongStr(dlx.as_bytes()));
    let raw = &mut letters.raw;
    raw.declare_queue_with(1, &readable, &[argument]).await?;
    raw.publish(1, "", &readable, "m").await?;
    raw.barrier(1).await?;
    let mut reader = t.raw_with(&t.login("restricted")).await?;
    reader.open_channel(1).await?;
    reader.consume(1, &readable).await?;
    reader.expect_texts(1, &["m"]).await?;
    reader.reject(1, 1, false).await?;
    reader.barrier(1).await?;
    letters.next_text("m").await?;
    // It may indeed not publish there itself.
    reader.publish(1, &dlx, "", "m").await?;
    let text = Text::contains(format!("exchange '{dlx}'"));
    reader
        .expect_channel_close(1, 403, text, basic::Publish::ID)
        .await
}

async fn asked_at_declare(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("restricted")).await?;
    raw.open_channel(1).await?;
    let (readable, closed) = (t.name("q-readable"), t.name("q"));
    let (writable, other) = (t.name("x-writable"), t.name("x"));
    for (name, dlx, culprit) in [
        (&closed, &writable, format!("queue '{closed}'")),
        (&readable, &other, format!("exchange '{other}'")),
    ] {
        let dlx = Value::LongStr(dlx.as_bytes());
        let arguments = TableBuf::new().with("x-dead-letter-exchange", dlx);
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(name)
        };
        raw.send_method(1, declare).await?;
        let text = Text::contains(format!("access to {culprit} in vhost"));
        raw.expect_channel_close(1, 403, text, queue::Declare::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    let dlx = Value::LongStr(writable.as_bytes());
    raw.declare_queue_with(1, &readable, &[("x-dead-letter-exchange", dlx)])
        .await
}
