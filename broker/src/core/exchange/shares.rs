//! [`Shares`]: the destinations of an exchange that gives each message to one of them, once for each
//! binding: a queue that is bound twice has two shares, as in RabbitMQ.
//!
//! Invariant: the order is that of the ids, not that of the bindings, so the same bindings give the
//! same shares after a restart.

use crate::core::binding::Destination;

/// Destinations in order, each as often as it is bound.
#[derive(Debug, Default)]
pub(super) struct Shares(Vec<Destination>);

impl Shares {
    pub(super) fn add(&mut self, destination: Destination) {
        let at = self.0.partition_point(|other| *other < destination);
        self.0.insert(at, destination);
    }

    pub(super) fn remove(&mut self, destination: Destination) {
        if let Ok(at) = self.0.binary_search(&destination) {
            self.0.remove(at);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// One of them, by its number.
    pub(super) fn get(&self, number: u64) -> Option<Destination> {
        self.0.get(usize::try_from(number).ok()?).copied()
    }
}
