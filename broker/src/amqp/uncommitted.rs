//! [`Uncommitted`]: how much of what a connection has published the store has yet to commit.
//!
//! A publisher that waits for no confirms could otherwise fill the memory while the disk is slow. A
//! connection above the limit is not read until the store has caught up with it.
//!
//! What it is not: it holds no messages, and asks nobody to be woken.
//!
//! Invariant: parts are in the order of their epochs, and `bytes` is their sum.

use std::collections::VecDeque;

use leveret_storage::{CommitState, Epoch};

use crate::limits::{MESSAGE_OVERHEAD_BYTES, UNCOMMITTED_BYTES_MAX};

/// One connection's uncommitted publishes.
#[derive(Debug, Default)]
pub(crate) struct Uncommitted {
    parts: VecDeque<Part>,
    bytes: usize,
}

/// What one epoch covers.
#[derive(Debug)]
struct Part {
    epoch: Epoch,
    bytes: usize,
}

impl Uncommitted {
    /// Counts messages that are in the store once it has committed this epoch.
    pub(crate) fn add(&mut self, epoch: Epoch, messages: usize, body_bytes: usize) {
        let bytes = body_bytes + messages * MESSAGE_OVERHEAD_BYTES as usize;
        self.bytes += bytes;
        match self.parts.back_mut() {
            Some(last) if last.epoch >= epoch => last.bytes += bytes,
            _ => self.parts.push_back(Part { epoch, bytes }),
        }
    }

    /// Counts what is held only until the latest epoch so far is decided.
    pub(crate) fn add_to_latest(&mut self, bytes: usize) {
        if let Some(last) = self.parts.back_mut() {
            last.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// Forgets what the store has committed, or never will.
    pub(crate) fn forget_decided(&mut self, state: impl Fn(Epoch) -> CommitState) {
        while let Some(first) = self.parts.front() {
            if state(first.epoch) == CommitState::Waiting {
                return;
            }
            self.bytes -= first.bytes;
            self.parts.pop_front();
        }
    }

    /// The epoch that makes it less.
    pub(crate) fn waits_for(&self) -> Option<Epoch> {
        self.parts.front().map(|part| part.epoch)
    }

    /// True when nothing is known to be uncommitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// True when no more is to be read before the store has caught up.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= UNCOMMITTED_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_storage::Commits;

    fn committed(uncommitted: &mut Uncommitted, commits: &Commits, epoch: u64) {
        commits.advance(Epoch(epoch));
        uncommitted.forget_decided(|epoch| commits.state(epoch));
    }

    #[test]
    fn it_is_full_until_the_store_has_caught_up() {
        let (mut uncommitted, commits) = (Uncommitted::default(), Commits::new());
        uncommitted.add(Epoch(1), 1, UNCOMMITTED_BYTES_MAX / 2);
        uncommitted.add(Epoch(1), 1, 1);
        assert!(!uncommitted.is_full());
        uncommitted.add(Epoch(2), 1, UNCOMMITTED_BYTES_MAX / 2);
        assert!(uncommitted.is_full());
        assert_eq!(uncommitted.waits_for(), Some(Epoch(1)));
        committed(&mut uncommitted, &commits, 1);
        assert!(!uncommitted.is_full() && !uncommitted.is_empty());
        assert_eq!(uncommitted.waits_for(), Some(Epoch(2)));
        committed(&mut uncommitted, &commits, 2);
        assert!(uncommitted.is_empty());
        assert_eq!(uncommitted.bytes, 0);
    }

    #[test]
    fn messages_without_a_body_count_too() {
        let mut uncommitted = Uncommitted::default();
        let count = UNCOMMITTED_BYTES_MAX / MESSAGE_OVERHEAD_BYTES as usize;
        uncommitted.add(Epoch(1), count, 0);
        assert!(uncommitted.is_full());
    }

    #[test]
    fn a_failed_store_holds_nobody_up() {
        let (mut uncommitted, commits) = (Uncommitted::default(), Commits::new());
        uncommitted.add(Epoch(1), 1, UNCOMMITTED_BYTES_MAX);
        uncommitted.add_to_latest(8);
        commits.fail();
        uncommitted.forget_decided(|epoch| commits.state(epoch));
        assert!(uncommitted.is_empty());
        assert_eq!(uncommitted.bytes, 0);
    }
}
