//! [`Consumers`]: the slots of one queue, whose turn it is, and what each has been handed.
//!
//! A slot goes through the three states of the picture in [`super`]. Beside that it is in the
//! [`Rotation`] exactly while it can take one more message; both change together, here.
//!
//! ```text
//!              assign                     hand_out                  settle
//!   ready ───────────────▶ slot.assigned ──────────▶ slot.unsettled ──────▶
//!      ▲  pull-only slot without room, or detached │   (not for no_ack)
//!      └───────────────────────────────────────────┘
//! ```
//!
//! What it is not: it does not see the ready messages and decides nothing about their deadlines.
//! The order in which slots get their turns is the rotation's alone, and who may have a turn is
//! [`Slot::can_take`]'s.
//!
//! Invariants: a slot is in the rotation if and only if `can_take` holds for it; a slot with assigned
//! messages is `Rung`, or `Stalled` for want of room; unsettled and assigned deliveries of a slot
//! are together never more than its prefetch; of a queue with a single active consumer, all consumers
//! but one wait (SAC-01).

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::entry::Entry;
use super::rotation::Rotation;
use super::unsettled::UnsettledRing;
use super::{
    AttachRefused, Delivery, DeliveryId, Port, Pulled, Room, SlotId, SlotKind, SlotSpec, Unsettled,
};

/// The most messages that wait for a slot to pull them: as many as one pull takes, so that a puller
/// always finds a full batch and a consumer that stopped reading holds back no more than that.
pub(super) const ASSIGNED_MAX: usize = 256;

/// All slots of one queue.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    places: Vec<Place>,
    free: Vec<u32>,
    rotation: Rotation,
    count: u32,
    exclusive: bool,
    /// Only one consumer at a time is given messages (SAC-01).
    single_active: bool,
    /// How many consumers there have ever been.
    subscribed: u64,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    slot: Option<Slot>,
}

#[derive(Debug)]
struct Slot {
    role: Role,
    port: Port,
    stance: Stance,
    no_ack: bool,
    pull_only: bool,
    in_rotation: bool,
    /// Another consumer is the single active one.
    waits: bool,
    priority: i64,
    /// A number that grows with every consumer of the queue.
    subscribed: u64,
    /// The most unsettled and assigned deliveries.
    prefetch: usize,
    /// The most assigned deliveries: for a pull-only slot, what it last had room for.
    assigned_max: usize,
    assigned: VecDeque<Entry>,
    unsettled: UnsettledRing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Consumer,
    Getter,
    /// A slot that ended and whose deliveries can still be settled (CANCEL-04).
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Rings at the next message.
    Interested,
    /// Will pull without being rung again.
    Rung,
    Stalled(Lack),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// Until it pulls with room.
    Room,
    /// Until it settles something.
    Prefetch,
}

/// What is left of a [`Room`] in the course of one pull.
#[derive(Debug)]
pub(super) struct RoomLeft {
    messages: usize,
    bytes: usize,
    none_taken: bool,
}

impl RoomLeft {
    pub(super) fn new(room: Room) -> Self {
        Self {
            messages: room.messages as usize,
            bytes: room.bytes,
            none_taken: true,
        }
    }

    /// True while one more message may be taken.
    pub(super) fn takes_more(&self) -> bool {
        self.messages > 0 && (self.bytes > 0 || self.none_taken)
    }

    /// True when the puller could not take anything from the start.
    fn was_none(&self) -> bool {
        self.messages == 0 && self.none_taken
    }

    fn take(&mut self, entry: &Entry) {
        self.messages -= 1;
        let bytes = usize::try_from(entry.memory_bytes()).unwrap_or(usize::MAX);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.none_taken = false;
    }

    fn messages(&self) -> usize {
        if self.takes_more() { self.messages } else { 0 }
    }
}

impl Consumers {
    /// No consumers yet; later all take turns, or one at a time gets everything (SAC-01).
    pub(super) fn new(single_active: bool) -> Self {
        Self {
            single_active,
            ..Self::default()
        }
    }

    /// How many consumers there are; getters and detached slots are none (GET-05).
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Deliveries assigned or unsettled, over all slots.
    pub(super) fn unsettled(&self) -> u64 {
        let slots = self.places.iter().filter_map(|place| place.slot.as_ref());
        slots.map(|slot| slot.held() as u64).sum()
    }

    /// Adds a slot; a consumer is the last to have its turn (DELIV-02).
    pub(super) fn attach(&mut self, spec: SlotSpec, port: Port) -> Result<SlotId, AttachRefused> {
        let kind = spec.kind.clone();
        let mut slot = Slot::new(spec, port);
        if let SlotKind::Consumer { exclusive, .. } = kind {
            // A consumer cannot be exclusive where all but one wait (SAC-03).
            let shared = self.count > 0 || self.single_active;
            if self.exclusive || (exclusive && shared) {
                return Err(AttachRefused::InExclusiveUse);
            }
            self.exclusive = exclusive;
            slot.waits = self.single_active && self.count > 0;
            slot.subscribed = self.subscribed;
            self.count += 1;
            self.subscribed += 1;
        }
        let id = self.place(slot);
        self.update_turn(id.index);
        Ok(id)
    }

    /// Where the slot lies; `None` if it is no more.
    pub(super) fn find(&self, id: SlotId) -> Option<u32> {
        let place = self.places.get(id.index as usize)?;
        (place.generation == id.generation && place.slot.is_some()).then_some(id.index)
    }

    /// Where the slot of a consumer lies; `None` for a getter and for one that ended.
    pub(super) fn find_consumer(&self, id: SlotId) -> Option<u32> {
        let index = self.find(id)?;
        let slot = self.places.get(index as usize)?.slot.as_ref()?;
        (slot.role == Role::Consumer).then_some(index)
    }

    /// The way to a slot that has not ended.
    pub(super) fn port(&self, id: SlotId) -> Option<Port> {
        let index = self.find(id)?;
        let slot = self.places.get(index as usize)?.slot.as_ref()?;
        (slot.role != Role::Detached).then(|| slot.port.clone())
    }

    /// Whose turn it is to be assigned a message.
    pub(super) fn next(&self) -> Option<u32> {
        self.rotation.front()
    }

    /// Gives a message to the slot whose turn it is, as [`Self::next`] said.
    pub(super) fn assign(&mut self, next: u32, entry: Entry, rings: &mut Vec<Port>) {
        let Some(slot) = slot_at(&mut self.places, next) else {
            return;
        };
        slot.assigned.push_back(entry);
        slot.ring_once(rings);
        if slot.can_take() {
            self.rotation.pass_turn();
        } else {
            slot.in_rotation = false;
            self.rotation.leave_front();
        }
    }

    /// Gives messages to the slots whose turn it is for as long as `take` brings one.
    pub(super) fn deal(&mut self, rings: &mut Vec<Port>, mut take: impl FnMut() -> Option<Entry>) {
        while let Some(next) = self.next()
            && let Some(entry) = take()
        {
            self.assign(next, entry, rings);
        }
    }

    /// The positions of all stored messages that were handed out or assigned and are not settled.
    pub(super) fn logged_positions(&self) -> impl Iterator<Item = u64> {
        let slots = self.places.iter().filter_map(|place| place.slot.as_ref());
        let entries = slots.flat_map(|slot| slot.assigned.iter().chain(slot.unsettled.iter()));
        let logged = entries.filter(|entry| entry.logged);
        logged.map(|entry| entry.position)
    }

    /// A slot begins to pull: it needs no ring, and may have turns again if it has room.
    pub(super) fn begin_pull(&mut self, index: u32, left: &RoomLeft) {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return;
        };
        slot.stance = match left.was_none() {
            true => Stance::Stalled(Lack::Room),
            false => Stance::Rung,
        };
        slot.note_room(left);
        self.update_turn(index);
    }

    /// Moves assigned messages out as long as there is room; says whether there were any.
    pub(super) fn hand_out_assigned(
        &mut self,
        index: u32,
        left: &mut RoomLeft,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return false;
        };
        let before = out.len();
        out.reserve(slot.assigned.len().min(left.messages));
        while left.takes_more()
            && let Some(entry) = slot.assigned.pop_front()
        {
            left.take(&entry);
            out.push(slot.deliver(entry));
        }
        slot.note_room(left);
        self.update_turn(index);
        out.len() > before
    }

    /// A slot ends its pull. What a pull-only slot had no room for goes to `unsent`.
    pub(super) fn end_pull(
        &mut self,
        index: u32,
        left: &RoomLeft,
        unsent: &mut Vec<Entry>,
    ) -> Pulled {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return Pulled::Drained;
        };
        let pulled = slot.end_pull(left, unsent);
        self.update_turn(index);
        pulled
    }

    /// True when a slot's deliveries are settled by being sent.
    pub(super) fn is_no_ack(&self, index: u32) -> bool {
        let place = self.places.get(index as usize);
        place
            .and_then(|place| place.slot.as_ref())
            .is_some_and(|slot| slot.no_ack)
    }

    /// Hands one message out at once, past turns and limits (GET-05, GET-06).
    pub(super) fn hand_out(&mut self, index: u32, entry: Entry) -> Option<Delivery> {
        Some(slot_at(&mut self.places, index)?.deliver(entry))
    }

    /// Removes deliveries that are unsettled and passes each to `take`.
    pub(super) fn settle(&mut self, index: u32, ids: &[DeliveryId], take: impl FnMut(Entry)) {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return;
        };
        let unsettled = &mut slot.unsettled;
        ids.iter()
            .filter_map(|id| unsettled.remove(*id))
            .for_each(take);
        self.update_turn(index);
        self.free_if_done(index);
    }

    /// Ends a slot. Messages that were never sent go to `unsent`; unsettled ones to `returned`,
    /// unless they are kept. Says whether this was the last consumer.
    pub(super) fn detach(
        &mut self,
        index: u32,
        unsettled: Unsettled,
        unsent: &mut Vec<Entry>,
        returned: &mut Vec<Entry>,
    ) -> bool {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return false;
        };
        unsent.extend(std::mem::take(&mut slot.assigned));
        if unsettled == Unsettled::Requeue {
            slot.unsettled.take_all(|entry| returned.push(entry));
        }
        let was = std::mem::replace(&mut slot.role, Role::Detached);
        let waited = slot.waits;
        self.update_turn(index);
        self.free_if_done(index);
        if was != Role::Consumer {
            return false;
        }
        if self.single_active && !waited {
            self.activate_next();
        }
        self.forget_consumer()
    }

    /// The single active consumer has ended: of those of the highest priority, the one that has
    /// waited longest takes over (SAC-04).
    fn activate_next(&mut self) {
        let places = (0..).zip(&self.places);
        let slots = places.filter_map(|(index, place)| Some((index, place.slot.as_ref()?)));
        let waiting = slots.filter(|(_, slot)| slot.role == Role::Consumer);
        let next = waiting.max_by_key(|(_, slot)| (slot.priority, Reverse(slot.subscribed)));
        let Some(index) = next.map(|(index, _)| index) else {
            return;
        };
        if let Some(slot) = slot_at(&mut self.places, index) {
            slot.waits = false;
            self.update_turn(index);
        }
    }

    /// Changes whether a slot's room is judged by its puller alone. Its assigned messages stay: what
    /// there is no room for comes back at the next pull.
    pub(super) fn set_pull_only(&mut self, index: u32, pull_only: bool, rings: &mut Vec<Port>) {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return;
        };
        slot.pull_only = pull_only;
        slot.assigned_max = ASSIGNED_MAX;
        // There may be ready messages that its limit had kept away; its pull finds them.
        slot.ring_once(rings);
        self.update_turn(index);
    }

    /// Rings every consumer, whatever its state: the queue is gone.
    pub(super) fn ring_all(&self, rings: &mut Vec<Port>) {
        let slots = self.places.iter().filter_map(|place| place.slot.as_ref());
        let consumers = slots.filter(|slot| slot.role == Role::Consumer);
        rings.extend(consumers.map(|slot| slot.port.clone()));
    }

    fn place(&mut self, slot: Slot) -> SlotId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.slot = Some(slot);
        SlotId {
            index,
            generation: place.generation,
        }
    }

    /// Frees a detached slot that nothing is unsettled of; its id is void from here on.
    fn free_if_done(&mut self, index: u32) {
        let Some(place) = self.places.get_mut(index as usize) else {
            return;
        };
        let is_done = |slot: &Slot| slot.role == Role::Detached && slot.unsettled.is_empty();
        if place.slot.as_ref().is_some_and(is_done) {
            place.slot = None;
            place.generation = place.generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    fn forget_consumer(&mut self) -> bool {
        self.exclusive = false;
        self.count -= 1;
        self.rotation.forget_empty_levels();
        self.count == 0
    }

    /// Lets a slot join or leave the rotation when what it can take has changed.
    fn update_turn(&mut self, index: u32) {
        let Some(slot) = slot_at(&mut self.places, index) else {
            return;
        };
        let can_take = slot.can_take();
        if can_take && slot.stance == Stance::Stalled(Lack::Prefetch) {
            slot.stance = Stance::Interested;
        }
        if can_take == std::mem::replace(&mut slot.in_rotation, can_take) {
            return;
        }
        match can_take {
            true => self.rotation.join(index, slot.priority),
            false => self.rotation.leave(index),
        }
    }
}

impl Slot {
    fn new(spec: SlotSpec, port: Port) -> Self {
        let (role, limit, pull_only, priority) = match spec.kind {
            SlotKind::Consumer {
                prefetch,
                pull_only,
                priority,
                ..
            } => (Role::Consumer, prefetch, pull_only, priority),
            SlotKind::Getter => (Role::Getter, 0, false, 0),
        };
        // A delivery that needs no ack never counts (QOS-07, DELIV-10).
        let unlimited = spec.no_ack || limit == 0;
        Self {
            role,
            port,
            stance: Stance::Interested,
            no_ack: spec.no_ack,
            pull_only,
            in_rotation: false,
            waits: false,
            priority,
            subscribed: 0,
            prefetch: if unlimited {
                usize::MAX
            } else {
                usize::from(limit)
            },
            assigned_max: ASSIGNED_MAX,
            assigned: VecDeque::new(),
            unsettled: UnsettledRing::default(),
        }
    }

    fn held(&self) -> usize {
        self.assigned.len() + self.unsettled.len()
    }

    fn can_take(&self) -> bool {
        self.role == Role::Consumer
            && !self.waits
            && self.stance != Stance::Stalled(Lack::Room)
            && self.assigned.len() < self.assigned_max
            && self.held() < self.prefetch
    }

    fn ring_once(&mut self, rings: &mut Vec<Port>) {
        if self.stance == Stance::Interested {
            self.stance = Stance::Rung;
            rings.push(self.port.clone());
        }
    }

    fn note_room(&mut self, left: &RoomLeft) {
        if self.pull_only {
            self.assigned_max = left.messages().min(ASSIGNED_MAX);
        }
    }

    fn deliver(&mut self, entry: Entry) -> Delivery {
        let redelivered = entry.is_redelivered();
        let return_count = u32::from(entry.return_count);
        let position = entry.position;
        let (id, message) = if self.no_ack {
            (DeliveryId(0), entry.message)
        } else {
            let message = entry.message.clone();
            (self.unsettled.push(entry), message)
        };
        Delivery {
            id,
            redelivered,
            return_count,
            position,
            message,
        }
    }

    fn end_pull(&mut self, left: &RoomLeft, unsent: &mut Vec<Entry>) -> Pulled {
        if left.was_none() || (self.pull_only && !left.takes_more()) {
            self.stance = Stance::Stalled(Lack::Room);
            if self.pull_only {
                unsent.extend(self.assigned.drain(..));
            }
            return Pulled::More;
        }
        if !self.assigned.is_empty() {
            return Pulled::More;
        }
        self.stance = match self.can_take() {
            true => Stance::Interested,
            false => Stance::Stalled(Lack::Prefetch),
        };
        Pulled::Drained
    }
}

/// The slot at `index`. Indexes come from [`Consumers::find`] or the rotation and are valid.
fn slot_at(places: &mut [Place], index: u32) -> Option<&mut Slot> {
    places.get_mut(index as usize)?.slot.as_mut()
}
