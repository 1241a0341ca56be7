//! `direct`: a message goes where the binding key equals one of its routing keys, byte for byte
//! (ROUTE-01).
//!
//! The default exchange is of this kind too; it has no bindings, and its implicit ones, every queue
//! by its name, are looked up by [`crate::core::route`].

use std::collections::HashMap;

use super::{DestinationCounts, Destinations, Exchange, Routing};
use crate::core::binding::Binding;

/// Destinations by binding key.
#[derive(Debug, Default)]
pub(super) struct Direct {
    // Peers choose the keys, so the hasher must be one whose collisions they cannot aim at.
    by_key: HashMap<Box<[u8]>, DestinationCounts>,
}

impl Exchange for Direct {
    fn bind(&mut self, binding: &Binding) {
        let key = Box::from(binding.routing_key());
        let destinations = self.by_key.entry(key).or_default();
        destinations.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        if let Some(destinations) = self.by_key.get_mut(binding.routing_key()) {
            destinations.remove(binding.destination());
            if destinations.is_empty() {
                self.by_key.remove(binding.routing_key());
            }
        }
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        for key in routing.routing_keys {
            if let Some(destinations) = self.by_key.get(*key) {
                found.extend_from(destinations);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use leveret_protocol::{TableBuf, Value};

    fn bound(bindings: &[(u64, &str)]) -> Direct {
        let mut direct = Direct::default();
        for (queue, key) in bindings {
            direct.bind(&binding(*queue, key, &TableBuf::new()));
        }
        direct
    }

    #[test]
    fn route_01_direct_wants_the_exact_key() {
        let direct = bound(&[(1, "a.b"), (2, "a.*"), (3, "#"), (4, ""), (5, "A.B")]);
        assert_eq!(routed(&direct, &[b"a.b"], None), [1]);
        assert_eq!(routed(&direct, &[b"a.*"], None), [2]);
        assert_eq!(routed(&direct, &[b""], None), [4]);
        assert!(routed(&direct, &[b"a"], None).is_empty());
    }

    #[test]
    fn pub_09_cc_keys_are_routing_keys_too() {
        let direct = bound(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(routed(&direct, &[b"a", b"c"], None), [1, 3]);
    }

    #[test]
    fn bind_02_one_of_two_bindings_that_differ_in_arguments_is_left() {
        let mut direct = bound(&[(1, "a")]);
        let other = binding(1, "a", &TableBuf::new().with("n", Value::I32(1)));
        direct.bind(&other);
        direct.unbind(&other);
        assert_eq!(routed(&direct, &[b"a"], None), [1]);
        direct.unbind(&binding(1, "a", &TableBuf::new()));
        assert!(routed(&direct, &[b"a"], None).is_empty() && direct.by_key.is_empty());
    }
}
