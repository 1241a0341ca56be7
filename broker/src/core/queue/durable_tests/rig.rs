//! A durable queue over a journal that commits and reads when the test says so.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::core::queue::fake_journal::Backing;
use crate::core::queue::testing::{NotedBell, body, message_of, port};
use crate::core::queue::*;

/// A body that lets a few messages fill a queue's share of memory.
pub(super) const LARGE_BYTES: usize = 64 << 10;

/// A share of memory for a few of them.
pub(super) const SHARE_BYTES: u64 = 8 * LARGE_BYTES as u64;

pub(super) const PLENTY: Room = Room {
    messages: 256,
    bytes: usize::MAX,
};

/// A durable queue, its journal, and what its calls asked for.
pub(super) struct Rig {
    pub(super) queue: ClassicQueue,
    pub(super) backing: Backing,
    pub(super) bell: Arc<NotedBell>,
    pub(super) effects: Effects,
    pub(super) now_ms: u64,
    pub(super) attached: u64,
}

impl Rig {
    pub(super) fn new(options: ClassicOptions) -> Self {
        Self::over(Backing::new(options))
    }

    pub(super) fn plain() -> Self {
        Self::new(ClassicOptions::default())
    }

    pub(super) fn over((backing, queue): (Backing, ClassicQueue)) -> Self {
        Self {
            queue,
            backing,
            bell: Arc::default(),
            effects: Effects::default(),
            now_ms: 0,
            attached: 0,
        }
    }

    /// The queue after a restart; everything so far is committed.
    pub(super) fn restarted(self, options: ClassicOptions) -> Self {
        self.backing.journal.commit();
        let recovered = self.backing.journal.recovered();
        let journal = self.backing.journal;
        let mut rig = Self::over(Backing::with(journal, options, Some(&recovered)));
        rig.tick();
        rig
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    pub(super) fn offer(&mut self, mut batch: Vec<Message>) {
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn publish(&mut self, bodies: &str) {
        let messages = bodies.split_whitespace();
        self.offer(messages.map(|text| message_of(text, None, true)).collect());
    }

    /// Messages numbered in their bodies, each 64 KiB large.
    pub(super) fn publish_large(&mut self, numbers: std::ops::Range<u64>) {
        self.offer(numbers.map(|n| large(n, None)).collect());
    }

    pub(super) fn share(&mut self, bytes_max: u64) {
        let now = self.now();
        self.queue
            .set_resident_bytes_max(bytes_max, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn attach(&mut self, spec: SlotSpec) -> SlotId {
        let port = port(&self.bell, self.attached);
        self.attached += 1;
        let now = self.now();
        let slot = self.queue.attach(spec, port, now, &mut self.effects);
        self.backing.note(&mut self.effects);
        slot.unwrap()
    }

    pub(super) fn pull_all(&mut self, slot: SlotId) -> Vec<Delivery> {
        self.pull_some(slot, PLENTY.messages)
    }

    pub(super) fn pull_some(&mut self, slot: SlotId, messages: u32) -> Vec<Delivery> {
        let (mut out, now) = (Vec::new(), self.now());
        let room = Room { messages, ..PLENTY };
        self.queue
            .pull(slot, room, now, &mut out, &mut self.effects);
        self.backing.note(&mut self.effects);
        self.check_marks(&out);
        out
    }

    pub(super) fn pull(&mut self, slot: SlotId) -> String {
        bodies(&self.pull_all(slot))
    }

    pub(super) fn get(&mut self, slot: SlotId) -> Got {
        let got = self.queue.get(slot, self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
        if let Got::Message(delivery, _) = &got {
            self.check_marks(std::slice::from_ref(delivery));
        }
        got
    }

    /// What a getter gets once it has waited for what it has to.
    pub(super) fn get_at_last(&mut self, slot: SlotId) -> Option<Delivery> {
        loop {
            match self.get(slot) {
                Got::Message(delivery, _) => return Some(delivery),
                Got::Empty => return None,
                Got::Loading => self.wait(),
            }
        }
    }

    pub(super) fn check_marks(&self, deliveries: &[Delivery]) {
        let mark = self.backing.journal.committed_mark();
        let is_covered = |d: &Delivery| !d.message.is_persistent() || d.position < mark;
        assert!(deliveries.iter().all(is_covered), "delivered before {mark}");
    }

    pub(super) fn settle(&mut self, slot: SlotId, verdict: Verdict, ids: &[DeliveryId]) {
        let now = self.now();
        self.queue
            .settle(slot, verdict, ids, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn detach(&mut self, slot: SlotId) {
        let now = self.now();
        self.queue
            .detach(slot, Unsettled::Requeue, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn tick(&mut self) {
        self.queue.tick(self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn purge(&mut self) -> u64 {
        let purged = self.queue.purge(&mut self.effects);
        self.backing.note(&mut self.effects);
        purged
    }

    pub(super) fn commit(&mut self) -> bool {
        let now = self.now();
        self.backing.commit(&self.queue, now, &mut self.effects)
    }

    pub(super) fn serve(&mut self) -> bool {
        let now = self.now();
        self.backing.serve(&self.queue, now, &mut self.effects)
    }

    /// Lets everything happen that the queue waits for; there has to be something.
    pub(super) fn wait(&mut self) {
        assert!(self.commit() | self.serve(), "nothing to wait for");
        while self.commit() | self.serve() {}
    }

    /// Lets everything happen that the queue waits for, if anything.
    pub(super) fn settle_down(&mut self) {
        while self.commit() | self.serve() {}
    }

    pub(super) fn status(&self) -> QueueStatus {
        self.queue.status()
    }

    /// The dead letters are with their next queues.
    pub(super) fn forget_dead(&mut self) {
        let (buried, now) = (std::mem::take(&mut self.effects.buried), self.now());
        self.queue.forget(&buried, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    pub(super) fn dead(&mut self) -> String {
        self.forget_dead();
        let dead = self.effects.dead_letters.drain(..);
        let words = dead.map(|d| format!("{}:{}", name(&d.message), d.reason.as_str()));
        words.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn left(&self) -> String {
        let left = self.backing.journal.left().into_values();
        let names: Vec<String> = left.map(|stored| name(&stored.message())).collect();
        names.join(" ")
    }

    /// A few large messages in memory at the front, and the rest, up to `count`, in the store.
    pub(super) fn paged(options: ClassicOptions, count: u64) -> Self {
        let mut rig = Self::new(options);
        rig.share(SHARE_BYTES);
        for first in (0..count).step_by(4) {
            rig.publish_large(first..count.min(first + 4));
            rig.settle_down();
        }
        rig
    }
}

pub(super) fn large(number: u64, expiration_ms: Option<u64>) -> Message {
    let text = format!("{number} {}", "x".repeat(LARGE_BYTES));
    message_of(&text, expiration_ms, true)
}

/// The first word of a message's body.
pub(super) fn name(message: &Message) -> String {
    let text = body(message);
    text.split(' ').next().unwrap_or_default().to_owned()
}

pub(super) fn bodies(deliveries: &[Delivery]) -> String {
    let mark = |d: &Delivery| if d.redelivered { "*" } else { "" };
    let words = deliveries.iter().map(|d| name(&d.message) + mark(d));
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    let number = |d: &Delivery| name(&d.message).parse().unwrap();
    deliveries.iter().map(number).collect()
}

pub(super) fn ids(deliveries: &[Delivery]) -> Vec<DeliveryId> {
    deliveries.iter().map(|d| d.id).collect()
}
