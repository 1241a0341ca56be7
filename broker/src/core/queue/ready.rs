//! [`Ready`]: the messages that wait for a taker, in the order in which the queue took them in.
//!
//! A message keeps the position it got at its arrival, so that it can come back to it (DELIV-06).
//! What it is not: it knows no consumers and decides nothing; it does not look behind the head for
//! expired messages either (TTL-06).
//!
//! The messages lie in blocks of bounded length, so that a queue that grows long never copies all it
//! has while it is locked, gives memory back as it shrinks, and takes a message back into its middle
//! at the cost of one block.
//!
//! Invariants: positions rise from front to back; no block is empty, except one that is alone; `len`
//! and `bytes` are the sums over all entries.

use std::collections::VecDeque;

use crate::core::{Message, Moment};

/// The deadline of a message that does not expire.
pub(super) const NEVER: Moment = Moment::from_unix_ms(u64::MAX);

/// Entries in a block: 10 KiB, so that inserting moves at most some 5 KiB, and an allocation is made
/// for every 256 messages of a long queue only.
const BLOCK_ENTRIES_MAX: usize = 256;

/// A queue that ran empty keeps its block up to this many entries (2.5 KiB), so that many queues
/// that were busy once do not hold much together.
const KEEP_ENTRIES_MAX: usize = 64;

/// Ready messages on their way to be freed.
pub(super) type Blocks = VecDeque<VecDeque<Entry>>;

/// One message of one queue. Small, because a long queue has many: see the test of its size.
#[derive(Debug)]
pub(super) struct Entry {
    /// The message, shared with other queues.
    pub(super) message: Message,
    /// Its place in the queue; never given out twice.
    pub(super) position: u64,
    /// When it expires, if it is ready then; [`NEVER`] for most.
    pub(super) expires_at: Moment,
    body_len: u32,
    /// How often it came back; stays at the largest number.
    pub(super) return_count: u16,
    /// True once it came back (DELIV-05).
    pub(super) redelivered: bool,
}

impl Entry {
    pub(super) fn new(message: Message, position: u64, expires_at: Moment) -> Self {
        // The length is kept here so that counting a taken message does not fetch it from memory.
        // A body that does not fit is counted as the largest that does, going in and out alike.
        let body_len = u32::try_from(message.body_len()).unwrap_or(u32::MAX);
        Self {
            message,
            position,
            expires_at,
            body_len,
            return_count: 0,
            redelivered: false,
        }
    }

    /// The message's body length in bytes.
    pub(super) fn body_len(&self) -> usize {
        self.body_len as usize
    }

    /// Notes that the message was delivered and came back.
    pub(super) fn mark_returned(&mut self) {
        self.redelivered = true;
        self.return_count = self.return_count.saturating_add(1);
    }
}

/// The ready messages of one queue.
#[derive(Debug, Default)]
pub(super) struct Ready {
    blocks: Blocks,
    len: u64,
    bytes: u64,
}

impl Ready {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Body bytes of all ready messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the head expires; [`NEVER`] also for an empty queue.
    pub(super) fn head_expires_at(&self) -> Moment {
        self.head().map_or(NEVER, |head| head.expires_at)
    }

    /// Appends an entry whose position is higher than all others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.count(&entry);
        match self.blocks.back_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES_MAX => block.push_back(entry),
            _ => self.blocks.push_back(new_block(entry, self.len)),
        }
    }

    /// Takes the head.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let block = self.blocks.front_mut()?;
        let entry = block.pop_front()?;
        if block.is_empty() {
            self.release_front_block();
        }
        self.len -= 1;
        self.bytes -= u64::from(entry.body_len);
        Some(entry)
    }

    /// Takes the head if it has not expired.
    pub(super) fn take_live(&mut self, now: Moment) -> Option<Entry> {
        (self.head_expires_at() > now).then(|| self.take())?
    }

    /// Takes the head if it has expired.
    pub(super) fn take_expired(&mut self, now: Moment) -> Option<Entry> {
        (self.head_expires_at() <= now).then(|| self.take())?
    }

    /// Puts entries back to their positions and empties `returned`.
    pub(super) fn put_back(&mut self, returned: &mut Vec<Entry>) {
        sort_by_position(returned);
        while let Some(entry) = returned.pop() {
            self.count(&entry);
            self.insert(entry);
        }
    }

    /// Gives everything away.
    pub(super) fn take_all(&mut self) -> Blocks {
        (self.len, self.bytes) = (0, 0);
        std::mem::take(&mut self.blocks)
    }

    fn head(&self) -> Option<&Entry> {
        self.blocks.front()?.front()
    }

    fn count(&mut self, entry: &Entry) {
        self.len += 1;
        self.bytes += u64::from(entry.body_len);
    }

    fn release_front_block(&mut self) {
        let is_alone = self.blocks.len() == 1;
        let is_small = |block: &VecDeque<Entry>| block.capacity() <= KEEP_ENTRIES_MAX;
        if !(is_alone && self.blocks.front().is_some_and(is_small)) {
            self.blocks.pop_front();
        }
    }

    /// Inserts an entry at its position: at the front in the usual case, else into the last block
    /// that begins before it.
    fn insert(&mut self, entry: Entry) {
        if self
            .head()
            .is_none_or(|head| entry.position < head.position)
        {
            return self.push_front(entry);
        }
        let begins_before =
            |block: &VecDeque<Entry>| block.front().is_some_and(|e| e.position < entry.position);
        let after = self.blocks.partition_point(begins_before);
        let Some(block) = self.blocks.get_mut(after.saturating_sub(1)) else {
            return;
        };
        if block.len() < BLOCK_ENTRIES_MAX {
            let at = block.partition_point(|e| e.position < entry.position);
            return block.insert(at, entry);
        }
        let tail = block.split_off(BLOCK_ENTRIES_MAX / 2);
        self.blocks.insert(after, tail);
        self.insert(entry);
    }

    fn push_front(&mut self, entry: Entry) {
        match self.blocks.front_mut() {
            Some(block) if block.len() < BLOCK_ENTRIES_MAX => block.push_front(entry),
            _ => self.blocks.push_front(new_block(entry, self.len)),
        }
    }
}

/// A block with its first entry. In a short queue it grows as needed; in a long one it will be full
/// soon and gets its size at once.
fn new_block(entry: Entry, queue_len: u64) -> VecDeque<Entry> {
    let is_long = queue_len > BLOCK_ENTRIES_MAX as u64;
    let mut block = VecDeque::with_capacity(if is_long { BLOCK_ENTRIES_MAX } else { 0 });
    block.push_back(entry);
    block
}

/// Sorts by position; cheap for what is sorted already or made of sorted runs.
pub(super) fn sort_by_position(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| entry.position);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::queue::testing::message;

    fn entry(position: u64) -> Entry {
        Entry::new(message("12"), position, NEVER)
    }

    fn filled(positions: impl IntoIterator<Item = u64>) -> Ready {
        let mut ready = Ready::default();
        positions.into_iter().for_each(|p| ready.push(entry(p)));
        ready
    }

    fn positions(mut ready: Ready) -> Vec<u64> {
        std::iter::from_fn(|| ready.take().map(|e| e.position)).collect()
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 40);
        assert_eq!(size_of::<Option<Entry>>(), 40, "a hole costs no more");
    }

    #[test]
    fn deliv_06_entries_return_to_their_positions() {
        let mut ready = filled([2, 4, 6]);
        ready.put_back(&mut vec![entry(5), entry(1)]);
        assert_eq!((ready.len(), ready.bytes()), (5, 10));
        assert_eq!(positions(ready), [1, 2, 4, 5, 6]);
    }

    #[test]
    fn deliv_07_a_large_batch_returns_in_order_into_full_blocks() {
        let mut ready = filled((0..1000).map(|p| p * 2));
        ready.put_back(&mut (0..500).rev().map(|p| entry(p * 2 + 1)).collect());
        assert_eq!((ready.len(), ready.bytes()), (1500, 3000));
        let is_bounded = |block: &VecDeque<Entry>| (1..=BLOCK_ENTRIES_MAX).contains(&block.len());
        assert!(ready.blocks.iter().all(is_bounded));
        let expected: Vec<u64> = (0..1000).chain((500..1000).map(|p| p * 2)).collect();
        assert_eq!(positions(ready), expected);
    }

    #[test]
    fn memory_follows_the_length() {
        let mut ready = filled(0..10_000);
        let capacity = |ready: &Ready| ready.blocks.iter().map(VecDeque::capacity).sum::<usize>();
        assert!(capacity(&ready) <= 10_000 + 2 * BLOCK_ENTRIES_MAX);
        (0..9_000).for_each(|_| drop(ready.take()));
        assert!(capacity(&ready) <= 1_000 + 2 * BLOCK_ENTRIES_MAX);
        while ready.take().is_some() {}
        assert!(capacity(&ready) <= KEEP_ENTRIES_MAX);
        assert_eq!((ready.len(), ready.bytes()), (0, 0));
        ready.push(entry(10_000));
        assert_eq!(positions(ready), [10_000]);
    }

    proptest::proptest! {
        #[test]
        fn entries_come_and_go_in_any_way_and_stay_in_order(
            rounds in proptest::collection::vec((0..400_u64, 0..700_usize, proptest::num::u64::ANY), 1..12),
        ) {
            let (mut ready, mut out, mut next) = (Ready::default(), Vec::new(), 0);
            for (pushed, taken, chosen) in rounds {
                (next..next + pushed).for_each(|position| ready.push(entry(position)));
                next += pushed;
                out.extend((0..taken).map_while(|_| ready.take()));
                let is_back = |e: &mut Entry| chosen.rotate_left(e.position as u32) & 1 == 1;
                ready.put_back(&mut out.extract_if(.., is_back).collect());
            }
            let mut inside: Vec<u64> = (0..next).collect();
            inside.retain(|position| out.iter().all(|e| e.position != *position));
            assert_eq!(ready.len(), inside.len() as u64);
            assert_eq!(positions(ready), inside);
        }
    }

    #[test]
    fn only_the_head_is_judged_by_its_deadline() {
        let mut ready = filled([0]);
        let at = Moment::from_unix_ms(7);
        ready.push(Entry::new(message(""), 1, at));
        assert!(ready.take_expired(at).is_none(), "behind a live head");
        assert_eq!(ready.take_live(at).unwrap().position, 0);
        assert!(ready.take_live(at).is_none());
        assert_eq!(ready.take_expired(at).unwrap().position, 1);
        assert!(ready.take_expired(at).is_none());
    }
}
