//! The names of things in the store.

/// Names one log, which holds the messages of one queue. Never used again, not even after the log is
/// gone, so that records of different queues can never be taken for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

/// Counts commits. Everything submitted under one epoch is on disk together once
/// [`Commits`](crate::Commits) has reached it, and everything of earlier epochs with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);
