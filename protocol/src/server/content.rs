//! Puts a message together from its method, header and body frames.
//!
//! ```text
//!            publish                header, size > 0             body frames
//!  (nothing) ───────▶ ExpectHeader ─────────────────▶ ExpectBody ───────────┐
//!      ▲                   │ header, size = 0              │ all received   │ ◀──┘
//!      └───────────────────┴───────────────────────────────┘
//! ```
//!
//! Most small messages lie whole in the read buffer; those are handed out borrowed and never pass
//! through the states above (see `whole`). The rest own what they have gathered so far: small
//! pieces are copied together, so that a flood of one-byte body frames costs no more memory than its
//! bytes; a large piece stays a slice of the buffer it arrived in if it is nearly all of it.
//!
//! Invariant: a whole message keeps at most an eighth more memory alive than its bytes.

use bytes::Bytes;

use crate::content::{BASIC_CLASS_ID, Body, ContentHeader, FRAME_BODY, FRAME_HEADER};
use crate::framer::{self, Cut, Frame};
use crate::method::basic;
use crate::reply::{Fault, MethodId, ReplyCode};
use crate::server::{Input, ServerOptions};

/// A complete `basic.publish` with its content.
///
/// Small on purpose: the usual one is four slices of the read buffer, and it is handed on by value.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Return the message if no queue gets it (RET-01).
    pub mandatory: bool,
    /// Asks for what RabbitMQ does not do (PUB-02).
    pub immediate: bool,
    parts: Parts<'a>,
}

#[derive(Clone, Debug)]
enum Parts<'a> {
    /// All of it lies in the read buffer.
    Borrowed {
        address: &'a [u8],
        properties: &'a [u8],
        body: &'a [u8],
    },
    /// It was put together from several reads, or its body is large.
    Gathered(Box<Gathered>),
}

#[derive(Clone, Debug)]
struct Gathered {
    address: Bytes,
    properties: Bytes,
    body: Vec<Bytes>,
}

impl Publish<'_> {
    /// Exchange and routing key as two short strings, one behind the other, as they came.
    #[inline]
    pub fn address(&self) -> &[u8] {
        match &self.parts {
            Parts::Borrowed { address, .. } => address,
            Parts::Gathered(gathered) => &gathered.address,
        }
    }

    /// The exchange's name; any bytes (FRAME-07).
    pub fn exchange(&self) -> &[u8] {
        let address = self.address();
        &address[1..1 + usize::from(address[0])]
    }

    /// The routing key; any bytes (PUB-19).
    pub fn routing_key(&self) -> &[u8] {
        let address = self.address();
        &address[2 + usize::from(address[0])..]
    }

    /// Flag word and fields, not yet checked (FRAME-09).
    #[inline]
    pub fn properties(&self) -> &[u8] {
        match &self.parts {
            Parts::Borrowed { properties, .. } => properties,
            Parts::Gathered(gathered) => &gathered.properties,
        }
    }

    /// The body, exactly as long as announced.
    #[inline]
    pub fn body(&self) -> Body<'_> {
        match &self.parts {
            Parts::Borrowed { body, .. } => Body::Whole(body),
            Parts::Gathered(gathered) => Body::Parts(gathered.body.clone()),
        }
    }
}

/// A slice keeps the whole of its read buffer alive, and what is counted is the slice. So a piece of a body is
/// only shared if no more than this part (one in eight) of the buffer is something else; others are copied.
const WASTED_PART_MAX: usize = 8;

/// Small pieces are put together up to this many bytes, and then laid aside: a buffer that grew with the body
/// would be copied as often as it doubles, and half of it could be empty.
const PUT_TOGETHER_BYTES_MAX: usize = 65_536;

/// The largest piece of a body that is copied out of a buffer for which so much was allocated.
pub(super) fn copied_piece_max(allocated: usize) -> usize {
    (allocated - allocated / WASTED_PART_MAX).saturating_sub(1)
}

const PUBLISH: MethodId = basic::Publish::ID;

/// The arguments of a `basic.publish`: as the table has them, but with its two strings left together.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishMethod<'a> {
    address: &'a [u8],
    mandatory: bool,
    immediate: bool,
}

impl<'a> PublishMethod<'a> {
    /// Takes the arguments apart: a ticket, two short strings, an octet of bits, and nothing else.
    #[inline]
    pub(super) fn parse(arguments: &'a [u8]) -> Option<Self> {
        let (_ticket, strings) = arguments.split_first_chunk::<2>()?;
        let exchange_len = usize::from(*strings.first()?);
        let key_len = usize::from(*strings.get(1 + exchange_len)?);
        let (address, bits) = strings.split_at_checked(2 + exchange_len + key_len)?;
        let &[bits] = bits else { return None };
        Some(Self {
            address,
            mandatory: bits & 1 != 0,
            immediate: bits & 2 != 0,
        })
    }
}

/// Looks for the rest of a publish right behind its method frame: header, and body in one frame.
/// Returns it with the bytes it takes, or nothing if it is not all there or not all well; then the
/// frames are taken one by one and judged.
#[inline]
pub(super) fn whole<'a>(
    channel: u16,
    publish: PublishMethod<'a>,
    rest: &'a [u8],
    payload_max: usize,
    body_max: u64,
) -> Option<(Publish<'a>, usize)> {
    let header_frame = next_of(FRAME_HEADER, channel, rest, payload_max)?;
    let header = ContentHeader::parse(header_frame.payload).ok()?;
    let fits = header.body_size <= body_max;
    if header.class_id != BASIC_CLASS_ID || header.weight != 0 || !fits {
        return None;
    }
    let header_len = header_frame.wire_len();
    if header.body_size == 0 {
        return Some((borrowed(publish, header.properties, &[]), header_len));
    }
    let body = next_of(FRAME_BODY, channel, &rest[header_len..], payload_max)?;
    if body.payload.len() as u64 != header.body_size {
        return None;
    }
    Some((
        borrowed(publish, header.properties, body.payload),
        header_len + body.wire_len(),
    ))
}

#[inline]
fn next_of(kind: u8, channel: u16, bytes: &[u8], payload_max: usize) -> Option<Frame<'_>> {
    match framer::cut(bytes, payload_max) {
        Ok(Cut::Frame(frame)) if frame.kind == kind && frame.channel == channel => Some(frame),
        _ => None,
    }
}

#[inline]
fn borrowed<'a>(publish: PublishMethod<'a>, properties: &'a [u8], body: &'a [u8]) -> Publish<'a> {
    Publish {
        mandatory: publish.mandatory,
        immediate: publish.immediate,
        parts: Parts::Borrowed {
            address: publish.address,
            properties,
            body,
        },
    }
}

/// A publish whose content is still arriving.
#[derive(Debug)]
pub(super) struct Assembly {
    address: Bytes,
    mandatory: bool,
    immediate: bool,
    received_bytes: u64,
    waiting_for: WaitingFor,
}

#[derive(Debug)]
enum WaitingFor {
    Header,
    Body {
        properties: Bytes,
        remaining: u64,
        pieces: Pieces,
    },
}

/// What has come of a body.
#[derive(Debug, Default)]
struct Pieces {
    parts: Vec<Bytes>,
    /// Small pieces behind the parts.
    tail: Vec<u8>,
}

impl Pieces {
    fn put_together(&mut self, piece: &[u8]) {
        if self.tail.len() + piece.len() > PUT_TOGETHER_BYTES_MAX {
            self.end_tail();
        }
        self.tail.extend_from_slice(piece);
    }

    fn push(&mut self, part: Bytes) {
        self.end_tail();
        self.parts.push(part);
    }

    /// Lays the small pieces aside, without the room that was there for more.
    fn end_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        let is_full = tail.len() > copied_piece_max(tail.capacity());
        self.parts.push(match is_full {
            true => Bytes::from(tail),
            false => Bytes::copy_from_slice(&tail),
        });
    }

    /// What is allocated and holds nothing yet.
    fn spare_bytes(&self) -> usize {
        self.tail.capacity() - self.tail.len()
    }

    fn end(mut self) -> Vec<Bytes> {
        self.end_tail();
        self.parts
    }
}

/// What a frame did to an assembly.
pub(super) enum Assembled {
    /// More frames are needed.
    NotYet,
    /// The message is complete.
    Whole(Publish<'static>),
}

impl Assembly {
    /// Starts with the method; its strings are copied, since the read buffer moves on.
    pub(super) fn begin(publish: PublishMethod<'_>) -> Self {
        Self {
            address: Bytes::copy_from_slice(publish.address),
            mandatory: publish.mandatory,
            immediate: publish.immediate,
            received_bytes: 0,
            waiting_for: WaitingFor::Header,
        }
    }

    /// The memory that properties and body have taken so far.
    pub(super) fn held_bytes(&self) -> u64 {
        let spare = match &self.waiting_for {
            WaitingFor::Header => 0,
            WaitingFor::Body { pieces, .. } => pieces.spare_bytes(),
        };
        self.received_bytes + spare as u64
    }

    /// Takes the next frame of the channel, which was cut from `input`.
    pub(super) fn take(
        &mut self,
        frame: Frame<'_>,
        input: &Input<'_>,
        options: &ServerOptions,
    ) -> Result<Assembled, Fault> {
        match &mut self.waiting_for {
            WaitingFor::Header => self.take_header(frame, options),
            WaitingFor::Body {
                remaining, pieces, ..
            } => {
                take_body(frame, input, options, remaining, pieces)?;
                self.received_bytes += frame.payload.len() as u64;
                if *remaining > 0 {
                    Ok(Assembled::NotYet)
                } else {
                    Ok(self.finish())
                }
            }
        }
    }

    fn take_header(
        &mut self,
        frame: Frame<'_>,
        options: &ServerOptions,
    ) -> Result<Assembled, Fault> {
        let header = expect_header(frame)?;
        check_size(header.body_size, options)?;
        self.received_bytes += header.properties.len() as u64;
        self.waiting_for = WaitingFor::Body {
            properties: Bytes::copy_from_slice(header.properties),
            remaining: header.body_size,
            pieces: Pieces::default(),
        };
        if header.body_size == 0 {
            Ok(self.finish())
        } else {
            Ok(Assembled::NotYet)
        }
    }

    fn finish(&mut self) -> Assembled {
        let gathered = std::mem::replace(&mut self.waiting_for, WaitingFor::Header);
        let (properties, body) = match gathered {
            WaitingFor::Header => (Bytes::new(), Vec::new()),
            WaitingFor::Body {
                properties, pieces, ..
            } => (properties, pieces.end()),
        };
        let gathered = Gathered {
            address: std::mem::take(&mut self.address),
            properties,
            body,
        };
        Assembled::Whole(Publish {
            mandatory: self.mandatory,
            immediate: self.immediate,
            parts: Parts::Gathered(Box::new(gathered)),
        })
    }
}

fn expect_header(frame: Frame<'_>) -> Result<ContentHeader<'_>, Fault> {
    let wrong = |got: &str| {
        let text = format!("expected content header for class 60, got {got} instead");
        Fault::new(ReplyCode::UnexpectedFrame, text).caused_by(PUBLISH)
    };
    if frame.kind != FRAME_HEADER {
        return Err(wrong("non content header frame"));
    }
    match ContentHeader::parse(frame.payload) {
        Err(_) => Err(super::describe::unknown_frame(frame)),
        Ok(header) if header.weight != 0 => Err(wrong("non content header frame")),
        Ok(header) if header.class_id != BASIC_CLASS_ID => {
            Err(wrong(&format!("one for class {}", header.class_id)))
        }
        Ok(header) => Ok(header),
    }
}

/// The size is judged from the header, before any of the body is kept (PUB-03).
fn check_size(body_size: u64, options: &ServerOptions) -> Result<(), Fault> {
    let max = options.message_size_max_bytes;
    if body_size <= max {
        return Ok(());
    }
    let text = format!("message size {body_size} is larger than configured max size {max}");
    Err(Fault::new(ReplyCode::PreconditionFailed, text).caused_by(PUBLISH))
}

fn take_body(
    frame: Frame<'_>,
    input: &Input<'_>,
    options: &ServerOptions,
    remaining: &mut u64,
    pieces: &mut Pieces,
) -> Result<(), Fault> {
    if frame.kind != FRAME_BODY {
        let text = "expected content body, got non content body frame instead";
        return Err(Fault::new(ReplyCode::UnexpectedFrame, text).caused_by(PUBLISH));
    }
    let Some(left) = remaining.checked_sub(frame.payload.len() as u64) else {
        let text = "content body frame exceeds remaining content size";
        return Err(Fault::new(ReplyCode::FrameError, text).caused_by(PUBLISH));
    };
    *remaining = left;
    let piece = frame.payload;
    if piece.len() <= options.borrowed_body_max_bytes {
        pieces.put_together(piece);
    } else if piece.len() <= input.copied_piece_max {
        pieces.push(Bytes::copy_from_slice(piece));
    } else {
        pieces.push(input.buffer.slice_ref(piece));
    }
    Ok(())
}
