//! Tables and values that pass through a broker as they are.

use leveret_protocol::method::queue;
use leveret_protocol::{TableBuf, Value};

use super::super::routing::Routing;
use super::{entry, header_properties, long, publish_properties, through_queue};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, durable_queue};
use crate::trial::Trial;

variants! {
    /// What becomes of the headers of a message that nothing changes.
    pub(in crate::rules) PASSED_ON: "TABLE-05" {
        BYTE_FOR_BYTE "byte-for-byte" "Headers keep their order, their duplicates and their tags.";
        ENCODED_ANEW "encoded-anew" "Headers are sorted by key, and each key is there once.";
    }
}

rules! {
    "TABLE-05" byte_for_byte [raw, variants(&[PASSED_ON])] "Headers pass through unchanged.";
    "TABLE-06" empty_table [raw] "An empty table is passed on.";
    "TABLE-06" empty_keys [raw] "Keys may be empty.";
    "TABLE-08" decimals [raw] "A decimal's bits are kept.";
    "TABLE-09" timestamps [raw] "A timestamp's bits are kept.";
    "TABLE-13" arguments_compare_by_value [raw] "Arguments compare by value, not by tag.";
    "TABLE-13" headers_compare_by_value [raw] "So do headers.";
}

/// Sends headers with these entries through a queue, and expects them back as they were.
async fn expect_unchanged(t: &Trial, entries: &[u8]) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let properties = header_properties(entries);
    let came = through_queue(&mut raw, &queue, &properties).await?;
    expect_eq("properties", came, properties)
}

async fn byte_for_byte(t: &Trial) -> Result<(), Failure> {
    let entries = [
        entry("z", b'L', &[0, 0, 0, 0, 0, 0, 0, 1]),
        entry("a", b't', &[5]),
        entry("z", b'l', &[0, 0, 0, 0, 0, 0, 0, 2]),
        entry("m", b'F', &long(&entry("b", b't', &[2]))),
        entry("a", b'S', &long(b"again")),
    ];
    if t.accepts(BYTE_FOR_BYTE) {
        t.saw(BYTE_FOR_BYTE);
        return expect_unchanged(t, &entries.concat()).await;
    }
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    publish_properties(&mut raw, "", &queue, &header_properties(&entries.concat())).await?;
    let message = raw.take_text(1, &queue, "table").await?;
    let headers = message.properties()?.headers.unwrap_or_default();
    let keys = headers.entries().map(|(key, _)| key.to_text().into_owned());
    t.saw(ENCODED_ANEW);
    expect_eq("keys", keys.collect::<Vec<_>>(), ["a", "m", "z"])
}

async fn empty_table(t: &Trial) -> Result<(), Failure> {
    expect_unchanged(t, &[]).await
}

async fn empty_keys(t: &Trial) -> Result<(), Failure> {
    expect_unchanged(t, &entry("", b'S', &long(b""))).await?;
    let mut raw = t.raw().await?;
    let (queue, arguments) = (t.name("q"), TableBuf::new().with("", Value::I32(1)));
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await.map(drop)
}

async fn decimals(t: &Trial) -> Result<(), Failure> {
    for decimal in [
        [0, 0, 0, 0, 0],
        [255, 0xff, 0xff, 0xff, 0xff],
        [2, 0x80, 0, 0, 1],
    ] {
        expect_unchanged(t, &entry("d", b'D', &decimal)).await?;
    }
    Ok(())
}

async fn timestamps(t: &Trial) -> Result<(), Failure> {
    for seconds in [0, 1_700_000_000, u64::MAX] {
        expect_unchanged(t, &entry("t", b'T', &seconds.to_be_bytes())).await?;
        let mut raw: RawConnection = t.raw().await?;
        let property = [&[0, 0x40][..], &seconds.to_be_bytes()].concat();
        let came = through_queue(&mut raw, &t.name("q"), &property).await?;
        expect_eq("properties", came, property)?;
    }
    Ok(())
}

async fn arguments_compare_by_value(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    for value in [Value::I32(60_000), Value::U16(60_000), Value::I64(60_000)] {
        let arguments = TableBuf::new().with("x-message-ttl", value);
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(&queue)
        };
        raw.declare(1, declare).await?;
    }
    Ok(())
}

async fn headers_compare_by_value(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    let argument = TableBuf::new().with("a", Value::I8(7));
    routing.bind_with("", argument.view()).await?;
    for value in [Value::U8(7), Value::I32(7), Value::I64(7)] {
        let headers = TableBuf::new().with("a", value);
        routing.expect_headers_routed(&headers, true).await?;
    }
    Ok(())
}
