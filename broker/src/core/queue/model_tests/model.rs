//! The naive model of a queue.

#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;

use super::{Asked, Wanted, padded};
use crate::core::queue::consumers::ASSIGNED_MAX;
use crate::core::queue::*;

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    pub(super) priority: u8,
    pub(super) expires_ms: Option<u64>,
    pub(super) returns: u32,
}

#[derive(Debug)]
pub(super) struct ModelSlot {
    pub(super) wanted: Wanted,
    pub(super) ended: bool,
    pub(super) stalled: bool,
    pub(super) assigned_max: usize,
    pub(super) could_take: bool,
    pub(super) turn: u64,
    pub(super) assigned: Vec<Held>,
    pub(super) unsettled: Vec<(u64, Held)>,
    pub(super) next_id: u64,
}

impl ModelSlot {
    /// Ended, with nothing left to settle: its id means nothing any more.
    pub(super) fn is_void(&self) -> bool {
        self.ended && self.unsettled.is_empty()
    }

    pub(super) fn can_take(&self) -> bool {
        let held = self.assigned.len() + self.unsettled.len();
        let limited = !self.wanted.no_ack && self.wanted.prefetch > 0;
        let blocked = limited && held >= usize::from(self.wanted.prefetch);
        let is_open = !(self.ended || self.wanted.getter || self.stalled || blocked);
        is_open && self.assigned.len() < self.assigned_max
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) options: ClassicOptions,
    pub(super) now_ms: u64,
    pub(super) published: u64,
    pub(super) turns: u64,
    pub(super) ready: Vec<Held>,
    pub(super) slots: Vec<ModelSlot>,
    pub(super) dead: Vec<(u64, DeathReason)>,
    /// Messages that are accounted for outside the queue.
    pub(super) finished: u64,
}

/// Id, body, redelivered, how often returned, priority.
pub(super) type Given = (Option<u64>, String, bool, u32, u8);

impl Model {
    pub(super) fn bytes(&self) -> u64 {
        self.ready
            .iter()
            .map(|held| padded(held.number).len() as u64)
            .sum()
    }

    pub(super) fn exceeds(&self, more: u64, more_bytes: u64) -> bool {
        let options = self.options;
        options
            .length_max
            .is_some_and(|max| self.ready.len() as u64 + more > max)
            || options
                .length_bytes_max
                .is_some_and(|max| self.bytes() + more_bytes > max)
    }

    pub(super) fn bury(&mut self, held: Held, reason: DeathReason) {
        self.finished += 1;
        if self.options.dead_letters {
            self.dead.push((held.number, reason));
        }
    }

    pub(super) fn head_expired(&self) -> bool {
        let expires_ms = self.ready.first().and_then(|head| head.expires_ms);
        expires_ms.is_some_and(|at| at <= self.now_ms)
    }

    pub(super) fn expire(&mut self) {
        while self.head_expired() {
            let head = self.ready.remove(0);
            self.bury(head, DeathReason::Expired);
        }
    }

    pub(super) fn trim(&mut self) {
        self.expire();
        while self.options.overflow == Overflow::DropHead
            && self.exceeds(0, 0)
            && !self.ready.is_empty()
        {
            let head = self.ready.remove(0);
            self.bury(head, DeathReason::MaxLength);
            self.expire();
        }
    }

    /// Notices slots that can take a message again: they queue up behind the others.
    pub(super) fn refresh(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        let can_take = slot.can_take();
        if can_take && !slot.could_take {
            self.turns += 1;
            slot.turn = self.turns;
        }
        slot.could_take = can_take;
    }

    pub(super) fn next(&self) -> Option<usize> {
        (0..self.slots.len())
            .filter(|slot| self.slots[*slot].can_take())
            .min_by_key(|slot| (-self.slots[*slot].wanted.priority, self.slots[*slot].turn))
    }

    pub(super) fn assign(&mut self, slot: usize, held: Held) {
        self.turns += 1;
        self.slots[slot].turn = self.turns;
        self.slots[slot].assigned.push(held);
        self.refresh(slot);
    }

    pub(super) fn deal(&mut self) {
        self.expire();
        while let Some(slot) = self.next()
            && !self.ready.is_empty()
        {
            let head = self.ready.remove(0);
            self.assign(slot, head);
            self.expire();
        }
    }

    pub(super) fn put_back(&mut self, held: Vec<Held>) {
        let max = self.options.max_priority;
        let place = |held: &Held| (Reverse(held.priority.min(max)), held.number);
        for held in held {
            let at = self
                .ready
                .partition_point(|other| place(other) < place(&held));
            self.ready.insert(at, held);
        }
    }

    pub(super) fn requeue(&mut self, held: Vec<Held>) {
        if !held.is_empty() {
            let mark = |held: Held| Held {
                returns: held.returns + 1,
                ..held
            };
            self.put_back(held.into_iter().map(mark).collect());
            self.trim();
        }
        self.deal();
        self.trim();
    }

    pub(super) fn offer(&mut self, asked: &[Asked]) -> Vec<u32> {
        let mut rejected = Vec::new();
        self.deal();
        for (index, asked) in asked.iter().enumerate() {
            let number = self.published;
            self.published += 1;
            let ttl_ms = [asked.ttl_ms, self.options.message_ttl_ms]
                .into_iter()
                .flatten()
                .min();
            let expires_ms = ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms);
            let held = Held {
                number,
                priority: asked.priority,
                expires_ms,
                returns: 0,
            };
            if self.options.overflow != Overflow::DropHead {
                self.expire();
                if self.exceeds(1, padded(number).len() as u64) {
                    rejected.push(index as u32);
                    self.finished += 1;
                    if self.options.overflow == Overflow::RejectPublishDeadLetter
                        && self.options.dead_letters
                    {
                        self.dead.push((number, DeathReason::MaxLength));
                    }
                    continue;
                }
            }
            match self.next() {
                Some(slot) => self.assign(slot, held),
                None => self.put_back(vec![held]),
            }
            self.trim();
        }
        rejected
    }

    pub(super) fn attach(&mut self, wanted: Wanted) -> bool {
        let consumers = self.slots.iter().filter(|s| !s.ended && !s.wanted.getter);
        let (count, taken) = consumers.fold((0, false), |(count, taken), slot| {
            (count + 1, taken || slot.wanted.exclusive)
        });
        if !wanted.getter && (taken || (wanted.exclusive && count > 0)) {
            return false;
        }
        self.slots.push(ModelSlot {
            wanted,
            ended: false,
            stalled: false,
            assigned_max: ASSIGNED_MAX,
            could_take: false,
            turn: 0,
            assigned: Vec::new(),
            unsettled: Vec::new(),
            next_id: 0,
        });
        self.refresh(self.slots.len() - 1);
        self.deal();
        true
    }

    pub(super) fn detach(&mut self, slot: usize, requeue: bool) -> bool {
        if self.slots[slot].is_void() {
            return false;
        }
        let ended = &mut self.slots[slot];
        let was_consumer = !ended.ended && !ended.wanted.getter;
        ended.ended = true;
        let unsent = std::mem::take(&mut ended.assigned);
        let returned = match requeue {
            true => std::mem::take(&mut ended.unsettled),
            false => Vec::new(),
        };
        self.refresh(slot);
        self.put_back(unsent);
        self.requeue(returned.into_iter().map(|(_, held)| held).collect());
        was_consumer && self.consumers() == 0
    }

    pub(super) fn deliver(&mut self, slot: usize, held: Held) -> Given {
        let slot = &mut self.slots[slot];
        let text = padded(held.number);
        let (returns, priority) = (held.returns, held.priority);
        let id = (!slot.wanted.no_ack).then_some(slot.next_id);
        if let Some(id) = id {
            slot.unsettled.push((id, held));
            slot.next_id += 1;
        } else {
            self.finished += 1;
        }
        (id, text, returns > 0, returns, priority)
    }

    pub(super) fn pull(&mut self, at: usize, room: Room) -> (Pulled, Vec<Given>) {
        let (mut messages, mut bytes) = (room.messages as usize, room.bytes);
        let mut given = Vec::new();
        if self.slots[at].ended {
            return (Pulled::Drained, given);
        }
        self.slots[at].stalled = messages == 0;
        self.note_room(at, messages);
        self.refresh(at);
        self.deal();
        loop {
            let mut taken = 0;
            while messages > 0
                && (bytes > 0 || given.is_empty())
                && !self.slots[at].assigned.is_empty()
            {
                let held = self.slots[at].assigned.remove(0);
                messages -= 1;
                bytes = bytes.saturating_sub(padded(held.number).len());
                given.push(self.deliver(at, held));
                taken += 1;
            }
            if taken == 0 {
                break;
            }
            let open = bytes > 0;
            self.note_room(at, if open { messages } else { 0 });
            self.refresh(at);
            self.deal();
        }
        let used_up = messages == 0 || (bytes == 0 && !given.is_empty());
        let pull_only = self.slots[at].wanted.pull_only && !self.slots[at].wanted.getter;
        if room.messages == 0 || (pull_only && used_up) {
            self.slots[at].stalled = true;
            self.refresh(at);
            if pull_only {
                let unsent = std::mem::take(&mut self.slots[at].assigned);
                if !unsent.is_empty() {
                    self.put_back(unsent);
                    self.deal();
                    self.trim();
                }
            }
            return (Pulled::More, given);
        }
        match self.slots[at].assigned.is_empty() {
            true => (Pulled::Drained, given),
            false => (Pulled::More, given),
        }
    }

    pub(super) fn note_room(&mut self, slot: usize, messages: usize) {
        if self.slots[slot].wanted.pull_only && !self.slots[slot].wanted.getter {
            self.slots[slot].assigned_max = messages.min(ASSIGNED_MAX);
        }
    }

    pub(super) fn get(&mut self, slot: usize) -> Option<(Given, u64)> {
        self.deal();
        if self.ready.is_empty() {
            return None;
        }
        let head = self.ready.remove(0);
        let given = self.deliver(slot, head);
        self.deal();
        Some((given, self.ready.len() as u64))
    }

    pub(super) fn settle(&mut self, slot: usize, verdict: Verdict, ids: &[DeliveryId]) {
        if self.slots[slot].is_void() {
            return;
        }
        let all = std::mem::take(&mut self.slots[slot].unsettled);
        let (settled, left): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(id, _)| ids.contains(&DeliveryId(*id)));
        self.slots[slot].unsettled = left;
        self.refresh(slot);
        let mut settled: Vec<Held> = settled.into_iter().map(|(_, held)| held).collect();
        settled.sort_by_key(|held| held.number);
        match verdict {
            Verdict::Ack => self.finished += settled.len() as u64,
            Verdict::Requeue => return self.requeue(settled),
            Verdict::Discard => {
                for held in settled {
                    self.bury(held, DeathReason::Rejected);
                }
            }
        }
        self.deal();
    }

    pub(super) fn purge(&mut self) -> u64 {
        let purged = std::mem::take(&mut self.ready).len() as u64;
        self.finished += purged;
        purged
    }

    pub(super) fn consumers(&self) -> u32 {
        self.slots
            .iter()
            .filter(|s| !s.ended && !s.wanted.getter)
            .count() as u32
    }

    pub(super) fn status(&self) -> QueueStatus {
        let held = self
            .slots
            .iter()
            .map(|s| s.assigned.len() + s.unsettled.len());
        let held_messages = held.sum::<usize>();
        QueueStatus {
            ready: self.ready.len() as u64,
            unsettled: held_messages as u64,
            consumers: self.consumers(),
            ready_bytes: self.bytes(),
            held_bytes: self.bytes() + self.handed_out_bytes(),
            resident_bytes: self.bytes() + self.handed_out_bytes(),
            resident_messages: (self.ready.len() + held_messages) as u64,
            dead_letters: 0,
        }
    }

    pub(super) fn handed_out_bytes(&self) -> u64 {
        let handed_out = self.slots.iter().flat_map(|slot| {
            let unsettled = slot.unsettled.iter().map(|(_, held)| held);
            slot.assigned.iter().chain(unsettled)
        });
        handed_out
            .map(|held| padded(held.number).len() as u64)
            .sum()
    }
}
