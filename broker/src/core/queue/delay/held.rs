//! [`Held`]: what a delay queue holds, in the order in which it is due.
//!
//! ```text
//!   in the log:  (deadline, position)            16 bytes a message
//!   in memory:   (deadline, position, message)
//! ```
//!
//! What it is not: it reads no clock and writes nothing.
//!
//! Invariant: what was taken out and not put back is in neither heap.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::core::{Message, Moment};

/// Two messages in the log no further apart than this are read at once with what lies between: reading
/// a few messages in vain costs less than asking once more.
const NEAR: u64 = 8;
/// A heap with room for at least so many is made smaller when three quarters of it are empty.
const SHRINK_ENTRIES_MIN: usize = 4096;

/// When a message is due, and its place in the queue, which decides between those that are due at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Moment,
    pub(super) position: u64,
}

/// Where the message is that is due first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// In the log.
    Stored(Due),
    /// In memory.
    Resident(Due),
}

impl First {
    pub(super) fn at(self) -> Moment {
        match self {
            Self::Stored(due) | Self::Resident(due) => due.at,
        }
    }
}

#[derive(Debug)]
struct Resident {
    due: Due,
    message: Message,
}

impl PartialEq for Resident {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Resident {}

impl PartialOrd for Resident {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Resident {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

/// The messages of one delay queue.
#[derive(Debug, Default)]
pub(super) struct Held {
    stored: BinaryHeap<Reverse<Due>>,
    resident: BinaryHeap<Reverse<Resident>>,
}

impl Held {
    pub(super) fn push_stored(&mut self, due: Due) {
        self.stored.push(Reverse(due));
    }

    pub(super) fn push_resident(&mut self, due: Due, message: Message) {
        self.resident.push(Reverse(Resident { due, message }));
    }

    /// What is due first, if anything is held.
    pub(super) fn first(&self) -> Option<First> {
        let stored = self.stored.peek().map(|Reverse(due)| *due);
        let resident = self.resident.peek().map(|Reverse(first)| first.due);
        match (stored, resident) {
            (Some(stored), Some(resident)) if resident < stored => Some(First::Resident(resident)),
            (Some(stored), _) => Some(First::Stored(stored)),
            (None, resident) => resident.map(First::Resident),
        }
    }

    /// Takes out the first message if it is in memory and due by `now`.
    pub(super) fn take_resident(&mut self, now: Moment) -> Option<Message> {
        match self.first()? {
            First::Resident(due) if due.at <= now => {}
            _ => return None,
        }
        let Reverse(first) = self.resident.pop()?;
        shrink(&mut self.resident);
        Some(first.message)
    }

    /// Takes out those messages from the first on that are in the log, due by `now`, on disk, in order of
    /// their positions as well, and near each other.
    pub(super) fn take_run(&mut self, now: Moment, written_below: u64, max: usize) -> Vec<Due> {
        let mut run: Vec<Due> = Vec::new();
        while let Some(First::Stored(due)) = self.first() {
            let last = run.last().map(|last| last.position);
            let is_near = last.is_none_or(|last| (last..=last + NEAR).contains(&due.position));
            if run.len() == max || due.at > now || due.position >= written_below || !is_near {
                break;
            }
            self.stored.pop();
            run.push(due);
        }
        shrink(&mut self.stored);
        run
    }

    /// How many are held.
    pub(super) fn len(&self) -> u64 {
        (self.stored.len() + self.resident.len()) as u64
    }

    /// How many of them are in memory.
    pub(super) fn resident_len(&self) -> u64 {
        self.resident.len() as u64
    }

    /// What the index of those in the log takes, in bytes.
    pub(super) fn index_bytes(&self) -> u64 {
        (self.stored.capacity() * size_of::<Due>()) as u64
    }
}

fn shrink<T: Ord>(heap: &mut BinaryHeap<T>) {
    if heap.capacity() >= SHRINK_ENTRIES_MIN && heap.len() * 4 < heap.capacity() {
        heap.shrink_to(heap.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::queue::testing::{body, message};

    fn due(at_ms: u64, position: u64) -> Due {
        Due {
            at: Moment::from_unix_ms(at_ms),
            position,
        }
    }

    fn stored(dues: &[(u64, u64)]) -> Held {
        let mut held = Held::default();
        for (at, position) in dues {
            held.push_stored(due(*at, *position));
        }
        held
    }

    fn run(held: &mut Held, now_ms: u64, written_below: u64, max: usize) -> Vec<u64> {
        let run = held.take_run(Moment::from_unix_ms(now_ms), written_below, max);
        run.iter().map(|due| due.position).collect()
    }

    #[test]
    fn an_index_entry_is_small() {
        assert_eq!(size_of::<Reverse<Due>>(), 16);
        assert_eq!(size_of::<Reverse<Resident>>(), 16 + size_of::<Message>());
    }

    #[test]
    fn a_run_ends_with_what_is_not_due_not_written_far_off_or_before() {
        let mut held = stored(&[(5, 1), (5, 2), (6, 4), (6, 5), (7, 6)]);
        assert_eq!(run(&mut held, 4, 99, 9), [0; 0]);
        assert_eq!(run(&mut held, 6, 5, 2), [1, 2], "no more than so many");
        assert_eq!(run(&mut held, 6, 5, 9), [4], "not written");
        assert_eq!(run(&mut held, 6, 9, 9), [5], "not due");
        assert_eq!(run(&mut stored(&[(5, 1), (6, 0)]), 9, 9, 9), [1]);
        let far = 1 + NEAR;
        assert_eq!(run(&mut stored(&[(5, 1), (6, far)]), 9, 99, 9), [1, far]);
        assert_eq!(run(&mut stored(&[(5, 1), (6, far + 1)]), 9, 99, 9), [1]);
    }

    #[test]
    fn what_is_in_memory_and_what_is_not_are_in_one_order() {
        let mut held = stored(&[(5, 1), (5, 3)]);
        held.push_resident(due(5, 2), message("two"));
        held.push_resident(due(5, 0), message("zero"));
        let now = Moment::from_unix_ms(5);
        let texts = |held: &mut Held| held.take_resident(now).map(|message| body(&message));
        assert_eq!(held.take_resident(Moment::from_unix_ms(4)).map(drop), None);
        assert_eq!(texts(&mut held), Some("zero".to_owned()));
        assert_eq!(texts(&mut held), None);
        assert_eq!(run(&mut held, 5, 9, 9), [1]);
        assert_eq!(texts(&mut held), Some("two".to_owned()));
        assert_eq!(held.first(), Some(First::Stored(due(5, 3))));
        assert_eq!((held.len(), held.resident_len()), (1, 0));
    }

    #[test]
    fn an_index_that_has_emptied_gives_its_memory_back() {
        let mut held = stored(&(0..100_000).map(|n| (n, n)).collect::<Vec<_>>());
        assert!(held.index_bytes() >= 1_600_000);
        assert_eq!(run(&mut held, 99_998, u64::MAX, 99_999).len(), 99_999);
        assert!(held.index_bytes() < 100_000, "{}", held.index_bytes());
    }
}
