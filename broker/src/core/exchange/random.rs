//! `x-random` and `x-local-random`: each message goes to one of the bindings, drawn anew every time
//! and whatever its key is.
//!
//! The two route alike here, because every queue is on this node; but `x-local-random` takes only
//! bindings without a key, and only to classic queues, as RabbitMQ 4 has it.
//!
//! The generator is a counter that is mixed: drawing is one atomic addition, so publishers on several
//! threads do not wait for each other. Its seed is another one for every exchange and every start.
//!
//! What it is not: unpredictable to somebody who means to predict it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use leveret_protocol::Fault;

use super::shares::Shares;
use super::stable_hash::mix;
use super::{Destinations, Exchange, NewBinding, Routing};
use crate::core::argument_checks::precondition_failed;
use crate::core::binding::Binding;
use crate::core::queue::arguments::QueueType;

/// What the counter counts by: odd, and without a pattern in its bits (SplitMix64's constant).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// One binding of all, drawn for each message.
#[derive(Debug)]
pub(super) struct Random {
    shares: Shares,
    counter: AtomicU64,
}

impl Random {
    pub(super) fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(STEP))
    }

    fn seeded(seed: u64) -> Self {
        Self {
            shares: Shares::default(),
            counter: AtomicU64::new(seed),
        }
    }

    /// A number below `count`, each as likely as any other.
    fn draw_below(&self, count: u64) -> u64 {
        let drawn = mix(self.counter.fetch_add(STEP, Ordering::Relaxed));
        let scaled = u128::from(drawn) * u128::from(count);
        (scaled >> 64) as u64
    }
}

impl Exchange for Random {
    fn bind(&mut self, binding: &Binding) {
        self.shares.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        self.shares.remove(binding.destination());
    }

    fn route(&self, _routing: &Routing<'_>, found: &mut Destinations) {
        let drawn = self.draw_below(self.shares.len());
        if let Some(destination) = self.shares.get(drawn) {
            found.push(destination);
        }
    }
}

/// Judges a binding to an `x-local-random` exchange.
pub(super) fn check_local_binding(binding: &NewBinding<'_>) -> Result<(), Fault> {
    if !binding.routing_key.is_empty() {
        let key = String::from_utf8_lossy(binding.routing_key);
        let text = format!("Non empty binding '{key}' key not permitted");
        return Err(precondition_failed(text));
    }
    match binding.queue_type {
        Some(QueueType::Classic) => Ok(()),
        Some(other) => Err(precondition_failed(format!(
            "Queue type {} not valid for this exchange type",
            other.module_name()
        ))),
        None => Err(precondition_failed("Destination not found".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use leveret_protocol::{Table, TableBuf};

    const MESSAGES: u64 = 10_000;

    /// How many of the messages each of queues 1 to 3 gets.
    fn spread(random: &Random) -> [u64; 3] {
        let mut counts = [0; 3];
        for _ in 0..MESSAGES {
            let queues = routed(random, &[b"k"], None);
            assert_eq!(queues.len(), 1, "exactly one gets it");
            counts[queues[0] as usize - 1] += 1;
        }
        counts
    }

    #[test]
    fn every_binding_is_as_likely_as_any_other() {
        let mut random = Random::seeded(7);
        for (queue, key) in [(1, ""), (2, "a"), (3, "a"), (3, "b")] {
            random.bind(&binding(queue, key, &TableBuf::new()));
        }
        // Five standard deviations of 10,000 draws are at most 250.
        for (got, due) in spread(&random).into_iter().zip([2500, 2500, 5000]) {
            assert!(got.abs_diff(due) < 250, "{got} instead of {due}");
        }
        random.unbind(&binding(3, "a", &TableBuf::new()));
        random.unbind(&binding(1, "", &TableBuf::new()));
        let [first, ..] = spread(&random);
        assert_eq!(first, 0);
    }

    #[test]
    fn without_a_binding_a_message_goes_nowhere() {
        let mut random = Random::new();
        assert!(routed(&random, &[b"k"], None).is_empty());
        random.bind(&binding(1, "", &TableBuf::new()));
        assert_eq!(routed(&random, &[b"k"], None), [1]);
        random.unbind(&binding(1, "", &TableBuf::new()));
        assert!(routed(&random, &[b"k"], None).is_empty());
    }

    #[test]
    fn two_exchanges_do_not_draw_alike() {
        let draws = |random: Random| [(); 8].map(|()| random.draw_below(1 << 60));
        assert_ne!(draws(Random::new()), draws(Random::new()));
        assert_eq!(draws(Random::seeded(1)), draws(Random::seeded(1)));
    }

    #[test]
    fn a_local_one_takes_classic_queues_without_a_key() {
        let judged = |routing_key: &[u8], queue_type| {
            let checked = check_local_binding(&NewBinding {
                source_arguments: Table::default(),
                routing_key,
                arguments: Table::default(),
                queue_type,
            });
            checked.map_err(|fault| fault.reply_text())
        };
        let refused = |text: &str| Err(format!("PRECONDITION_FAILED - {text}"));
        assert_eq!(judged(b"", Some(QueueType::Classic)), Ok(()));
        assert_eq!(
            judged(b"k", Some(QueueType::Quorum)),
            refused("Non empty binding 'k' key not permitted")
        );
        assert_eq!(
            judged(b"", Some(QueueType::Quorum)),
            refused("Queue type rabbit_quorum_queue not valid for this exchange type")
        );
        assert_eq!(judged(b"", None), refused("Destination not found"));
    }
}
