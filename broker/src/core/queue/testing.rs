//! What the tests of queues share: messages, bells that note who was rung, and slot kinds.

use std::sync::{Arc, Mutex};

use leveret_protocol::content::Body;

use super::{Bell, Port, SlotKind, SlotSpec};
use crate::core::{Message, MessageParts};

/// A message with this body.
pub(crate) fn message(body: &str) -> Message {
    expiring(body, None)
}

/// A message with this body and expiration.
pub(crate) fn expiring(body: &str, expiration_ms: Option<u64>) -> Message {
    message_of(body, expiration_ms, false)
}

/// A message with this body and expiration that is to be kept, or not.
pub(crate) fn message_of(body: &str, expiration_ms: Option<u64>, persistent: bool) -> Message {
    prioritized(body, expiration_ms, persistent, 0)
}

/// The same with a priority.
pub(crate) fn prioritized(
    body: &str,
    expiration_ms: Option<u64>,
    persistent: bool,
    priority: u8,
) -> Message {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0, 0],
        body: Body::Whole(body.as_bytes()),
        persistent,
        priority,
        expiration_ms,
    };
    Message::new(parts, &mut Vec::new())
}

/// A message with this body and so many bytes of properties, which no queue looks into.
pub(crate) fn headed(body: &str, properties_len: usize, persistent: bool) -> Message {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &vec![0; properties_len],
        body: Body::Whole(body.as_bytes()),
        persistent,
        priority: 0,
        expiration_ms: None,
    };
    Message::new(parts, &mut Vec::new())
}

/// The body of a message made here.
pub(crate) fn body(message: &Message) -> String {
    let parts: Vec<&[u8]> = message.body_parts().collect();
    String::from_utf8_lossy(&parts.concat()).into_owned()
}

/// Notes the token of every ring.
#[derive(Default)]
pub(crate) struct NotedBell(Mutex<Vec<u64>>);

impl NotedBell {
    /// The tokens rung since the last call, in order.
    pub(crate) fn take(&self) -> Vec<u64> {
        self.0
            .lock()
            .map(|mut rung| std::mem::take(&mut *rung))
            .unwrap_or_default()
    }
}

impl Bell for NotedBell {
    fn ring(&self, token: u64) {
        if let Ok(mut rung) = self.0.lock() {
            rung.push(token);
        }
    }
}

/// A port that rings `bell` with `token`.
pub(crate) fn port(bell: &Arc<NotedBell>, token: u64) -> Port {
    let bell = bell.clone();
    Port { bell, token }
}

/// A consumer that acknowledges and has this prefetch.
pub(crate) fn consumer(prefetch: u16) -> SlotSpec {
    SlotSpec {
        kind: SlotKind::Consumer {
            exclusive: false,
            prefetch,
            pull_only: false,
            priority: 0,
        },
        no_ack: false,
    }
}

/// The same, changed by `change`.
pub(crate) fn changed(
    mut spec: SlotSpec,
    change: impl FnOnce(&mut bool, &mut bool, &mut i64),
) -> SlotSpec {
    if let SlotKind::Consumer {
        exclusive,
        pull_only,
        priority,
        ..
    } = &mut spec.kind
    {
        change(exclusive, pull_only, priority);
    }
    spec
}

/// A place to get from.
pub(crate) fn getter(no_ack: bool) -> SlotSpec {
    SlotSpec {
        kind: SlotKind::Getter,
        no_ack,
    }
}
