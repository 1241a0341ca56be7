//! [`Ids`]: the one counter of a node.
//!
//! Exchanges, queues and durable bindings of all vhosts take their ids from it, so that an id alone
//! says what is meant: a queue's id names its log in a store that all vhosts share.
//!
//! What it is not: dense. A plan takes an id, and a plan that is made again takes another.
//!
//! Invariant: an id is given out once. With a store, that holds across restarts for whatever was
//! durable; see `durable::catalog`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out ids. Clones count on together.
#[derive(Clone, Debug)]
pub struct Ids(Arc<AtomicU64>);

impl Ids {
    /// The first id that is ever given out; 0 is the store's own.
    pub const FIRST: u64 = 1;

    /// Ids from this one on.
    pub fn starting_at(first: u64) -> Self {
        Self(Arc::new(AtomicU64::new(first.max(Self::FIRST))))
    }

    /// Neither this id nor a higher one has been given out.
    pub fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives out one more.
    pub(super) fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that an id that came from elsewhere is not given out again.
    pub(crate) fn pass(&self, id: u64) {
        self.0.fetch_max(id.saturating_add(1), Ordering::Relaxed);
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::starting_at(Self::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_out_twice() {
        let ids = Ids::starting_at(0);
        let others = ids.clone();
        assert_eq!([ids.take(), others.take()], [1, 2]);
        ids.pass(7);
        ids.pass(3);
        assert_eq!((others.next(), ids.take(), ids.next()), (8, 8, 9));
    }
}
