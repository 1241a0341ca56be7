//! The classic queue against a naive model of itself, over random histories on a virtual clock.
//!
//! The model keeps plain vectors, sorts after each return, finds the next slot by looking at all of
//! them, and does one message at a time. Both are asked the same questions, and after each step the
//! counts, the deliveries, the dead letters, the promised ticks and the bells have to agree.
//!
//! A durable queue has to do the same once its commits have come, and what its records leave has to
//! be the persistent messages that the model has.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::consumers::ASSIGNED_MAX;
use super::fake_journal::Backing;
use super::testing::{NotedBell, body, changed, consumer, getter, message_of, port};
use super::*;

/// What a message's body is padded to, by its number: 0 to 3 bytes beyond its name.
fn padded(number: u64) -> String {
    format!("{number}{}", &"..."[..(number % 4) as usize])
}

#[derive(Clone, Debug)]
enum Step {
    Offer {
        ttls_ms: Vec<Option<u64>>,
    },
    OfferMany,
    Attach(Wanted),
    Detach {
        slot: usize,
        unsettled: bool,
    },
    PullOnly {
        slot: usize,
        pull_only: bool,
    },
    Pull {
        slot: usize,
        room: Room,
    },
    Get {
        slot: usize,
    },
    Settle {
        slot: usize,
        verdict: Verdict,
        chosen: u64,
    },
    Wait {
        ms: u64,
    },
    Tick,
    Purge,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    getter: bool,
    no_ack: bool,
    exclusive: bool,
    pull_only: bool,
    prefetch: u16,
    priority: i64,
}

impl Wanted {
    fn spec(self) -> SlotSpec {
        let mut spec = match self.getter {
            true => getter(self.no_ack),
            false => changed(consumer(self.prefetch), |exclusive, pull_only, priority| {
                *exclusive = self.exclusive;
                *pull_only = self.pull_only;
                *priority = self.priority;
            }),
        };
        spec.no_ack = self.no_ack;
        spec
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let ttl = prop_oneof![4 => Just(None), 1 => (0..30_u64).prop_map(Some)];
    let verdict = prop_oneof![
        Just(Verdict::Ack),
        Just(Verdict::Requeue),
        Just(Verdict::Discard)
    ];
    prop_oneof![
        8 => prop::collection::vec(ttl, 1..6).prop_map(|ttls_ms| Step::Offer { ttls_ms }),
        1 => Just(Step::OfferMany),
        3 => any_wanted().prop_map(Step::Attach),
        1 => (0..8_usize, any::<bool>()).prop_map(|(slot, unsettled)| Step::Detach { slot, unsettled }),
        1 => (0..8_usize, any::<bool>()).prop_map(|(slot, pull_only)| Step::PullOnly { slot, pull_only }),
        8 => (0..8_usize, 0..7_u32, 0..20_usize).prop_map(|(slot, messages, bytes)| Step::Pull { slot, room: Room { messages, bytes } }),
        2 => (0..8_usize).prop_map(|slot| Step::Pull { slot, room: Room { messages: 400, bytes: 9999 } }),
        2 => (0..8_usize).prop_map(|slot| Step::Get { slot }),
        6 => (0..8_usize, verdict, any::<u64>()).prop_map(|(slot, verdict, chosen)| Step::Settle { slot, verdict, chosen }),
        2 => (1..25_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Tick),
        1 => Just(Step::Purge),
    ]
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let sometimes = || prop::bool::weighted(0.2);
    let parts = (
        sometimes(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.05),
        sometimes(),
        prop_oneof![Just(0_u16), 1..5_u16],
        prop_oneof![5 => Just(0_i64), 1 => -1..2_i64],
    );
    parts.prop_map(
        |(getter, no_ack, exclusive, pull_only, prefetch, priority)| Wanted {
            getter,
            no_ack,
            exclusive,
            pull_only,
            prefetch,
            priority,
        },
    )
}

fn any_options() -> impl Strategy<Value = ClassicOptions> {
    let rarely =
        |range: std::ops::Range<u64>| prop_oneof![3 => Just(None), 1 => range.prop_map(Some)];
    let overflow = prop_oneof![
        Just(Overflow::DropHead),
        Just(Overflow::RejectPublish),
        Just(Overflow::RejectPublishDeadLetter)
    ];
    let parts = (
        rarely(0..40),
        rarely(0..9),
        rarely(0..30),
        overflow,
        any::<bool>(),
        any::<bool>(),
    );
    parts.prop_map(
        |(message_ttl_ms, length_max, length_bytes_max, overflow, dead_letters, auto_delete)| {
            ClassicOptions {
                auto_delete,
                expires_ms: None,
                // The model's consumers all take turns.
                single_active_consumer: false,
                message_ttl_ms,
                length_max,
                length_bytes_max,
                overflow,
                dead_letters,
            }
        },
    )
}

#[derive(Clone, Debug)]
struct Held {
    number: u64,
    expires_ms: Option<u64>,
    returns: u32,
}

#[derive(Debug)]
struct ModelSlot {
    wanted: Wanted,
    ended: bool,
    stalled: bool,
    assigned_max: usize,
    could_take: bool,
    turn: u64,
    assigned: Vec<Held>,
    unsettled: Vec<(u64, Held)>,
    next_id: u64,
}

impl ModelSlot {
    /// Ended, with nothing left to settle: its id means nothing any more.
    fn is_void(&self) -> bool {
        self.ended && self.unsettled.is_empty()
    }

    fn can_take(&self) -> bool {
        let held = self.assigned.len() + self.unsettled.len();
        let limited = !self.wanted.no_ack && self.wanted.prefetch > 0;
        let blocked = limited && held >= usize::from(self.wanted.prefetch);
        let is_open = !(self.ended || self.wanted.getter || self.stalled || blocked);
        is_open && self.assigned.len() < self.assigned_max
    }
}

#[derive(Debug, Default)]
struct Model {
    options: ClassicOptions,
    now_ms: u64,
    published: u64,
    turns: u64,
    ready: Vec<Held>,
    slots: Vec<ModelSlot>,
    dead: Vec<(u64, DeathReason)>,
    /// Messages that are accounted for outside the queue.
    finished: u64,
}

type Given = (Option<u64>, String, bool, u32);

impl Model {
    fn bytes(&self) -> u64 {
        self.ready
            .iter()
            .map(|held| padded(held.number).len() as u64)
            .sum()
    }

    fn exceeds(&self, more: u64, more_bytes: u64) -> bool {
        let options = self.options;
        options
            .length_max
            .is_some_and(|max| self.ready.len() as u64 + more > max)
            || options
                .length_bytes_max
                .is_some_and(|max| self.bytes() + more_bytes > max)
    }

    fn bury(&mut self, held: Held, reason: DeathReason) {
        self.finished += 1;
        if self.options.dead_letters {
            self.dead.push((held.number, reason));
        }
    }

    fn head_expired(&self) -> bool {
        let expires_ms = self.ready.first().and_then(|head| head.expires_ms);
        expires_ms.is_some_and(|at| at <= self.now_ms)
    }

    fn expire(&mut self) {
        while self.head_expired() {
            let head = self.ready.remove(0);
            self.bury(head, DeathReason::Expired);
        }
    }

    fn trim(&mut self) {
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
    fn refresh(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        let can_take = slot.can_take();
        if can_take && !slot.could_take {
            self.turns += 1;
            slot.turn = self.turns;
        }
        slot.could_take = can_take;
    }

    fn next(&self) -> Option<usize> {
        (0..self.slots.len())
            .filter(|slot| self.slots[*slot].can_take())
            .min_by_key(|slot| (-self.slots[*slot].wanted.priority, self.slots[*slot].turn))
    }

    fn assign(&mut self, slot: usize, held: Held) {
        self.turns += 1;
        self.slots[slot].turn = self.turns;
        self.slots[slot].assigned.push(held);
        self.refresh(slot);
    }

    fn deal(&mut self) {
        self.expire();
        while let Some(slot) = self.next()
            && !self.ready.is_empty()
        {
            let head = self.ready.remove(0);
            self.assign(slot, head);
            self.expire();
        }
    }

    fn put_back(&mut self, held: Vec<Held>) {
        self.ready.extend(held);
        self.ready.sort_by_key(|held| held.number);
    }

    fn requeue(&mut self, held: Vec<Held>) {
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

    fn offer(&mut self, ttls_ms: &[Option<u64>]) -> Vec<u32> {
        let mut rejected = Vec::new();
        self.deal();
        for (index, ttl_ms) in ttls_ms.iter().enumerate() {
            let number = self.published;
            self.published += 1;
            let ttl_ms = [*ttl_ms, self.options.message_ttl_ms]
                .into_iter()
                .flatten()
                .min();
            let expires_ms = ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms);
            let held = Held {
                number,
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
                None => self.ready.push(held),
            }
        }
        self.trim();
        rejected
    }

    fn attach(&mut self, wanted: Wanted) -> bool {
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

    fn detach(&mut self, slot: usize, requeue: bool) -> bool {
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

    fn deliver(&mut self, slot: usize, held: Held) -> Given {
        let slot = &mut self.slots[slot];
        let text = padded(held.number);
        let returns = held.returns;
        let id = (!slot.wanted.no_ack).then_some(slot.next_id);
        if let Some(id) = id {
            slot.unsettled.push((id, held));
            slot.next_id += 1;
        } else {
            self.finished += 1;
        }
        (id, text, returns > 0, returns)
    }

    fn pull(&mut self, at: usize, room: Room) -> (Pulled, Vec<Given>) {
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

    fn note_room(&mut self, slot: usize, messages: usize) {
        if self.slots[slot].wanted.pull_only && !self.slots[slot].wanted.getter {
            self.slots[slot].assigned_max = messages.min(ASSIGNED_MAX);
        }
    }

    fn get(&mut self, slot: usize) -> Option<(Given, u64)> {
        self.deal();
        if self.ready.is_empty() {
            return None;
        }
        let head = self.ready.remove(0);
        let given = self.deliver(slot, head);
        self.deal();
        Some((given, self.ready.len() as u64))
    }

    fn settle(&mut self, slot: usize, verdict: Verdict, ids: &[DeliveryId]) {
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

    fn purge(&mut self) -> u64 {
        let purged = std::mem::take(&mut self.ready).len() as u64;
        self.finished += purged;
        purged
    }

    fn consumers(&self) -> u32 {
        self.slots
            .iter()
            .filter(|s| !s.ended && !s.wanted.getter)
            .count() as u32
    }

    fn status(&self) -> QueueStatus {
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
        }
    }

    fn handed_out_bytes(&self) -> u64 {
        let handed_out = self.slots.iter().flat_map(|slot| {
            let unsettled = slot.unsettled.iter().map(|(_, held)| held);
            slot.assigned.iter().chain(unsettled)
        });
        handed_out
            .map(|held| padded(held.number).len() as u64)
            .sum()
    }
}

/// Both at work, side by side.
struct Pair {
    model: Model,
    queue: ClassicQueue,
    bell: Arc<NotedBell>,
    slots: Vec<SlotId>,
    /// Slots that were rung and have not drained since, or found no room and know it.
    awake: BTreeSet<u64>,
    tick_at: Option<Moment>,
    effects: Effects,
    backing: Option<Backing>,
}

impl Pair {
    fn durable(options: ClassicOptions) -> Self {
        let (backing, queue) = Backing::new(options);
        Self {
            queue,
            backing: Some(backing),
            ..Self::new(options)
        }
    }

    fn new(options: ClassicOptions) -> Self {
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

    fn now(&self) -> Moment {
        Moment::from_unix_ms(self.model.now_ms)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Offer { ttls_ms } => self.offer(&ttls_ms),
            Step::OfferMany => self.offer(&[None; ASSIGNED_MAX + 44]),
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
    fn commit(&mut self) {
        let now = self.now();
        let Some(backing) = &mut self.backing else {
            return;
        };
        backing.note(&mut self.effects);
        while backing.commit_and_serve(&self.queue, now, &mut self.effects) {
            self.model.deal();
        }
    }

    fn is_persistent(&self, number: u64) -> bool {
        self.backing.is_some() && number % 5 != 2
    }

    fn step_slot(&mut self, at: usize, step: Step) {
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

    fn offer(&mut self, ttls_ms: &[Option<u64>]) {
        let numbers = self.model.published..;
        let messages = numbers
            .zip(ttls_ms)
            .map(|(n, ttl)| message_of(&padded(n), *ttl, self.is_persistent(n)));
        let mut batch: Vec<Message> = messages.collect();
        let rejected = self.model.offer(ttls_ms);
        let offered = self.queue.offer(&mut batch, self.now(), &mut self.effects);
        assert_eq!(offered, Offered::Taken);
        assert!(batch.is_empty());
        assert_eq!(std::mem::take(&mut self.effects.rejected), rejected);
    }

    fn attach(&mut self, wanted: Wanted) {
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

    fn pull(&mut self, at: usize, room: Room) {
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

    fn get(&mut self, at: usize) {
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

    fn settle(&mut self, at: usize, verdict: Verdict, chosen: u64) {
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

    fn tick(&mut self) {
        self.tick_at = None;
        self.queue.tick(self.now(), &mut self.effects);
        self.model.deal();
    }

    fn given(&self, at: usize, delivery: &Delivery) -> Given {
        let id = (!self.model.slots[at].wanted.no_ack).then_some(delivery.id.0);
        let text = body(&delivery.message);
        if let Some(backing) = &self.backing {
            let is_logged = delivery.message.is_persistent();
            assert!(!is_logged || delivery.position < backing.journal.committed_mark());
        }
        (id, text, delivery.redelivered, delivery.return_count)
    }

    fn check(&mut self) {
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
    fn check_records(&self) {
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

    fn check_bells(&self) {
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

    fn check_tick(&mut self) {
        if let Some(at) = self.effects.tick_at.take() {
            self.tick_at = Some(self.tick_at.map_or(at, |earlier| earlier.min(at)));
        }
        if let Some(expires_ms) = self.model.ready.first().and_then(|head| head.expires_ms) {
            let promised = self.tick_at.is_some_and(|at| at.unix_ms() <= expires_ms);
            assert!(promised, "no tick for {expires_ms}: {:?}", self.tick_at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_classic_queue_does_what_its_model_does(
        options in any_options(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut pair = Pair::new(options);
        for step in steps {
            pair.step(step);
        }
    }

    #[test]
    fn a_durable_queue_does_what_its_model_does_and_writes_it_down(
        options in any_options(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut pair = Pair::durable(options);
        for step in steps {
            pair.step(step);
        }
    }

    #[test]
    fn an_unlimited_queue_does_what_its_model_does(steps in prop::collection::vec(any_step(), 1..160)) {
        let mut pair = Pair::new(ClassicOptions { dead_letters: true, ..ClassicOptions::default() });
        for step in steps {
            pair.step(step);
        }
    }
}
