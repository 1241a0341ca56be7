//! One publishing connection.
//!
//! ```text
//!        ┌──────────── confirms came ◀─── turn ◀──┐
//!        ▼                                        │
//!   publish while the window has room ────────────┘
//!        │ nothing left to publish, nothing unconfirmed
//!        ▼
//!      Tally
//! ```
//!
//! A latency runs from the moment when the publish is put into the buffer for the socket until its
//! confirm has been read from the socket.
//!
//! Invariant: at most the window's messages are unconfirmed, and at most [`OUT_LEN`] bytes and one
//! message are in the buffer.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use leveret_protocol::client::{OwnedFrame, write_body, write_method};
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, Properties};
use leveret_protocol::method::FRAME_METHOD;
use leveret_protocol::method::basic::{self, Method as Basic};
use leveret_protocol::method::confirm;
use leveret_protocol::{Method, ShortStr};

use super::PerfError;
use super::histogram::Histogram;
use super::link::{CHANNEL, Link};
use super::window::{UnknownTag, Window};

/// The buffer for the socket is not filled further than this.
const OUT_LEN: usize = 256 << 10;

/// What a publisher is to do.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The queues, which get the messages in turn.
    pub(super) queues: Arc<[String]>,
    /// Which of them is the first.
    pub(super) first_queue: usize,
    /// How many messages; publishing may end earlier.
    pub(super) messages: u64,
    /// How many may be unconfirmed.
    pub(super) in_flight: usize,
    /// Delivery mode 2.
    pub(super) persistent: bool,
    /// The body.
    pub(super) body: Arc<[u8]>,
}

/// What became of a publisher's messages.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Answered with `basic.ack`.
    pub(super) confirmed: u64,
    /// Answered with `basic.nack`.
    pub(super) nacked: u64,
    /// How long each one waited for its confirm; nacks do not count.
    pub(super) latency: Histogram,
}

impl Tally {
    /// Takes in another publisher's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.confirmed += other.confirmed;
        self.nacked += other.nacked;
        self.latency.merge(&other.latency);
    }
}

/// A publishing connection.
#[derive(Debug)]
pub(super) struct Publisher {
    link: Link,
    window: Window,
    order: Order,
    next_queue: usize,
    left: u64,
    /// Content header and body frames, which are the same for every message.
    content: BytesMut,
    tally: Tally,
}

impl Publisher {
    /// Asks for confirms on the connection's channel.
    ///
    /// # Errors
    /// The broker refuses, or is silent.
    pub(super) async fn ready(mut link: Link, order: Order) -> Result<Self, PerfError> {
        let select = confirm::Select::default();
        let awaited = "confirm.select-ok";
        link.call(CHANNEL, select, confirm::SelectOk::ID, awaited)
            .await?;
        Ok(Self {
            content: content(&order, link.frame_max()),
            window: Window::new(order.in_flight),
            next_queue: order.first_queue,
            left: order.messages,
            tally: Tally::default(),
            link,
            order,
        })
    }

    /// Publishes until everything is published or time is up, and waits for the confirms.
    ///
    /// # Errors
    /// The broker closes, is silent, or confirms what was not sent.
    pub(super) async fn run(mut self, until: Instant) -> Result<(Link, Tally), PerfError> {
        loop {
            self.fill_window(until);
            if self.window.is_empty() {
                return Ok((self.link, self.tally));
            }
            self.link.turn("confirms").await?;
            self.take_confirms()?;
        }
    }

    fn fill_window(&mut self, until: Instant) {
        let now = Instant::now();
        if now >= until {
            self.left = 0;
        }
        while self.left > 0 && self.window.has_room() && self.link.out.len() < OUT_LEN {
            self.publish();
            self.window.send(now);
            self.left -= 1;
        }
    }

    fn publish(&mut self) {
        let queues = &self.order.queues;
        let queue = queues.get(self.next_queue % queues.len().max(1));
        let publish = basic::Publish {
            routing_key: ShortStr(queue.map_or(b"", |name| name.as_bytes())),
            ..Default::default()
        };
        write_method(CHANNEL, publish, &mut self.link.out);
        self.link.out.extend_from_slice(&self.content);
        self.next_queue += 1;
    }

    fn take_confirms(&mut self) -> Result<(), PerfError> {
        let now = Instant::now();
        while let Some(frame) = self.link.next_frame()? {
            if frame.kind == FRAME_METHOD {
                self.take_confirm(&frame, now)?;
            }
        }
        Ok(())
    }

    fn take_confirm(&mut self, frame: &OwnedFrame, now: Instant) -> Result<(), PerfError> {
        let tally = &mut self.tally;
        let settled = match frame.method() {
            Ok(Method::Basic(Basic::Ack(ack))) => {
                self.window
                    .settle(ack.delivery_tag, ack.multiple, now, |waited| {
                        tally.confirmed += 1;
                        tally.latency.record(waited);
                    })
            }
            Ok(Method::Basic(Basic::Nack(nack))) => {
                self.window
                    .settle(nack.delivery_tag, nack.multiple, now, |_| tally.nacked += 1)
            }
            _ => Ok(()),
        };
        settled.map_err(|UnknownTag(tag)| {
            let why = format!("a confirm for delivery tag {tag}, which waits for none");
            self.link.protocol(why)
        })
    }
}

fn content(order: &Order, frame_max: u32) -> BytesMut {
    let properties = Properties {
        delivery_mode: Some(if order.persistent { 2 } else { 1 }),
        ..Default::default()
    };
    let header = ContentHeader {
        class_id: BASIC_CLASS_ID,
        weight: 0,
        body_size: order.body.len() as u64,
        properties: &properties.to_bytes(),
    };
    let mut content = BytesMut::new();
    header.write_frame(CHANNEL, &mut content);
    write_body(CHANNEL, &order.body, frame_max, &mut content);
    content
}
