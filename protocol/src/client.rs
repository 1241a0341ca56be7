//! The client's side of the codec: enough for a raw client in a test or a tool, without I/O.
//!
//! ```text
//! socket ── bytes, split anyhow ──▶ Decoder ──▶ OwnedFrame ──▶ method() · header()
//! socket ◀── BytesMut ◀── write_protocol_header · write_method · write_publish · write_heartbeat
//! ```
//!
//! What it is not: a client. It keeps no connection or channel state, checks no order of frames and
//! answers nothing, so that a test can send and see whatever it wants. For frames that no honest
//! client sends, [`crate::encode::frame`] writes any type and payload.
//!
//! Invariants of [`Decoder`]: how the bytes were split never shows in the frames; memory is held for
//! bytes received, never for bytes announced; after an error the stream cannot be followed any
//! more, and every further call repeats the error.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::PROTOCOL_HEADER;
use crate::content::{BASIC_CLASS_ID, ContentHeader, FRAME_BODY, FRAME_HEADER, Properties};
use crate::encode::{self, FRAME_OVERHEAD};
use crate::framer::{self, Cut, FRAME_HEADER_LEN, FrameError, HEARTBEAT};
use crate::method::{FRAME_METHOD, Method, basic};
use crate::parse::Malformed;

/// The largest payload a [`Decoder`] takes unless told otherwise: 16 MiB, far above the frame limit
/// of any server's default configuration (128 KiB) and above content headers that exceed the limit
/// (FRAME-12), yet small enough that a garbled length is noticed at once.
pub const PAYLOAD_MAX: usize = 16 << 20;

/// One received frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// The type octet, known or not.
    pub kind: u8,
    /// The channel number.
    pub channel: u16,
    /// What the type says it is.
    pub payload: Bytes,
}

impl OwnedFrame {
    /// The method in a method frame.
    ///
    /// # Errors
    /// When the frame is of another type, or its payload is not a method.
    pub fn method(&self) -> Result<Method<'_>, Unreadable> {
        self.expect_kind(FRAME_METHOD)?;
        Ok(Method::parse(&self.payload)?)
    }

    /// The content header in a header frame; [`Properties::parse`] looks further into it.
    ///
    /// # Errors
    /// When the frame is of another type, or its payload is too short.
    pub fn header(&self) -> Result<ContentHeader<'_>, Unreadable> {
        self.expect_kind(FRAME_HEADER)?;
        Ok(ContentHeader::parse(&self.payload)?)
    }

    fn expect_kind(&self, wanted: u8) -> Result<(), Unreadable> {
        match self.kind {
            kind if kind == wanted => Ok(()),
            kind => Err(Unreadable::WrongType { wanted, kind }),
        }
    }
}

/// Why a frame does not hold what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is of another type.
    WrongType {
        /// The type asked for.
        wanted: u8,
        /// The frame's type.
        kind: u8,
    },
    /// It is of the right type, and its payload is not what it should be.
    Malformed(Malformed),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WrongType { wanted, kind } => {
                write!(
                    f,
                    "a frame of type {kind} where one of type {wanted} is wanted"
                )
            }
            Self::Malformed(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<Malformed> for Unreadable {
    fn from(cause: Malformed) -> Self {
        Self::Malformed(cause)
    }
}

/// Why no further frame can be read from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The server answered with its own protocol header: it refuses the client's (PROTO-04).
    ProtocolHeader([u8; PROTOCOL_HEADER.len()]),
    /// The announced payload is larger than the decoder takes.
    TooLarge {
        /// The type octet.
        kind: u8,
        /// The announced size in bytes.
        size: u32,
    },
    /// The octet after the payload is not 0xCE.
    InvalidEnd {
        /// The type octet.
        kind: u8,
        /// The octet that stands there.
        end: u8,
    },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ProtocolHeader(header) => {
                write!(f, "the server wants protocol {}", header.escape_ascii())
            }
            Self::TooLarge { kind, size } => {
                write!(f, "a frame of type {kind} announces {size} bytes")
            }
            Self::InvalidEnd { kind, end } => {
                write!(f, "a frame of type {kind} ends with {end:#04x}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<FrameError<'_>> for DecodeError {
    fn from(error: FrameError<'_>) -> Self {
        match error {
            FrameError::TooLarge { kind, size } => Self::TooLarge { kind, size },
            FrameError::InvalidEnd { frame, end } => Self::InvalidEnd {
                kind: frame.kind,
                end,
            },
        }
    }
}

/// Turns received bytes into frames, however they were split.
#[derive(Debug)]
pub struct Decoder {
    received: BytesMut,
    payload_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(PAYLOAD_MAX)
    }
}

impl Decoder {
    /// A decoder that takes payloads of at most `payload_max` bytes.
    pub fn new(payload_max: usize) -> Self {
        Self {
            received: BytesMut::new(),
            payload_max,
        }
    }

    /// Takes in bytes as they come from the server.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The buffer that received bytes are appended to, for reading into without a copy.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// The next whole frame; `None` until more bytes are fed.
    ///
    /// # Errors
    /// When the bytes are not a frame; see [`DecodeError`].
    pub fn next_frame(&mut self) -> Result<Option<OwnedFrame>, DecodeError> {
        if self.starts_like_a_protocol_header() {
            return self.protocol_header();
        }
        let (kind, channel, len) = match framer::cut(&self.received, self.payload_max)? {
            Cut::Incomplete { .. } => return Ok(None),
            Cut::Frame(frame) => (frame.kind, frame.channel, frame.payload.len()),
        };
        Ok(Some(OwnedFrame {
            kind,
            channel,
            payload: self.take_payload(len),
        }))
    }

    /// True as soon as `AMQ` is there: no frame has type 65, and nothing else starts like that.
    fn starts_like_a_protocol_header(&self) -> bool {
        self.received.starts_with(&PROTOCOL_HEADER[..3])
    }

    fn protocol_header(&self) -> Result<Option<OwnedFrame>, DecodeError> {
        match self.received.first_chunk() {
            Some(header) => Err(DecodeError::ProtocolHeader(*header)),
            None => Ok(None),
        }
    }

    /// Takes the frame at the front, whose payload is `len` bytes, out of the buffer.
    fn take_payload(&mut self, len: usize) -> Bytes {
        self.received.advance(FRAME_HEADER_LEN);
        let payload = self.received.split_to(len).freeze();
        self.received.advance(FRAME_OVERHEAD - FRAME_HEADER_LEN);
        payload
    }
}

/// Writes the eight bytes that open a connection.
pub fn write_protocol_header(out: &mut BytesMut) {
    out.put_slice(&PROTOCOL_HEADER);
}

/// Writes a method frame.
pub fn write_method<'a>(channel: u16, method: impl Into<Method<'a>>, out: &mut BytesMut) {
    method.into().write_frame(channel, out);
}

/// Writes a heartbeat frame.
pub fn write_heartbeat(out: &mut BytesMut) {
    out.put_slice(&HEARTBEAT);
}

/// Writes a message: method, content header, and the body in frames of at most `frame_max` bytes.
///
/// `frame_max` is the negotiated number and counts a frame's eight bytes of overhead; 0 means no
/// limit. Method and header are never split (FRAME-12); an empty body has no frame (FRAME-13).
pub fn write_publish(
    channel: u16,
    publish: basic::Publish<'_>,
    properties: &Properties<'_>,
    body: &[u8],
    frame_max: u32,
    out: &mut BytesMut,
) {
    write_method(channel, publish, out);
    let header = ContentHeader {
        class_id: BASIC_CLASS_ID,
        weight: 0,
        body_size: body.len() as u64,
        properties: &properties.to_bytes(),
    };
    header.write_frame(channel, out);
    write_body(channel, body, frame_max, out);
}

/// Writes a body, or a part of one, in frames of at most `frame_max` bytes; see [`write_publish`].
pub fn write_body(channel: u16, body: &[u8], frame_max: u32, out: &mut BytesMut) {
    for piece in body.chunks(body_payload_max(frame_max)) {
        encode::frame(out, FRAME_BODY, channel, |out| out.put_slice(piece));
    }
}

/// How much of a body fits a frame. At least one byte, so that a senseless limit still sends.
fn body_payload_max(frame_max: u32) -> usize {
    match frame_max {
        0 => usize::MAX,
        limit => (limit as usize).saturating_sub(FRAME_OVERHEAD).max(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::method::connection;
    use crate::value::ShortStr;

    fn frames(decoder: &mut Decoder) -> Vec<OwnedFrame> {
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    fn published(body: &[u8], frame_max: u32) -> Vec<OwnedFrame> {
        let publish = basic::Publish {
            routing_key: ShortStr(b"q"),
            ..Default::default()
        };
        let properties = Properties {
            delivery_mode: Some(2),
            ..Default::default()
        };
        let mut out = BytesMut::new();
        write_publish(7, publish, &properties, body, frame_max, &mut out);
        let mut decoder = Decoder::default();
        decoder.feed(&out);
        frames(&mut decoder)
    }

    fn body_lens(frames: &[OwnedFrame]) -> Vec<usize> {
        frames[2..]
            .iter()
            .inspect(|frame| assert_eq!((frame.kind, frame.channel), (FRAME_BODY, 7)))
            .map(|frame| frame.payload.len())
            .collect()
    }

    #[test]
    fn a_publish_is_method_header_and_body() {
        let frames = published(b"hello", 4096);
        let Method::Basic(basic::Method::Publish(publish)) = frames[0].method().unwrap() else {
            panic!("{:?}", frames[0]);
        };
        assert_eq!(publish.routing_key, ShortStr(b"q"));
        let header = frames[1].header().unwrap();
        assert_eq!(
            (header.class_id, header.weight, header.body_size),
            (60, 0, 5)
        );
        let properties = Properties::parse(header.properties).unwrap();
        assert_eq!(properties.delivery_mode, Some(2));
        assert_eq!(frames[2].payload, b"hello"[..]);
    }

    #[test]
    fn frame_13_bodies_are_split_by_the_negotiated_frame_size() {
        assert_eq!(body_lens(&published(&[0; 20], 18)), [10, 10]);
        assert_eq!(body_lens(&published(&[0; 21], 18)), [10, 10, 1]);
        assert_eq!(body_lens(&published(&[0; 21], 0)), [21]);
        assert_eq!(body_lens(&published(&[], 18)), []);
    }

    #[test]
    fn a_limit_below_the_overhead_still_sends() {
        assert_eq!(body_lens(&published(b"ab", 3)), [1, 1]);
    }

    #[test]
    fn single_bytes_make_whole_frames() {
        let mut bytes = BytesMut::new();
        write_heartbeat(&mut bytes);
        write_method(0, connection::CloseOk {}, &mut bytes);
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.feed(&[byte]);
            seen.extend(frames(&mut decoder));
        }
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].kind, &seen[0].payload[..]), (8, &[][..]));
        assert_eq!(seen[1].method().unwrap().id(), connection::CloseOk::ID);
    }

    #[test]
    fn a_frame_of_another_type_is_not_a_method() {
        let frames = published(b"", 4096);
        let wrong = Unreadable::WrongType { wanted: 1, kind: 2 };
        assert_eq!(frames[1].method(), Err(wrong));
        let wrong = Unreadable::WrongType { wanted: 2, kind: 1 };
        assert_eq!(frames[0].header(), Err(wrong));
    }

    #[test]
    fn proto_04_the_servers_protocol_header_is_told_from_a_frame() {
        let mut opening = BytesMut::new();
        write_protocol_header(&mut opening);
        let mut decoder = Decoder::default();
        decoder.feed(&opening[..7]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.feed(&opening[7..]);
        let refused = Err(DecodeError::ProtocolHeader(PROTOCOL_HEADER));
        assert_eq!(decoder.next_frame(), refused);
        assert_eq!(decoder.next_frame(), refused);
    }

    #[test]
    fn errors_name_what_is_wrong_and_stay() {
        let mut decoder = Decoder::new(1);
        decoder.feed(&[3, 0, 1, 0, 0, 0, 1, 42, 0]);
        let wrong = Err(DecodeError::InvalidEnd { kind: 3, end: 0 });
        assert_eq!(decoder.next_frame(), wrong);
        decoder.feed(&HEARTBEAT);
        assert_eq!(decoder.next_frame(), wrong);
        let mut decoder = Decoder::new(1);
        decoder.feed(&[3, 0, 1, 0, 0, 0, 2]);
        let too_large = Err(DecodeError::TooLarge { kind: 3, size: 2 });
        assert_eq!(decoder.next_frame(), too_large);
    }
}
