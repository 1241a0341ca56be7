//! [`Marks`]: up to which position a durable queue may hand messages out.
//!
//! After a crash nobody knows what was delivered, and what may have been must come with
//! `redelivered` set (DELIV-05). So a logged message is handed out only once it is on disk that
//! messages of its position may be: below a *mark*. Marks go ahead of the queue in large steps, which
//! makes them cheap; the price is that after a crash messages below the mark count as delivered even
//! if none was.
//!
//! ```text
//!    open ──ask──▶ asked ──submitted──▶ on its way ──committed──▶ open, further ahead
//!                    └── the store has failed: all is open, nothing can be written any more ──▶
//! ```
//!
//! A failed store cannot write marks, and holding everything back would end all deliveries. So what is
//! delivered from then on may come again after a restart, and not marked.
//!
//! What it is not: it sees no messages and asks for no tick; it says what to wait for.
//!
//! Invariants: what is open only grows; at most one mark is on its way.

use leveret_storage::Epoch;

/// How far a mark goes ahead of the message that is handed out next. Half of it is some 10 ms of what
/// one queue hands out at its fastest, several times what a commit takes; and no more than this many
/// messages that were never delivered come as redelivered after a crash.
pub(super) const MARK_STEP: u64 = 8192;

/// The marks of one queue.
#[derive(Debug, Default)]
pub(super) struct Marks {
    open_below: u64,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    below: u64,
    /// `None` until it was submitted.
    epoch: Option<Epoch>,
}

impl Marks {
    /// Logged messages below this position may be handed out.
    pub(super) fn open_below(&self) -> u64 {
        self.open_below
    }

    /// The mark to write now so that messages from `next` to a step ahead may be handed
    /// out; `None` while another is on its way.
    pub(super) fn ask(&mut self, next: u64) -> Option<u64> {
        if self.asked.is_some() || self.open_below == u64::MAX {
            return None;
        }
        let below = next.saturating_add(MARK_STEP);
        self.asked = Some(Asked { below, epoch: None });
        Some(below)
    }

    /// True when less than half a step is left ahead of `next`.
    pub(super) fn run_short(&self, next: u64) -> bool {
        self.open_below < next.saturating_add(MARK_STEP / 2)
    }

    /// What was written by the call that ends now was submitted under this epoch.
    pub(super) fn submitted(&mut self, epoch: Epoch) {
        if let Some(asked) = &mut self.asked {
            asked.epoch.get_or_insert(epoch);
        }
    }

    /// The epoch of the mark that is on its way.
    pub(super) fn awaited(&self) -> Option<Epoch> {
        self.asked.as_ref()?.epoch
    }

    /// The store has got this far.
    pub(super) fn committed(&mut self, committed: Epoch) {
        let is_reached =
            |asked: &mut Asked| asked.epoch.is_some_and(|awaited| awaited <= committed);
        if let Some(asked) = self.asked.take_if(is_reached) {
            self.open_below = self.open_below.max(asked.below);
        }
    }

    /// The store has failed: nothing is written any more, and everything may be handed out.
    pub(super) fn failed(&mut self) {
        self.open_below = u64::MAX;
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_opens_when_it_is_committed_and_not_before() {
        let mut marks = Marks::default();
        assert!(marks.run_short(0));
        assert_eq!(marks.ask(10), Some(10 + MARK_STEP));
        assert_eq!(marks.ask(99), None, "one is on its way");
        marks.committed(Epoch(9));
        assert_eq!(marks.awaited(), None, "it was not even submitted");
        marks.submitted(Epoch(3));
        marks.submitted(Epoch(4));
        assert_eq!(marks.awaited(), Some(Epoch(3)));
        marks.committed(Epoch(2));
        assert_eq!(marks.open_below(), 0);
        marks.committed(Epoch(3));
        assert_eq!(marks.open_below(), 10 + MARK_STEP);
        assert!(!marks.run_short(10 + MARK_STEP / 2));
        assert!(marks.run_short(11 + MARK_STEP / 2));
    }

    #[test]
    fn a_failed_store_keeps_nothing_back() {
        let mut marks = Marks::default();
        marks.ask(0);
        marks.failed();
        assert_eq!((marks.open_below(), marks.ask(7)), (u64::MAX, None));
    }
}
