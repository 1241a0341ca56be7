//! Messages as they lie in the store.
//!
//! ```text
//!   0 version u8 | 1 flags u8 | 2 head length u32 | 6 expires at u64 | 14 head … | body …
//! ```
//!
//! All numbers are little-endian. Flag 1 says that the message expires, at that many milliseconds
//! since 1970; without it the number is zero. The head is the one of
//! [`Message`](crate::core::message): its own numbers are big-endian.
//!
//! What it is not: no checksum and no length of the whole; the store has both. Bytes that pass the
//! store's checks are still taken for hostile here: whatever they are, reading them never panics.
//!
//! Invariant: what [`pieces`] gives, [`decode`] takes.

use bytes::Bytes;
use leveret_storage::{Read, StoredMessage};

use super::queue::{Loaded, LoadedMessage};
use super::{Message, Moment};

/// The version of this layout.
const VERSION: u8 = 1;
/// The message expires.
const FLAG_EXPIRES: u8 = 1;
/// Bytes before the head.
const PREFIX_LEN: usize = 14;

/// Bytes that are no stored message of a version this broker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStoredMessage {
    /// Written by a newer broker, or no message at all.
    #[error("a stored message of version {0}, and only version 1 is known")]
    Version(u8),
    /// Something in it contradicts something else.
    #[error("a stored message whose lengths or flags do not fit its bytes")]
    Malformed,
}

/// The fixed part before a message's head.
#[derive(Clone, Copy, Debug)]
struct Prefix([u8; PREFIX_LEN]);

impl Prefix {
    /// The prefix of a message that expires then, if it does.
    fn new(message: &Message, expires_at: Option<Moment>) -> Self {
        let mut prefix = [0; PREFIX_LEN];
        prefix[0] = VERSION;
        prefix[1] = if expires_at.is_some() {
            FLAG_EXPIRES
        } else {
            0
        };
        prefix[2..6].copy_from_slice(&(message.head().len() as u32).to_le_bytes());
        let expires_at = expires_at.map_or(0, Moment::unix_ms);
        prefix[6..].copy_from_slice(&expires_at.to_le_bytes());
        Self(prefix)
    }
}

/// Passes the pieces of a message's stored bytes to `take`. Only the list is made, and that only for
/// a large body; no byte of the message is copied.
pub fn pieces<T>(
    message: &Message,
    expires_at: Option<Moment>,
    take: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let prefix = Prefix::new(message, expires_at);
    match message.small_body() {
        Some(body) => take(&[&prefix.0, message.head(), body]),
        None => {
            let ends = [&prefix.0[..], message.head()].into_iter();
            take(&ends.chain(message.body_parts()).collect::<Vec<_>>())
        }
    }
}

/// Reads stored bytes: the message, and when it expires.
///
/// # Errors
/// When they are not what [`pieces`] gives.
pub fn decode(bytes: Vec<u8>) -> Result<(Message, Option<Moment>), BadStoredMessage> {
    let (head_len, expires_at) = decode_prefix(&bytes)?;
    let bytes = Bytes::from(bytes).split_off(PREFIX_LEN);
    let message = Message::from_head(head_len, bytes).ok_or(BadStoredMessage::Malformed)?;
    Ok((message, expires_at))
}

fn decode_prefix(bytes: &[u8]) -> Result<(usize, Option<Moment>), BadStoredMessage> {
    let prefix = bytes.first_chunk::<PREFIX_LEN>();
    let version = bytes.first().copied().unwrap_or_default();
    if version != VERSION {
        return Err(BadStoredMessage::Version(version));
    }
    let [_, flags, h0, h1, h2, h3, expires_at @ ..] = prefix.ok_or(BadStoredMessage::Malformed)?;
    let head_len = u32::from_le_bytes([*h0, *h1, *h2, *h3]) as usize;
    let expires_at = u64::from_le_bytes(*expires_at);
    match (*flags, expires_at) {
        (0, 0) => Ok((head_len, None)),
        (FLAG_EXPIRES, at) => Ok((head_len, Some(Moment::from_unix_ms(at)))),
        _ => Err(BadStoredMessage::Malformed),
    }
}

/// What a read from the store is to its queue. A message that cannot be decoded is logged and stays
/// in the store like one that cannot be read. `queue` names the queue in the log.
pub fn decode_all(read: Read, queue: &str) -> Loaded {
    let mut loaded = Loaded {
        messages: Vec::with_capacity(read.messages.len()),
        through: read.through,
        unreadable: read.unreadable,
    };
    for stored in read.messages {
        let position = stored.index;
        match decode_one(stored) {
            Ok(message) => loaded.messages.push(message),
            Err(error) => {
                tracing::error!(queue, position, %error, "a stored message is passed over");
                loaded.unreadable.push(position);
            }
        }
    }
    loaded
}

fn decode_one(stored: StoredMessage) -> Result<LoadedMessage, BadStoredMessage> {
    let (message, expires_at) = decode(stored.bytes)?;
    Ok(LoadedMessage {
        position: stored.index,
        return_count: stored.return_count,
        redelivered: stored.redelivered,
        expires_at,
        message,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::content::Body;
    use proptest::prelude::*;

    use super::*;
    use crate::core::MessageParts;
    use crate::core::Usual;
    use crate::core::message::COPY_BODY_BYTES_MAX;

    fn encode(message: &Message, expires_at: Option<Moment>) -> Vec<u8> {
        pieces(message, expires_at, |pieces| pieces.concat())
    }

    fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), len)
    }

    prop_compose! {
        fn any_message()(
            exchange in bytes(0..256),
            routing_key in bytes(0..256),
            properties in bytes(0..64),
            body in prop_oneof![3 => bytes(0..40), 1 => bytes(COPY_BODY_BYTES_MAX - 1..COPY_BODY_BYTES_MAX + 3)],
            cut in any::<prop::sample::Index>(),
            keys in prop::collection::vec(bytes(0..9), 0..4),
            (persistent, priority, expiration_ms) in (any::<bool>(), any::<u8>(), any::<Option<u64>>()),
        ) -> Message {
            let cut = cut.index(body.len() + 1);
            let (front, back) = body.split_at(cut);
            let parts = MessageParts {
                exchange: &exchange,
                routing_key: &routing_key,
                properties: &properties,
                body: Body::Parts(vec![Bytes::copy_from_slice(front), Bytes::copy_from_slice(back)]),
                persistent,
                priority,
                expiration_ms,
            };
            Message::with_blind_keys(parts, keys.iter().map(|key| &key[..]), &mut Vec::new())
        }
    }

    fn check_same(read: &Message, written: &Message) {
        assert_eq!(read.head(), written.head());
        let body = |message: &Message| message.body_parts().collect::<Vec<_>>().concat();
        assert_eq!(body(read), body(written));
        assert_eq!(read.body_len(), written.body_len());
        assert_eq!(read.small_body(), written.small_body());
        let keys = |message: &Message| message.blind_keys().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(keys(read), keys(written));
        assert_eq!(read.small_sections(), written.small_sections());
    }

    /// Reads everything that a message can be asked for.
    fn look_at_everything(message: &Message) {
        let lens = [
            message.exchange(),
            message.routing_key(),
            message.properties(),
        ]
        .map(<[u8]>::len);
        let body: usize = message.body_parts().map(<[u8]>::len).sum();
        assert_eq!(body, message.body_len());
        assert!(
            message
                .small_sections()
                .is_none_or(|(_, _, small)| small.len() == body)
        );
        assert!(lens.iter().sum::<usize>() <= message.head().len());
        let keys: usize = message.blind_keys().map(<[u8]>::len).sum();
        assert!(keys <= message.head().len());
        let _ = (
            message.is_persistent(),
            message.priority(),
            message.expiration_ms(),
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_stored_comes_back(message in any_message(), expires_ms in any::<Option<u64>>()) {
            let expires_at = expires_ms.map(Moment::from_unix_ms);
            let (read, at) = decode(encode(&message, expires_at)).unwrap();
            assert_eq!(at, expires_at);
            check_same(&read, &message);
        }

        #[test]
        fn a_head_cut_short_is_an_error(message in any_message(), at in any::<prop::sample::Index>()) {
            let mut bytes = encode(&message, None);
            // A body has no length of its own: the store keeps the length of the whole.
            bytes.truncate(at.index(PREFIX_LEN + message.head().len()));
            assert!(decode(bytes).is_err());
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_message_that_can_be_read(
            message in any_message(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = encode(&message, None);
            bytes.truncate(PREFIX_LEN + message.head().len() + 9);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok((message, _)) = decode(bytes) {
                look_at_everything(&message);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in bytes(0..80), versioned in any::<bool>()) {
            if let (true, Some(version)) = (versioned, bytes.first_mut()) {
                *version = VERSION;
            }
            if let Ok((message, _)) = decode(bytes) {
                look_at_everything(&message);
            }
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        assert_eq!(
            decode(vec![7; 100]).unwrap_err(),
            BadStoredMessage::Version(7)
        );
        assert_eq!(
            decode(Vec::new()).unwrap_err(),
            BadStoredMessage::Version(0)
        );
    }

    #[test]
    fn what_cannot_be_decoded_counts_as_unreadable() {
        let stored = |index, bytes| StoredMessage {
            index,
            return_count: 3,
            redelivered: true,
            bytes,
        };
        let message = Message::plain(
            b"\0\0",
            &[0, 0],
            Body::Whole(b"body"),
            Usual::default(),
            &mut Vec::new(),
        );
        let good = encode(&message, None);
        let read = Read {
            messages: vec![stored(4, good[..9].to_vec()), stored(5, good)],
            through: 8,
            try_again: false,
            unreadable: vec![7],
        };
        let loaded = decode_all(read, "q");
        assert_eq!((loaded.through, loaded.unreadable), (8, vec![7, 4]));
        let [
            LoadedMessage {
                position: 5,
                return_count: 3,
                redelivered: true,
                message,
                ..
            },
        ] = &loaded.messages[..]
        else {
            panic!("{:?}", loaded.messages);
        };
        assert_eq!(message.small_body(), Some(&b"body"[..]));
    }
}
