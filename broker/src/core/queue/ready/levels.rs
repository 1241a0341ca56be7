//! [`Levels`]: the ready messages of a queue with priorities: one [`Sequence`] for each priority.
//!
//! ```text
//!   occupied: 9, 4, 0
//!     9 │ 17 21 30          ◀── head (PRIO-01)
//!     4 │ 3 [stored 8–25] 40
//!     0 │ [stored 1–990] 991        recovered: | stored, of any level | ── sort ──▶ the levels
//! ```
//!
//! A level is made when its first message comes, so that unused ones cost nothing. What a restart finds
//! has to be looked through before anything can be handed out; see [`sorting`].
//!
//! What it is not: it looks at a message's priority and nothing else of it; it does not look behind the
//! head for expired messages (TTL-08).
//!
//! Invariants: `counts` is the sum over the levels and over what is to be sorted; a level is occupied if
//! and only if it has messages; from a level's `complete_from` on, it has all of the queue's living
//! messages of its priority.

mod paging;
mod sorting;

use std::collections::BTreeMap;

use super::{Blocks, Counts, Entry, Head, NEVER, Sequence, sort_by_position};
use crate::core::Moment;
use paging::Front;
use sorting::Sorting;

/// The ready messages of one queue by priority.
#[derive(Debug)]
pub(in crate::core::queue) struct Levels {
    /// Higher priorities count as this one (PRIO-02).
    max_priority: u8,
    levels: BTreeMap<u8, Level>,
    occupied: LevelSet,
    counts: Counts,
    /// What a restart has found and nobody has looked through yet.
    sorting: Option<Box<Sorting>>,
    /// When the first of the messages came that are here now, all before this position were elsewhere:
    /// taken, or handed out past the levels because they were empty.
    complete_from: u64,
    front: Front,
}

/// The messages of one priority.
#[derive(Debug, Default)]
struct Level {
    sequence: Sequence,
    /// No message at this position or later has ever left the level.
    complete_from: u64,
    /// What is below this position is in the front, and stays in memory.
    spared_below: u64,
    /// Something has come back into memory since the front was looked for.
    was_loaded: bool,
}

/// A set of levels.
#[derive(Clone, Copy, Debug, Default)]
struct LevelSet([u64; 4]);

impl LevelSet {
    fn set(&mut self, level: u8, is_in: bool) {
        let bit = 1 << (level % 64);
        if let Some(word) = self.0.get_mut(usize::from(level / 64)) {
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }

    fn highest(&self) -> Option<u8> {
        let words = [0, 64, 128, 192].into_iter().zip(self.0);
        let (base, word) = words.rev().find(|(_, word)| *word != 0)?;
        Some(base + word.ilog2() as u8)
    }
}

impl Levels {
    /// No messages; priorities up to this one.
    pub(super) fn new(max_priority: u8) -> Self {
        Self {
            max_priority,
            levels: BTreeMap::new(),
            occupied: LevelSet::default(),
            counts: Counts::default(),
            sorting: None,
            complete_from: 0,
            front: Front::default(),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The level of an entry.
    fn level_of(&self, entry: &Entry) -> u8 {
        entry.message.priority().min(self.max_priority)
    }

    /// The highest level that has messages, unless what is at its front is still to be found out.
    fn top(&self) -> Option<(u8, &Level)> {
        if self.sorting.is_some() {
            return None;
        }
        let top = self.occupied.highest()?;
        Some((top, self.levels.get(&top)?))
    }

    pub(super) fn head(&self) -> Head<'_> {
        if self.sorting.is_some() {
            return Head::Stored;
        }
        self.top()
            .map_or(Head::None, |(_, level)| level.sequence.head())
    }

    pub(super) fn first_position(&self) -> Option<u64> {
        match &self.sorting {
            Some(sorting) => Some(sorting.first()),
            None => self.top()?.1.sequence.first_position(),
        }
    }

    pub(super) fn head_expires_at(&self) -> Moment {
        self.top()
            .map_or(NEVER, |(_, level)| level.sequence.head_expires_at())
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.note_coming(entry.position);
        let level = self.level_of(&entry);
        self.change(level, |level| level.sequence.push(entry));
    }

    pub(super) fn take(&mut self) -> Option<Entry> {
        let (top, _) = self.top()?;
        self.change(top, Level::take)
    }

    pub(in crate::core::queue) fn take_live(
        &mut self,
        now: Moment,
        open_below: u64,
    ) -> Option<Entry> {
        let (top, level) = self.top()?;
        let is_live = level.sequence.has_live_head(now, open_below);
        is_live.then(|| self.change(top, Level::take))?
    }

    pub(super) fn take_expired(&mut self, now: Moment) -> Option<Entry> {
        (self.head_expires_at() <= now).then(|| self.take())?
    }

    /// PRIO-03: every entry goes back to its position in its level. The next new message will have
    /// `next_position`.
    pub(super) fn put_back(&mut self, returned: &mut Vec<Entry>, next_position: u64) {
        self.note_coming(next_position);
        self.put_in(returned);
    }

    /// Messages come, and new ones have this position or a later one.
    fn note_coming(&mut self, next_position: u64) {
        if self.counts.len == 0 {
            self.complete_from = next_position;
        }
    }

    fn put_in(&mut self, returned: &mut Vec<Entry>) {
        sort_by_position(returned);
        while let Some(entry) = returned.pop() {
            let level = self.level_of(&entry);
            self.change(level, |level| level.sequence.put_in(entry));
        }
    }

    /// Gives everything away.
    pub(super) fn take_all(&mut self) -> Blocks {
        let mut all = Blocks::new();
        for level in std::mem::take(&mut self.levels).values_mut() {
            all.append(&mut level.sequence.take_all());
        }
        *self = Self::new(self.max_priority);
        all
    }

    /// Changes one level, and with it what is known of all.
    fn change<T>(&mut self, at: u8, work: impl FnOnce(&mut Level) -> T) -> T {
        let level = self.levels.entry(at).or_insert_with(|| {
            let mut level = Level::default();
            level.spare(self.front.spares(at));
            level
        });
        let before = *level.sequence.counts();
        let result = work(level);
        let after = *level.sequence.counts();
        self.counts += after;
        self.counts -= before;
        self.occupied.set(at, after.len > 0);
        self.front.note(&before, &after, self.counts.len == 0);
        result
    }
}

impl Level {
    fn take(&mut self) -> Option<Entry> {
        let entry = self.sequence.take()?;
        self.complete_from = self.complete_from.max(entry.position.saturating_add(1));
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
