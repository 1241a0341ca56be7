//! A classic queue with a clock that stands still.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::core::queue::testing::{NotedBell, body, changed, consumer, expiring, message, port};
use crate::core::queue::*;

/// A queue, the effects of the last calls, and a clock.
pub(super) struct Bench {
    pub(super) queue: ClassicQueue,
    pub(super) bell: Arc<NotedBell>,
    pub(super) effects: Effects,
    pub(super) now_ms: u64,
    pub(super) attached: u64,
}

pub(super) const PLENTY: Room = Room {
    messages: 1000,
    bytes: usize::MAX,
};

impl Bench {
    pub(super) fn new(options: ClassicOptions) -> Self {
        Self {
            queue: ClassicQueue::new(options),
            bell: Arc::default(),
            effects: Effects::default(),
            now_ms: 0,
            attached: 0,
        }
    }

    pub(super) fn plain() -> Self {
        Self::new(ClassicOptions::default())
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    pub(super) fn publish(&mut self, bodies: &str) {
        let mut batch = bodies.split_whitespace().map(message).collect();
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
    }

    pub(super) fn publish_expiring(&mut self, text: &str, ms: u64) {
        let mut batch = vec![expiring(text, Some(ms))];
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
    }

    pub(super) fn try_attach(&mut self, spec: SlotSpec) -> Result<SlotId, AttachRefused> {
        let port = port(&self.bell, self.attached);
        self.attached += 1;
        let now = self.now();
        self.queue.attach(spec, port, now, &mut self.effects)
    }

    pub(super) fn attach(&mut self, spec: SlotSpec) -> SlotId {
        self.try_attach(spec).unwrap()
    }

    pub(super) fn pull_within(&mut self, slot: SlotId, room: Room) -> (Pulled, Vec<Delivery>) {
        let mut out = Vec::new();
        let now = self.now();
        let pulled = self
            .queue
            .pull(slot, room, now, &mut out, &mut self.effects);
        (pulled, out)
    }

    pub(super) fn pull(&mut self, slot: SlotId) -> String {
        let (pulled, out) = self.pull_within(slot, PLENTY);
        assert_eq!(pulled, Pulled::Drained);
        bodies(&out)
    }

    pub(super) fn pull_some(&mut self, slot: SlotId, messages: u32) -> (Pulled, String) {
        let room = Room { messages, ..PLENTY };
        let (pulled, out) = self.pull_within(slot, room);
        (pulled, bodies(&out))
    }

    pub(super) fn get(&mut self, slot: SlotId) -> Option<(String, u64)> {
        match self.queue.get(slot, self.now(), &mut self.effects) {
            Got::Message(delivery, left) => Some((bodies(&[delivery]), left)),
            Got::Empty | Got::Loading => None,
        }
    }

    pub(super) fn purge(&mut self) -> u64 {
        self.queue.purge(&mut self.effects)
    }

    pub(super) fn settle(
        &mut self,
        slot: SlotId,
        verdict: Verdict,
        ids: impl IntoIterator<Item = u64>,
    ) {
        let ids: Vec<_> = ids.into_iter().map(DeliveryId).collect();
        let now = self.now();
        self.queue
            .settle(slot, verdict, &ids, now, &mut self.effects);
    }

    pub(super) fn detach(&mut self, slot: SlotId, unsettled: Unsettled) {
        let now = self.now();
        self.queue.detach(slot, unsettled, now, &mut self.effects);
    }

    pub(super) fn tick_at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.queue.tick(self.now(), &mut self.effects);
    }

    pub(super) fn dead(&mut self) -> String {
        let dead = self.effects.dead_letters.drain(..);
        let words = dead.map(|d| format!("{}:{}", body(&d.message), d.reason.as_str()));
        words.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let status = self.queue.status();
        (status.ready, status.unsettled)
    }
}

/// The bodies in order; a redelivered one is marked with a star.
pub(super) fn bodies(deliveries: &[Delivery]) -> String {
    let mark = |d: &Delivery| if d.redelivered { "*" } else { "" };
    let words = deliveries.iter().map(|d| body(&d.message) + mark(d));
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn no_ack(mut spec: SlotSpec) -> SlotSpec {
    spec.no_ack = true;
    spec
}

pub(super) fn pull_only(prefetch: u16) -> SlotSpec {
    changed(consumer(prefetch), |_, pull_only, _| *pull_only = true)
}

pub(super) fn exclusive() -> SlotSpec {
    changed(consumer(0), |exclusive, _, _| *exclusive = true)
}

pub(super) fn limited(length_max: u64, overflow: Overflow) -> ClassicOptions {
    ClassicOptions {
        length_max: Some(length_max),
        overflow,
        dead_letters: true,
        ..ClassicOptions::default()
    }
}

pub(super) fn expiring_after(message_ttl_ms: u64) -> ClassicOptions {
    ClassicOptions {
        message_ttl_ms: Some(message_ttl_ms),
        dead_letters: true,
        ..ClassicOptions::default()
    }
}
