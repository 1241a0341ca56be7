//! What a publisher has sent and not yet seen confirmed.
//!
//! ```text
//!   tags   first ........................ first + sent.len()
//!          waiting  settled  waiting  ...        next to send
//! ```
//!
//! What it is not: it reads no clock and knows no socket; moments are given to it.
//!
//! Invariants: the front of `sent` is never settled; `unsettled` counts the waiting ones; a tag is
//! settled once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far tags may spread when a broker confirms out of order, whatever room there is: it bounds the
/// memory that one late confirm costs.
const SPREAD_MAX: usize = 1 << 20;

/// The confirm window of one channel.
#[derive(Debug)]
pub(super) struct Window {
    /// The tag at the front of `sent`; tags begin at 1 (CONF-02).
    first: u64,
    /// When each was sent; `None` once it is settled.
    sent: VecDeque<Option<Instant>>,
    unsettled: usize,
    room: usize,
}

/// A confirm for something that was not sent or is settled already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownTag(pub(super) u64);

impl Window {
    /// A window that lets `room` messages wait.
    pub(super) fn new(room: usize) -> Self {
        Self {
            first: 1,
            sent: VecDeque::new(),
            unsettled: 0,
            room,
        }
    }

    /// Whether one more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many more may be sent.
    pub(super) fn room(&self) -> usize {
        let spread = SPREAD_MAX.saturating_sub(self.sent.len());
        self.room.saturating_sub(self.unsettled).min(spread)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.unsettled == 0
    }

    /// Notes that the next message was sent.
    pub(super) fn send(&mut self, at: Instant) {
        self.sent.push_back(Some(at));
        self.unsettled += 1;
    }

    /// Settles a tag, or all up to it, and tells how long each waited.
    ///
    /// # Errors
    /// Nothing waits under this tag. A `multiple` must settle at least its own tag.
    pub(super) fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        now: Instant,
        mut each: impl FnMut(Duration),
    ) -> Result<(), UnknownTag> {
        let last = self.index(tag).ok_or(UnknownTag(tag))?;
        let from = if multiple { 0 } else { last };
        for sent in self.sent.range_mut(from..=last).filter_map(Option::take) {
            self.unsettled -= 1;
            each(now.saturating_duration_since(sent));
        }
        self.forget_settled();
        Ok(())
    }

    fn index(&self, tag: u64) -> Option<usize> {
        let index = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.sent.get(index)?.is_some().then_some(index)
    }

    fn forget_settled(&mut self) {
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A window into which messages 1 to `count` were sent, one millisecond apart.
    fn sent(count: u64, room: usize) -> (Window, Instant) {
        let start = Instant::now();
        let mut window = Window::new(room);
        (1..=count).for_each(|tag| window.send(start + Duration::from_millis(tag)));
        (window, start)
    }

    fn settle(window: &mut Window, start: Instant, tag: u64, multiple: bool) -> Vec<u128> {
        let mut waited = Vec::new();
        let now = start + Duration::from_millis(10);
        let settled = window.settle(tag, multiple, now, |each| waited.push(each.as_millis()));
        settled.unwrap();
        waited
    }

    #[test]
    fn a_multiple_settles_all_up_to_its_tag() {
        let (mut window, start) = sent(4, 4);
        assert!(!window.has_room());
        assert_eq!(settle(&mut window, start, 3, true), [9, 8, 7]);
        assert!(window.has_room() && !window.is_empty());
        assert_eq!(settle(&mut window, start, 4, true), [6]);
        assert!(window.is_empty());
    }

    #[test]
    fn confirms_may_come_out_of_order() {
        let (mut window, start) = sent(3, 3);
        assert_eq!(settle(&mut window, start, 2, false), [8]);
        assert!(window.has_room());
        assert_eq!(settle(&mut window, start, 3, true), [9, 7]);
        assert!(window.is_empty());
    }

    #[test]
    fn a_tag_is_settled_once_and_only_if_it_was_sent() {
        let (mut window, start) = sent(3, 3);
        settle(&mut window, start, 2, false);
        settle(&mut window, start, 1, false);
        for tag in [0, 1, 2, 4] {
            let refused = window.settle(tag, false, start, |_| panic!("{tag}"));
            assert_eq!(refused, Err(UnknownTag(tag)));
        }
    }

    #[test]
    fn one_late_confirm_bounds_the_spread() {
        let start = Instant::now();
        let mut window = Window::new(2);
        window.send(start);
        for tag in 2.. {
            if !window.has_room() {
                assert_eq!(tag, SPREAD_MAX as u64 + 1);
                break;
            }
            window.send(start);
            window.settle(tag, false, start, drop).unwrap();
        }
    }
}
