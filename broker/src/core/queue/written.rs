//! [`Written`]: up to which position a queue's messages are known to be on disk.
//!
//! A queue learns the epoch of each submission. Keeping all of them would cost memory for as long as
//! the disk is slow, so it keeps two: the oldest that it waits for, and the latest. What lies between
//! is known one commit later.
//!
//! Invariant: positions below `below` were submitted under epochs that are reached.

use leveret_storage::Epoch;

/// How far the messages of one queue are on disk.
#[derive(Debug, Default)]
pub(super) struct Written {
    below: u64,
    probe: Option<Submission>,
    latest: Option<Submission>,
}

#[derive(Clone, Copy, Debug)]
struct Submission {
    below: u64,
    epoch: Epoch,
}

impl Written {
    /// Everything below this position is on disk.
    pub(super) fn up_to(below: u64) -> Self {
        Self {
            below,
            ..Self::default()
        }
    }

    /// Messages below this position are on disk.
    pub(super) fn below(&self) -> u64 {
        self.below
    }

    /// The epoch at which everything submitted so far is on disk, if that is not yet so.
    pub(super) fn awaited(&self) -> Option<Epoch> {
        Some(self.latest?.epoch)
    }

    /// All messages below this position were submitted, the last under this epoch or before.
    pub(super) fn submitted(&mut self, below: u64, epoch: Epoch) {
        if below <= self.latest.map_or(self.below, |latest| latest.below) {
            return;
        }
        let submission = Submission { below, epoch };
        self.probe.get_or_insert(submission);
        self.latest = Some(submission);
    }

    /// The store has got this far.
    pub(super) fn committed(&mut self, committed: Epoch) {
        let is_reached = |submission: &mut Submission| submission.epoch <= committed;
        if let Some(latest) = self.latest.take_if(is_reached) {
            self.below = latest.below;
            self.probe = None;
        } else if let Some(probe) = self.probe.take_if(is_reached) {
            self.below = probe.below;
            self.probe = self.latest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_follows_the_commits() {
        let mut written = Written::up_to(5);
        [(10, 1), (20, 2), (30, 3)]
            .into_iter()
            .for_each(|(below, epoch)| written.submitted(below, Epoch(epoch)));
        written.committed(Epoch(0));
        assert_eq!(written.below(), 5);
        written.committed(Epoch(2));
        assert_eq!(written.below(), 10, "of the second nothing is known");
        assert_eq!(written.awaited(), Some(Epoch(3)));
        written.submitted(40, Epoch(4));
        written.committed(Epoch(3));
        assert_eq!(written.below(), 30);
        written.submitted(40, Epoch(9));
        written.committed(Epoch(4));
        let settled = (written.below(), written.awaited());
        assert_eq!(settled, (40, None), "what came later were no messages");
    }
}
