//! [`Unacked`]: the deliveries of one channel that wait to be settled, by delivery tag.
//!
//! Tags are one sequence per channel, starting at 1, shared by consumers and gets (DELIV-01, GET-07).
//! The ring has a place for every tag from the oldest unsettled one on, so that settling by tag is an
//! index, and settling "all up to" pops from the front.
//!
//! Invariant: the front of the ring is always an unsettled delivery.

use std::collections::VecDeque;

use crate::core::queue::DeliveryId;

/// Where a delivery came from: an index into the channel's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceIndex(pub(crate) u32);

/// One delivery that waits to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) source: SourceIndex,
    pub(crate) id: DeliveryId,
    /// True when the channel-wide prefetch limit counts it (QOS-08).
    pub(crate) counted: bool,
}

/// A channel's unsettled deliveries.
#[derive(Debug)]
pub(crate) struct Unacked {
    /// The tag of the ring's front, or the next tag when it is empty.
    oldest_tag: u64,
    ring: VecDeque<Option<Waiting>>,
    count: usize,
    counted: usize,
}

impl Default for Unacked {
    fn default() -> Self {
        Self {
            oldest_tag: 1,
            ring: VecDeque::new(),
            count: 0,
            counted: 0,
        }
    }
}

impl Unacked {
    /// The tag that the next delivery gets.
    pub(crate) fn next_tag(&self) -> u64 {
        self.oldest_tag + self.ring.len() as u64
    }

    /// The bytes that the ring has taken. With one delivery unsettled it grows by a place for each that comes.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.ring.capacity() * size_of::<Option<Waiting>>()) as u64
    }

    /// How many deliveries wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many of them the channel-wide limit counts.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// The oldest delivery's tag.
    pub(crate) fn oldest_tag(&self) -> Option<u64> {
        (self.count > 0).then_some(self.oldest_tag)
    }

    /// Every delivery that waits with its tag, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Waiting)> {
        let tagged = (self.oldest_tag..).zip(&self.ring);
        tagged.filter_map(|(tag, waiting)| Some((tag, (*waiting)?)))
    }

    /// Gives a delivery the next tag and waits for it to be settled.
    pub(crate) fn push(&mut self, waiting: Waiting) -> u64 {
        let tag = self.next_tag();
        self.ring.push_back(Some(waiting));
        self.count += 1;
        self.counted += usize::from(waiting.counted);
        tag
    }

    /// Uses up a tag for a delivery that is settled by being sent (GET-03).
    pub(crate) fn skip(&mut self) -> u64 {
        let tag = self.next_tag();
        if self.ring.is_empty() {
            self.oldest_tag += 1;
        } else {
            self.ring.push_back(None);
        }
        tag
    }

    /// Takes the delivery with exactly this tag, if it waits.
    pub(crate) fn take(&mut self, tag: u64) -> Option<Waiting> {
        let index = usize::try_from(tag.checked_sub(self.oldest_tag)?).ok()?;
        let waiting = self.ring.get_mut(index)?.take()?;
        self.forget(waiting);
        self.trim();
        Some(waiting)
    }

    /// Takes every delivery up to and including `tag`, in order. Nothing is taken unless `tag` itself
    /// waits (ACK-05).
    pub(crate) fn take_up_to(&mut self, tag: u64, taken: &mut Vec<(u64, Waiting)>) -> bool {
        let Some(index) = tag
            .checked_sub(self.oldest_tag)
            .and_then(|n| usize::try_from(n).ok())
        else {
            return false;
        };
        if !matches!(self.ring.get(index), Some(Some(_))) {
            return false;
        }
        self.take_front(index + 1, taken);
        true
    }

    /// Takes everything, in order.
    pub(crate) fn take_all(&mut self, taken: &mut Vec<(u64, Waiting)>) {
        self.take_front(self.ring.len(), taken);
    }

    fn take_front(&mut self, places: usize, taken: &mut Vec<(u64, Waiting)>) {
        for _ in 0..places {
            let tag = self.oldest_tag;
            self.oldest_tag += 1;
            if let Some(Some(waiting)) = self.ring.pop_front() {
                self.forget(waiting);
                taken.push((tag, waiting));
            }
        }
        self.trim();
    }

    /// Puts back a delivery that a rolled-back transaction had taken (TX-10).
    pub(crate) fn restore(&mut self, tag: u64, waiting: Waiting) {
        while tag < self.oldest_tag {
            self.ring.push_front(None);
            self.oldest_tag -= 1;
        }
        let index = (tag - self.oldest_tag) as usize;
        if let Some(place) = self.ring.get_mut(index) {
            *place = Some(waiting);
            self.count += 1;
            self.counted += usize::from(waiting.counted);
        }
        self.trim();
    }

    /// Makes the channel-wide limit count everything that waits now (QOS-08).
    pub(crate) fn count_all(&mut self) {
        self.ring
            .iter_mut()
            .flatten()
            .for_each(|waiting| waiting.counted = true);
        self.counted = self.count;
    }

    fn forget(&mut self, waiting: Waiting) {
        self.count -= 1;
        self.counted -= usize::from(waiting.counted);
    }

    fn trim(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.oldest_tag += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: u64) -> Waiting {
        Waiting {
            source: SourceIndex(0),
            id: DeliveryId(id),
            counted: true,
        }
    }

    fn five() -> Unacked {
        let mut unacked = Unacked::default();
        for id in 1..=5 {
            assert_eq!(unacked.push(waiting(id)), id);
        }
        unacked
    }

    fn tags_up_to(unacked: &mut Unacked, tag: u64) -> Option<Vec<u64>> {
        let mut taken = Vec::new();
        let found = unacked.take_up_to(tag, &mut taken);
        found.then(|| taken.into_iter().map(|(tag, _)| tag).collect())
    }

    #[test]
    fn ack_01_multiple_takes_all_up_to_the_tag() {
        let mut unacked = five();
        assert!(unacked.take(2).is_some());
        assert_eq!(tags_up_to(&mut unacked, 4), Some(vec![1, 3, 4]));
        assert_eq!((unacked.len(), unacked.oldest_tag()), (1, Some(5)));
    }

    #[test]
    fn ack_04_a_tag_is_taken_once() {
        let mut unacked = five();
        assert!(unacked.take(3).is_some());
        assert!(unacked.take(3).is_none());
        assert!(unacked.take(0).is_none());
        assert!(unacked.take(6).is_none());
        assert!(unacked.take(u64::MAX).is_none());
    }

    #[test]
    fn ack_05_multiple_with_a_settled_tag_takes_nothing() {
        let mut unacked = five();
        assert!(unacked.take(3).is_some());
        assert_eq!(tags_up_to(&mut unacked, 3), None);
        assert_eq!(tags_up_to(&mut unacked, 6), None);
        assert_eq!(unacked.len(), 4);
    }

    #[test]
    fn get_03_a_settled_delivery_uses_up_its_tag() {
        let mut unacked = Unacked::default();
        assert_eq!(unacked.skip(), 1);
        assert_eq!(unacked.push(waiting(0)), 2);
        assert_eq!(unacked.skip(), 3);
        assert_eq!(unacked.push(waiting(1)), 4);
        assert!(unacked.take(3).is_none());
        assert_eq!(tags_up_to(&mut unacked, 4), Some(vec![2, 4]));
        assert_eq!(unacked.next_tag(), 5);
    }

    #[test]
    fn tx_10_what_was_taken_can_be_put_back() {
        let mut unacked = five();
        let mut taken = Vec::new();
        unacked.take_up_to(3, &mut taken);
        taken
            .into_iter()
            .rev()
            .for_each(|(tag, waiting)| unacked.restore(tag, waiting));
        assert_eq!((unacked.len(), unacked.next_tag()), (5, 6));
        assert_eq!(tags_up_to(&mut unacked, 5), Some(vec![1, 2, 3, 4, 5]));
    }
}
