//! `fanout`: a message goes to every destination, whatever key or arguments the bindings have
//! (ROUTE-02).

use super::{DestinationCounts, Destinations, Exchange, Routing};
use crate::core::binding::Binding;

/// All destinations.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    destinations: DestinationCounts,
}

impl Exchange for Fanout {
    fn bind(&mut self, binding: &Binding) {
        self.destinations.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        self.destinations.remove(binding.destination());
    }

    fn route(&self, _routing: &Routing<'_>, found: &mut Destinations) {
        found.extend_from(&self.destinations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use leveret_protocol::{TableBuf, Value};

    #[test]
    fn route_02_fanout_ignores_key_and_arguments() {
        let mut fanout = Fanout::default();
        fanout.bind(&binding(1, "a", &TableBuf::new()));
        fanout.bind(&binding(1, "b", &TableBuf::new()));
        fanout.bind(&binding(
            2,
            "",
            &TableBuf::new().with("n", Value::Bool(true)),
        ));
        assert_eq!(routed(&fanout, &[b"zzz"], None), [1, 2]);
        fanout.unbind(&binding(1, "a", &TableBuf::new()));
        assert_eq!(routed(&fanout, &[b"zzz"], None), [1, 2], "bound by b still");
        fanout.unbind(&binding(1, "b", &TableBuf::new()));
        assert_eq!(routed(&fanout, &[b"zzz"], None), [2]);
    }
}
