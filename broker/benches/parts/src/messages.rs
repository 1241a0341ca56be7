//! What the parts publish: one message in the forms in which it is met, as bytes of AMQP.

use bytes::{Bytes, BytesMut};
use leveret_protocol::client::write_publish;
use leveret_protocol::method::basic;
use leveret_protocol::{Properties, ShortStr, TableBuf, Value};

use super::MESSAGES;

/// The frame limit that the parts agree on.
pub(super) const FRAME_MAX: u32 = 131_072;

/// A round of publishes of one message on channel 1.
pub(super) fn publishes(
    exchange: &str,
    key: &str,
    properties: &Properties<'_>,
    len: usize,
) -> Bytes {
    let publish = basic::Publish {
        exchange: ShortStr(exchange.as_bytes()),
        routing_key: ShortStr(key.as_bytes()),
        ..Default::default()
    };
    let body = vec![b'x'; len];
    let mut out = BytesMut::new();
    for _ in 0..MESSAGES {
        write_publish(1, publish, properties, &body, FRAME_MAX, &mut out);
    }
    out.freeze()
}

/// Headers as an application sets them.
pub(super) fn headers() -> TableBuf {
    TableBuf::from_entries([
        ("tenant", Value::LongStr(b"north")),
        ("attempt", Value::I32(1)),
        ("urgent", Value::Bool(true)),
    ])
}

/// Properties as an application sets them.
pub(super) fn properties(headers: &TableBuf) -> Properties<'_> {
    Properties {
        content_type: Some(ShortStr(b"application/json")),
        headers: Some(headers.view()),
        delivery_mode: Some(1),
        correlation_id: Some(ShortStr(b"7f3c0c52")),
        message_id: Some(ShortStr(b"000000000000001f")),
        timestamp: Some(1_700_000_000),
        kind: Some(ShortStr(b"order.created")),
        ..Default::default()
    }
}
