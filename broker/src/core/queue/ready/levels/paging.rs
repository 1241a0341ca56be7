//! How messages of a queue with priorities leave memory and come back.
//!
//! ```text
//!   9 │ ████ front ████            what is handed out next stays,
//!   4 │ ██ front █ ░░ pages ░░     level by level from the top;
//!   0 │ ░░░░░░ pages ░░░░░░░░░     the rest goes, from the bottom up
//! ```
//!
//! A level's stored run covers positions among which those of the other levels lie: what is loaded of it
//! brings these as well, and they are dropped again. So a level with few messages among many is read at
//! the cost of the many; runs far from each other stay apart, so that what lies between is not read.
//!
//! What it is not: it reads and writes nothing, and does not decide when.
//!
//! Invariant: within a level's run there are no living messages of that level but the run's.

use std::ops::ControlFlow;

use super::super::sequence::{FRONT_MESSAGES_MIN, PageRules, Sum};
use super::super::{
    Counts, FRONT_BYTES_MIN, LoadedPart, PageLimits, Paged, Part, StoredRun, Wanted,
};
use super::{Level, Levels};
use crate::core::Message;
use crate::limits::MESSAGE_OVERHEAD_BYTES;

/// Runs of one level that are further apart stay two: about one load, which is what reading the
/// positions between them would cost. A run is a few bytes.
pub(super) const RUN_GAP_MAX: u64 = 4096;

/// Where the front ends that stays in memory.
#[derive(Debug)]
pub(super) struct Front {
    /// Levels below have no part of it.
    lowest: u8,
    /// It is to be looked for anew.
    is_due: bool,
    /// What has come into memory since it was looked for.
    messages: u64,
    bytes: u64,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            lowest: 0,
            is_due: true,
            messages: 0,
            bytes: 0,
        }
    }
}

impl Front {
    /// Below which position a level that is new stays in memory: it is all front, or none of it.
    pub(super) fn spares(&self, level: u8) -> u64 {
        if level < self.lowest { 0 } else { u64::MAX }
    }

    /// A level has changed. Once as much has come as a front has, it may be elsewhere.
    pub(super) fn note(&mut self, before: &Counts, after: &Counts, is_empty: bool) {
        let (messages, bytes) = (after.resident_len(), after.resident_bytes());
        self.messages += messages.saturating_sub(before.resident_len());
        self.bytes += bytes.saturating_sub(before.resident_bytes());
        self.is_due |=
            is_empty || self.messages >= FRONT_MESSAGES_MIN || self.bytes >= FRONT_BYTES_MIN;
    }
}

impl Levels {
    /// Drops the next block from memory that can leave it, from the lowest level up.
    pub(in crate::core::queue::ready) fn page_next(&mut self, limits: &PageLimits) -> Paged {
        if self.front.is_due {
            self.find_front(limits.front_bytes);
        }
        let limits = PageLimits {
            // Every level has a last block.
            last_block_bytes_min: limits.last_block_bytes_min / (self.levels.len() as u64).max(1),
            ..*limits
        };
        let mut result = Paged::Nothing;
        for level in self.levels.values_mut() {
            let before = *level.sequence.counts();
            let paged = level.page_on(&limits, self.complete_from);
            self.counts += *level.sequence.counts();
            self.counts -= before;
            match paged {
                Paged::Nothing => {}
                Paged::NotWritten => result = paged,
                Paged::Out { .. } | Paged::Passed { .. } => return paged,
            }
        }
        result
    }

    /// Looks again at what was spared before.
    pub(in crate::core::queue::ready) fn page_anew(&mut self) {
        self.front.is_due = true;
    }

    fn find_front(&mut self, bytes_max: u64) {
        self.front = Front {
            is_due: false,
            ..Front::default()
        };
        let (mut front, mut has_ended) = (Sum::default(), false);
        for (at, level) in self.levels.iter_mut().rev() {
            if has_ended {
                level.spare(0);
                continue;
            }
            let end = level.sequence.end_of_front(&mut front, bytes_max);
            level.spare(end.unwrap_or(u64::MAX));
            has_ended = end.is_some();
            self.front.lowest = if has_ended { *at } else { 0 };
        }
    }

    /// The stored run that is needed next, if little is left in memory before it.
    pub(in crate::core::queue::ready) fn wanted(&self) -> Option<Wanted> {
        if let Some(sorting) = &self.sorting {
            return Some(Wanted {
                run: sorting.rest(),
                part: Part::All,
                is_to_be_sorted: true,
            });
        }
        let mut front = Sum::default();
        for (at, level) in self.levels.iter().rev() {
            if let ControlFlow::Break(run) = level.sequence.wanted(&mut front) {
                return run.map(|run| Wanted {
                    run,
                    part: Part::Level(*at),
                    is_to_be_sorted: false,
                });
            }
        }
        None
    }

    /// Puts what was loaded in its place; what is of other levels, or not kept, goes to `dropped`.
    pub(in crate::core::queue::ready) fn place_loaded(
        &mut self,
        mut loaded: LoadedPart,
        dropped: &mut Vec<Message>,
    ) {
        let Part::Level(at) = loaded.part else {
            return self.sort(loaded, dropped);
        };
        let max_priority = self.max_priority;
        let is_other = |entry: &mut super::Entry| entry.message.priority().min(max_priority) != at;
        let others = loaded.entries.extract_if(.., is_other);
        dropped.extend(others.map(|entry| entry.message));
        // Of what level something is that cannot be read nobody knows: it is missed at the end of the run.
        self.change(at, |level| {
            let (first, through) = (loaded.first, loaded.through);
            level
                .sequence
                .place_loaded(first, through, loaded.entries, 0);
        });
    }

    /// All ready messages in the store as one run; positions of others lie within.
    pub(in crate::core::queue::ready) fn logged_span(&self) -> Option<StoredRun> {
        let mut span = None;
        let levels = self.levels.values();
        let of_levels = levels.filter_map(|level| level.sequence.logged_span());
        of_levels.for_each(|more| StoredRun::extend(&mut span, more));
        if let Some(sorting) = &self.sorting {
            sorting.runs(|more| StoredRun::extend(&mut span, more));
        }
        span
    }
}

impl Level {
    /// What lies below this position is spared from now on. What was spared and is no more, or has come
    /// back, is looked at again; the rest was, and need not be.
    pub(super) fn spare(&mut self, below: u64) {
        let is_less = below < self.spared_below;
        if is_less || self.was_loaded || below > self.sequence.next_to_page() {
            self.sequence.page_from(below);
        }
        self.spared_below = below;
        self.was_loaded = false;
    }

    fn page_on(&mut self, limits: &PageLimits, complete_from: u64) -> Paged {
        let rules = PageRules {
            overhead_bytes: MESSAGE_OVERHEAD_BYTES,
            complete_from: self.complete_from.max(complete_from),
            gap_max: RUN_GAP_MAX,
            ..PageRules::of_all(limits)
        };
        self.sequence.page_on(&rules)
    }
}
