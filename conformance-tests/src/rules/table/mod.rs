//! Field tables and strings.

mod names;
mod rewritten;
mod tags;
mod unchanged;

use bytes::Bytes;
use leveret_protocol::method::basic;

use crate::failure::Failure;
use crate::raw::{Message, RawConnection};
use crate::registry::Section;

pub(super) use unchanged::{BYTE_FOR_BYTE, PASSED_ON};

pub(crate) const SECTION: Section = Section::complete(
    "TABLE",
    &[
        tags::RULES,
        unchanged::RULES,
        rewritten::RULES,
        names::RULES,
    ],
);

/// The flag word of properties that consist of headers.
const HEADERS_ONLY: [u8; 2] = [0x20, 0];

/// Properties that consist of headers with these entries, byte for byte.
pub(super) fn header_properties(entries: &[u8]) -> Vec<u8> {
    let mut properties = HEADERS_ONLY.to_vec();
    properties.extend(
        u32::try_from(entries.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    properties.extend(entries);
    properties
}

/// An entry of a table, byte for byte.
pub(super) fn entry(key: &str, tag: u8, value: &[u8]) -> Vec<u8> {
    let mut entry = vec![u8::try_from(key.len()).unwrap_or(u8::MAX)];
    entry.extend(key.as_bytes());
    entry.push(tag);
    entry.extend(value);
    entry
}

/// A value with its 32-bit length in front.
pub(super) fn long(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), bytes].concat()
}

/// Publishes with these properties, byte for byte.
pub(super) async fn publish_properties(
    raw: &mut RawConnection,
    exchange: &str,
    key: &str,
    properties: &[u8],
) -> Result<(), Failure> {
    let publish = basic::Publish {
        exchange: exchange.into(),
        routing_key: key.into(),
        ..Default::default()
    };
    raw.send_method(1, publish).await?;
    raw.send_content(1, properties, b"table").await
}

/// Sends properties through a queue and returns what comes out.
async fn through_queue(
    raw: &mut RawConnection,
    queue: &str,
    properties: &[u8],
) -> Result<Bytes, Failure> {
    publish_properties(raw, "", queue, properties).await?;
    let message: Message = raw.take_text(1, queue, "table").await?;
    Ok(message.property_bytes)
}
