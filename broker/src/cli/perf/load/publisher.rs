//! One publishing connection, on a thread of its own.
//!
//! ```text
//!        ┌───────────────── confirms ◀──── read ◀──┐
//!        ▼                                         │
//!   chunk: due, left, room in the window ──▶ write ──▶ wait: writable, readable, next one due
//!        │ nothing left, nothing unconfirmed, or stopped
//!        ▼
//!      close
//! ```
//!
//! Which messages bear a stamp: with a rate all of them, each its own moment; at full speed one of each
//! write, at a place that moves through it, because reading the clock a million times a second would
//! be measured too. Both kinds see every part of a write equally often.
//!
//! Invariants: at most the window's messages are unconfirmed; no message is left half written unless the
//! connection is gone.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::PerfError;
use super::super::window::{UnknownTag, Window};
use super::batch::Batch;
use super::inbox::Arrival;
use super::meter::{Meter, count};
use super::schedule::Schedule;
use super::shared::Shared;
use super::socket::{Socket, TICK};

/// Bytes given to the system at once; a message that is longer goes alone. It fills a socket's buffer,
/// and the broker has something to read while the next piece is written.
const WRITE_LEN: usize = 128 << 10;
/// Writes in a row that are not interrupted by reading, when nothing but an end could come.
const UNREAD_MAX: u32 = 16;
/// A step through the places of a write that bear the stamp; odd, so that small writes see all of theirs.
const STAMP_STEP: usize = 389;

/// What a publisher is to do.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) batch: Batch,
    /// Messages; publishing may end earlier.
    pub(super) messages: u64,
    /// Unconfirmed messages; zero publishes without confirms.
    pub(super) window: usize,
    pub(super) schedule: Option<Schedule>,
    /// Whether somebody here reads stamps.
    pub(super) stamps: bool,
}

/// A publishing connection.
#[derive(Debug)]
pub(super) struct Publisher {
    socket: Socket,
    batch: Batch,
    window: Option<Window>,
    schedule: Option<Schedule>,
    stamps: bool,
    left: u64,
    sent: u64,
    /// What is being written.
    pending: Range<usize>,
    pending_messages: u64,
    stamped: Option<usize>,
    stamp_turn: usize,
    unread: u32,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl Publisher {
    /// A publisher over a connection on whose channel confirms are on if there is a window.
    pub(super) fn new(
        socket: Socket,
        order: Order,
        meter: Arc<Meter>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            socket,
            batch: order.batch,
            window: (order.window > 0).then(|| Window::new(order.window)),
            schedule: order.schedule,
            stamps: order.stamps,
            left: order.messages,
            sent: 0,
            pending: 0..0,
            pending_messages: 0,
            stamped: None,
            stamp_turn: 0,
            unread: 0,
            meter,
            shared,
        }
    }

    /// Publishes until everything is published and confirmed, or the run is stopped.
    ///
    /// # Errors
    /// The broker closes, or confirms what was not sent.
    pub(super) fn run(mut self, start: Instant) -> Result<(), PerfError> {
        while !self.is_done() {
            if self.shared.is_stopped() {
                self.socket.leave(self.batch.bytes(&self.pending));
                return Ok(());
            }
            self.publish(start)?;
            if !self.is_done() && !self.may_leave_unread() {
                self.wait(start)?;
            }
        }
        let shared = Arc::clone(&self.shared);
        self.socket.close(&[], || shared.is_stopped())
    }

    fn is_done(&self) -> bool {
        self.left == 0
            && self.pending.is_empty()
            && self.window.as_ref().is_none_or(Window::is_empty)
    }

    /// Goes on with what is being written, or begins with the next messages if any may go.
    fn publish(&mut self, start: Instant) -> Result<(), PerfError> {
        if self.pending.is_empty() {
            self.begin(start);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending.start += self.socket.write(self.batch.bytes(&self.pending))?;
        if self.pending.is_empty() {
            count(&self.meter.published, self.pending_messages);
        }
        Ok(())
    }

    fn begin(&mut self, start: Instant) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(start);
        let messages = self.batch.take(self.allowed(elapsed), WRITE_LEN);
        self.pending_messages = messages.len() as u64;
        self.pending = self.batch.span(&messages);
        if self.window.is_some() {
            self.note_unconfirmed(start, now);
        }
        if self.stamps && !messages.is_empty() {
            self.stamp(&messages, start, now);
        }
        self.sent += self.pending_messages;
        self.left -= self.pending_messages;
    }

    fn note_unconfirmed(&mut self, start: Instant, now: Instant) {
        for index in self.sent..self.sent + self.pending_messages {
            let at = self.moment(index, start, now);
            if let Some(window) = &mut self.window {
                window.send(at);
            }
        }
    }

    /// How many messages may go now.
    fn allowed(&self, elapsed: Duration) -> u64 {
        let due = self.schedule.map_or(u64::MAX, |schedule| {
            schedule.due(elapsed).saturating_sub(self.sent)
        });
        let room = self
            .window
            .as_ref()
            .map_or(u64::MAX, |window| window.room() as u64);
        self.left.min(due).min(room)
    }

    /// When the message with this index counts as sent.
    fn moment(&self, index: u64, start: Instant, now: Instant) -> Instant {
        self.schedule.map_or(now, |schedule| {
            let elapsed = now.saturating_duration_since(start);
            start + schedule.moment_of(index, elapsed)
        })
    }

    fn stamp(&mut self, messages: &Range<usize>, start: Instant, now: Instant) {
        let clock = self.shared.clock;
        if self.schedule.is_some() {
            for (index, message) in (self.sent..).zip(messages.clone()) {
                let at = self.moment(index, start, now);
                self.batch.stamp(message, clock.stamp(at));
            }
            return;
        }
        if let Some(stamped) = self.stamped.take() {
            self.batch.stamp(stamped, 0);
        }
        let message = messages.start + self.stamp_turn % messages.len();
        self.stamp_turn = self.stamp_turn.wrapping_add(STAMP_STEP);
        self.batch.stamp(message, clock.stamp(now));
        self.stamped = Some(message);
    }

    /// Whether the next piece may be written without looking for what came: at full speed without
    /// confirms, as long as the system takes whole pieces.
    fn may_leave_unread(&mut self) -> bool {
        let endless = self.window.is_none() && self.schedule.is_none() && self.left > 0;
        self.unread += 1;
        if endless && self.pending.is_empty() && self.unread < UNREAD_MAX {
            return true;
        }
        self.unread = 0;
        false
    }

    fn wait(&mut self, start: Instant) -> Result<(), PerfError> {
        let to_write = !self.pending.is_empty();
        let ready = self.socket.wait(to_write, self.longest_wait(start))?;
        if ready.readable {
            self.socket.read()?;
            self.take_confirms()?;
        }
        Ok(())
    }

    /// How long nothing can be sent, whatever comes.
    fn longest_wait(&self, start: Instant) -> Duration {
        let waits_for_confirms = self
            .window
            .as_ref()
            .is_some_and(|window| !window.has_room());
        if !self.pending.is_empty() || self.left == 0 || waits_for_confirms {
            return TICK;
        }
        self.schedule.map_or(Duration::ZERO, |schedule| {
            schedule.moment(self.sent).saturating_sub(start.elapsed())
        })
    }

    fn take_confirms(&mut self) -> Result<(), PerfError> {
        let now = Instant::now();
        let meter = Arc::clone(&self.meter);
        let mut latencies = meter.latencies();
        while let Some(arrival) = self.socket.next()? {
            let Arrival::Confirm {
                delivery_tag,
                multiple,
                nacked,
            } = arrival
            else {
                continue;
            };
            let (mut confirmed, mut refused) = (0, 0);
            let settled = self.window.as_mut().map_or(Ok(()), |window| {
                window.settle(delivery_tag, multiple, now, |waited| match nacked {
                    true => refused += 1,
                    false => {
                        confirmed += 1;
                        latencies.record(waited);
                    }
                })
            });
            settled.map_err(|UnknownTag(tag)| {
                let why = format!("a confirm for delivery tag {tag}, which waits for none");
                self.socket.notices().protocol(why)
            })?;
            count(&meter.confirmed, confirmed);
            count(&meter.nacked, refused);
        }
        self.shared.note_blocked(self.socket.notices().blocked());
        Ok(())
    }
}
