//! [`Sequence`]: ready messages in the order in which the queue took them in.
//!
//! A message keeps the position it got at its arrival, so that it can come back to it (DELIV-06).
//! What it is not: it knows no priorities; it does not look behind the head for expired messages
//! either (TTL-06).
//!
//! The messages lie in blocks of bounded length, so that a queue that grows long never copies all it
//! has while it is locked, gives memory back as it shrinks, and takes a message back into its middle
//! at the cost of one block.
//!
//! ```text
//!   front                                                                    back
//!   | 256 in memory | 256 in memory | 9,000 in the store | 256 in memory | 17 |
//!     ◀──────────── place_loaded ─────┘   └──── page_out ──────▲
//! ```
//!
//! Of a durable queue, blocks can be in the store only; see [`paging`]. While the head is there, the
//! queue has messages and none can be taken.
//!
//! Invariants: positions rise from front to back; no block is empty, except one that is alone; the
//! counts are the sums over all messages; no living message of the queue that belongs to this sequence
//! and is not of a stored run has a position between the run's first and last.

mod paging;

use std::collections::VecDeque;

pub(super) use paging::{FRONT_MESSAGES_MIN, PageRules, Sum};

use super::{Counts, Entry, Head, NEVER, StoredRun, sort_by_position};
use crate::core::Moment;

/// Entries in a block: 10 KiB, so that inserting moves at most some 5 KiB, and an allocation is made
/// for every 256 messages of a long queue only.
const BLOCK_ENTRIES_MAX: usize = 256;

/// A queue that ran empty keeps its block up to this many entries (2.5 KiB), so that many queues
/// that were busy once do not hold much together.
const KEEP_ENTRIES_MAX: usize = 64;

/// Ready messages on their way to be freed.
pub(in crate::core::queue) type Blocks = VecDeque<Block>;

/// Messages next to each other.
#[derive(Debug)]
pub(in crate::core::queue) enum Block {
    /// In memory.
    Resident(VecDeque<Entry>),
    /// Only in the store.
    Stored(StoredRun),
}

impl Block {
    /// The position of the first message; `None` for an empty block.
    fn first(&self) -> Option<u64> {
        match self {
            Self::Resident(entries) => entries.front().map(|entry| entry.position),
            Self::Stored(run) => Some(run.first),
        }
    }
}

/// Ready messages by position.
#[derive(Debug, Default)]
pub(in crate::core::queue) struct Sequence {
    blocks: Blocks,
    counts: Counts,
    /// Blocks that begin before this position have been paged out or passed.
    page_from: u64,
}

impl Sequence {
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// When the head expires; [`NEVER`] also for an empty queue and for a head that is not in memory.
    pub(super) fn head_expires_at(&self) -> Moment {
        self.resident_head().map_or(NEVER, |head| head.expires_at)
    }

    /// What is at the front.
    pub(super) fn head(&self) -> Head<'_> {
        match self.blocks.front() {
            Some(Block::Stored(_)) => Head::Stored,
            Some(Block::Resident(entries)) => entries.front().map_or(Head::None, Head::Resident),
            None => Head::None,
        }
    }

    /// Appends an entry whose position is higher than all others.
    // Levels call this too; without a copy for each caller every message pays for a call.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: Entry) {
        self.count(&entry);
        match self.blocks.back_mut() {
            Some(Block::Resident(block)) if block.len() < BLOCK_ENTRIES_MAX => {
                block.push_back(entry);
            }
            _ => self.blocks.push_back(new_block(entry, self.resident_len())),
        }
    }

    /// Takes the head if it is in memory.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<Entry> {
        let Block::Resident(block) = self.blocks.front_mut()? else {
            return None;
        };
        let entry = block.pop_front()?;
        if block.is_empty() {
            self.release_front_block();
        }
        self.counts.len -= 1;
        self.counts.bytes -= u64::from(entry.body_bytes());
        self.counts.head_bytes -= entry.head_bytes();
        Some(entry)
    }

    /// Takes the head if it has not expired, and may be handed out: if it is in the store too, only
    /// below `open_below`.
    pub(in crate::core::queue) fn take_live(
        &mut self,
        now: Moment,
        open_below: u64,
    ) -> Option<Entry> {
        self.has_live_head(now, open_below).then(|| self.take())?
    }

    /// True if the head has not expired and may be handed out.
    pub(super) fn has_live_head(&self, now: Moment, open_below: u64) -> bool {
        self.resident_head().is_some_and(|head| {
            let is_open = !head.logged || head.position < open_below;
            head.expires_at > now && is_open
        })
    }

    /// Takes the head if it has expired.
    pub(super) fn take_expired(&mut self, now: Moment) -> Option<Entry> {
        (self.head_expires_at() <= now).then(|| self.take())?
    }

    /// Puts entries back to their positions and empties `returned`.
    pub(super) fn put_back(&mut self, returned: &mut Vec<Entry>) {
        sort_by_position(returned);
        while let Some(entry) = returned.pop() {
            self.put_in(entry);
        }
    }

    /// Puts one entry to its position.
    pub(super) fn put_in(&mut self, entry: Entry) {
        self.count(&entry);
        self.insert(entry);
    }

    /// Gives everything away.
    pub(super) fn take_all(&mut self) -> Blocks {
        std::mem::take(self).blocks
    }

    fn resident_head(&self) -> Option<&Entry> {
        match self.head() {
            Head::Resident(head) => Some(head),
            Head::None | Head::Stored => None,
        }
    }

    fn resident_len(&self) -> u64 {
        self.counts.resident_len()
    }

    fn count(&mut self, entry: &Entry) {
        self.counts.len += 1;
        self.counts.bytes += u64::from(entry.body_bytes());
        self.counts.head_bytes += entry.head_bytes();
    }

    fn release_front_block(&mut self) {
        let is_alone = self.blocks.len() == 1;
        let is_small = |block: &Block| match block {
            Block::Resident(entries) => entries.capacity() <= KEEP_ENTRIES_MAX,
            Block::Stored(_) => false,
        };
        if !(is_alone && self.blocks.front().is_some_and(is_small)) {
            self.blocks.pop_front();
        }
    }

    /// Inserts an entry at its position: at the front in the usual case, else into the last block
    /// that begins before it.
    fn insert(&mut self, entry: Entry) {
        let begins_before = |block: &Block| block.first().is_some_and(|at| at < entry.position);
        let after = self.blocks.partition_point(begins_before);
        let before = after.checked_sub(1).and_then(|at| self.blocks.get_mut(at));
        let Some(Block::Resident(block)) = before else {
            return self.insert_before(after, entry);
        };
        if block.len() < BLOCK_ENTRIES_MAX {
            let at = block.partition_point(|e| e.position < entry.position);
            return block.insert(at, entry);
        }
        let tail = block.split_off(BLOCK_ENTRIES_MAX / 2);
        self.blocks.insert(after, Block::Resident(tail));
        self.insert(entry);
    }

    /// Makes an entry the first one of the block at `at`, or of a new block in that place.
    fn insert_before(&mut self, at: usize, entry: Entry) {
        match self.blocks.get_mut(at) {
            Some(Block::Resident(block)) if block.len() < BLOCK_ENTRIES_MAX => {
                block.push_front(entry);
            }
            _ => {
                let block = new_block(entry, self.resident_len());
                self.blocks.insert(at, block);
            }
        }
    }
}

/// A block with its first entry. In a short queue it grows as needed; in a long one it will be full
/// soon and gets its size at once.
fn new_block(entry: Entry, queue_len: u64) -> Block {
    let is_long = queue_len > BLOCK_ENTRIES_MAX as u64;
    let mut block = VecDeque::with_capacity(if is_long { BLOCK_ENTRIES_MAX } else { 0 });
    block.push_back(entry);
    Block::Resident(block)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::queue::testing::message;

    fn entry(position: u64) -> Entry {
        Entry::new(message("12"), position, NEVER)
    }

    fn filled(positions: impl IntoIterator<Item = u64>) -> Sequence {
        let mut ready = Sequence::default();
        positions.into_iter().for_each(|p| ready.push(entry(p)));
        ready
    }

    fn positions(mut ready: Sequence) -> Vec<u64> {
        std::iter::from_fn(|| ready.take().map(|e| e.position)).collect()
    }

    fn resident(ready: &Sequence) -> impl Iterator<Item = &VecDeque<Entry>> {
        ready.blocks.iter().filter_map(|block| match block {
            Block::Resident(entries) => Some(entries),
            Block::Stored(_) => None,
        })
    }

    #[test]
    fn deliv_06_entries_return_to_their_positions() {
        let mut ready = filled([2, 4, 6]);
        ready.put_back(&mut vec![entry(5), entry(1)]);
        assert_eq!((ready.counts.len, ready.counts.bytes), (5, 10));
        assert_eq!(positions(ready), [1, 2, 4, 5, 6]);
    }

    #[test]
    fn deliv_07_a_large_batch_returns_in_order_into_full_blocks() {
        let mut ready = filled((0..1000).map(|p| p * 2));
        ready.put_back(&mut (0..500).rev().map(|p| entry(p * 2 + 1)).collect());
        assert_eq!((ready.counts.len, ready.counts.bytes), (1500, 3000));
        let is_bounded = |block: &VecDeque<Entry>| (1..=BLOCK_ENTRIES_MAX).contains(&block.len());
        assert!(resident(&ready).all(is_bounded));
        let expected: Vec<u64> = (0..1000).chain((500..1000).map(|p| p * 2)).collect();
        assert_eq!(positions(ready), expected);
    }

    #[test]
    fn memory_follows_the_length() {
        let mut ready = filled(0..10_000);
        let capacity = |ready: &Sequence| resident(ready).map(VecDeque::capacity).sum::<usize>();
        assert!(capacity(&ready) <= 10_000 + 2 * BLOCK_ENTRIES_MAX);
        (0..9_000).for_each(|_| drop(ready.take()));
        assert!(capacity(&ready) <= 1_000 + 2 * BLOCK_ENTRIES_MAX);
        while ready.take().is_some() {}
        assert!(capacity(&ready) <= KEEP_ENTRIES_MAX);
        assert_eq!((ready.counts.len, ready.counts.bytes), (0, 0));
        ready.push(entry(10_000));
        assert_eq!(positions(ready), [10_000]);
    }

    proptest::proptest! {
        #[test]
        fn entries_come_and_go_in_any_way_and_stay_in_order(
            rounds in proptest::collection::vec((0..400_u64, 0..700_usize, proptest::num::u64::ANY), 1..12),
        ) {
            let (mut ready, mut out, mut next) = (Sequence::default(), Vec::new(), 0);
            for (pushed, taken, chosen) in rounds {
                (next..next + pushed).for_each(|position| ready.push(entry(position)));
                next += pushed;
                out.extend((0..taken).map_while(|_| ready.take()));
                let is_back = |e: &mut Entry| chosen.rotate_left(e.position as u32) & 1 == 1;
                ready.put_back(&mut out.extract_if(.., is_back).collect());
            }
            let mut inside: Vec<u64> = (0..next).collect();
            inside.retain(|position| out.iter().all(|e| e.position != *position));
            assert_eq!(ready.counts.len, inside.len() as u64);
            assert_eq!(positions(ready), inside);
        }
    }

    #[test]
    fn only_the_head_is_judged_by_its_deadline() {
        let mut ready = filled([0]);
        let at = Moment::from_unix_ms(7);
        ready.push(Entry::new(message(""), 1, at));
        assert!(ready.take_expired(at).is_none(), "behind a live head");
        assert_eq!(ready.take_live(at, 0).unwrap().position, 0);
        assert!(ready.take_live(at, 0).is_none());
        assert_eq!(ready.take_expired(at).unwrap().position, 1);
        assert!(ready.take_expired(at).is_none());
    }
}
