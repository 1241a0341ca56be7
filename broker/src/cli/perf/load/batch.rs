//! Messages of one publisher, encoded before they are sent.
//!
//! ```text
//!   bytes   | method header body | method header body | ...      one per route, over and over
//!   ends                         ^                    ^
//!   bodies                  ^                    ^                where a stamp goes
//! ```
//!
//! A publisher at full speed only hands pieces of these bytes to the system. If one round over all
//! routes fits, the same bytes go out again and again; if not, the next messages are encoded when the last
//! ones are out.
//!
//! Invariant: messages go out in the order of the topology's routes, whole, and with a stamp only if one was
//! set since the last time.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use leveret_protocol::ShortStr;
use leveret_protocol::client::{write_body, write_method};
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, Properties};
use leveret_protocol::framer::FRAME_HEADER_LEN;
use leveret_protocol::method::basic;

use super::super::link::CHANNEL;
use super::clock::STAMP_LEN;
use super::topology::{Route, Topology, headers};

/// Encoded at least: three and a half writes, so that few end at the end of the batch and none of them is tiny;
/// more would only leave the processor's cache.
const LEN: usize = 448 << 10;
/// One round over all routes may take so much more for one publisher of few ...
const ROUND_LEN_MAX: usize = 8 << 20;
/// ... and so much for all publishers together.
const ROUNDS_LEN_MAX: usize = 256 << 20;

/// What the messages of all routes have in common.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) persistent: bool,
    /// Content type, headers table, message ID and timestamp.
    pub(super) properties: bool,
    pub(super) body: Arc<[u8]>,
    /// The negotiated limit of a frame.
    pub(super) frame_max: u32,
}

/// Encoded messages.
#[derive(Debug)]
pub(super) struct Batch {
    message: Message,
    topology: Arc<Topology>,
    publisher: usize,
    /// The turn of the message that is encoded next.
    turn: usize,
    bytes: BytesMut,
    ends: Vec<usize>,
    bodies: Vec<usize>,
    /// The message that is sent next.
    next: usize,
    /// Whether the bytes are a number of whole rounds, which can be sent again.
    repeats: bool,
    len_max: usize,
}

impl Batch {
    /// The messages of one of so many publishers.
    pub(super) fn new(
        message: Message,
        topology: Arc<Topology>,
        publisher: usize,
        publishers: u32,
    ) -> Self {
        let share = ROUNDS_LEN_MAX / publishers.max(1) as usize;
        let mut batch = Self {
            message,
            topology,
            publisher,
            turn: 0,
            bytes: BytesMut::new(),
            ends: Vec::new(),
            bodies: Vec::new(),
            next: 0,
            repeats: false,
            len_max: share.clamp(LEN, ROUND_LEN_MAX),
        };
        batch.encode();
        batch
    }

    /// Encodes messages: whole rounds until there is enough, or as much of one as there is room for.
    fn encode(&mut self) {
        let routes = self.topology.routes(self.publisher);
        let first = self.turn;
        self.bytes.clear();
        self.ends.clear();
        self.bodies.clear();
        self.next = 0;
        loop {
            self.append();
            let whole_rounds = (self.turn - first).is_multiple_of(routes);
            if whole_rounds && self.bytes.len() >= LEN {
                self.repeats = true;
                return;
            }
            if self.bytes.len() >= self.len_max {
                return;
            }
        }
    }

    fn append(&mut self) {
        let route = self.topology.route(self.publisher, self.turn);
        self.turn += 1;
        let publish = basic::Publish {
            exchange: ShortStr(self.topology.exchange().as_bytes()),
            routing_key: ShortStr(route.routing_key.as_bytes()),
            ..Default::default()
        };
        write_method(CHANNEL, publish, &mut self.bytes);
        self.message.write_header(&route, &mut self.bytes);
        self.bodies.push(self.bytes.len() + FRAME_HEADER_LEN);
        let (body, frame_max) = (&self.message.body, self.message.frame_max);
        write_body(CHANNEL, body, frame_max, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The next messages: at most so many, and of so many bytes unless it is just one.
    pub(super) fn take(&mut self, messages: u64, bytes: usize) -> Range<usize> {
        if self.next == self.ends.len() {
            match self.repeats {
                true => self.next = 0,
                false => self.encode(),
            }
        }
        let first = self.next;
        let most = usize::try_from(messages).unwrap_or(usize::MAX);
        let last = first.saturating_add(most).min(self.ends.len());
        let limit = self.start_of(first) + bytes;
        let fitting = self.ends.get(first..last).unwrap_or_default();
        let count = fitting.partition_point(|end| *end <= limit);
        self.next = first + count.max(fitting.len().min(1));
        first..self.next
    }

    /// Where the bytes of these messages lie.
    pub(super) fn span(&self, messages: &Range<usize>) -> Range<usize> {
        self.start_of(messages.start)..self.start_of(messages.end)
    }

    fn start_of(&self, message: usize) -> usize {
        let before = message.checked_sub(1);
        before
            .and_then(|before| self.ends.get(before))
            .map_or(0, |end| *end)
    }

    /// The bytes that lie there.
    pub(super) fn bytes(&self, span: &Range<usize>) -> &[u8] {
        self.bytes.get(span.clone()).unwrap_or_default()
    }

    /// Puts a stamp into a message; zero takes it away. Bodies that are too short stay as they are.
    pub(super) fn stamp(&mut self, message: usize, stamp: u64) {
        if self.message.body.len() < STAMP_LEN {
            return;
        }
        let place = self.bodies.get(message).map_or(0, |body| *body);
        if let Some(place) = self.bytes.get_mut(place..place + STAMP_LEN) {
            place.copy_from_slice(&stamp.to_be_bytes());
        }
    }
}

impl Message {
    fn write_header(&self, route: &Route, out: &mut BytesMut) {
        let headers = headers(route, self.properties);
        let mut properties = Properties {
            headers: headers.as_ref().map(|headers| headers.view()),
            // A message without the property is transient; the plainest message bears none at all.
            delivery_mode: self.persistent.then_some(2),
            ..Default::default()
        };
        if self.properties {
            properties.content_type = Some(ShortStr(b"application/json"));
            properties.message_id = Some(ShortStr(b"0190f5a2-7c3e-7b1a-9d44-3f6c2e8b5a10"));
            properties.timestamp = Some(1_700_000_000);
        }
        let header = ContentHeader {
            class_id: BASIC_CLASS_ID,
            weight: 0,
            body_size: self.body.len() as u64,
            properties: &properties.to_bytes(),
        };
        header.write_frame(CHANNEL, out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::Method;
    use leveret_protocol::client::Decoder;

    use super::super::super::queues;
    use super::*;

    fn batch(queues: u32, size: usize, publishers: u32) -> Batch {
        let message = Message {
            persistent: true,
            properties: true,
            body: vec![0; size].into(),
            frame_max: 4096,
        };
        let topology = Topology::default_exchange(queues::names("q", queues));
        Batch::new(message, Arc::new(topology), 0, publishers)
    }

    fn keys(bytes: &[u8]) -> Vec<String> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        let mut keys = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            if let Ok(Method::Basic(basic::Method::Publish(publish))) = frame.method() {
                keys.push(publish.routing_key.to_text().into_owned());
            }
        }
        keys
    }

    fn take(batch: &mut Batch, messages: u64, bytes: usize) -> Vec<String> {
        let taken = batch.take(messages, bytes);
        let span = batch.span(&taken);
        keys(batch.bytes(&span))
    }

    #[test]
    fn messages_go_out_in_the_order_of_the_routes() {
        let mut batch = batch(3, 16, 1);
        assert_eq!(take(&mut batch, 2, usize::MAX >> 1), ["q-0", "q-1"]);
        assert_eq!(take(&mut batch, 2, usize::MAX >> 1), ["q-2", "q-0"]);
    }

    #[test]
    fn a_round_that_fits_is_sent_again_without_a_gap() {
        let mut batch = batch(3, 16, 1);
        assert!(batch.repeats && batch.ends.len().is_multiple_of(3));
        let all = take(&mut batch, u64::MAX, usize::MAX >> 1);
        assert_eq!(all.len(), batch.ends.len());
        assert_eq!(take(&mut batch, 1, 1 << 20), ["q-0"]);
    }

    #[test]
    fn a_round_that_does_not_fit_goes_on_where_it_ended() {
        let mut batch = batch(3, LEN, 1_000);
        assert!(!batch.repeats);
        for key in ["q-0", "q-1", "q-2", "q-0"] {
            assert_eq!(take(&mut batch, 9, 1 << 30), [key]);
        }
    }

    #[test]
    fn a_write_is_as_large_as_it_may_be_and_never_empty() {
        let mut batch = batch(1, 1_000, 1);
        let one = batch.ends[0];
        assert_eq!(take(&mut batch, 9, 2 * one).len(), 2);
        assert_eq!(take(&mut batch, 9, 3 * one - 1).len(), 2);
        assert_eq!(take(&mut batch, 9, 1).len(), 1);
        assert_eq!(take(&mut batch, 0, 2 * one).len(), 0);
    }

    #[test]
    fn a_stamp_is_the_beginning_of_the_body() {
        let mut sixteen = batch(1, 16, 1);
        let taken = sixteen.take(2, 1 << 20);
        sixteen.stamp(1, 0x0102_0304_0506_0708);
        let span = sixteen.span(&taken);
        let mut decoder = Decoder::default();
        decoder.feed(sixteen.bytes(&span));
        let mut bodies = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            if frame.kind == leveret_protocol::content::FRAME_BODY {
                bodies.push(frame.payload.to_vec());
            }
        }
        let stamped = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bodies, [vec![0; 16], stamped.to_vec()]);
        let mut short = batch(1, 7, 1);
        let before = short.bytes.clone();
        short.stamp(0, u64::MAX);
        assert_eq!(short.bytes, before);
    }
}
