//! [`Message`]: what is published, queued and delivered, cheap to share between queues.
//!
//! A message with a small body is **one** allocation that holds everything in the order in which a
//! delivery writes it: exchange and routing key as two short strings, then the raw properties, then
//! the body. It owns a copy, so a sixteen-byte body never keeps a 64 KiB read buffer alive. A large
//! body keeps the reference-counted slices it arrived in.
//!
//! ```text
//!  small:  flags u8 | priority u8 | address length u16 | properties length u32 | expiration u64
//!          address: len exchange len routing-key | properties: flag word and fields
//!          [blind keys: length u32, then len u32 key ...] | body
//!  large:  the same without the body, and the body's parts beside it
//! ```
//!
//! Properties pass through byte for byte (PUB-14, TABLE-05); only what queues ask for again and
//! again (persistence, priority, expiration) is read once, at publishing, and kept in the head.
//!
//! Invariant: the lengths in the head were computed from the very bytes that follow it.

use std::sync::Arc;

use bytes::Bytes;
use leveret_protocol::content::Body;

/// Bodies up to this many bytes are copied into the message's one allocation; larger ones have their own, or
/// keep the slices of the read buffers they came in, and are delivered without being copied. Copying 4 KiB
/// costs less than the reference counting it saves.
pub const COPY_BODY_BYTES_MAX: usize = 4096;

/// What a message is made from.
#[derive(Clone, Debug)]
pub struct MessageParts<'a> {
    /// The exchange it was published to; at most 255 bytes.
    pub exchange: &'a [u8],
    /// The routing key it was published with; at most 255 bytes.
    pub routing_key: &'a [u8],
    /// The content header's payload from the property flags on.
    pub properties: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// True for delivery-mode 2.
    pub persistent: bool,
    /// The priority property, 0 when absent (PRIO-02).
    pub priority: u8,
    /// The expiration property in milliseconds (TTL-01).
    pub expiration_ms: Option<u64>,
}

/// What queues ask of a message that is not special in any other way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usual {
    /// True for delivery-mode 2.
    pub persistent: bool,
    /// The priority property, 0 when absent (PRIO-02).
    pub priority: u8,
}

/// One message; cloning it shares it.
#[derive(Clone)]
pub struct Message(Storage);

#[derive(Clone)]
enum Storage {
    Small(Arc<[u8]>),
    Large(Arc<Large>),
}

struct Large {
    head: Box<[u8]>,
    parts: Vec<Bytes>,
    body_len: usize,
}

const FLAG_PERSISTENT: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
/// The message has blind keys between its properties and its body.
const FLAG_BLIND_KEYS: u8 = 4;
/// Bytes before the address; see the module's picture.
const HEAD_LEN: usize = 16;
/// Bytes of the length before each blind key, and before all of them.
const KEY_LENGTH_LEN: usize = 4;

impl Message {
    /// Makes a message. `scratch` is reused between calls so that a small message costs exactly one
    /// allocation; its contents do not matter.
    pub fn new(parts: MessageParts<'_>, scratch: &mut Vec<u8>) -> Self {
        Self::with_blind_keys(parts, std::iter::empty(), scratch)
    }

    /// Makes a message that remembers the routing keys of its BCC header. The header itself is gone
    /// by now (PUB-10), but a dead letter is routed by those keys again (DLX-03).
    pub fn with_blind_keys<'k>(
        parts: MessageParts<'_>,
        blind_keys: impl IntoIterator<Item = &'k [u8]>,
        scratch: &mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        write_head(&parts, scratch);
        write_blind_keys(blind_keys, scratch);
        Self::finish(scratch, parts.body)
    }

    /// What it is made of, to make another from that differs in something. A large body is shared, not
    /// copied.
    pub fn parts(&self) -> MessageParts<'_> {
        let body = match self.small_body() {
            Some(body) => Body::Whole(body),
            None => Body::Parts(self.large_body().to_vec()),
        };
        MessageParts {
            exchange: self.exchange(),
            routing_key: self.routing_key(),
            properties: self.properties(),
            body,
            persistent: self.is_persistent(),
            priority: self.priority(),
            expiration_ms: self.expiration_ms(),
        }
    }

    /// Ends a message whose head is in `scratch` with its body.
    fn finish(scratch: &mut Vec<u8>, body: Body<'_>) -> Self {
        match body {
            Body::Whole(body) if body.len() <= COPY_BODY_BYTES_MAX => {
                scratch.extend_from_slice(body);
                Self(Storage::Small(Arc::from(&scratch[..])))
            }
            Body::Parts(parts) if total(&parts) <= COPY_BODY_BYTES_MAX => {
                parts
                    .iter()
                    .for_each(|part| scratch.extend_from_slice(part));
                Self(Storage::Small(Arc::from(&scratch[..])))
            }
            Body::Whole(body) => Self::large(scratch, vec![Bytes::copy_from_slice(body)]),
            Body::Parts(parts) => Self::large(scratch, parts),
        }
    }

    /// Makes a message that neither expires nor has blind keys, the usual one on a fast path.
    /// `address` is the exchange and the routing key as two short strings.
    #[inline]
    pub fn plain(
        address: &[u8],
        properties: &[u8],
        body: Body<'_>,
        usual: Usual,
        scratch: &mut Vec<u8>,
    ) -> Self {
        let flags = u8::from(usual.persistent) * FLAG_PERSISTENT;
        scratch.clear();
        scratch.extend_from_slice(&head(
            flags,
            usual.priority,
            address.len(),
            properties.len(),
            0,
        ));
        scratch.extend_from_slice(address);
        scratch.extend_from_slice(properties);
        Self::finish(scratch, body)
    }

    fn large(head: &[u8], parts: Vec<Bytes>) -> Self {
        let body_len = total(&parts);
        Self(Storage::Large(Arc::new(Large {
            head: Box::from(head),
            parts,
            body_len,
        })))
    }

    /// Address, properties and body of a message with a small body, found in one go.
    #[inline]
    pub fn small_sections(&self) -> Option<(&[u8], &[u8], &[u8])> {
        let Storage::Small(bytes) = &self.0 else {
            return None;
        };
        let (head, rest) = bytes.split_at(HEAD_LEN);
        let (address, rest) = rest.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
        let properties_len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let (properties, body) = rest.split_at(properties_len as usize);
        let body = match head[0] & FLAG_BLIND_KEYS {
            0 => body,
            _ => &bytes[self.body_at()..],
        };
        Some((address, properties, body))
    }

    /// The exchange it was published to, or the one that dead-lettered it.
    pub fn exchange(&self) -> &[u8] {
        let address = self.address();
        &address[1..1 + usize::from(address[0])]
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> &[u8] {
        let address = self.address();
        &address[2 + usize::from(address[0])..]
    }

    /// Exchange and routing key as two short strings, ready for a delivery.
    pub fn address(&self) -> &[u8] {
        &self.bytes()[HEAD_LEN..self.properties_at()]
    }

    /// The content header's payload from the property flags on, as it was published.
    pub fn properties(&self) -> &[u8] {
        let at = self.properties_at();
        &self.bytes()[at..at + self.properties_len()]
    }

    /// The body in one or more pieces, in order.
    pub fn body_parts(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, parts): (&[u8], &[Bytes]) = match &self.0 {
            Storage::Small(bytes) => (&bytes[self.body_at()..], &[]),
            Storage::Large(large) => (&[], &large.parts),
        };
        std::iter::once(whole)
            .chain(parts.iter().map(|part| &part[..]))
            .filter(|p| !p.is_empty())
    }

    /// The body when it lies in one piece beside the head, as small bodies do.
    pub fn small_body(&self) -> Option<&[u8]> {
        match &self.0 {
            Storage::Small(bytes) => Some(&bytes[self.body_at()..]),
            Storage::Large(_) => None,
        }
    }

    /// The slices of a large body; empty for a small one.
    pub fn large_body(&self) -> &[Bytes] {
        match &self.0 {
            Storage::Small(_) => &[],
            Storage::Large(large) => &large.parts,
        }
    }

    /// The length of everything, which is about what it takes of memory.
    #[inline]
    pub fn total_len(&self) -> usize {
        match &self.0 {
            Storage::Small(bytes) => bytes.len(),
            Storage::Large(large) => large.head.len() + large.body_len,
        }
    }

    /// The body's length in bytes.
    #[inline]
    pub fn body_len(&self) -> usize {
        match (&self.0, self.small_sections()) {
            (Storage::Large(large), _) => large.body_len,
            (Storage::Small(_), sections) => sections.map_or(0, |(_, _, body)| body.len()),
        }
    }

    /// True for delivery-mode 2.
    pub fn is_persistent(&self) -> bool {
        self.bytes()[0] & FLAG_PERSISTENT != 0
    }

    /// The priority property; 0 when absent.
    pub fn priority(&self) -> u8 {
        self.bytes()[1]
    }

    /// The expiration property in milliseconds.
    pub fn expiration_ms(&self) -> Option<u64> {
        let expires = self.bytes()[0] & FLAG_EXPIRES != 0;
        expires.then(|| u64::from_be_bytes(self.fixed(8)))
    }

    /// The routing keys of the BCC header that the message was published with.
    pub fn blind_keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes()[self.properties_end()..self.body_at()];
        if !rest.is_empty() {
            rest = &rest[KEY_LENGTH_LEN..];
        }
        std::iter::from_fn(move || {
            let (length, keys) = rest.split_first_chunk()?;
            let (key, after) = keys.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            Some(key)
        })
    }

    /// The head as the module's picture has it, up to the body; see [`Self::from_head`].
    pub(super) fn head(&self) -> &[u8] {
        &self.bytes()[..self.body_at()]
    }

    /// Makes a message again from its [`Self::head`] and its body, which follows the head in
    /// `bytes` and is not copied if it is large. `None` if the head is not one that a message has.
    pub(super) fn from_head(head_len: usize, bytes: Bytes) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(head_len)?;
        check_head(head)?;
        if body.len() <= COPY_BODY_BYTES_MAX {
            return Some(Self(Storage::Small(Arc::from(&bytes[..]))));
        }
        Some(Self::large(head, vec![bytes.slice(head_len..)]))
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Storage::Small(bytes) => bytes,
            Storage::Large(large) => &large.head,
        }
    }

    fn fixed<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut fixed = [0; N];
        fixed.copy_from_slice(&self.bytes()[at..at + N]);
        fixed
    }

    fn properties_at(&self) -> usize {
        HEAD_LEN + usize::from(u16::from_be_bytes(self.fixed(2)))
    }

    fn properties_len(&self) -> usize {
        u32::from_be_bytes(self.fixed(4)) as usize
    }

    fn properties_end(&self) -> usize {
        self.properties_at() + self.properties_len()
    }

    fn body_at(&self) -> usize {
        let at = self.properties_end();
        if self.bytes()[0] & FLAG_BLIND_KEYS == 0 {
            return at;
        }
        at + KEY_LENGTH_LEN + u32::from_be_bytes(self.fixed(at)) as usize
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &String::from_utf8_lossy(self.exchange()))
            .field("routing_key", &String::from_utf8_lossy(self.routing_key()))
            .field("body_len", &self.body_len())
            .finish()
    }
}

fn total(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

/// The fixed part; see the module's picture.
#[inline]
fn head(
    flags: u8,
    priority: u8,
    address_len: usize,
    properties_len: usize,
    expiration_ms: u64,
) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[0] = flags;
    head[1] = priority;
    head[2..4].copy_from_slice(&(address_len as u16).to_be_bytes());
    head[4..8].copy_from_slice(&(properties_len as u32).to_be_bytes());
    head[8..].copy_from_slice(&expiration_ms.to_be_bytes());
    head
}

fn write_head(parts: &MessageParts<'_>, out: &mut Vec<u8>) {
    let exchange = &parts.exchange[..parts.exchange.len().min(255)];
    let routing_key = &parts.routing_key[..parts.routing_key.len().min(255)];
    let flags = u8::from(parts.persistent) * FLAG_PERSISTENT
        + u8::from(parts.expiration_ms.is_some()) * FLAG_EXPIRES;
    out.extend_from_slice(&head(
        flags,
        parts.priority,
        exchange.len() + routing_key.len() + 2,
        parts.properties.len(),
        parts.expiration_ms.unwrap_or(0),
    ));
    out.push(exchange.len() as u8);
    out.extend_from_slice(exchange);
    out.push(routing_key.len() as u8);
    out.extend_from_slice(routing_key);
    out.extend_from_slice(parts.properties);
}

/// `None` unless these bytes are a whole head and nothing else: everything that is read from a
/// message by offsets holds for them then.
fn check_head(bytes: &[u8]) -> Option<()> {
    let (head, rest) = bytes.split_at_checked(HEAD_LEN)?;
    let [flags, _, a0, a1, p0, p1, p2, p3, ..] = *head else {
        return None;
    };
    if flags & !(FLAG_PERSISTENT | FLAG_EXPIRES | FLAG_BLIND_KEYS) != 0 {
        return None;
    }
    let (address, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([a0, a1])))?;
    let routing_key = after_short_string(address)?;
    let properties_len = u32::from_be_bytes([p0, p1, p2, p3]) as usize;
    let (_, blind_keys) = rest.split_at_checked(properties_len)?;
    let is_whole = after_short_string(routing_key)?.is_empty()
        && match flags & FLAG_BLIND_KEYS {
            0 => blind_keys.is_empty(),
            _ => are_blind_keys(blind_keys),
        };
    is_whole.then_some(())
}

fn after_short_string(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first()?;
    rest.get(usize::from(*len)..)
}

fn are_blind_keys(bytes: &[u8]) -> bool {
    let is_all = |(len, keys): (&[u8; KEY_LENGTH_LEN], &[u8])| {
        u32::from_be_bytes(*len) as usize == keys.len() && !keys.is_empty()
    };
    if !bytes.split_first_chunk().is_some_and(is_all) {
        return false;
    }
    let mut rest = &bytes[KEY_LENGTH_LEN..];
    while let Some((len, keys)) = rest.split_first_chunk() {
        let Some(after) = keys.get(u32::from_be_bytes(*len) as usize..) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

/// Writes nothing when there is no key, which is nearly always.
fn write_blind_keys<'k>(keys: impl IntoIterator<Item = &'k [u8]>, out: &mut Vec<u8>) {
    let mut keys = keys.into_iter().peekable();
    if keys.peek().is_none() {
        return;
    }
    let at = out.len();
    out.extend_from_slice(&[0; KEY_LENGTH_LEN]);
    for key in keys {
        out.extend_from_slice(&(key.len() as u32).to_be_bytes());
        out.extend_from_slice(key);
    }
    let length = (out.len() - at - KEY_LENGTH_LEN) as u32;
    out[at..at + KEY_LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
    out[0] |= FLAG_BLIND_KEYS;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: Body<'_>) -> MessageParts<'_> {
        MessageParts {
            exchange: b"logs",
            routing_key: b"kern.error",
            properties: &[0x10, 0, 2],
            body,
            persistent: true,
            priority: 7,
            expiration_ms: Some(60_000),
        }
    }

    fn message(body: Body<'_>) -> Message {
        Message::new(parts(body), &mut vec![9; 3])
    }

    fn check(message: &Message, body: &[u8]) {
        assert_eq!(message.exchange(), b"logs");
        assert_eq!(message.routing_key(), b"kern.error");
        assert_eq!(message.address(), b"\x04logs\x0akern.error");
        assert_eq!(message.properties(), [0x10, 0, 2]);
        assert!(message.is_persistent());
        assert_eq!(message.priority(), 7);
        assert_eq!(message.expiration_ms(), Some(60_000));
        assert_eq!(message.body_len(), body.len());
        assert_eq!(message.body_parts().collect::<Vec<_>>().concat(), body);
    }

    #[test]
    fn small_bodies_are_copied_beside_the_head() {
        let small = message(Body::Whole(b"hello"));
        check(&small, b"hello");
        assert_eq!(small.small_body(), Some(&b"hello"[..]));
        let parts = vec![Bytes::from_static(b"hel"), Bytes::from_static(b"lo")];
        check(&message(Body::Parts(parts)), b"hello");
    }

    #[test]
    fn large_bodies_keep_their_slices() {
        let part = Bytes::from(vec![7; COPY_BODY_BYTES_MAX]);
        let large = message(Body::Parts(vec![part.clone(), part.clone()]));
        check(&large, &[&part[..], &part[..]].concat());
        assert_eq!(large.small_body(), None);
        assert_eq!(
            large.large_body()[0].as_ptr(),
            part.as_ptr(),
            "the slice is not copied"
        );
    }

    #[test]
    fn blind_keys_lie_beside_the_properties_and_out_of_the_body() {
        let part = Bytes::from(vec![7; COPY_BODY_BYTES_MAX + 1]);
        for body in [&b""[..], b"hello", &part] {
            let message = Message::with_blind_keys(
                parts(Body::Whole(body)),
                [&b"hidden"[..], b""],
                &mut Vec::new(),
            );
            check(&message, body);
            let keys: Vec<_> = message.blind_keys().collect();
            assert_eq!(keys, [&b"hidden"[..], b""]);
        }
        assert_eq!(message(Body::Whole(b"hello")).blind_keys().count(), 0);
    }

    #[test]
    fn an_empty_body_is_a_body() {
        check(&message(Body::Whole(b"")), b"");
    }
}
