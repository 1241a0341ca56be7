//! `x-modulus-hash`: the hash of the routing key, modulo the number of bindings, is the number of the
//! binding that the message follows; binding keys do not matter.
//!
//! A key goes to the same queue for as long as the bindings stay the same, also across restarts. When a
//! binding comes or goes, nearly all keys move; that is what `x-consistent-hash` is for.

use super::shares::Shares;
use super::stable_hash::StableHash;
use super::{Destinations, Exchange, Routing};
use crate::core::binding::Binding;

/// One binding of all, by the hash of the key.
#[derive(Debug, Default)]
pub(super) struct ModulusHash {
    shares: Shares,
}

impl Exchange for ModulusHash {
    fn bind(&mut self, binding: &Binding) {
        self.shares.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        self.shares.remove(binding.destination());
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        let hash = StableHash::new().with(routing.routing_key()).finish();
        let number = hash.checked_rem(self.shares.len());
        if let Some(destination) = number.and_then(|number| self.shares.get(number)) {
            found.push(destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use leveret_protocol::TableBuf;
    use proptest::prelude::*;

    const QUEUES: u64 = 4;

    fn bound(queues: impl IntoIterator<Item = u64>) -> ModulusHash {
        let mut exchange = ModulusHash::default();
        for queue in queues {
            exchange.bind(&binding(queue, format!("{queue}"), &TableBuf::new()));
        }
        exchange
    }

    #[test]
    fn keys_spread_over_all_bindings() {
        let exchange = bound(1..=QUEUES);
        let mut counts = [0_u32; QUEUES as usize];
        for key in 0..4000 {
            let queues = routed(&exchange, &[format!("key.{key}").as_bytes()], None);
            assert_eq!(queues.len(), 1);
            counts[queues[0] as usize - 1] += 1;
        }
        assert!(
            counts.iter().all(|count| count.abs_diff(1000) < 150),
            "{counts:?}"
        );
    }

    #[test]
    fn without_a_binding_a_message_goes_nowhere() {
        let mut exchange = bound([1]);
        assert_eq!(routed(&exchange, &[b""], None), [1]);
        exchange.unbind(&binding(1, "1", &TableBuf::new()));
        assert!(routed(&exchange, &[b""], None).is_empty());
    }

    proptest! {
        #[test]
        fn the_order_of_the_bindings_does_not_matter(
            queues in Just(Vec::from_iter(1..=9_u64)).prop_shuffle(),
            key in ".{0,20}",
        ) {
            let keys = [key.as_bytes()];
            prop_assert_eq!(routed(&bound(queues), &keys, None), routed(&bound(1..=9), &keys, None));
        }
    }
}
