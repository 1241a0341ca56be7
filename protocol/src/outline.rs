//! [`Outline`]: what a broker asks of nearly every message's properties, read in one pass.
//!
//! [`Properties::parse`](crate::Properties::parse) makes a value of every field. Most publishes need
//! none of them: only whether the fields are well formed, and the few that decide how the message is
//! treated. This walk skips over the rest by their lengths.
//!
//! What it is not: a judge. It says nothing where the properties are malformed; whoever needs to know
//! why parses them.
//!
//! Invariant: properties that have an outline can be parsed, and the outline agrees with the result.

use crate::value;

/// The facts of one property section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    flags: u16,
    /// 1 = transient, 2 = persistent; absent unless it was set.
    pub delivery_mode: Option<u8>,
    /// The priority, if it was set.
    pub priority: Option<u8>,
    /// True when a header is named CC or BCC (PUB-08).
    pub names_copies: bool,
    /// True when reply-to is [`DIRECT_REPLY_QUEUE`] (RPC-05).
    pub asks_for_direct_reply: bool,
}

/// The pseudo-queue that a request names to be answered directly.
pub const DIRECT_REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

const CONTENT_TYPE: u16 = 15;
const CONTENT_ENCODING: u16 = 14;
const HEADERS: u16 = 13;
const DELIVERY_MODE: u16 = 12;
const PRIORITY: u16 = 11;
const CORRELATION_ID: u16 = 10;
const REPLY_TO: u16 = 9;
const EXPIRATION: u16 = 8;
const MESSAGE_ID: u16 = 7;
const TIMESTAMP: u16 = 6;
const USER_ID: u16 = 4;
const TIMESTAMP_LEN: usize = 8;

impl Outline {
    /// Walks the flag word and the fields; `None` unless all of them are well formed.
    #[inline]
    pub fn read(properties: &[u8]) -> Option<Self> {
        let (flags, fields) = properties.split_first_chunk::<2>()?;
        let mut outline = Self {
            flags: u16::from_be_bytes(*flags),
            delivery_mode: None,
            priority: None,
            names_copies: false,
            asks_for_direct_reply: false,
        };
        let rest = outline.read_fields(fields)?;
        rest.is_empty().then_some(outline)
    }

    /// True when the expiration was set.
    pub fn expires(&self) -> bool {
        self.has(EXPIRATION)
    }

    /// True when the user-id was set.
    pub fn claims_user(&self) -> bool {
        self.has(USER_ID)
    }

    fn has(&self, bit: u16) -> bool {
        self.flags & (1 << bit) != 0
    }

    fn read_fields<'a>(&mut self, mut rest: &'a [u8]) -> Option<&'a [u8]> {
        rest = self.skip_texts(CONTENT_TYPE, CONTENT_ENCODING, rest)?;
        if self.has(HEADERS) {
            let (entries, after) = split_long(rest)?;
            self.names_copies = names_copies(entries)?;
            rest = after;
        }
        if self.has(DELIVERY_MODE) {
            let (mode, after) = rest.split_first()?;
            (self.delivery_mode, rest) = (Some(*mode), after);
        }
        if self.has(PRIORITY) {
            let (priority, after) = rest.split_first()?;
            (self.priority, rest) = (Some(*priority), after);
        }
        rest = self.skip_texts(CORRELATION_ID, CORRELATION_ID, rest)?;
        if self.has(REPLY_TO) {
            let after = skip_short(rest)?;
            let name = rest.get(1..rest.len() - after.len());
            self.asks_for_direct_reply = name == Some(DIRECT_REPLY_QUEUE.as_bytes());
            rest = after;
        }
        rest = self.skip_texts(EXPIRATION, MESSAGE_ID, rest)?;
        if self.has(TIMESTAMP) {
            rest = rest.get(TIMESTAMP_LEN..)?;
        }
        self.skip_texts(5, 2, rest)
    }

    /// Skips the short strings of these flag bits, which are neighbours; from the higher to the lower.
    #[inline]
    fn skip_texts<'a>(&self, from: u16, to: u16, mut rest: &'a [u8]) -> Option<&'a [u8]> {
        let mut bit = from;
        while bit >= to {
            if self.has(bit) {
                rest = skip_short(rest)?;
            }
            bit -= 1;
        }
        Some(rest)
    }
}

/// Walks the entries of a header table; says whether one is named CC or BCC.
fn names_copies(mut entries: &[u8]) -> Option<bool> {
    let mut found = false;
    while let Some((len, rest)) = entries.split_first() {
        let (key, tagged) = rest.split_at_checked(usize::from(*len))?;
        found |= key == b"CC" || key == b"BCC";
        entries = skip_value(tagged)?;
    }
    Some(found)
}

#[inline]
fn skip_value(tagged: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = tagged.split_first()?;
    let len = match tag {
        b'S' | b'x' => return split_long(rest).map(|(_, after)| after),
        b'I' | b'i' | b'f' => 4,
        b'l' | b'L' | b'd' | b'T' => 8,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'D' => 5,
        b'V' => 0,
        // Tables within the table, arrays, and what is none of all these.
        _ => return value::after_header_value(tagged),
    };
    rest.get(len..)
}

#[inline]
fn skip_short(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first()?;
    rest.get(usize::from(*len)..)
}

#[inline]
fn split_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{ArrayBuf, Properties, TableBuf, Value};
    use proptest::prelude::*;

    /// Whatever the bytes are: an outline is given exactly when they can be parsed, and agrees.
    fn check(bytes: &[u8]) {
        let Ok(parsed) = Properties::parse(bytes) else {
            return assert_eq!(Outline::read(bytes), None);
        };
        let outline = Outline::read(bytes).unwrap();
        assert_eq!(outline.delivery_mode, parsed.delivery_mode);
        assert_eq!(outline.priority, parsed.priority);
        assert_eq!(outline.expires(), parsed.expiration.is_some());
        assert_eq!(outline.claims_user(), parsed.user_id.is_some());
        let reply_to = parsed.reply_to.map(|name| name.0);
        let asks = reply_to == Some(DIRECT_REPLY_QUEUE.as_bytes());
        assert_eq!(outline.asks_for_direct_reply, asks);
        let copies = |(key, _): (crate::ShortStr<'_>, _)| matches!(key.0, b"CC" | b"BCC");
        let named = parsed.headers.is_some_and(|h| h.entries().any(copies));
        assert_eq!(outline.names_copies, named);
    }

    fn full() -> Vec<u8> {
        let inner = TableBuf::from_entries([("k", Value::I8(1))]);
        let list: ArrayBuf = [Value::LongStr(b"c"), Value::Table(inner.view())]
            .into_iter()
            .collect();
        let headers = TableBuf::from_entries([
            ("t", Value::Bool(true)),
            ("b", Value::I8(-1)),
            ("B", Value::U8(1)),
            ("s", Value::I16(-1)),
            ("u", Value::U16(1)),
            ("I", Value::I32(-1)),
            ("i", Value::U32(1)),
            ("l", Value::I64(-1)),
            ("f", Value::F32(0.5)),
            ("d", Value::F64(0.5)),
            ("D", Value::Decimal { scale: 2, bits: 7 }),
            ("S", Value::LongStr(b"text")),
            ("T", Value::Timestamp(9)),
            ("V", Value::Void),
            ("x", Value::ByteArray(b"bytes")),
            ("F", Value::Table(inner.view())),
            ("CC", Value::Array(list.view())),
        ]);
        Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("gzip".into()),
            headers: Some(headers.view()),
            delivery_mode: Some(2),
            priority: Some(3),
            correlation_id: Some("c".into()),
            reply_to: Some(DIRECT_REPLY_QUEUE.into()),
            expiration: Some("1000".into()),
            message_id: Some("m".into()),
            timestamp: Some(1),
            kind: Some("t".into()),
            user_id: Some("guest".into()),
            app_id: Some("a".into()),
            cluster_id: Some("x".into()),
        }
        .to_bytes()
    }

    #[test]
    fn it_agrees_with_the_parser_on_every_field_and_every_cut() {
        let whole = full();
        assert!(Outline::read(&whole).unwrap().names_copies);
        assert!(Outline::read(&whole).unwrap().asks_for_direct_reply);
        (0..=whole.len()).for_each(|len| check(&whole[..len]));
        check(&[&whole[..], &[0]].concat());
        check(&[0, 0]);
        check(&[0, 3]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_parser_whatever_is_broken(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = full();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            check(&bytes);
        }
    }
}
