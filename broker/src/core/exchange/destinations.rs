//! Sets of destinations: [`Destinations`], what routing one message finds, and
//! [`DestinationCounts`], where the bindings of one key lead.
//!
//! Two bindings may lead from the same exchange by the same key to the same queue (they differ in
//! arguments, or the kind ignores the key), so a set counts how often it was given each destination.
//!
//! Invariant: every count is at least one.

use std::collections::BTreeMap;

use crate::core::binding::Destination;

/// Where one exchange sends one message. Not yet sorted, not yet free of all duplicates; but never
/// much longer than the set it stands for, however many of a message's keys lead to one place.
#[derive(Debug, Default)]
pub struct Destinations {
    found: Vec<Destination>,
    /// How many there may be before duplicates are removed again.
    compact_at: usize,
    is_taken: bool,
    is_held: bool,
}

/// Duplicates are first removed at this length, and then whenever it has doubled.
const COMPACT_AT_MIN: usize = 4096;

impl Destinations {
    /// Adds one.
    pub fn push(&mut self, destination: Destination) {
        self.found.push(destination);
    }

    /// Adds every destination of a set.
    pub fn extend_from(&mut self, counts: &DestinationCounts) {
        match counts {
            DestinationCounts::None => {}
            DestinationCounts::One(destination, _) => self.found.push(*destination),
            DestinationCounts::Many(many) => self.found.extend(many.keys()),
        }
        if self.found.len() > self.compact_at.max(COMPACT_AT_MIN) {
            self.found.sort_unstable();
            self.found.dedup();
            self.compact_at = self.found.len() * 2;
        }
    }

    /// The exchange keeps the message to itself: it is neither unroutable nor returned, and the
    /// alternate exchange does not get it.
    pub fn take_message(&mut self) {
        self.is_taken = true;
    }

    /// True when the exchange keeps the message to itself.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// The exchange takes the message and holds it in its own queue, to route it later.
    pub fn hold_message(&mut self) {
        self.is_taken = true;
        self.is_held = true;
    }

    /// True when the message is for the exchange's own queue.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// True when nothing matched: the alternate exchange's turn (AE-01).
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found.
    pub fn iter(&self) -> impl Iterator<Item = Destination> {
        self.found.iter().copied()
    }

    /// Forgets everything and keeps the room.
    pub fn clear(&mut self) {
        self.found.clear();
        self.is_taken = false;
        self.is_held = false;
    }
}

/// Where the bindings of one key lead, with how many bindings lead there.
///
/// Most keys of a direct exchange lead to one queue; that one is kept without an allocation.
#[derive(Debug, Default)]
pub enum DestinationCounts {
    /// Nowhere.
    #[default]
    None,
    /// To one destination, by so many bindings.
    One(Destination, u32),
    /// To several.
    Many(BTreeMap<Destination, u32>),
}

impl DestinationCounts {
    /// Counts one more binding to `destination`.
    pub fn add(&mut self, destination: Destination) {
        match self {
            Self::None => *self = Self::One(destination, 1),
            Self::One(one, count) if *one == destination => *count += 1,
            Self::One(one, count) => {
                *self = Self::Many(BTreeMap::from([(*one, *count), (destination, 1)]));
            }
            Self::Many(many) => *many.entry(destination).or_default() += 1,
        }
    }

    /// Counts one binding less to `destination`.
    pub fn remove(&mut self, destination: Destination) {
        match self {
            Self::One(one, count) if *one == destination => match count {
                1 => *self = Self::None,
                _ => *count -= 1,
            },
            Self::Many(many) => {
                remove_from_many(many, destination);
                if many.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(..) => {}
        }
    }

    /// True when no binding is left.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

fn remove_from_many(many: &mut BTreeMap<Destination, u32>, destination: Destination) {
    match many.get_mut(&destination) {
        Some(1) => {
            many.remove(&destination);
        }
        Some(count) => *count -= 1,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::queue::QueueId;

    fn queue(id: u64) -> Destination {
        Destination::Queue(QueueId(id))
    }

    fn listed(counts: &DestinationCounts) -> Vec<Destination> {
        let mut found = Destinations::default();
        found.extend_from(counts);
        found.iter().collect()
    }

    #[test]
    fn a_destination_stays_until_its_last_binding_goes() {
        let mut counts = DestinationCounts::default();
        for id in [1, 1, 2, 3, 2] {
            counts.add(queue(id));
        }
        counts.remove(queue(1));
        assert_eq!(listed(&counts), [queue(1), queue(2), queue(3)]);
        for id in [1, 2, 3, 9] {
            counts.remove(queue(id));
        }
        assert_eq!(listed(&counts), [queue(2)]);
        counts.remove(queue(2));
        assert!(counts.is_empty());
    }

    #[test]
    fn a_single_destination_counts_too() {
        let mut counts = DestinationCounts::default();
        counts.add(queue(1));
        counts.add(queue(1));
        counts.remove(queue(2));
        counts.remove(queue(1));
        assert_eq!(listed(&counts), [queue(1)]);
        counts.remove(queue(1));
        assert!(counts.is_empty() && listed(&counts).is_empty());
    }
}
