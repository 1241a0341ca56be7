//! Headers that the broker has to change.

use leveret_protocol::method::queue;
use leveret_protocol::{TableBuf, Value};

use super::{entry, header_properties, long, publish_properties};
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Message, durable_queue};
use crate::trial::Trial;

rules! {
    "TABLE-07" without_bcc [raw] "What is left without BCC is written anew.";
    "TABLE-07" with_x_death [raw] "Dead-lettering leaves the keys sorted.";
}

/// `L` and a boolean of 5, in an order that is not sorted.
fn unusual_entries() -> Vec<u8> {
    let entries = [
        entry("z", b'L', &[0, 0, 0, 0, 0, 0, 0, 1]),
        entry("d", b'D', &[255, 0xff, 0xff, 0xff, 0xff]),
        entry("m", b't', &[5]),
    ];
    entries.concat()
}

/// Checks that the unusual entries are there in their usual form.
fn expect_usual_form(message: &Message) -> Result<(), Failure> {
    for usual in [
        entry("z", b'l', &[0, 0, 0, 0, 0, 0, 0, 1]),
        entry("d", b'D', &[255, 0xff, 0xff, 0xff, 0xff]),
        entry("m", b't', &[1]),
    ] {
        let bytes = &message.property_bytes;
        let found = bytes.windows(usual.len()).any(|window| window == usual);
        ensure(found, format!("{usual:?} is missing in {bytes:?}"))?;
    }
    Ok(())
}

/// The keys of the headers in their order.
fn keys(message: &Message) -> Result<Vec<String>, Failure> {
    let headers = message.properties()?.headers.unwrap_or_default();
    let keys = headers.entries().map(|(key, _)| key.to_text().into_owned());
    Ok(keys.collect())
}

async fn without_bcc(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, copied) = (t.name("q"), t.name("copied"));
    raw.declare_queue(1, &queue).await?;
    raw.declare_queue(1, &copied).await?;
    let copies = [&b"S"[..], &long(copied.as_bytes())].concat();
    let mut entries = unusual_entries();
    entries.extend(entry("BCC", b'A', &long(&copies)));
    publish_properties(&mut raw, "", &queue, &header_properties(&entries)).await?;
    for queue in [&queue, &copied] {
        let message = raw.take_text(1, queue, "table").await?;
        expect_usual_form(&message)?;
        let mut keys = keys(&message)?;
        keys.sort();
        expect_eq("keys", keys, ["d", "m", "z"])?;
    }
    Ok(())
}

async fn with_x_death(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, dead) = (t.name("q"), t.name("dead"));
    raw.declare_queue(1, &dead).await?;
    let arguments = TableBuf::new()
        .with("x-dead-letter-exchange", Value::LongStr(b""))
        .with("x-dead-letter-routing-key", Value::LongStr(dead.as_bytes()));
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await?;
    raw.consume(1, &dead).await?;
    publish_properties(&mut raw, "", &queue, &header_properties(&unusual_entries())).await?;
    let fetched = raw.get(1, &queue).await?.unwrap_or_default();
    raw.nack(1, fetched.delivery_tag, false).await?;
    let message = raw.expect_delivery(1).await?;
    expect_usual_form(&message)?;
    let keys = keys(&message)?;
    ensure(
        keys.contains(&"x-death".to_owned()),
        format!("no x-death in {keys:?}"),
    )?;
    ensure(keys.is_sorted(), format!("{keys:?} is not sorted"))
}
