//! `x-message-deduplication`, and `x-message-deduplication: true` on any other exchange: a message that
//! was seen before is kept back, whatever the exchange would have done with it.
//!
//! ```text
//!   message ──▶ has the header? ──no──────────────▶ the exchange's own rules
//!                   │ yes                                 ▲
//!                   ▼            the first               │
//!                 cache ─────────────────────────────────┘
//!                   │ seen before
//!                   ▼
//!                 taken: confirmed, not returned, and not for the alternate exchange
//! ```
//!
//! The cache is in memory only and begins empty with every start. A publish of a transaction counts as
//! seen when it is published, also if it is rolled back.

use std::sync::{Mutex, PoisonError};

use leveret_protocol::Table;

use super::{Destinations, Exchange, Routing};
use crate::core::Message;
use crate::core::binding::Binding;
use crate::core::deduplication::{Cache, Deduplication};

/// An exchange that drops duplicates, around one that routes.
#[derive(Debug)]
pub(super) struct Deduplicating {
    asked: Deduplication,
    seen: Mutex<Cache>,
    rules: Box<dyn Exchange>,
}

impl Deduplicating {
    pub(super) fn new(arguments: Table<'_>, rules: Box<dyn Exchange>) -> Self {
        let asked = Deduplication::read(arguments);
        Self {
            seen: Mutex::new(asked.cache()),
            asked,
            rules,
        }
    }

    fn is_duplicate(&self, routing: &Routing<'_>) -> bool {
        let sighting = match routing.message {
            Some(_) => self.asked.sighting(routing.headers),
            None => None,
        };
        sighting.is_some_and(|sighting| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            !seen.is_first(sighting, routing.now)
        })
    }
}

impl Exchange for Deduplicating {
    fn bind(&mut self, binding: &Binding) {
        self.rules.bind(binding);
    }

    fn unbind(&mut self, binding: &Binding) {
        self.rules.unbind(binding);
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        if self.is_duplicate(routing) {
            found.take_message();
        } else {
            self.rules.route(routing, found);
        }
    }

    fn route_held(&self, routing: &Routing<'_>, found: &mut Destinations) {
        self.rules.route_held(routing, found);
    }

    fn looks_at_messages(&self) -> bool {
        true
    }

    fn earlier_messages(&self) -> Vec<Message> {
        self.rules.earlier_messages()
    }

    fn held_bytes(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.rules.held_bytes() + seen.held_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::exchange::tests::binding;
    use crate::core::exchange::{self, Kind};
    use crate::core::{MessageParts, Moment};
    use leveret_protocol::content::Body;
    use leveret_protocol::{TableBuf, Value};

    /// How many destinations a message with this header finds at this time, and whether it is taken.
    fn publish(exchange: &dyn Exchange, header: Option<(&str, i32)>, ms: u64) -> (usize, bool) {
        let message = Message::new(
            MessageParts {
                exchange: b"x",
                routing_key: b"k",
                properties: &[0, 0],
                body: Body::Whole(b""),
                persistent: false,
                priority: 0,
                expiration_ms: None,
            },
            &mut Vec::new(),
        );
        let headers = TableBuf::from_entries(header.map(|(name, id)| (name, Value::I32(id))));
        let mut found = Destinations::default();
        let routing = Routing {
            routing_keys: &[b"k"],
            headers: Some(headers.view()),
            message: Some(&message),
            now: Moment::from_unix_ms(ms),
        };
        exchange.route(&routing, &mut found);
        (found.iter().count(), found.is_taken())
    }

    fn made(kind: &Kind, arguments: &[(&str, Value<'_>)]) -> Box<dyn Exchange> {
        let arguments = TableBuf::from_entries(arguments.iter().copied());
        exchange::check_arguments(kind, arguments.view()).unwrap();
        let mut made = exchange::make(kind, arguments.view());
        made.bind(&binding(1, "k", &TableBuf::new()));
        made
    }

    const ID: &str = "x-deduplication-header";
    const FIRST: (usize, bool) = (1, false);
    const DUPLICATE: (usize, bool) = (0, true);

    #[test]
    fn the_plugin_s_type_is_a_fanout_without_duplicates() {
        let (size, ttl) = (
            ("x-cache-size", Value::I8(10)),
            ("x-cache-ttl", Value::I32(1000)),
        );
        let exchange = made(&exchange::MESSAGE_DEDUPLICATION, &[size, ttl]);
        assert!(exchange.looks_at_messages());
        assert_eq!(publish(&*exchange, Some((ID, 1)), 0), FIRST);
        assert_eq!(publish(&*exchange, Some((ID, 1)), 999), DUPLICATE);
        assert_eq!(publish(&*exchange, Some((ID, 2)), 999), FIRST);
        assert_eq!(publish(&*exchange, Some((ID, 1)), 1000), FIRST);
        for _ in 0..2 {
            assert_eq!(publish(&*exchange, None, 1000), FIRST);
        }
    }

    #[test]
    fn any_exchange_can_be_asked_to_drop_duplicates() {
        let asked = [
            ("x-message-deduplication", Value::Bool(true)),
            ("x-deduplication-header", Value::LongStr(b"order")),
        ];
        let exchange = made(&exchange::DIRECT, &asked);
        assert!(exchange.looks_at_messages());
        assert_eq!(publish(&*exchange, Some(("order", 1)), 0), FIRST);
        assert_eq!(publish(&*exchange, Some(("order", 1)), 0), DUPLICATE);
        for _ in 0..2 {
            assert_eq!(
                publish(&*exchange, Some((ID, 1)), 0),
                FIRST,
                "another header"
            );
        }
        let not_asked = made(
            &exchange::DIRECT,
            &[("x-message-deduplication", Value::Bool(false))],
        );
        assert!(!not_asked.looks_at_messages());
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let asked = [
            ("x-message-deduplication", Value::Bool(true)),
            ("x-cache-size", Value::I8(0)),
        ];
        let arguments = TableBuf::from_entries(asked);
        assert!(exchange::check_arguments(&exchange::TOPIC, arguments.view()).is_err());
        let not_asked = TableBuf::from_entries([("x-cache-size", Value::I8(0))]);
        assert!(exchange::check_arguments(&exchange::TOPIC, not_asked.view()).is_ok());
        let kind = &exchange::MESSAGE_DEDUPLICATION;
        assert!(exchange::check_arguments(kind, Table::default()).is_err());
    }

    #[test]
    fn asking_for_the_way_counts_as_no_sighting() {
        let exchange = made(
            &exchange::MESSAGE_DEDUPLICATION,
            &[("x-cache-size", Value::I8(1))],
        );
        let headers = TableBuf::from_entries([(ID, Value::I8(1))]);
        for _ in 0..2 {
            let queues = exchange::tests::routed(&*exchange, &[b"k"], Some(headers.view()));
            assert_eq!(queues, [1]);
        }
    }
}
