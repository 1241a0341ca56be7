//! The tags, and what is not one.

use leveret_protocol::method::queue;
use leveret_protocol::{MethodId, Table};

use super::super::frame::{TABLE_IN_SILENCE, TABLE_IS_TOLD, UNDECODABLE_TABLES, silence_or};
use super::{entry, header_properties, long, publish_properties, through_queue};
use crate::failure::{Failure, expect_eq};
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "TABLE-01" every_tag_in_a_header [raw] "Every tag is accepted in headers.";
    "TABLE-01" every_tag_in_arguments [raw] "… and in arguments.";
    "TABLE-01" what_integers_mean [raw] "Each integer tag has its width and sign.";
    "TABLE-02" s_is_a_short_integer [raw] "s is an integer of two bytes.";
    "TABLE-02" capital_u_is_unknown [raw] "U is not accepted.";
    "TABLE-03" arrays_and_tables [raw] "Arrays and tables carry their length in bytes.";
    "TABLE-04" unknown_tag_in_arguments [raw, variants(&[UNDECODABLE_TABLES])]
        "An unknown tag in a method ends the connection.";
    "TABLE-04" unknown_tag_in_a_header [raw] "An unknown tag in properties is 541.";
}

/// Every tag with a value.
fn every_tag() -> Vec<(u8, Vec<u8>)> {
    vec![
        (b't', vec![1]),
        (b'b', vec![0xff]),
        (b'B', vec![0xff]),
        (b's', vec![0xff, 0xfe]),
        (b'u', vec![0xff, 0xff]),
        (b'I', vec![0xff, 0xff, 0xff, 0xfd]),
        (b'i', vec![0xff, 0xff, 0xff, 0xff]),
        (b'l', vec![0xff; 8]),
        (b'L', vec![0x7f; 8]),
        (b'f', 1.5f32.to_be_bytes().to_vec()),
        (b'd', (-2.5f64).to_be_bytes().to_vec()),
        (b'D', vec![2, 0, 0, 0x30, 0x39]),
        (b'S', long(b"text")),
        (b'A', long(&[b't', 0, b'V', b's', 0, 1])),
        (b'T', vec![0, 0, 0, 0, 0x65, 0x53, 0xf1, 0]),
        (b'F', long(&entry("k", b'B', &[7]))),
        (b'V', vec![]),
        (b'x', long(&[0, 255])),
    ]
}

/// All of them in one table, each under its own tag.
fn every_entry() -> Vec<u8> {
    every_tag()
        .iter()
        .flat_map(|(tag, value)| entry(&char::from(*tag).to_string(), *tag, value))
        .collect()
}

fn table(entries: &[u8]) -> Result<Table<'_>, Failure> {
    Table::parse(entries).map_err(|problem| Failure::new(format!("{problem:?}")))
}

async fn every_tag_in_a_header(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for (tag, value) in every_tag() {
        let properties = header_properties(&entry("k", tag, &value));
        let came = through_queue(&mut raw, &queue, &properties).await;
        let step = |failure: Failure| failure.at(format!("tag {:?}", char::from(tag)));
        expect_eq("properties", came.map_err(step)?, properties)?;
    }
    let properties = header_properties(&every_entry());
    let came = through_queue(&mut raw, &queue, &properties).await?;
    expect_eq("properties", came, properties)
}

async fn every_tag_in_arguments(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, entries) = (t.name("q"), every_entry());
    let declare = queue::Declare {
        arguments: table(&entries)?,
        ..durable_queue(&queue)
    };
    raw.declare(1, declare).await?;
    let bind = queue::Bind {
        queue: queue.as_str().into(),
        exchange: "amq.direct".into(),
        arguments: table(&entries)?,
        ..Default::default()
    };
    raw.call(1, bind, queue::BindOk::ID).await.map(drop)
}

/// Redeclaring with an argument that was absent has the broker print type and value.
async fn what_integers_mean(t: &Trial) -> Result<(), Failure> {
    let meanings: [(u8, &[u8], &str); 9] = [
        (b'b', &[0xff], "'-1' of type 'byte'"),
        (b'B', &[0xff], "'255' of type 'unsignedbyte'"),
        (b's', &[0xff, 0xfe], "'-2' of type 'short'"),
        (b'u', &[0xff, 0xfe], "'65534' of type 'unsignedshort'"),
        (b'I', &[0xff, 0xff, 0xff, 0xfd], "'-3' of type 'signedint'"),
        (
            b'i',
            &[0xff, 0xff, 0xff, 0xff],
            "'4294967295' of type 'unsignedint'",
        ),
        (b'l', &[0xff; 8], "'-1' of type 'long'"),
        (b'L', &[0xff; 8], "'-1' of type 'long'"),
        (b't', &[1], "'true' of type 'bool'"),
    ];
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    for (tag, value, meaning) in meanings {
        let entries = entry("x-expires", tag, value);
        let declare = queue::Declare {
            arguments: table(&entries)?,
            ..durable_queue(&queue)
        };
        raw.send_method(1, declare).await?;
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue '{queue}' in vhost \
             '{}': received the value {meaning} but current is none",
            t.vhost()
        );
        raw.expect_channel_close(1, 406, text, queue::Declare::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn s_is_a_short_integer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    // Were it a string, its first byte would be a length that leaves nothing for the second entry.
    let short = [entry("a", b's', &[5, 1]), entry("b", b't', &[1])].concat();
    let properties = header_properties(&short);
    let came = through_queue(&mut raw, &queue, &properties).await?;
    expect_eq("properties", came, properties)
}

async fn capital_u_is_unknown(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let properties = header_properties(&entry("k", b'U', &[0, 1]));
    publish_properties(&mut raw, "", "nowhere", &properties).await?;
    raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
        .await
}

async fn arrays_and_tables(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let inner = [
        entry("empty array", b'A', &long(b"")),
        entry("empty table", b'F', &long(b"")),
    ];
    let inner = inner.concat();
    let nested = [&[b'F'][..], &long(&inner), b"t\x01A", &long(b"V")].concat();
    let properties = header_properties(&entry("a", b'A', &long(&nested)));
    let came = through_queue(&mut raw, &queue, &properties).await?;
    expect_eq("properties", came, properties)?;

    // A length that does not fit is found at every level.
    let too_long = [&[0, 0, 0, 3][..], b"V"].concat();
    let properties = header_properties(&entry("a", b'A', &too_long));
    publish_properties(&mut raw, "", &queue, &properties).await?;
    raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
        .await
}

async fn unknown_tag_in_arguments(t: &Trial) -> Result<(), Failure> {
    for entry in [entry("k", b'U', &[0, 1]), entry("k", b'?', &[])] {
        let mut raw = t.raw().await?;
        let mut payload = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0];
        payload.extend(long(&entry));
        raw.send_frame(1, 1, &payload).await?;
        let ends = silence_or(TABLE_IN_SILENCE, TABLE_IS_TOLD, [502, 501]);
        raw.expect_variant(t, &ends).await?;
    }
    Ok(())
}

async fn unknown_tag_in_a_header(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let properties = header_properties(&entry("k", b'?', &[]));
    publish_properties(&mut raw, "", "nowhere", &properties).await?;
    raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
        .await
}
