//! How ready messages leave memory and come back.
//!
//! A block whose messages are all in the store can be dropped from memory: only where it lay is kept,
//! as a *stored run*. Neighbouring runs become one, so that a backlog of any length costs a few bytes.
//!
//! What it is not: it reads and writes nothing, and does not decide when; see `core/queue/durable.rs`.
//!
//! Invariant: a run that was paged out has a message at each of its positions. So nothing that is
//! elsewhere (delivered, or transient) lies within it, it can be settled as a whole, and nothing ever
//! comes back into its middle. The run of a recovered queue has gaps of messages that are gone, and that
//! of one level of several has gaps of the others' messages; see [`PageRules::complete_from`].

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::super::{FRONT_BYTES_MIN, PageLimits, Paged};
use super::{BLOCK_ENTRIES_MAX, Block, Entry, Sequence, StoredRun};

/// This much at the front stays in memory while the rest is paged out, so that a consumer that comes
/// begins at once: several pulls of 256 messages.
pub(in crate::core::queue::ready) const FRONT_MESSAGES_MIN: u64 = 2048;
/// When less than this is left before a stored run, the next part of it is wanted. A read takes a few
/// milliseconds at most; this many small messages last a fast consumer about as long.
const FRONT_LOW_MESSAGES: u64 = 1024;
/// Which blocks can leave memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::core::queue::ready) struct PageRules {
    /// Positions below are on disk.
    pub(in crate::core::queue::ready) written_below: u64,
    /// The last block goes only when it is full or counts this much.
    pub(in crate::core::queue::ready) last_block_bytes_min: u64,
    /// What a message of it counts beside its body.
    pub(in crate::core::queue::ready) overhead_bytes: u64,
    /// Every living message of the sequence at this position or later is in the sequence: gaps are of
    /// messages that have nothing to do with it.
    pub(in crate::core::queue::ready) complete_from: u64,
    /// Runs this far from each other become one.
    pub(in crate::core::queue::ready) gap_max: u64,
}

impl PageRules {
    /// The rules for a sequence that has all messages of its queue.
    pub(in crate::core::queue::ready) fn of_all(limits: &PageLimits) -> Self {
        Self {
            written_below: limits.written_below,
            last_block_bytes_min: limits.last_block_bytes_min,
            overhead_bytes: 0,
            complete_from: u64::MAX,
            gap_max: 1,
        }
    }
}

/// Adds up entries.
#[derive(Default)]
pub(in crate::core::queue::ready) struct Sum {
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.bytes += entry.memory_bytes();
    }

    pub(in crate::core::queue::ready) fn has(&self, messages: u64, bytes: u64) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }
}

impl Sequence {
    /// Drops the next block from memory that can leave it.
    pub(in crate::core::queue::ready) fn page_next(&mut self, limits: &PageLimits) -> Paged {
        if self.counts.stored_len == 0 && self.begins_at(self.page_from) {
            // Nothing is paged out yet, or all of it has come back and gone.
            match self.end_of_front(&mut Sum::default(), limits.front_bytes) {
                Some(position) => self.page_from = position,
                None => return Paged::Nothing,
            }
        }
        self.page_on(&PageRules::of_all(limits))
    }

    /// Looks again at what was spared before, but for a front of at most this many bytes.
    pub(in crate::core::queue::ready) fn page_anew(&mut self, front_bytes: u64) {
        if let Some(position) = self.end_of_front(&mut Sum::default(), front_bytes) {
            self.page_from = position;
        }
    }

    /// The next block is the first one that begins at this position or later.
    pub(in crate::core::queue::ready) fn page_from(&mut self, position: u64) {
        self.page_from = position;
    }

    /// Blocks that begin before this position have been paged out or passed.
    pub(in crate::core::queue::ready) fn next_to_page(&self) -> u64 {
        self.page_from
    }

    /// Drops the next block from memory if it can leave it, wherever the front ends.
    pub(in crate::core::queue::ready) fn page_on(&mut self, rules: &PageRules) -> Paged {
        let paged = self.page_out(self.page_from, rules);
        if let Paged::Out { next, .. } | Paged::Passed { next } = &paged {
            self.page_from = *next;
        }
        paged
    }

    /// The position behind the front of at most `bytes_max` that stays in memory; a block begins there
    /// now. `None` if the front is all there is. `front` is what it has already, and will have.
    pub(in crate::core::queue::ready) fn end_of_front(
        &mut self,
        front: &mut Sum,
        bytes_max: u64,
    ) -> Option<u64> {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let entries = match block {
                Block::Resident(entries) => entries,
                Block::Stored(run) => return Some(run.first),
            };
            let is_front = |entry: &&Entry| {
                let is_front = !front.has(FRONT_MESSAGES_MIN, bytes_max);
                front.add(entry);
                is_front
            };
            let kept = entries.iter().take_while(is_front).count();
            let Some(next) = entries.get(kept).map(|entry| entry.position) else {
                continue;
            };
            if kept > 0 {
                let tail = entries.split_off(kept);
                self.blocks.insert(index + 1, Block::Resident(tail));
            }
            return Some(next);
        }
        None
    }

    /// True when all messages have this position or a later one.
    fn begins_at(&self, position: u64) -> bool {
        let first = self.blocks.front().and_then(Block::first);
        first.is_some_and(|first| first >= position)
    }

    /// The position of the head, wherever it is; nothing if no message is ready.
    pub(in crate::core::queue::ready) fn first_position(&self) -> Option<u64> {
        self.blocks.front().and_then(Block::first)
    }

    /// Drops the first block from memory that begins at `from` or later, if all its messages are in
    /// the store and on disk, and no others can come between them. None may have come back: whether the
    /// store knows of that already is not known here.
    fn page_out(&mut self, from: u64, rules: &PageRules) -> Paged {
        let begins_before = |block: &Block| block.first().is_some_and(|first| first < from);
        let at = self.blocks.partition_point(begins_before);
        let is_last = at + 1 == self.blocks.len();
        let entries = match self.blocks.get(at) {
            None => return Paged::Nothing,
            Some(Block::Stored(_)) => return self.pass_stored(at),
            Some(Block::Resident(entries)) => entries,
        };
        let (Some(first), Some(last)) = (entries.front(), entries.back()) else {
            return Paged::Nothing;
        };
        let run = StoredRun {
            first: first.position,
            last: last.position,
            count: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.body_len() as u64).sum(),
        };
        let head_bytes: u64 = entries.iter().map(Entry::head_bytes).sum();
        let counted = run.bytes + head_bytes + run.count * rules.overhead_bytes;
        if is_last && entries.len() < BLOCK_ENTRIES_MAX && counted < rules.last_block_bytes_min {
            return Paged::Nothing;
        }
        let next = run.last + 1;
        let is_whole = next - run.first == run.count || run.first >= rules.complete_from;
        if !is_whole || entries.iter().any(|e| !e.logged || e.return_count > 0) {
            return Paged::Passed { next };
        }
        if next > rules.written_below {
            return Paged::NotWritten;
        }
        self.counts.head_bytes -= head_bytes;
        let entries = self.replace_by_run(at, run, rules);
        Paged::Out { next, entries }
    }

    /// Passes all runs from the block at `at` to the next one that is in memory.
    fn pass_stored(&self, at: usize) -> Paged {
        let stored = self.blocks.iter().skip(at).map_while(|block| match block {
            Block::Stored(run) => Some(run.last),
            Block::Resident(_) => None,
        });
        let last = stored.last().unwrap_or_default();
        Paged::Passed { next: last + 1 }
    }

    fn replace_by_run(&mut self, at: usize, run: StoredRun, rules: &PageRules) -> VecDeque<Entry> {
        self.counts.stored_len += run.count;
        self.counts.stored_bytes += run.bytes;
        let is_next = |before: &StoredRun| {
            let behind = before.last + 1;
            let is_near = behind >= rules.complete_from && run.first - before.last <= rules.gap_max;
            behind == run.first || is_near
        };
        let before = at.checked_sub(1).and_then(|at| self.blocks.get_mut(at));
        let block = match before {
            Some(Block::Stored(before)) if is_next(before) => {
                before.last = run.last;
                before.count += run.count;
                before.bytes += run.bytes;
                self.blocks.remove(at)
            }
            _ => {
                let place = self.blocks.get_mut(at);
                place.map(|block| std::mem::replace(block, Block::Stored(run)))
            }
        };
        match block {
            Some(Block::Resident(entries)) => entries,
            Some(Block::Stored(_)) | None => VecDeque::new(),
        }
    }

    /// Adds messages that are in the store, behind all others.
    pub(in crate::core::queue::ready) fn push_stored(&mut self, run: StoredRun) {
        self.count_run(run);
        self.blocks.push_back(Block::Stored(run));
        self.page_from = run.last.saturating_add(1);
    }

    /// Adds messages that are in the store, before all others.
    pub(in crate::core::queue::ready) fn push_front_stored(&mut self, run: StoredRun) {
        self.count_run(run);
        self.blocks.push_front(Block::Stored(run));
    }

    /// The first stored run, if little is left in memory before it; `Break(None)` if there is enough.
    /// `front` is what is in memory before all of this, and will be what is with it.
    pub(in crate::core::queue::ready) fn wanted(
        &self,
        front: &mut Sum,
    ) -> ControlFlow<Option<StoredRun>> {
        for block in &self.blocks {
            match block {
                Block::Stored(run) => return ControlFlow::Break(Some(*run)),
                Block::Resident(entries) => entries.iter().for_each(|entry| front.add(entry)),
            }
            if front.has(FRONT_LOW_MESSAGES, FRONT_BYTES_MIN) {
                return ControlFlow::Break(None);
            }
        }
        ControlFlow::Continue(())
    }

    /// The first stored run, if little is left in memory before it.
    pub(in crate::core::queue::ready) fn wanted_next(&self) -> Option<StoredRun> {
        self.wanted(&mut Sum::default()).break_value().flatten()
    }

    /// Puts what was loaded of the run that begins at `first` in its place. The run goes on behind
    /// `through`. `entries` are in order and of the run; `unreadable` is how many more messages were
    /// passed over. Says whether there is such a run.
    pub(in crate::core::queue::ready) fn place_loaded(
        &mut self,
        first: u64,
        through: u64,
        entries: Vec<Entry>,
        unreadable: u64,
    ) -> bool {
        let begins_before = |block: &Block| block.first().is_some_and(|at| at < first);
        let at = self.blocks.partition_point(begins_before);
        let run = match self.blocks.get(at) {
            Some(Block::Stored(run)) if run.first == first => *run,
            _ => return false,
        };
        self.blocks.remove(at);
        self.uncount_run(run);
        let bytes: u64 = entries.iter().map(|entry| entry.body_len() as u64).sum();
        let loaded = entries.len() as u64 + unreadable;
        let rest = StoredRun {
            first: through.saturating_add(1),
            last: run.last,
            // What the store counted is believed only as far as it goes: it came from a disk.
            count: run.count.saturating_sub(loaded),
            bytes: run.bytes.saturating_sub(bytes),
        };
        if rest.first <= rest.last && rest.count > 0 {
            self.count_run(rest);
            self.blocks.insert(at, Block::Stored(rest));
        }
        self.insert_blocks(at, entries);
        true
    }

    fn insert_blocks(&mut self, at: usize, entries: Vec<Entry>) {
        let mut entries = entries.into_iter();
        for at in at.. {
            let block: VecDeque<Entry> = entries.by_ref().take(BLOCK_ENTRIES_MAX).collect();
            if block.is_empty() {
                return;
            }
            block.iter().for_each(|entry| self.count(entry));
            self.blocks.insert(at, Block::Resident(block));
        }
    }

    /// Passes every range of positions to `take` that has messages in the store, all of them ready.
    /// The positions of transient messages may lie within.
    pub(in crate::core::queue::ready) fn logged_ranges(&self, mut take: impl FnMut(StoredRun)) {
        let mut range = StoredRun::default();
        let mut flush = |range: &mut StoredRun| {
            let range = std::mem::take(range);
            if range.count > 0 {
                take(range);
            }
        };
        for block in &self.blocks {
            let entries = match block {
                Block::Resident(entries) => entries,
                Block::Stored(run) => {
                    flush(&mut range);
                    flush(&mut run.clone());
                    continue;
                }
            };
            for entry in entries.iter() {
                if range.last + 1 != entry.position || range.count == 0 {
                    flush(&mut range);
                    range.first = entry.position;
                }
                range.last = entry.position;
                if entry.logged {
                    range.count += 1;
                    range.bytes += entry.body_len() as u64;
                }
            }
        }
        flush(&mut range);
    }

    /// All messages in the store as one run; `None` if there is none. Others' positions lie within.
    pub(in crate::core::queue::ready) fn logged_span(&self) -> Option<StoredRun> {
        let mut span: Option<StoredRun> = None;
        for block in &self.blocks {
            match block {
                Block::Stored(run) => StoredRun::extend(&mut span, *run),
                Block::Resident(entries) => {
                    let logged = entries.iter().filter(|entry| entry.logged);
                    logged.for_each(|entry| StoredRun::extend(&mut span, StoredRun::of(entry)));
                }
            }
        }
        span
    }

    fn count_run(&mut self, run: StoredRun) {
        self.counts += run.counts();
    }

    fn uncount_run(&mut self, run: StoredRun) {
        self.counts -= run.counts();
    }
}

#[cfg(test)]
mod tests;
