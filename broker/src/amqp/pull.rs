//! Pulling from queues for the client's consumers.
//!
//! A queue rings a consumer's token; the connection pulls when it has room: while the outbox is below
//! its high-water mark and the channel has credit. A consumer that cannot take anything still pulls,
//! with no room, so that its queue turns to the next one.
//!
//! ```text
//!   rung ──▶ pull ──▶ took some, room left ──▶ rung again, behind the others
//!                 ├─▶ nothing more ──────────▶ waits for the queue's bell
//!                 ├─▶ no credit ─────────────▶ waits for an ack on the channel
//!                 ├─▶ too much unsettled ────▶ waits until enough of the connection's deliveries are settled
//!                 ├─▶ outbox full ───────────▶ stalled, until the outbox has drained
//!                 └─▶ the queue is gone ─────▶ ends; the client is told if it asked to be
//! ```

use std::sync::Arc;

use leveret_protocol::ShortStr;
use leveret_protocol::method::basic;

use crate::amqp::channel::SourceKind;
use crate::amqp::deliver::write_delivery;
use crate::amqp::session::Session;
use crate::amqp::unacked::{BodySize, SourceIndex, Waiting};
use crate::core::delivery_count::with_delivery_count;
use crate::core::queue::{Delivery, Pulled, Room};
use crate::limits::{OUTBOX_HIGH_BYTES, OUTBOX_LOW_BYTES, PULL_MESSAGES_MAX, RUNG_DUPLICATES_MAX};

/// Queues that count deliveries tell it once a message has come back (QQ-03).
fn tell_counts(deliveries: &mut [Delivery]) {
    for delivery in deliveries.iter_mut().filter(|d| d.return_count > 0) {
        delivery.message = with_delivery_count(&delivery.message, delivery.return_count);
    }
}

/// How a consumer is known to its queue: channel and source in one number.
pub(super) fn token(channel: u16, source: SourceIndex) -> u64 {
    u64::from(channel) << 32 | u64::from(source.0)
}

fn from_token(token: u64) -> (u16, SourceIndex) {
    ((token >> 32) as u16, SourceIndex(token as u32))
}

/// What is to be done for a consumer after a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterPull {
    /// Pull again.
    Again,
    /// Pull again when the outbox has drained.
    Stalled,
    /// Nothing, until it is rung.
    Wait,
    /// End it: its queue is gone.
    Gone,
}

/// What was pulled and is not delivered yet; it takes up room.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    messages: u32,
    bytes: usize,
}

impl Held {
    /// What is settled by being sent takes room, but no credit (QOS-07).
    fn add(&mut self, deliveries: &[Delivery], no_ack: bool) {
        for delivery in deliveries {
            self.messages += u32::from(!no_ack);
            self.bytes += delivery.message.total_len();
        }
    }
}

impl Session {
    /// Looks at every consumer of a channel again, when what it may hold has changed.
    pub(super) fn ring_consumers(&mut self, number: u16) {
        if let Some(channel) = self.channels.get(&number) {
            let sources = channel.sources().filter(|(_, source)| !source.no_ack);
            let tokens = sources.map(|(index, _)| token(number, index));
            let count_before = self.rung.len();
            self.rung.extend(tokens);
            // A peer may ask for this again and again within one turn; each consumer is rung once.
            if count_before > RUNG_DUPLICATES_MAX {
                self.rung.sort_unstable();
                self.rung.dedup();
            }
        }
    }

    /// Pulls for the consumers that were rung, in turn, until nothing is left or the outbox is full.
    pub(super) fn pull_for_rung(&mut self) {
        self.ring_who_waited_for_settles();
        if self.outbox.len() <= OUTBOX_LOW_BYTES {
            self.rung.append(&mut self.stalled);
        }
        if self.parked.is_none() {
            self.rung.append(&mut self.cancelled_behind_answer);
        }
        let mut rung = std::mem::take(&mut self.rung);
        let mut again = Vec::new();
        while !rung.is_empty() {
            let mut rest = rung.as_mut_slice();
            while !rest.is_empty() {
                let count = self.gather_siblings(rest);
                let (together, others) = rest.split_at_mut(count);
                match together {
                    [only] => self.pull(*only, &mut again),
                    siblings => self.pull_for_siblings(siblings, &mut again),
                }
                rest = others;
            }
            rung.clear();
            std::mem::swap(&mut rung, &mut again);
        }
        self.stalled.sort_unstable();
        self.stalled.dedup();
        if self.rung.is_empty() {
            self.rung = rung;
        }
    }

    /// Moves the siblings of the first consumer up behind it; says how many they are with it.
    fn gather_siblings(&self, rung: &mut [u64]) -> usize {
        let family = |token: &u64| {
            let (number, index) = from_token(*token);
            let queue = self.channels.get(&number)?.queue_of_siblings(index)?;
            Some((number, queue))
        };
        let Some(first) = rung.first().and_then(family) else {
            return 1;
        };
        let mut together = 1;
        for other in 1..rung.len() {
            if rung.get(other).and_then(family) == Some(first) {
                rung.swap(together, other);
                together += 1;
            }
        }
        together
    }

    /// Pulls once for a consumer, and notes it in `again` if there may be more for it now.
    fn pull(&mut self, token: u64, again: &mut Vec<u64>) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let next = self.pull_into(token, Held::default(), &mut deliveries);
        let (number, index) = from_token(token);
        self.deliver(number, index, &mut deliveries);
        self.deliveries = deliveries;
        self.finish_pull(token, next, again);
    }

    /// Pulls once for each of these consumers of one channel and queue, and delivers in the queue's
    /// order, whoever gets what: from one queue to one channel messages stay in order (DELIV-04).
    fn pull_for_siblings(&mut self, siblings: &[u64], again: &mut Vec<u64>) {
        let (mut held, mut merged, mut nexts) = (Held::default(), Vec::new(), Vec::new());
        let mut deliveries = std::mem::take(&mut self.deliveries);
        for token in siblings {
            let next = self.pull_into(*token, held, &mut deliveries);
            nexts.push((*token, next));
            held.add(&deliveries, self.is_no_ack(*token));
            merged.extend(deliveries.drain(..).map(|delivery| (*token, delivery)));
        }
        merged.sort_by_key(|(_, delivery)| delivery.position);
        for (token, delivery) in merged {
            let (number, index) = from_token(token);
            deliveries.push(delivery);
            self.deliver(number, index, &mut deliveries);
        }
        self.deliveries = deliveries;
        for (token, next) in nexts {
            self.finish_pull(token, next, again);
        }
    }

    fn is_no_ack(&mut self, token: u64) -> bool {
        let (number, index) = from_token(token);
        let channel = self.channels.get_mut(&number);
        let source = channel.and_then(|channel| channel.source(index));
        source.is_some_and(|source| source.no_ack)
    }

    /// Pulls once for a consumer, with as much room as is left beside what is held.
    fn pull_into(&mut self, token: u64, held: Held, out: &mut Vec<Delivery>) -> AfterPull {
        let (number, index) = from_token(token);
        let unsettled_room = self.unsettled_room();
        let Some(channel) = self.channels.get_mut(&number) else {
            return AfterPull::Wait;
        };
        let credit = match unsettled_room {
            0 => 0,
            _ => channel.credit().saturating_sub(held.messages),
        };
        let Some(source) = channel.source(index) else {
            return AfterPull::Wait;
        };
        if !matches!(source.kind, SourceKind::Consumer(_)) {
            return AfterPull::Wait;
        }
        let (queue, slot) = (Arc::clone(&source.queue), source.slot);
        let (credit, bytes) = match source.no_ack {
            true => (u32::MAX, usize::MAX),
            false => (credit, unsettled_room),
        };
        self.waits_for_settles |= bytes == 0;
        let room = self.room(credit, bytes, held.bytes);
        let body = queue.body();
        let pulled = body.pull(slot, room, self.moment, out, &mut self.effects);
        self.carry_out(&queue);
        match pulled {
            Pulled::More if room.messages > 0 => AfterPull::Again,
            Pulled::More if credit > 0 => AfterPull::Stalled,
            Pulled::More | Pulled::Drained => AfterPull::Wait,
            Pulled::Gone => AfterPull::Gone,
        }
    }

    fn finish_pull(&mut self, token: u64, next: AfterPull, again: &mut Vec<u64>) {
        match next {
            AfterPull::Again => again.push(token),
            AfterPull::Stalled => self.stalled.push(token),
            AfterPull::Wait => {}
            AfterPull::Gone => {
                let (number, index) = from_token(token);
                self.cancel_gone(number, index);
            }
        }
    }

    /// How many bytes more the client may have to settle. The last message may be larger.
    fn unsettled_room(&self) -> usize {
        let most = self.node.config.unsettled_bytes_max;
        if most == 0 {
            return usize::MAX;
        }
        let channels = self.channels.values();
        let unsettled: u64 = channels.map(|channel| channel.unacked.body_bytes()).sum();
        usize::try_from(most.saturating_sub(unsettled)).unwrap_or(usize::MAX)
    }

    /// Looks at all consumers again once enough has been settled, or its channel is closed.
    fn ring_who_waited_for_settles(&mut self) {
        if self.waits_for_settles && self.unsettled_room() > 0 {
            self.waits_for_settles = false;
            let numbers: Vec<u16> = self.channels.keys().copied().collect();
            numbers
                .into_iter()
                .for_each(|number| self.ring_consumers(number));
        }
    }

    fn room(&self, credit: u32, bytes: usize, held_bytes: usize) -> Room {
        let unsent = OUTBOX_HIGH_BYTES.saturating_sub(self.outbox.len());
        let bytes = unsent.min(bytes).saturating_sub(held_bytes);
        let messages = if bytes == 0 {
            0
        } else {
            credit.min(PULL_MESSAGES_MAX)
        };
        Room { messages, bytes }
    }

    fn deliver(&mut self, number: u16, index: SourceIndex, deliveries: &mut Vec<Delivery>) {
        let to = self.addressee(number);
        let moment = self.moment;
        let Some(channel) = self.channels.get_mut(&number) else {
            return deliveries.clear();
        };
        let counted = channel.channel_limit.is_some();
        if !deliveries.is_empty() {
            channel.note_age(moment);
        }
        let count = deliveries.len();
        let Some(source) = channel.source(index) else {
            return deliveries.clear();
        };
        let no_ack = source.no_ack;
        if !no_ack {
            source.outstanding += count;
        }
        let SourceKind::Consumer(consumer_tag) = source.kind.clone() else {
            return deliveries.clear();
        };
        if source.queue.body().counts_deliveries() {
            tell_counts(deliveries);
        }
        for delivery in deliveries.drain(..) {
            let tag = if no_ack {
                channel.unacked.skip()
            } else {
                channel.unacked.push(Waiting {
                    source: index,
                    id: delivery.id,
                    counted,
                    size: BodySize::of(&delivery.message),
                })
            };
            let Delivery {
                redelivered,
                message,
                ..
            } = delivery;
            write_delivery(
                &mut self.outbox,
                to,
                &consumer_tag,
                tag,
                redelivered,
                &message,
            );
        }
        self.unacked_grew |= channel.account_unacked();
    }

    /// The queue was deleted: the consumer ends, and a client that asked to know is told (CANCEL-10,
    /// CANCEL-11).
    fn cancel_gone(&mut self, number: u16, index: SourceIndex) {
        if self.parked.is_some() {
            // Whoever deletes a queue reads delete-ok before it is told that its consumer has ended.
            self.cancelled_behind_answer.push(token(number, index));
            return;
        }
        let ended = self
            .channels
            .get_mut(&number)
            .and_then(|channel| channel.end_consumer(index));
        if let Some(tag) = ended
            && self.machine.capabilities().consumer_cancel_notify
        {
            let cancel = basic::Cancel {
                consumer_tag: ShortStr(&tag),
                nowait: true,
            };
            self.reply(number, cancel);
        }
    }
}
