//! The queue and its model at work, side by side.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{Given, Model};
use super::{Asked, Step, Wanted, padded};
use crate::core::queue::consumers::ASSIGNED_MAX;
use crate::core::queue::fake_journal::Backing;
use crate::core::queue::testing::{NotedBell, body, port, prioritized};
use crate::core::queue::*;

/// More than wait for one slot, of mixed priorities.
fn many() -> [Asked; ASSIGNED_MAX + 44] {
    std::array::from_fn(|n| Asked {
        priority: (n % 4) as u8,
        ..Asked::default()
    })
}

/// Both at work, side by side.
pub(super) struct Pair {
    pub(super) model: Model,
    pub(super) queue: ClassicQueue,
    pub(super) bell: Arc<NotedBell>,
    pub(super) slots: Vec<SlotId>,
    /// Slots that were rung and have not drained since, or found no room and know it.
    pub(super) awake: BTreeSet<u64>,
    pub(super) tick_at: Option<Moment>,
    pub(super) effects: Effects,
    pub(super) backing: Option<Backing>,
}

impl Pair {
    pub(super) fn durable(options: ClassicOptions) -> Self {
        let (backing, queue) = Backing::new(options);
        Self {
            queue,
            backing: Some(backing),
            ..Self::new(options)
        }
    }

    pub(super) fn new(options: ClassicOptions) -> Self {
        Self {
            backing: None,
            model: Model {
                options,
                now_ms: 1000,
                ..Model::default()
            },
            queue: ClassicQueue::new(options),
            bell: Arc::default(),
            slots: Vec::new(),
            awake: BTreeSet::new(),
            tick_at: None,
            effects: Effects::default(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_unix_ms(self.model.now_ms)
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Offer { asked } => self.offer(&asked),
            Step::OfferMany => self.offer(&many()),
            Step::Attach(wanted) => self.attach(wanted),
            Step::Wait { ms } => self.model.now_ms += ms,
            Step::Tick => self.tick(),
            Step::Purge => {
                let purged = self.queue.purge(&mut self.effects);
                assert_eq!(purged, self.model.purge());
            }
            Step::Detach { slot, .. }
            | Step::PullOnly { slot, .. }
            | Step::Pull { slot, .. }
            | Step::Get { slot }
            | Step::Settle { slot, .. } => {
                if !self.slots.is_empty() {
                    self.step_slot(slot % self.slots.len(), step);
                }
            }
        }
        self.commit();
        self.check();
    }

    /// Lets everything that a durable queue waits for happen.
    pub(super) fn commit(&mut self) {
        let now = self.now();
        let Some(backing) = &mut self.backing else {
            return;
        };
        backing.note(&mut self.effects);
        while backing.commit_and_serve(&self.queue, now, &mut self.effects) {
            self.model.deal();
        }
    }

    pub(super) fn is_persistent(&self, number: u64) -> bool {
        self.backing.is_some() && number % 5 != 2
    }

    pub(super) fn step_slot(&mut self, at: usize, step: Step) {
        let (id, now) = (self.slots[at], self.now());
        match step {
            Step::Detach { unsettled, .. } => {
                let policy = match unsettled {
                    true => Unsettled::Requeue,
                    false => Unsettled::Keep,
                };
                let was_last = self.model.detach(at, unsettled);
                self.queue.detach(id, policy, now, &mut self.effects);
                let expected = was_last && self.model.options.auto_delete;
                assert_eq!(std::mem::take(&mut self.effects.auto_delete), expected);
            }
            Step::PullOnly { pull_only, .. } => {
                if !self.model.slots[at].wanted.getter && !self.model.slots[at].ended {
                    self.model.slots[at].wanted.pull_only = pull_only;
                    self.model.slots[at].assigned_max = ASSIGNED_MAX;
                    self.model.refresh(at);
                    self.queue.set_pull_only(id, pull_only);
                }
            }
            Step::Pull { room, .. } => self.pull(at, room),
            Step::Get { .. } => self.get(at),
            Step::Settle {
                verdict, chosen, ..
            } => self.settle(at, verdict, chosen),
            _ => unreachable!("not about a slot"),
        }
    }

    pub(super) fn offer(&mut self, asked: &[Asked]) {
        let numbers = self.model.published..;
        let messages = numbers.zip(asked).map(|(n, asked)| {
            let is_persistent = self.is_persistent(n);
            prioritized(&padded(n), asked.ttl_ms, is_persistent, asked.priority)
        });
        let mut batch: Vec<Message> = messages.collect();
        let rejected = self.model.offer(asked);
        let offered = self.queue.offer(&mut batch, self.now(), &mut self.effects);
        assert_eq!(offered, Offered::Taken);
        assert!(batch.is_empty());
        assert_eq!(std::mem::take(&mut self.effects.rejected), rejected);
    }

    pub(super) fn attach(&mut self, wanted: Wanted) {
        if self.slots.len() >= 8 {
            return;
        }
        let port = port(&self.bell, self.slots.len() as u64);
        let attached = self
            .queue
            .attach(wanted.spec(), port, self.now(), &mut self.effects);
        assert_eq!(attached.is_ok(), self.model.attach(wanted));
        self.slots.extend(attached);
    }

    pub(super) fn pull(&mut self, at: usize, room: Room) {
        if self.model.slots[at].wanted.getter {
            return;
        }
        let mut out = Vec::new();
        let (id, now) = (self.slots[at], self.now());
        self.awake.insert(at as u64);
        let pulled = self.queue.pull(id, room, now, &mut out, &mut self.effects);
        let given: Vec<Given> = out.iter().map(|d| self.given(at, d)).collect();
        assert_eq!((pulled, given), self.model.pull(at, room));
        if pulled == Pulled::Drained {
            self.awake.remove(&(at as u64));
        }
    }

    pub(super) fn get(&mut self, at: usize) {
        if !self.model.slots[at].wanted.getter || self.model.slots[at].ended {
            return;
        }
        let (id, now) = (self.slots[at], self.now());
        let mut got = self.queue.get(id, now, &mut self.effects);
        if matches!(got, Got::Loading) {
            self.bell.take();
            self.commit();
            assert_eq!(self.bell.take(), [at as u64], "it may get again");
            got = self.queue.get(id, now, &mut self.effects);
        }
        assert!(!matches!(got, Got::Loading));
        let given = match got {
            Got::Message(delivery, left) => Some((self.given(at, &delivery), left)),
            Got::Loading | Got::Empty => None,
        };
        assert_eq!(given, self.model.get(at));
    }

    pub(super) fn settle(&mut self, at: usize, verdict: Verdict, chosen: u64) {
        let unsettled = &self.model.slots[at].unsettled;
        let is_chosen = |index: usize| chosen >> (index % 64) & 1 == 1;
        let mut ids: Vec<DeliveryId> = unsettled
            .iter()
            .enumerate()
            .filter(|(index, _)| is_chosen(*index))
            .map(|(_, (id, _))| DeliveryId(*id))
            .collect();
        if chosen.is_multiple_of(3) {
            ids.reverse();
        }
        ids.push(DeliveryId(self.model.slots[at].next_id + 1));
        let (id, now) = (self.slots[at], self.now());
        self.queue.settle(id, verdict, &ids, now, &mut self.effects);
        self.model.settle(at, verdict, &ids);
    }

    pub(super) fn tick(&mut self) {
        self.tick_at = None;
        self.queue.tick(self.now(), &mut self.effects);
        self.model.deal();
    }

    pub(super) fn given(&self, at: usize, delivery: &Delivery) -> Given {
        let id = (!self.model.slots[at].wanted.no_ack).then_some(delivery.id.0);
        let text = body(&delivery.message);
        if let Some(backing) = &self.backing {
            let is_logged = delivery.message.is_persistent();
            assert!(!is_logged || delivery.position < backing.journal.committed_mark());
        }
        let priority = delivery.message.priority();
        let (redelivered, returns) = (delivery.redelivered, delivery.return_count);
        (id, text, redelivered, returns, priority)
    }

    pub(super) fn check(&mut self) {
        self.awake.extend(self.bell.take());
        let status = self.queue.status();
        assert_eq!(status, self.model.status());
        let inside = status.ready + status.unsettled;
        assert_eq!(
            inside + self.model.finished,
            self.model.published,
            "lost or doubled"
        );
        let (buried, now) = (std::mem::take(&mut self.effects.buried), self.now());
        let mut nothing_more = Effects::default();
        self.queue.forget(&buried, now, &mut nothing_more);
        assert_eq!(nothing_more.tick_at_epoch, None);
        let dead = self.effects.dead_letters.drain(..);
        let dead: Vec<_> = dead.map(|d| (body(&d.message), d.reason)).collect();
        let expected = std::mem::take(&mut self.model.dead).into_iter();
        assert_eq!(
            dead,
            expected
                .map(|(n, reason)| (padded(n), reason))
                .collect::<Vec<_>>()
        );
        self.check_bells();
        self.check_tick();
        self.check_records();
    }

    /// What is left of the records are the persistent messages that are neither done nor dead.
    pub(super) fn check_records(&self) {
        let Some(backing) = &self.backing else {
            return;
        };
        let left = backing.journal.left();
        let left: BTreeSet<_> = left.values().map(|stored| stored.text()).collect();
        let slots = self.model.slots.iter();
        let handed_out = slots.flat_map(|slot| {
            let unsettled = slot.unsettled.iter().map(|(_, held)| held);
            slot.assigned.iter().chain(unsettled)
        });
        let numbers = self.model.ready.iter().chain(handed_out);
        let numbers = numbers.map(|held| held.number);
        let expected = numbers.filter(|number| self.is_persistent(*number));
        assert_eq!(left, expected.map(padded).collect());
    }

    pub(super) fn check_bells(&self) {
        for (at, slot) in self.model.slots.iter().enumerate() {
            let awake = self.awake.contains(&(at as u64));
            assert!(
                slot.assigned.is_empty() || awake,
                "slot {at} sleeps over its messages"
            );
            let held = slot.assigned.len() + slot.unsettled.len();
            let limit = usize::from(slot.wanted.prefetch);
            assert!(slot.wanted.getter || slot.wanted.no_ack || limit == 0 || held <= limit);
        }
    }

    pub(super) fn check_tick(&mut self) {
        if let Some(at) = self.effects.tick_at.take() {
            self.tick_at = Some(self.tick_at.map_or(at, |earlier| earlier.min(at)));
        }
        if let Some(expires_ms) = self.model.ready.first().and_then(|head| head.expires_ms) {
            let promised = self.tick_at.is_some_and(|at| at.unix_ms() <= expires_ms);
            assert!(promised, "no tick for {expires_ms}: {:?}", self.tick_at);
        }
    }
}
