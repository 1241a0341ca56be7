//! [`Rotation`]: the order in which the slots that can take a message get their turns.
//!
//! Equal slots take turns in the order in which they joined, which is the order of subscription as
//! long as none is blocked (DELIV-02); a slot that was blocked joins again at the end (DELIV-03). A
//! slot of higher priority goes before all lower ones for as long as it can take (CPRIO-01).
//!
//! What it is not: it does not know why a slot can or cannot take a message; it is told.
//!
//! Invariants: levels are sorted by falling priority; no slot is in the rotation twice.

use std::collections::VecDeque;

/// The slots that can take a message, in order.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    priority: i64,
    slots: VecDeque<u32>,
}

impl Rotation {
    /// Whose turn it is.
    pub(super) fn front(&self) -> Option<u32> {
        self.levels
            .iter()
            .find_map(|level| level.slots.front().copied())
    }

    /// Adds a slot behind its equals.
    pub(super) fn join(&mut self, slot: u32, priority: i64) {
        let at = self.levels.partition_point(|l| l.priority > priority);
        match self.levels.get_mut(at) {
            Some(level) if level.priority == priority => level.slots.push_back(slot),
            _ => self.levels.insert(at, Level::new(slot, priority)),
        }
    }

    /// Ends the turn of the slot at the front: it goes behind its equals.
    pub(super) fn pass_turn(&mut self) {
        if let Some(slots) = self.front_level()
            && slots.len() > 1
        {
            slots.rotate_left(1);
        }
    }

    /// Takes out the slot at the front.
    pub(super) fn leave_front(&mut self) {
        if let Some(slots) = self.front_level() {
            slots.pop_front();
        }
    }

    /// Takes out a slot wherever it stands.
    pub(super) fn leave(&mut self, slot: u32) {
        self.levels
            .iter_mut()
            .for_each(|level| level.slots.retain(|other| *other != slot));
    }

    /// Forgets priorities that nobody waits with; called when a consumer goes, so that the levels
    /// are no more than the priorities of the consumers there are.
    pub(super) fn forget_empty_levels(&mut self) {
        self.levels.retain(|level| !level.slots.is_empty());
    }

    fn front_level(&mut self) -> Option<&mut VecDeque<u32>> {
        self.levels
            .iter_mut()
            .map(|level| &mut level.slots)
            .find(|slots| !slots.is_empty())
    }
}

impl Level {
    fn new(slot: u32, priority: i64) -> Self {
        Self {
            priority,
            slots: VecDeque::from([slot]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(rotation: &mut Rotation, count: usize) -> Vec<Option<u32>> {
        let mut turn = || {
            let front = rotation.front();
            rotation.pass_turn();
            front
        };
        (0..count).map(|_| turn()).collect()
    }

    #[test]
    fn deliv_02_turns_follow_the_order_of_joining() {
        let mut rotation = Rotation::default();
        [7, 3, 5].iter().for_each(|slot| rotation.join(*slot, 0));
        assert_eq!(turns(&mut rotation, 4), [7, 3, 5, 7].map(Some));
        rotation.leave(5);
        rotation.join(5, 0);
        assert_eq!(turns(&mut rotation, 3), [3, 7, 5].map(Some));
    }

    #[test]
    fn cprio_01_03_higher_levels_go_first_and_equals_take_turns() {
        let mut rotation = Rotation::default();
        rotation.join(1, 0);
        rotation.join(2, 10);
        rotation.join(3, -5);
        rotation.join(4, 10);
        assert_eq!(turns(&mut rotation, 3), [2, 4, 2].map(Some));
        rotation.leave_front();
        rotation.leave_front();
        assert_eq!(rotation.front(), Some(1));
        rotation.leave_front();
        assert_eq!(rotation.front(), Some(3));
        rotation.leave_front();
        assert_eq!(rotation.front(), None);
        rotation.forget_empty_levels();
        assert!(rotation.levels.is_empty());
    }
}
