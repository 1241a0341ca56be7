//! How ready messages leave memory and come back.
//!
//! A block whose messages are all in the store can be dropped from memory: only where it lay is kept,
//! as a *stored run*. Neighbouring runs become one, so that a backlog of any length costs a few bytes.
//!
//! What it is not: it reads and writes nothing, and does not decide when; see `core/queue/durable.rs`.
//!
//! Invariant: a run that was paged out has a message at each of its positions. So nothing that is
//! elsewhere (delivered, or transient) lies within it, it can be settled as a whole, and nothing ever
//! comes back into its middle. The run of a recovered queue has gaps of messages that are gone.

use std::collections::VecDeque;

use super::{BLOCK_ENTRIES_MAX, Block, Entry, Ready, StoredRun};

/// This much at the front stays in memory while the rest is paged out, so that a consumer that comes
/// begins at once: several pulls of 256 messages.
const FRONT_MESSAGES_MIN: u64 = 2048;
/// The same in bytes, whichever is reached first.
const FRONT_BYTES_MIN: u64 = 1 << 20;
/// When less than this is left before a stored run, the next part of it is wanted. A read takes a few
/// milliseconds at most; this many small messages last a fast consumer about as long.
const FRONT_LOW_MESSAGES: u64 = 1024;
/// The last block goes only when it is full or holds this many bytes: a block that new messages still
/// go to would soon be needed again.
const LAST_BLOCK_BYTES_MIN: u64 = 256 << 10;

/// What became of one block.
#[derive(Debug)]
pub(in crate::core::queue) enum Paged {
    /// It is in the store only; its entries are to be freed. The next block begins at `next` or
    /// later.
    Out { next: u64, entries: VecDeque<Entry> },
    /// It is in the store only already, or cannot be.
    Passed { next: u64 },
    /// Its messages are not on disk yet.
    NotWritten,
    /// There is no such block, or it is the last one and not full yet.
    Nothing,
}

/// Adds up entries.
#[derive(Default)]
struct Sum {
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.bytes += entry.body_len() as u64;
    }

    fn has(&self, messages: u64, bytes: u64) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }
}

impl Ready {
    /// The position behind the front that stays in memory; a block begins there now. `None` if the
    /// front is all there is.
    pub(in crate::core::queue) fn end_of_front(&mut self) -> Option<u64> {
        let mut front = Sum::default();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let entries = match block {
                Block::Resident(entries) => entries,
                Block::Stored(run) => return Some(run.first),
            };
            let is_front = |entry: &&Entry| {
                let is_front = !front.has(FRONT_MESSAGES_MIN, FRONT_BYTES_MIN);
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
    pub(in crate::core::queue) fn begins_at(&self, position: u64) -> bool {
        let first = self.blocks.front().and_then(Block::first);
        first.is_some_and(|first| first >= position)
    }

    /// Drops the first block from memory that begins at `from` or later, if all its messages are in
    /// the store, have never been delivered, follow each other without a gap, and lie below
    /// `written_below`.
    pub(in crate::core::queue) fn page_out(&mut self, from: u64, written_below: u64) -> Paged {
        let begins_before = |block: &Block| block.first().is_some_and(|first| first < from);
        let at = self.blocks.partition_point(begins_before);
        let is_last = at + 1 == self.blocks.len();
        let entries = match self.blocks.get(at) {
            None => return Paged::Nothing,
            Some(Block::Stored(run)) => return Paged::Passed { next: run.last + 1 },
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
        if is_last && entries.len() < BLOCK_ENTRIES_MAX && run.bytes < LAST_BLOCK_BYTES_MIN {
            return Paged::Nothing;
        }
        let next = run.last + 1;
        let is_whole = next - run.first == run.count;
        if !is_whole || entries.iter().any(|e| !e.logged || e.redelivered) {
            return Paged::Passed { next };
        }
        if next > written_below {
            return Paged::NotWritten;
        }
        let entries = self.replace_by_run(at, run);
        Paged::Out { next, entries }
    }

    fn replace_by_run(&mut self, at: usize, run: StoredRun) -> VecDeque<Entry> {
        self.stored_len += run.count;
        self.stored_bytes += run.bytes;
        let before = at.checked_sub(1).and_then(|at| self.blocks.get_mut(at));
        let block = match before {
            Some(Block::Stored(before)) if before.last + 1 == run.first => {
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
    pub(in crate::core::queue) fn push_stored(&mut self, run: StoredRun) {
        self.count_run(run);
        self.blocks.push_back(Block::Stored(run));
    }

    /// The first stored run, if little is left in memory before it.
    pub(in crate::core::queue) fn wanted(&self) -> Option<StoredRun> {
        let mut front = Sum::default();
        for block in &self.blocks {
            match block {
                Block::Stored(run) => return Some(*run),
                Block::Resident(entries) => entries.iter().for_each(|entry| front.add(entry)),
            }
            if front.has(FRONT_LOW_MESSAGES, FRONT_BYTES_MIN) {
                return None;
            }
        }
        None
    }

    /// Puts what was loaded of the run that begins at `first` in its place. The run goes on behind
    /// `through`. `entries` are in order and of the run; `unreadable` is how many more messages were
    /// passed over. Says whether there is such a run.
    pub(in crate::core::queue) fn place_loaded(
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
    pub(in crate::core::queue) fn logged_ranges(&self, mut take: impl FnMut(StoredRun)) {
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

    fn count_run(&mut self, run: StoredRun) {
        self.len += run.count;
        self.bytes += run.bytes;
        self.stored_len += run.count;
        self.stored_bytes += run.bytes;
    }

    fn uncount_run(&mut self, run: StoredRun) {
        self.len -= run.count;
        self.bytes -= run.bytes;
        self.stored_len -= run.count;
        self.stored_bytes -= run.bytes;
    }
}
