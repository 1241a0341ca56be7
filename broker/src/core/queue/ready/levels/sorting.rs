//! [`Sorting`]: what a restart has found of a queue with priorities, on its way into the levels.
//!
//! The store knows nothing of priorities: what it has is one run of messages of any level, and the next
//! one to be handed out may be the last of them. So the run is read through from front to back, and
//! nothing is handed out before its end. What is read is not kept: only where each level's messages lie.
//!
//! ```text
//!   rest: | ……………………………… |  ──part──▶  9: [4–90]  4: [0–801] [9000–9002]  ──end──▶ the levels
//! ```
//!
//! A run that fits into one part goes to the levels as it is.
//!
//! What it is not: new messages do not come here, they go to their levels, behind all of these.
//!
//! Invariant: runs of one level are in order and lie before `rest`.

use std::collections::BTreeMap;

use super::super::{Counts, LoadedPart, StoredRun};
use super::Levels;
use super::paging::RUN_GAP_MAX;
use crate::core::Message;

/// Messages of which some have been looked at.
#[derive(Debug)]
pub(super) struct Sorting {
    rest: StoredRun,
    is_begun: bool,
    sorted: BTreeMap<u8, Vec<StoredRun>>,
    sorted_counts: Counts,
}

impl Sorting {
    fn new(run: StoredRun) -> Self {
        Self {
            rest: run,
            is_begun: false,
            sorted: BTreeMap::new(),
            sorted_counts: Counts::default(),
        }
    }

    /// What nobody has looked at yet.
    pub(super) fn rest(&self) -> StoredRun {
        self.rest
    }

    /// The position of the first message, or one before it.
    pub(super) fn first(&self) -> u64 {
        let runs = self.sorted.values().filter_map(|runs| runs.first());
        runs.map(|run| run.first).min().unwrap_or(self.rest.first)
    }

    /// Passes all runs to `take`.
    pub(super) fn runs(&self, mut take: impl FnMut(StoredRun)) {
        take(self.rest);
        let runs = self.sorted.values().flatten();
        runs.copied().for_each(take);
    }

    fn counts(&self) -> Counts {
        let mut counts = self.sorted_counts;
        counts += self.rest.counts();
        counts
    }

    /// Notes where a message of a level lies.
    fn note(&mut self, level: u8, more: StoredRun) {
        self.sorted_counts += more.counts();
        let runs = self.sorted.entry(level).or_default();
        match runs.last_mut() {
            Some(run) if more.first.saturating_sub(run.last) <= RUN_GAP_MAX => {
                run.last = more.last;
                run.count += more.count;
                run.bytes += more.bytes;
            }
            _ => runs.push(more),
        }
    }

    /// A part of the rest has been looked at. What the store counted is believed only as far as it goes.
    fn pass(&mut self, through: u64, count: u64, bytes: u64) {
        self.rest.first = through.saturating_add(1);
        self.rest.count = self.rest.count.saturating_sub(count);
        self.rest.bytes = self.rest.bytes.saturating_sub(bytes);
    }
}

impl Levels {
    /// Adds the messages that were found in the store.
    pub(in crate::core::queue::ready) fn recover(&mut self, run: StoredRun) {
        self.counts += run.counts();
        self.sorting = Some(Box::new(Sorting::new(run)));
    }

    /// Looks at a part of what was found.
    pub(super) fn sort(&mut self, loaded: LoadedPart, dropped: &mut Vec<Message>) {
        let Some(mut sorting) = self.sorting.take() else {
            return;
        };
        self.counts -= sorting.counts();
        let is_last = loaded.through >= sorting.rest.last;
        if is_last && !sorting.is_begun {
            // The run had no more than this, which is in memory now.
            let mut entries = loaded.entries;
            return self.put_in(&mut entries);
        }
        sorting.is_begun = true;
        let bytes = loaded
            .entries
            .iter()
            .map(|entry| entry.body_len() as u64)
            .sum();
        let count = loaded.entries.len() as u64 + loaded.unreadable;
        sorting.pass(loaded.through, count, bytes);
        for entry in loaded.entries {
            sorting.note(self.level_of(&entry), StoredRun::of(&entry));
            dropped.push(entry.message);
        }
        if is_last {
            return self.end_sorting(*sorting);
        }
        self.counts += sorting.counts();
        self.sorting = Some(sorting);
    }

    fn end_sorting(&mut self, sorting: Sorting) {
        for (at, runs) in sorting.sorted {
            self.change(at, |level| {
                let runs = runs.into_iter().rev();
                runs.for_each(|run| level.sequence.push_front_stored(run));
            });
        }
    }
}
