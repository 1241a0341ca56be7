//! What a [`Classic`] does that does not take every message as it comes: it refuses what is above its
//! limits, drops duplicates ([`super::deduplication`](super)), or has priorities.
//!
//! ```text
//!   above a limit that refuses? ──yes──▶ rejected        as in RabbitMQ, limits come first
//!        │ no
//!   a duplicate? ──yes──▶ dropped, and counts as taken
//!        │ no
//!   taken in
//! ```
//!
//! A duplicate counts as taken: its publisher is answered like that of the first message, and not before
//! that one is safe.

use super::aftermath::Call;
use super::classic::Classic;
use super::durable;
use super::entry::Entry;
use super::{DeathReason, Overflow};
use crate::core::Message;

impl Classic {
    /// LEN-04, LEN-05: a message is refused when it would exceed a limit as a ready message, also
    /// when a consumer could take it.
    pub(super) fn take_in_within_limits(&mut self, batch: &mut Vec<Message>, call: &mut Call<'_>) {
        for (index, message) in (0..).zip(batch.drain(..)) {
            self.expire(call);
            let bytes = self.ready.bytes() + message.body_len() as u64;
            if !self.options.exceeded_by(self.ready.len() + 1, bytes) {
                if let Some(message) = self.unless_duplicate(message, call) {
                    self.take_in(message, call);
                }
                continue;
            }
            call.effects.rejected.push(index);
            match self.options.overflow {
                Overflow::RejectPublishDeadLetter => {
                    self.bury(message, DeathReason::MaxLength, call);
                }
                _ => call.aftermath.dropped.push(message),
            }
        }
    }

    /// Takes in what is no duplicate. What dies in a batch dies message by message: where messages have
    /// priorities, the dead letters are in the order of their deaths (DLX-20).
    pub(super) fn take_in_one_by_one(&mut self, batch: &mut Vec<Message>, call: &mut Call<'_>) {
        for message in batch.drain(..) {
            if let Some(message) = self.unless_duplicate(message, call) {
                self.take_in(message, call);
                self.trim(call);
            }
        }
    }

    /// The message, unless the queue drops it as a duplicate.
    fn unless_duplicate(&mut self, message: Message, call: &mut Call<'_>) -> Option<Message> {
        let position = self.next_position;
        let deduplication = self.deduplication.as_mut();
        if !deduplication.is_some_and(|known| known.is_duplicate(&message, position, call.now)) {
            return Some(message);
        }
        if let Some(durable) = &self.durable {
            // The first one may still be on its way to the disk.
            call.effects.durable_at = call.effects.durable_at.max(durable.written.awaited());
        }
        call.aftermath.dropped.push(message);
        None
    }

    /// Acknowledged messages are done with, and may come again.
    pub(super) fn acknowledge(&mut self, settled: &mut Vec<Entry>, call: &mut Call<'_>) {
        for entry in settled.drain(..) {
            self.held.sub(&entry);
            if let Some(deduplication) = &mut self.deduplication {
                deduplication.left(entry.position);
            }
            if let (true, Some(durable)) = (entry.logged, &self.durable) {
                let (at, bytes) = (entry.position, entry.body_bytes());
                durable::write_settled(durable.log, at, bytes, &mut call.aftermath.records);
            }
            call.aftermath.dropped.push(entry.message);
        }
        self.deal(call);
        self.finish(call);
    }
}
