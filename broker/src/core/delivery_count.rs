//! The header `x-delivery-count`: how often a message came back to its queue before this delivery.
//!
//! Quorum queues and queues with a delivery limit tell it: a delivery to a consumer once the message has
//! come back, a get from 0 on (QQ-03, as RabbitMQ 3.10 to 3.13 have it).
//!
//! What it is not: it counts nothing, and changes no message that is in a queue.

use leveret_protocol::{Properties, TableBuf, Value};

use super::{Message, MessageParts};

/// The header's name.
pub const HEADER: &str = "x-delivery-count";

/// The message as it is delivered: with the header, in the place of one that a publisher has set.
pub fn with_delivery_count(message: &Message, return_count: u32) -> Message {
    let Ok(properties) = Properties::parse(message.properties()) else {
        return message.clone();
    };
    let headers = headers(&properties, return_count);
    let properties = Properties {
        headers: Some(headers.view()),
        ..properties
    };
    let parts = MessageParts {
        properties: &properties.to_bytes(),
        ..message.parts()
    };
    Message::new(parts, &mut Vec::new())
}

fn headers(properties: &Properties<'_>, return_count: u32) -> TableBuf {
    let old = properties.headers.unwrap_or_default();
    let kept = old.entries().filter(|(key, _)| key.0 != HEADER.as_bytes());
    let count = (HEADER.into(), Value::I64(i64::from(return_count)));
    TableBuf::from_raw_entries(kept.chain(std::iter::once(count))).sorted()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use leveret_protocol::content::Body;

    use super::*;
    use crate::core::message::COPY_BODY_BYTES_MAX;

    fn message(headers: &TableBuf, body: Body<'_>) -> Message {
        let properties = Properties {
            headers: Some(headers.view()),
            priority: Some(3),
            ..Properties::default()
        };
        let parts = MessageParts {
            exchange: b"x",
            routing_key: b"key",
            properties: &properties.to_bytes(),
            body,
            persistent: true,
            priority: 3,
            expiration_ms: None,
        };
        Message::new(parts, &mut Vec::new())
    }

    fn told(message: &Message) -> Vec<(String, i64)> {
        let properties = Properties::parse(message.properties()).unwrap();
        assert_eq!(properties.priority, Some(3));
        let headers = properties.headers.unwrap();
        let entry = |(key, value): (leveret_protocol::ShortStr<'_>, Value<'_>)| {
            (key.to_string(), value.as_integer().unwrap())
        };
        headers.entries().map(entry).collect()
    }

    #[test]
    fn qq_03_the_count_is_told_beside_what_was_published() {
        let headers = TableBuf::new()
            .with("zebra", Value::I32(1))
            .with("a", Value::I32(2));
        let original = message(&headers, Body::Whole(b"hello"));
        let delivered = with_delivery_count(&original, 0);
        let expected = [("a", 2), (HEADER, 0), ("zebra", 1)];
        assert_eq!(
            told(&delivered),
            expected.map(|(key, n)| (key.to_owned(), n))
        );
        assert_eq!(delivered.address(), original.address());
        assert_eq!(delivered.small_body(), Some(&b"hello"[..]));
        let plain = [("zebra".to_owned(), 1), ("a".to_owned(), 2)];
        assert_eq!(told(&original), plain, "the queue's own is as it was");
    }

    #[test]
    fn a_count_that_a_publisher_has_set_is_not_believed() {
        let headers = TableBuf::new().with(HEADER, Value::I32(99));
        let delivered = with_delivery_count(&message(&headers, Body::Whole(b"")), 4);
        assert_eq!(told(&delivered), [(HEADER.to_owned(), 4)]);
    }

    #[test]
    fn a_large_body_is_not_copied() {
        let part = Bytes::from(vec![7; COPY_BODY_BYTES_MAX + 1]);
        let original = message(&TableBuf::new(), Body::Parts(vec![part.clone()]));
        let delivered = with_delivery_count(&original, 1);
        assert_eq!(delivered.large_body()[0].as_ptr(), part.as_ptr());
    }
}
