//! Content headers and the fourteen basic properties.
//!
//! A header's payload is `class u16 · weight u16 · body size u64 · flag word u16 · fields`. A broker
//! passes the flag word and the fields on as they came (PUB-14); [`Properties::parse`] looks inside
//! without copying, and walks every field, so that undecodable properties are found when a message
//! is published (FRAME-09) and never later.

use bytes::{BufMut, Bytes, BytesMut};
use nom::number::complete::{be_u8, be_u16, be_u64};

use crate::encode;
use crate::parse::{self, Malformed, Parsed};
use crate::value::{self, ShortStr, Table};

/// The frame type of a content header.
pub const FRAME_HEADER: u8 = 2;
/// The frame type of a piece of a body.
pub const FRAME_BODY: u8 = 3;
/// Bytes of a header's payload before the flag word.
pub const HEADER_FIXED_LEN: usize = 12;
/// The only class with content.
pub const BASIC_CLASS_ID: u16 = 60;

/// A content header's payload, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// The class that the content belongs to; 60 is the only right one.
    pub class_id: u16,
    /// Always zero.
    pub weight: u16,
    /// How many body bytes follow.
    pub body_size: u64,
    /// Flag word and fields, unparsed.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Cuts a header frame's payload, whose first part has a fixed layout.
    ///
    /// # Errors
    /// When it is shorter than the fixed part (FRAME-03).
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let Some((fixed, properties)) = payload.split_first_chunk::<HEADER_FIXED_LEN>() else {
            return Err(Malformed::Truncated);
        };
        let [class1, class0, weight1, weight0, size @ ..] = *fixed;
        Ok(Self {
            class_id: u16::from_be_bytes([class1, class0]),
            weight: u16::from_be_bytes([weight1, weight0]),
            body_size: u64::from_be_bytes(size),
            properties,
        })
    }

    /// Writes the header as one frame; never split, whatever the frame limit (FRAME-12).
    pub fn write_frame(&self, channel: u16, out: &mut BytesMut) {
        encode::frame(out, FRAME_HEADER, channel, |out| {
            out.put_u16(self.class_id);
            out.put_u16(self.weight);
            out.put_u64(self.body_size);
            out.put_slice(self.properties);
        });
    }
}

/// A message's body.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// All of it, borrowed from wherever it was read.
    Whole(&'a [u8]),
    /// Its pieces in order.
    Parts(Vec<Bytes>),
}

impl Body<'_> {
    /// The body's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }

    /// True for the empty body, which is a valid one (PUB-16).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The basic properties; each one absent unless its flag bit is set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Properties<'a> {
    /// Bit 15.
    pub content_type: Option<ShortStr<'a>>,
    /// Bit 14.
    pub content_encoding: Option<ShortStr<'a>>,
    /// Bit 13.
    pub headers: Option<Table<'a>>,
    /// Bit 12: 1 = transient, 2 = persistent.
    pub delivery_mode: Option<u8>,
    /// Bit 11.
    pub priority: Option<u8>,
    /// Bit 10.
    pub correlation_id: Option<ShortStr<'a>>,
    /// Bit 9.
    pub reply_to: Option<ShortStr<'a>>,
    /// Bit 8: milliseconds as decimal text.
    pub expiration: Option<ShortStr<'a>>,
    /// Bit 7.
    pub message_id: Option<ShortStr<'a>>,
    /// Bit 6: seconds since the epoch.
    pub timestamp: Option<u64>,
    /// Bit 5: the property named `type`.
    pub kind: Option<ShortStr<'a>>,
    /// Bit 4.
    pub user_id: Option<ShortStr<'a>>,
    /// Bit 3.
    pub app_id: Option<ShortStr<'a>>,
    /// Bit 2: reserved by the specification, passed through (FRAME-27).
    pub cluster_id: Option<ShortStr<'a>>,
}

impl<'a> Properties<'a> {
    /// Parses the flag word and the fields. Bits 0 and 1 are ignored (FRAME-26).
    ///
    /// # Errors
    /// When the flags promise more than is there, or bytes are left over (FRAME-09).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes {
            [0, 0] => Ok(Self::default()),
            _ => parse::all(bytes, Self::fields),
        }
    }

    fn fields(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, flags) = be_u16(input)?;
        let mut rest = Fields { flags, input };
        let properties = Self {
            content_type: rest.take(15, short_str)?,
            content_encoding: rest.take(14, short_str)?,
            headers: rest.take(13, value::table)?,
            delivery_mode: rest.take(12, be_u8)?,
            priority: rest.take(11, be_u8)?,
            correlation_id: rest.take(10, short_str)?,
            reply_to: rest.take(9, short_str)?,
            expiration: rest.take(8, short_str)?,
            message_id: rest.take(7, short_str)?,
            timestamp: rest.take(6, be_u64)?,
            kind: rest.take(5, short_str)?,
            user_id: rest.take(4, short_str)?,
            app_id: rest.take(3, short_str)?,
            cluster_id: rest.take(2, short_str)?,
        };
        Ok((rest.input, properties))
    }

    /// Writes the flag word and the fields.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_u16(self.flags());
        put_text(out, self.content_type);
        put_text(out, self.content_encoding);
        if let Some(headers) = self.headers {
            encode::put_long_bytes(out, headers.as_bytes());
        }
        self.delivery_mode
            .iter()
            .chain(&self.priority)
            .for_each(|octet| out.put_u8(*octet));
        put_text(out, self.correlation_id);
        put_text(out, self.reply_to);
        put_text(out, self.expiration);
        put_text(out, self.message_id);
        if let Some(timestamp) = self.timestamp {
            out.put_u64(timestamp);
        }
        put_text(out, self.kind);
        put_text(out, self.user_id);
        put_text(out, self.app_id);
        put_text(out, self.cluster_id);
    }

    /// The flag word and fields as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn flags(&self) -> u16 {
        let present = [
            self.content_type.is_some(),
            self.content_encoding.is_some(),
            self.headers.is_some(),
            self.delivery_mode.is_some(),
            self.priority.is_some(),
            self.correlation_id.is_some(),
            self.reply_to.is_some(),
            self.expiration.is_some(),
            self.message_id.is_some(),
            self.timestamp.is_some(),
            self.kind.is_some(),
            self.user_id.is_some(),
            self.app_id.is_some(),
            self.cluster_id.is_some(),
        ];
        present
            .iter()
            .enumerate()
            .fold(0, |flags, (n, set)| flags | (u16::from(*set) << (15 - n)))
    }
}

/// What is left of the fields, and which of them are there.
struct Fields<'a> {
    flags: u16,
    input: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take<T>(
        &mut self,
        bit: u16,
        mut parser: impl nom::Parser<&'a [u8], Output = T, Error = Malformed>,
    ) -> Result<Option<T>, nom::Err<Malformed>> {
        if self.flags & (1 << bit) == 0 {
            return Ok(None);
        }
        let (rest, value) = parser.parse(self.input)?;
        self.input = rest;
        Ok(Some(value))
    }
}

fn short_str(input: &[u8]) -> Parsed<'_, ShortStr<'_>> {
    let (rest, bytes) = parse::short_bytes(input)?;
    Ok((rest, ShortStr(bytes)))
}

fn put_text(out: &mut impl BufMut, text: Option<ShortStr<'_>>) {
    if let Some(text) = text {
        encode::put_short_bytes(out, text.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frame_26_the_two_lowest_flag_bits_are_ignored() {
        assert_eq!(Properties::parse(&[0, 3]).unwrap(), Properties::default());
    }

    #[test]
    fn frame_09_flags_that_promise_too_much_are_refused() {
        assert_eq!(Properties::parse(&[0x80, 0]), Err(Malformed::Truncated));
        assert_eq!(Properties::parse(&[0, 0, 1]), Err(Malformed::TrailingBytes));
    }

    #[test]
    fn every_property_survives_a_round_trip() {
        let text = |text: &'static str| Some(ShortStr(text.as_bytes()));
        let properties = Properties {
            content_type: text("text/plain"),
            content_encoding: text("gzip"),
            headers: Some(Table::default()),
            delivery_mode: Some(2),
            priority: Some(9),
            correlation_id: text("c"),
            reply_to: text("r"),
            expiration: text("60000"),
            message_id: text("m"),
            timestamp: Some(u64::MAX),
            kind: text("t"),
            user_id: text("u"),
            app_id: text("a"),
            cluster_id: text("x"),
        };
        let bytes = properties.to_bytes();
        assert_eq!(bytes[..2], [0xFF, 0xFC]);
        assert_eq!(Properties::parse(&bytes).unwrap(), properties);
    }
}
