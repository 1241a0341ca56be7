//! Framing: what a frame may look like, how large it may be, and how frames form a message.

mod content;
mod malformed;
mod size;

use leveret_protocol::method::basic;

use crate::registry::Section;

pub(super) use malformed::{TABLE_IN_SILENCE, TABLE_IS_TOLD, UNDECODABLE_TABLES, silence_or};

pub(crate) const SECTION: Section =
    Section::complete("FRAME", &[malformed::RULES, size::RULES, content::RULES]);

/// The frame types besides the heartbeat.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// A publish to the default exchange, which routes by the queue's name.
fn publish_to(queue: &str) -> basic::Publish<'_> {
    basic::Publish {
        routing_key: queue.into(),
        ..Default::default()
    }
}

/// The payload of a content header.
fn header_payload(class_id: u16, weight: u16, body_size: u64, properties: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&class_id.to_be_bytes());
    payload.extend_from_slice(&weight.to_be_bytes());
    payload.extend_from_slice(&body_size.to_be_bytes());
    payload.extend_from_slice(properties);
    payload
}

/// Property bytes of a message without properties.
const NO_PROPERTIES: [u8; 2] = [0, 0];
