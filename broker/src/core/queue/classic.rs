//! [`Classic`]: the classic queue as a plain machine.
//!
//! What it is not: it has no lock, no clock and no bell. Time comes in with each [`Call`]; what must
//! happen elsewhere goes out as [`Effects`](super::Effects) or is collected in the call's aftermath.
//! [`super::shared`] puts it behind a lock.
//!
//! ```text
//!  offer ──▶ a slot can take it? ──yes──▶ assigned to the slot ──pull──▶ unsettled ──settle──▶ done
//!                 │ no                          │                            │
//!                 ▼          unsent             │                   requeue  │
//!               ready ◀─────────────────────────┴────────────────────────────┘
//!                 │ head expired, or more than the limits allow
//!                 ▼
//!            dead letter, or dropped
//! ```
//!
//! Of a durable queue the head may have to be loaded first, or may not be handed out yet; everything
//! behind it waits then, so that the order stays ([`super::classic_durable`](super)). In a queue with
//! priorities the head is the oldest message of the highest priority, for every rule that speaks of a
//! head: deliveries (PRIO-01), deadlines (TTL-08) and limits (LEN-11).
//!
//! Invariants, after every call: no slot can take a message while there is a live one at the head of
//! the ready messages that may be handed out (but for a slot whose channel just lost its limit: it
//! was rung, and its pull deals); with drop-head, the ready messages are within the limits, or the
//! head is on its way from the store and is dropped when it comes; for the head's deadline a tick has
//! been asked for that is no later, once the head is in memory; a head that is not there is being
//! loaded.

use super::aftermath::{Aftermath, Call};
use super::arguments::QueueArguments;
use super::consumers::{Consumers, RoomLeft};
use super::deduplication::QueueDeduplication;
use super::durable::{self, Durable};
use super::entry::{Entry, NEVER, sort_by_position};
use super::held::{HeadSize, Held};
use super::letters::Letters;
use super::options::{ClassicOptions, Overflow};
use super::ready::Ready;
use super::{
    AttachRefused, Buried, DeadLetter, DeathReason, DeleteConditions, DeleteRefused, Delivery,
    DeliveryId, Effects, Got, Offered, Port, Pulled, QueueStatus, Room, SlotId, SlotSpec,
    Unsettled, Verdict,
};
use crate::core::{Message, Moment};

/// A classic queue.
#[derive(Debug)]
pub(super) struct Classic {
    pub(super) options: ClassicOptions,
    pub(super) ready: Ready,
    pub(super) consumers: Consumers,
    pub(super) next_position: u64,
    /// Body bytes of all messages the queue holds: ready, assigned and unsettled.
    pub(super) held: Held,
    /// `None` for a queue that keeps nothing.
    pub(super) durable: Option<Box<Durable>>,
    /// Dead letters that are held until they have arrived; `None` for a queue that has never had one.
    pub(super) letters: Option<Box<Letters>>,
    /// The moment of the tick that was asked for last; [`NEVER`] when none is due.
    tick_at: Moment,
    /// When the queue goes if nobody uses it until then and it has no consumer (EXP-01); [`NEVER`]
    /// without `x-expires`, and before the first use, which is its declaration.
    lease_ends_at: Moment,
    /// What it knows of duplicates, if it drops them.
    pub(super) deduplication: Option<Box<QueueDeduplication>>,
    /// Entries on their way back; reused between calls and empty in between.
    returning: Vec<Entry>,
    gone: bool,
}

impl Classic {
    pub(super) fn new(options: ClassicOptions) -> Self {
        Self {
            options,
            ready: Ready::new(options.max_priority),
            consumers: Consumers::new(options.single_active_consumer),
            next_position: 0,
            held: Held::default(),
            durable: None,
            letters: None,
            tick_at: NEVER,
            lease_ends_at: NEVER,
            deduplication: None,
            returning: Vec::new(),
            gone: false,
        }
    }

    /// Changes what policies can change.
    pub(super) fn set_arguments(&mut self, arguments: &QueueArguments, call: &mut Call<'_>) {
        let options = ClassicOptions::new(self.options.auto_delete, arguments);
        self.set_options(options, call);
    }

    /// Changes the options of a living queue. Deadlines of messages it has stay as they are; its lease
    /// begins anew, as in RabbitMQ.
    pub(super) fn set_options(&mut self, options: ClassicOptions, call: &mut Call<'_>) {
        self.options = options;
        self.renew_lease(call);
        self.trim(call);
        self.finish(call);
    }

    /// The queue is in use now: its lease begins anew (EXP-02).
    pub(super) fn renew_lease(&mut self, call: &mut Call<'_>) {
        self.lease_ends_at = match self.options.expires_ms {
            Some(ms) if !self.gone => call.now.after_ms(ms),
            _ => NEVER,
        };
        self.promise_tick(call.effects);
    }

    /// Takes a batch and empties it; a queue that is gone leaves it to the caller.
    pub(super) fn offer(&mut self, batch: &mut Vec<Message>, call: &mut Call<'_>) -> Offered {
        if self.gone {
            return Offered::Gone;
        }
        self.deal(call);
        if self.options.may_refuse() {
            self.take_in_within_limits(batch, call);
        } else if self.deduplication.is_some() || matches!(self.ready, Ready::Levels(_)) {
            self.take_in_one_by_one(batch, call);
        } else {
            for message in batch.drain(..) {
                self.take_in(message, call);
            }
        }
        self.trim(call);
        self.finish(call);
        Offered::Taken
    }

    pub(super) fn attach(
        &mut self,
        spec: SlotSpec,
        port: Port,
        call: &mut Call<'_>,
    ) -> Result<SlotId, AttachRefused> {
        if self.gone {
            return Err(AttachRefused::Gone);
        }
        let slot = self.consumers.attach(spec, port)?;
        self.deal(call);
        self.finish(call);
        Ok(slot)
    }

    pub(super) fn detach(&mut self, slot: SlotId, unsettled: Unsettled, call: &mut Call<'_>) {
        let Some(index) = self.consumers.find(slot) else {
            return;
        };
        let (mut unsent, mut returned) = (Vec::new(), Vec::new());
        let was_last = self
            .consumers
            .detach(index, unsettled, &mut unsent, &mut returned);
        call.effects.auto_delete |= was_last && self.options.auto_delete;
        if was_last {
            self.renew_lease(call);
        }
        self.forget_getter(slot);
        self.ready.put_back(&mut unsent, self.next_position);
        self.requeue(&mut returned, call);
    }

    pub(super) fn set_pull_only(&mut self, slot: SlotId, pull_only: bool, after: &mut Aftermath) {
        if let Some(index) = self.consumers.find_consumer(slot) {
            self.consumers
                .set_pull_only(index, pull_only, &mut after.rings);
        }
    }

    pub(super) fn pull(
        &mut self,
        slot: SlotId,
        room: Room,
        out: &mut Vec<Delivery>,
        call: &mut Call<'_>,
    ) -> Pulled {
        if self.gone {
            return Pulled::Gone;
        }
        let Some(index) = self.consumers.find_consumer(slot) else {
            return Pulled::Drained;
        };
        let pulled = self.pull_at(index, RoomLeft::new(room), out, call);
        self.finish(call);
        pulled
    }

    pub(super) fn get(&mut self, slot: SlotId, call: &mut Call<'_>) -> Got {
        let Some(index) = self.consumers.find(slot) else {
            return Got::Empty;
        };
        self.renew_lease(call);
        self.deal(call);
        let head = self.ready.take_live(call.now, self.open_below());
        let got = match head.and_then(|entry| self.consumers.hand_out(index, entry)) {
            Some(delivery) => {
                self.forget_sent(index, std::slice::from_ref(&delivery), call.aftermath);
                // What has expired behind it is the head now: it goes uncounted (TTL-06).
                self.deal(call);
                Got::Message(delivery, self.ready.len())
            }
            None if self.ready.is_empty() => Got::Empty,
            None => self.wait_for_head(slot),
        };
        self.finish(call);
        got
    }

    pub(super) fn settle(
        &mut self,
        slot: SlotId,
        verdict: Verdict,
        ids: &[DeliveryId],
        call: &mut Call<'_>,
    ) {
        let Some(index) = self.consumers.find(slot) else {
            return;
        };
        if verdict == Verdict::Ack && self.deduplication.is_none() {
            let Aftermath {
                dropped, records, ..
            } = &mut *call.aftermath;
            let (held, durable) = (&mut self.held, &self.durable);
            let done = |entry: Entry| {
                held.sub(&entry);
                if let (true, Some(durable)) = (entry.logged, durable) {
                    let (at, bytes) = (entry.position, entry.body_bytes());
                    durable::write_settled(durable.log, at, bytes, records);
                }
                dropped.push(entry.message);
            };
            self.consumers.settle(index, ids, done);
            self.deal(call);
            self.finish(call);
            return;
        }
        let mut settled = std::mem::take(&mut self.returning);
        self.consumers
            .settle(index, ids, |entry| settled.push(entry));
        match verdict {
            Verdict::Requeue => self.requeue(&mut settled, call),
            Verdict::Discard => self.discard(&mut settled, call),
            Verdict::Ack => self.acknowledge(&mut settled, call),
        }
        self.returning = settled;
    }

    pub(super) fn tick(&mut self, call: &mut Call<'_>) {
        self.tick_at = NEVER;
        if let Some(durable) = &mut self.durable {
            durable.tick();
        }
        if self.lease_due_at() <= call.now {
            call.effects.auto_delete = true;
            // Nothing is left to wait for, unless a consumer comes first and keeps the queue; its
            // end begins another lease.
            self.lease_ends_at = NEVER;
        }
        self.attempt_letters(call);
        self.deal(call);
        self.finish(call);
    }

    pub(super) fn purge(&mut self, aftermath: &mut Aftermath) -> u64 {
        self.write_purge(aftermath);
        let purged = self.drop_ready(aftermath);
        self.ring_getters(aftermath);
        purged
    }

    fn drop_ready(&mut self, aftermath: &mut Aftermath) -> u64 {
        if let Some(deduplication) = &mut self.deduplication {
            deduplication.purged();
        }
        let dropped = self.ready.len();
        self.held.bodies -= self.ready.bytes();
        self.held.heads -= self.ready.head_bytes();
        aftermath.purged.append(&mut self.ready.take_all());
        if let Some(durable) = &mut self.durable {
            // What it brings is not wanted any more.
            durable.load = None;
        }
        dropped
    }

    pub(super) fn retire(
        &mut self,
        conditions: DeleteConditions,
        aftermath: &mut Aftermath,
    ) -> Result<u64, DeleteRefused> {
        if self.gone {
            return Err(DeleteRefused::Gone);
        }
        if conditions.if_empty && !self.ready.is_empty() {
            return Err(DeleteRefused::NotEmpty);
        }
        if conditions.if_unused && self.consumers.count() > 0 {
            return Err(DeleteRefused::InUse);
        }
        Ok(self.end(aftermath))
    }

    /// Ends the queue, whatever state it is in; says how many messages were ready.
    pub(super) fn end(&mut self, aftermath: &mut Aftermath) -> u64 {
        self.gone = true;
        self.lease_ends_at = NEVER;
        self.consumers.ring_all(&mut aftermath.rings);
        let ready = self.drop_ready(aftermath);
        self.ring_getters(aftermath);
        aftermath.retired = Some(Box::new(std::mem::take(&mut self.consumers)));
        self.held = Held::default();
        self.letters = None;
        // Its log goes as a whole; nothing is written to it any more.
        self.durable = None;
        ready
    }

    pub(super) fn status(&self) -> QueueStatus {
        let (ready, unsettled) = (self.ready.len(), self.consumers.unsettled());
        let letters = self.letters.as_deref();
        let (letters_resident, letters_bytes) = letters.map_or((0, 0), Letters::resident);
        let undiscovered = letters.map_or(0, Letters::undiscovered);
        let deduplication = self.deduplication.as_ref();
        let remembered = deduplication.map_or(0, |deduplication| deduplication.held_bytes());
        QueueStatus {
            ready: ready.saturating_sub(undiscovered),
            unsettled,
            consumers: self.consumers.count(),
            ready_bytes: self.ready.bytes(),
            held_bytes: self.held.bodies + letters_bytes,
            resident_bytes: self.held.bodies + self.held.heads + letters_bytes
                - self.ready.stored_bytes()
                + remembered,
            resident_messages: ready + unsettled + letters_resident - self.ready.stored_len(),
            dead_letters: letters.map_or(0, Letters::len),
        }
    }

    /// Takes one message in. If a slot can take messages and none is ready, it is this one's turn;
    /// its deadline does not matter then, not even one that is now (TTL-03), nor while nothing but a mark
    /// keeps it from being handed out.
    pub(super) fn take_in(&mut self, message: Message, call: &mut Call<'_>) {
        let expires_at = self.deadline(&message, call.now);
        let mut entry = Entry::new(message, self.next_position, expires_at);
        self.held.add(&entry);
        self.next_position += 1;
        let is_open = match &self.durable {
            Some(durable) => {
                let keeps = self.options.keeps_transient;
                durable.take_in(&mut entry, keeps, call.now, call.aftermath)
            }
            None => true,
        };
        match self.consumers.next() {
            Some(next) if is_open && self.ready.is_empty() => {
                let rings = &mut call.aftermath.rings;
                self.consumers.assign(next, entry, rings);
            }
            next => {
                if next.is_some() && !is_open {
                    let wait_ends = call.now.after_ms(durable::MARK_WAIT_MS);
                    entry.expires_at = entry.expires_at.max(wait_ends);
                }
                self.ready.push(entry);
            }
        }
    }

    fn pull_at(
        &mut self,
        index: u32,
        mut left: RoomLeft,
        out: &mut Vec<Delivery>,
        call: &mut Call<'_>,
    ) -> Pulled {
        let before = out.len();
        self.consumers.begin_pull(index, &left);
        self.deal(call);
        while self.consumers.hand_out_assigned(index, &mut left, out) {
            self.deal(call);
        }
        let sent = out.get(before..).unwrap_or_default();
        self.forget_sent(index, sent, call.aftermath);
        let mut unsent = std::mem::take(&mut self.returning);
        let pulled = self.consumers.end_pull(index, &left, &mut unsent);
        if !unsent.is_empty() {
            self.ready.put_back(&mut unsent, self.next_position);
            self.deal(call);
            self.trim(call);
        }
        self.returning = unsent;
        pulled
    }

    /// What is settled by being sent is not held any more.
    fn forget_sent(&mut self, index: u32, sent: &[Delivery], aftermath: &mut Aftermath) {
        if !self.consumers.is_no_ack(index) {
            return;
        }
        if let Some(deduplication) = &mut self.deduplication {
            let positions = sent.iter().map(|delivery| delivery.position);
            positions.for_each(|position| deduplication.left(position));
        }
        for delivery in sent {
            let (bytes, head) = HeadSize::beside_body(&delivery.message);
            self.held.bodies -= u64::from(bytes);
            self.held.heads -= head.bytes();
            if let Some(durable) = &self.durable
                && (self.options.keeps_transient || delivery.message.is_persistent())
            {
                let records = &mut aftermath.records;
                durable::write_settled(durable.log, delivery.position, bytes, records);
            }
        }
    }

    /// Puts deliveries back to their positions, marked. As in RabbitMQ the limits are enforced
    /// before anyone can take what came back (LEN-07).
    fn requeue(&mut self, returned: &mut Vec<Entry>, call: &mut Call<'_>) {
        if !returned.is_empty() {
            returned.iter_mut().for_each(Entry::mark_returned);
            self.bury_overdue(returned, call);
            self.write_returned(returned, call.aftermath);
            self.ready.put_back(returned, self.next_position);
            self.trim(call);
        }
        self.deal(call);
        self.trim(call);
        self.finish(call);
    }

    /// Drops or dead-letters deliveries in queue order (ACK-12, DLX-20).
    fn discard(&mut self, settled: &mut Vec<Entry>, call: &mut Call<'_>) {
        sort_by_position(settled);
        for entry in settled.drain(..) {
            self.bury_held(entry, DeathReason::Rejected, call);
        }
        self.deal(call);
        self.finish(call);
    }

    /// Ends a call that may have changed something.
    pub(super) fn finish(&mut self, call: &mut Call<'_>) {
        self.promise_tick(call.effects);
        if self.durable.is_some() {
            self.finish_durable(call);
        }
    }

    /// Assigns ready messages for as long as there is a live one and a slot that can take it.
    pub(super) fn deal(&mut self, call: &mut Call<'_>) {
        self.deal_live(call);
        while self.expire(call) {
            self.deal_live(call);
        }
    }

    /// Assigns ready messages up to the first one that has expired or may not be handed out yet.
    fn deal_live(&mut self, call: &mut Call<'_>) {
        let (now, open_below) = (call.now, self.open_below());
        let (consumers, rings) = (&mut self.consumers, &mut call.aftermath.rings);
        match &mut self.ready {
            Ready::Single(ready) => consumers.deal(rings, || ready.take_live(now, open_below)),
            Ready::Levels(ready) => consumers.deal(rings, || ready.take_live(now, open_below)),
        }
    }

    /// Removes expired messages from the head; says whether there were any (TTL-05, TTL-06).
    pub(super) fn expire(&mut self, call: &mut Call<'_>) -> bool {
        let mut expired = false;
        while let Some(entry) = self.ready.take_expired(call.now) {
            self.bury_held(entry, DeathReason::Expired, call);
            expired = true;
        }
        expired
    }

    /// Removes messages from the head until the rest is within the limits (LEN-02), or until the head
    /// has to be loaded first.
    pub(super) fn trim(&mut self, call: &mut Call<'_>) {
        loop {
            self.expire(call);
            let exceeded = self
                .options
                .exceeded_by(self.ready.len(), self.ready.bytes());
            if !exceeded || self.options.overflow != Overflow::DropHead {
                return;
            }
            let Some(entry) = self.ready.take() else {
                return;
            };
            self.bury_held(entry, DeathReason::MaxLength, call);
        }
    }

    /// Removes a message that the queue had taken. A dead letter stays in the store until it is with its
    /// next queue.
    pub(super) fn bury_held(&mut self, entry: Entry, reason: DeathReason, call: &mut Call<'_>) {
        if let Some(deduplication) = &mut self.deduplication {
            deduplication.left(entry.position);
        }
        self.held.sub(&entry);
        if self.options.at_least_once {
            return self.bury_letter(entry, reason, call);
        }
        if let (true, Some(durable)) = (entry.logged, &mut self.durable) {
            let (position, body_bytes) = (entry.position, entry.body_bytes());
            if self.options.dead_letters {
                let buried = Buried {
                    position,
                    body_bytes,
                };
                call.effects.buried.push(buried);
                durable.note_buried(position);
            } else {
                let records = &mut call.aftermath.records;
                durable::write_settled(durable.log, position, body_bytes, records);
            }
        }
        self.bury(entry.message, reason, call);
    }

    pub(super) fn bury(&self, message: Message, reason: DeathReason, call: &mut Call<'_>) {
        if self.options.dead_letters {
            let dead = DeadLetter {
                message,
                reason,
                held: None,
            };
            call.effects.dead_letters.push(dead);
        } else {
            call.aftermath.dropped.push(message);
        }
    }

    /// The smaller of the queue's and the message's own time to live wins (TTL-01).
    fn deadline(&self, message: &Message, now: Moment) -> Moment {
        let ttl_ms = match (self.options.message_ttl_ms, message.expiration_ms()) {
            (Some(queue), Some(own)) => queue.min(own),
            (queue, own) => match queue.or(own) {
                Some(ttl_ms) => ttl_ms,
                None => return NEVER,
            },
        };
        now.after_ms(ttl_ms)
    }

    /// When the lease is to be looked at; consumers keep a queue for as long as they stay.
    fn lease_due_at(&self) -> Moment {
        if self.consumers.count() > 0 {
            NEVER
        } else {
            self.lease_ends_at
        }
    }

    /// Asks for a tick if the head or the lease expires, or letters are to be sent again, before the one that was asked for. What
    /// expires later needs no word: the earlier tick finds it and asks again.
    fn promise_tick(&mut self, effects: &mut Effects) {
        let letters = self.letters.as_ref();
        let retry_at = letters.map_or(NEVER, |letters| letters.retry_at());
        let expires_at = self.ready.head_expires_at().min(self.lease_due_at());
        let expires_at = expires_at.min(retry_at);
        if expires_at < self.tick_at {
            self.tick_at = expires_at;
            effects.tick_at = Some(expires_at);
        }
    }
}
