//! One consuming connection.
//!
//! ```text
//!   consume every queue ──▶ turn ──▶ count deliveries, ack every n-th ──▶ turn ...
//!                             │ all consumers together have the backlog
//!                             ▼
//!                           ack the rest ──▶ close
//! ```
//!
//! Invariant: what is acknowledged has arrived whole; with `ack_every` at most the prefetch no
//! consumer waits for deliveries that only its own acknowledgement would let through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret_protocol::client::OwnedFrame;
use leveret_protocol::content::{FRAME_BODY, FRAME_HEADER};
use leveret_protocol::method::FRAME_METHOD;
use leveret_protocol::method::basic::{self, Method as Basic};
use leveret_protocol::{Method, ShortStr};
use tokio_util::sync::CancellationToken;

use super::PerfError;
use super::link::{CHANNEL, Link};

/// How far all consumers together have come.
#[derive(Debug)]
pub(super) struct Backlog {
    messages: u64,
    received: AtomicU64,
    done: CancellationToken,
}

impl Backlog {
    /// A backlog of so many messages, none of which has been received.
    pub(super) fn new(messages: u64) -> Self {
        let backlog = Self {
            messages,
            received: AtomicU64::new(0),
            done: CancellationToken::new(),
        };
        backlog.receive(0);
        backlog
    }

    /// How many messages have been received.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn receive(&self, more: u64) {
        if self.received.fetch_add(more, Ordering::Relaxed) + more >= self.messages {
            self.done.cancel();
        }
    }
}

/// How deliveries are settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    /// Deliveries per acknowledgement; 0 is automatic.
    pub(super) ack_every: u16,
    /// Unacknowledged deliveries per consumer; 0 is no limit.
    pub(super) prefetch: u16,
}

/// What a consumer received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) messages: u64,
    pub(super) redelivered: u64,
    pub(super) bytes: u64,
}

/// A consuming connection.
#[derive(Debug)]
pub(super) struct Consumer {
    link: Link,
    queues: Vec<String>,
    settling: Settling,
    backlog: Arc<Backlog>,
    received: Received,
    /// Bytes that are still to come of the delivery under way.
    body_left: u64,
    /// The delivery under way.
    delivery_tag: u64,
    unacknowledged: u16,
}

impl Consumer {
    /// Sets the prefetch. Nothing is consumed yet.
    ///
    /// # Errors
    /// The broker refuses, or is silent.
    pub(super) async fn ready(
        mut link: Link,
        queues: Vec<String>,
        settling: Settling,
        backlog: Arc<Backlog>,
    ) -> Result<Self, PerfError> {
        let qos = basic::Qos {
            prefetch_count: settling.prefetch,
            ..Default::default()
        };
        link.call(CHANNEL, qos, basic::QosOk::ID, "basic.qos-ok")
            .await?;
        Ok(Self {
            link,
            queues,
            settling,
            backlog,
            received: Received::default(),
            body_left: 0,
            delivery_tag: 0,
            unacknowledged: 0,
        })
    }

    /// Consumes until the backlog is received, and acknowledges all that arrived.
    ///
    /// # Errors
    /// The broker closes, is silent, or cancels a consumer.
    pub(super) async fn run(mut self) -> Result<(Link, Received), PerfError> {
        self.consume();
        let backlog = Arc::clone(&self.backlog);
        while !backlog.done.is_cancelled() {
            tokio::select! {
                turned = self.link.turn("deliveries") => turned?,
                () = backlog.done.cancelled() => break,
            }
            self.take_deliveries()?;
        }
        self.acknowledge();
        Ok((self.link, self.received))
    }

    /// The queue's name is the consumer tag.
    fn consume(&mut self) {
        for queue in &self.queues {
            self.link.send(basic::Consume {
                queue: ShortStr(queue.as_bytes()),
                consumer_tag: ShortStr(queue.as_bytes()),
                no_ack: self.settling.ack_every == 0,
                nowait: true,
                ..Default::default()
            });
        }
    }

    fn take_deliveries(&mut self) -> Result<(), PerfError> {
        let before = self.received.messages;
        while let Some(frame) = self.link.next_frame()? {
            match frame.kind {
                FRAME_METHOD => self.take_method(&frame)?,
                FRAME_HEADER => self.take_header(&frame)?,
                FRAME_BODY => self.take_body(frame.payload.len() as u64),
                _ => {}
            }
        }
        self.backlog.receive(self.received.messages - before);
        Ok(())
    }

    fn take_method(&mut self, frame: &OwnedFrame) -> Result<(), PerfError> {
        match frame.method() {
            Ok(Method::Basic(Basic::Deliver(deliver))) => {
                self.delivery_tag = deliver.delivery_tag;
                self.received.redelivered += u64::from(deliver.redelivered);
                Ok(())
            }
            Ok(Method::Basic(Basic::Cancel(cancel))) => Err(PerfError::Cancelled {
                address: self.link.address().to_owned(),
                queue: cancel.consumer_tag.to_text().into_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn take_header(&mut self, frame: &OwnedFrame) -> Result<(), PerfError> {
        let header = frame.header().map_err(|error| self.link.protocol(error))?;
        self.body_left = header.body_size;
        if header.body_size == 0 {
            self.arrived();
        }
        Ok(())
    }

    fn take_body(&mut self, len: u64) {
        self.received.bytes += len;
        self.body_left = self.body_left.saturating_sub(len);
        if self.body_left == 0 {
            self.arrived();
        }
    }

    /// The delivery under way is whole.
    fn arrived(&mut self) {
        self.received.messages += 1;
        if self.settling.ack_every > 0 {
            self.unacknowledged += 1;
            if self.unacknowledged >= self.settling.ack_every {
                self.acknowledge();
            }
        }
    }

    fn acknowledge(&mut self) {
        if self.unacknowledged > 0 {
            self.link.send(basic::Ack {
                delivery_tag: self.delivery_tag,
                multiple: true,
            });
            self.unacknowledged = 0;
        }
    }
}
