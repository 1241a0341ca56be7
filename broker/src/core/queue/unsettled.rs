//! [`UnsettledRing`]: the deliveries of one slot that nobody has settled yet, by [`DeliveryId`].
//!
//! Ids count up without gaps, so the ring is a plain deque and an id an index into it. A settled
//! delivery in its middle leaves a hole; holes at the front go away at once. Should one old delivery
//! be held while very many newer ones are settled, the few that are left move to a map, so that
//! memory follows the number of unsettled deliveries and not the span of their ids.
//!
//! ```text
//!   stragglers: 3, 17      ring: | 20 | -- | 22 | 23 |   next id: 24
//! ```
//!
//! Invariants: the ring's front is never a hole; `ring_live` counts the ring's entries that are not
//! holes; every straggler's id is lower than `first`.

use std::collections::{BTreeMap, VecDeque};

use super::DeliveryId;
use super::entry::Entry;

/// Rings shorter than this are left as they are: moving their few holes away saves nothing.
const HOLES_RING_MIN: usize = 256;

/// A ring is given up for the map when no more than one in this many of its places is in use. Each
/// entry moved is then paid for by three that were settled.
const HOLES_SHARE: usize = 4;

/// An empty ring gives its memory back when it had grown beyond this many entries (about 40 KiB).
const KEEP_ENTRIES_MAX: usize = 1024;

/// What one slot has been handed and has not settled.
#[derive(Debug, Default)]
pub(super) struct UnsettledRing {
    ring: VecDeque<Option<Entry>>,
    first: u64,
    ring_live: usize,
    stragglers: BTreeMap<u64, Entry>,
}

impl UnsettledRing {
    /// How many deliveries are unsettled.
    pub(super) fn len(&self) -> usize {
        self.ring_live + self.stragglers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All deliveries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.stragglers.values().chain(self.ring.iter().flatten())
    }

    /// Adds a delivery and names it.
    pub(super) fn push(&mut self, entry: Entry) -> DeliveryId {
        let id = self.first + self.ring.len() as u64;
        self.ring.push_back(Some(entry));
        self.ring_live += 1;
        DeliveryId(id)
    }

    /// Removes a delivery; `None` if it is not unsettled.
    pub(super) fn remove(&mut self, id: DeliveryId) -> Option<Entry> {
        let Some(offset) = id.0.checked_sub(self.first) else {
            return self.stragglers.remove(&id.0);
        };
        let place = self.ring.get_mut(usize::try_from(offset).ok()?)?;
        let entry = place.take()?;
        self.ring_live -= 1;
        self.tidy();
        Some(entry)
    }

    /// Removes every delivery, oldest first.
    pub(super) fn take_all(&mut self, mut take: impl FnMut(Entry)) {
        self.first += self.ring.len() as u64;
        self.ring_live = 0;
        let stragglers = std::mem::take(&mut self.stragglers);
        stragglers.into_values().for_each(&mut take);
        std::mem::take(&mut self.ring)
            .into_iter()
            .flatten()
            .for_each(take);
    }

    fn tidy(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first += 1;
        }
        if self.ring.len() >= HOLES_RING_MIN && self.ring_live * HOLES_SHARE <= self.ring.len() {
            self.move_to_stragglers();
        }
        if self.ring.is_empty() && self.ring.capacity() > KEEP_ENTRIES_MAX {
            self.ring = VecDeque::new();
        }
    }

    fn move_to_stragglers(&mut self) {
        let ids = self.first..;
        self.first += self.ring.len() as u64;
        self.ring_live = 0;
        let live = ids.zip(self.ring.drain(..));
        self.stragglers
            .extend(live.filter_map(|(id, place)| Some((id, place?))));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::queue::entry::NEVER;
    use crate::core::queue::testing::message;

    fn filled(count: u64) -> UnsettledRing {
        let mut ring = UnsettledRing::default();
        for position in 0..count {
            let id = ring.push(Entry::new(message(""), position, NEVER));
            assert_eq!(id.0, position);
        }
        ring
    }

    #[test]
    fn ack_15_any_order_settles_each_once() {
        let mut ring = filled(3);
        assert_eq!(ring.remove(DeliveryId(1)).unwrap().position, 1);
        assert!(ring.remove(DeliveryId(1)).is_none(), "twice");
        assert!(ring.remove(DeliveryId(3)).is_none(), "never issued");
        assert_eq!(ring.remove(DeliveryId(0)).unwrap().position, 0);
        assert!(ring.remove(DeliveryId(0)).is_none(), "gone from the front");
        assert_eq!(ring.len(), 1);
        assert_eq!(ring.remove(DeliveryId(2)).unwrap().position, 2);
        assert!(ring.is_empty());
    }

    #[test]
    fn one_held_delivery_does_not_hold_the_memory_of_the_rest() {
        let mut ring = filled(1);
        for position in 1..100_000 {
            let id = ring.push(Entry::new(message(""), position, NEVER));
            assert_eq!(ring.remove(id).unwrap().position, position);
        }
        assert_eq!(ring.len(), 1);
        assert!(ring.ring.capacity() <= 2 * HOLES_RING_MIN);
        assert_eq!(ring.remove(DeliveryId(0)).unwrap().position, 0);
        assert!(ring.is_empty());
    }

    #[test]
    fn all_are_taken_oldest_first_and_ids_go_on() {
        let mut ring = filled(1000);
        (1..990).for_each(|id| drop(ring.remove(DeliveryId(id)).unwrap()));
        assert!(!ring.stragglers.is_empty());
        ring.push(Entry::new(message(""), 1000, NEVER));
        let mut taken = Vec::new();
        ring.take_all(|entry| taken.push(entry.position));
        assert_eq!(taken, [0].into_iter().chain(990..1001).collect::<Vec<_>>());
        assert!(ring.is_empty());
        let next = ring.push(Entry::new(message(""), 1001, NEVER));
        assert_eq!(next, DeliveryId(1001));
    }
}
