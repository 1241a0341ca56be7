//! [`Ready`]: the messages that wait for a taker, in the order in which the queue took them in.
//!
//! A message keeps the position it got at its arrival, so that it can come back to it (DELIV-06).
//! What it is not: it knows no consumers and decides nothing; it does not look behind the head for
//! expired messages either (TTL-06).
//!
//! Invariants: positions rise from front to back; `bytes` is the sum of the entries' body lengths.

use std::collections::VecDeque;

use crate::core::{Message, Moment};

/// The deadline of a message that does not expire.
pub(super) const NEVER: Moment = Moment::from_unix_ms(u64::MAX);

/// A buffer that ran empty gives its memory back when it had grown beyond this many entries (about
/// 40 KiB), so that one burst does not cost an idle queue its memory for ever.
const KEEP_ENTRIES_MAX: usize = 1024;

/// Up to this many entries are inserted one by one when they come back; more are merged, so that
/// many returns into the middle of a long queue cost one pass and not one each.
const INSERT_ENTRIES_MAX: usize = 4;

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
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Ready {
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Body bytes of all ready messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the head expires; [`NEVER`] also for an empty queue.
    pub(super) fn head_expires_at(&self) -> Moment {
        self.entries.front().map_or(NEVER, |head| head.expires_at)
    }

    /// Appends an entry whose position is higher than all others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.body_len);
        self.entries.push_back(entry);
    }

    /// Takes the head.
    pub(super) fn take(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= u64::from(entry.body_len);
        if self.entries.is_empty() && self.entries.capacity() > KEEP_ENTRIES_MAX {
            self.entries = VecDeque::new();
        }
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
        self.bytes += returned.iter().map(|e| u64::from(e.body_len)).sum::<u64>();
        let Some(last) = returned.last() else { return };
        let older = self.count_before(last.position);
        if older > 0 && returned.len() > INSERT_ENTRIES_MAX {
            self.merge(returned, older);
        }
        while let Some(entry) = returned.pop() {
            self.insert(entry);
        }
    }

    /// Gives everything away.
    pub(super) fn take_all(&mut self) -> VecDeque<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }

    fn insert(&mut self, entry: Entry) {
        let at_front = self
            .entries
            .front()
            .is_none_or(|head| entry.position < head.position);
        if at_front {
            self.entries.push_front(entry);
        } else {
            let at = self.count_before(entry.position);
            self.entries.insert(at, entry);
        }
    }

    /// Moves the oldest `older` entries to `returned`, in order; putting those back is then a series
    /// of pushes to the front.
    fn merge(&mut self, returned: &mut Vec<Entry>, older: usize) {
        returned.extend(self.entries.drain(..older));
        sort_by_position(returned);
    }

    fn count_before(&self, position: u64) -> usize {
        let newer_than_all = self.entries.front().is_none_or(|e| position < e.position);
        if newer_than_all {
            return 0;
        }
        self.entries.partition_point(|e| e.position < position)
    }
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
    fn deliv_07_a_large_batch_is_merged_in_order() {
        let mut ready = filled((0..100).map(|p| p * 2));
        ready.put_back(&mut (0..50).rev().map(|p| entry(p * 2 + 1)).collect());
        assert_eq!((ready.len(), ready.bytes()), (150, 300));
        let expected: Vec<u64> = (0..100).chain((50..100).map(|p| p * 2)).collect();
        assert_eq!(positions(ready), expected);
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let mut ready = filled(0..10_000);
        while ready.take().is_some() {}
        assert!(ready.entries.capacity() <= KEEP_ENTRIES_MAX);
        assert_eq!(ready.bytes(), 0);
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
