//! `x-recent-history`: a fanout exchange that keeps the latest messages for whoever is bound later.
//!
//! ```text
//!   message ──▶ all bindings
//!       └─ unless x-recent-history-no-store is true ──▶ history ──▶ a new binding, oldest first
//! ```
//!
//! The history is in memory only, as in RabbitMQ on one node, and begins anew with every start.
//!
//! Invariants: at most [`RecentHistory::length_max`] messages; together they need at most
//! [`HISTORY_BYTES_MAX`], and a message that alone needs more is not kept.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use leveret_protocol::{Fault, Table, Value};

use super::{DestinationCounts, Destinations, Exchange, Routing};
use crate::core::Message;
use crate::core::argument_checks::precondition_failed;
use crate::core::binding::Binding;
use crate::core::erlang_text;
use crate::limits::MESSAGE_OVERHEAD_BYTES;

const LENGTH: &str = "x-recent-history-length";
const NO_STORE: &str = "x-recent-history-no-store";

/// How many messages are kept unless the argument says otherwise; RabbitMQ's number.
const LENGTH_DEFAULT: u64 = 20;

/// The most memory that one exchange's history needs, whatever its length. It counts as messages in memory
/// do, and nothing takes it away but later messages.
const HISTORY_BYTES_MAX: usize = 16 << 20;

/// All destinations, and the latest messages.
#[derive(Debug)]
pub(super) struct RecentHistory {
    destinations: DestinationCounts,
    length_max: u64,
    history: Mutex<History>,
}

impl RecentHistory {
    pub(super) fn new(arguments: Table<'_>) -> Self {
        let length = arguments.get(LENGTH).and_then(|value| value.as_integer());
        Self {
            destinations: DestinationCounts::default(),
            length_max: length.map_or(LENGTH_DEFAULT, |length| length.max(0).unsigned_abs()),
            history: Mutex::default(),
        }
    }

    fn keep(&self, message: &Message) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = history.keep(message, self.length_max);
        drop(history);
        // Whoever was the last to hold these frees them now, and nobody waits for it.
        drop(gone);
    }
}

impl Exchange for RecentHistory {
    fn bind(&mut self, binding: &Binding) {
        self.destinations.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        self.destinations.remove(binding.destination());
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        if let Some(message) = routing.message
            && !is_not_to_be_kept(routing.headers)
        {
            self.keep(message);
        }
        found.extend_from(&self.destinations);
    }

    fn earlier_messages(&self) -> Vec<Message> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.messages.iter().cloned().collect()
    }

    fn held_bytes(&self) -> u64 {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.bytes as u64
    }
}

fn is_not_to_be_kept(headers: Option<Table<'_>>) -> bool {
    let no_store = headers.and_then(|headers| headers.get(NO_STORE));
    no_store.is_some_and(|value| value.is_true())
}

#[derive(Debug, Default)]
struct History {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl History {
    /// Adds a message; gives back those that it pushes out.
    fn keep(&mut self, message: &Message, length_max: u64) -> Vec<Message> {
        let bytes = bytes_of(message);
        let mut gone = Vec::new();
        if bytes > HISTORY_BYTES_MAX {
            return gone;
        }
        self.bytes += bytes;
        self.messages.push_back(message.clone());
        while self.bytes > HISTORY_BYTES_MAX || self.messages.len() as u64 > length_max {
            let Some(oldest) = self.messages.pop_front() else {
                break;
            };
            self.bytes -= bytes_of(&oldest);
            gone.push(oldest);
        }
        gone
    }
}

fn bytes_of(message: &Message) -> usize {
    message.body_len() + message.properties().len() + MESSAGE_OVERHEAD_BYTES as usize
}

/// Judges the arguments of a new exchange. Only signed integers will do, as in RabbitMQ.
pub(super) fn check_arguments(arguments: Table<'_>) -> Result<(), Fault> {
    let Some(value) = arguments.get(LENGTH) else {
        return Ok(());
    };
    match value {
        Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_)
            if value.as_integer().is_some_and(|length| length > 0) =>
        {
            Ok(())
        }
        _ => Err(precondition_failed(format!(
            "Invalid argument {}, '{LENGTH}' must be a positive integer",
            erlang_text::term(&value)
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use crate::core::{MessageParts, Moment};
    use leveret_protocol::TableBuf;
    use leveret_protocol::content::Body;

    fn exchange(length: Option<i64>) -> RecentHistory {
        let length = length.map(|length| (LENGTH, Value::I64(length)));
        RecentHistory::new(TableBuf::from_entries(length).view())
    }

    fn publish(exchange: &RecentHistory, body: &[u8], headers: &TableBuf) {
        let message = Message::new(
            MessageParts {
                exchange: b"x",
                routing_key: b"k",
                properties: &[0, 0],
                body: Body::Whole(body),
                persistent: false,
                priority: 0,
                expiration_ms: None,
            },
            &mut Vec::new(),
        );
        let routing = Routing {
            routing_keys: &[b"k"],
            headers: Some(headers.view()),
            message: Some(&message),
            now: Moment::from_unix_ms(0),
        };
        exchange.route(&routing, &mut Destinations::default());
    }

    fn publish_all(exchange: &RecentHistory, bodies: &[&str]) {
        for body in bodies {
            publish(exchange, body.as_bytes(), &TableBuf::new());
        }
    }

    fn kept(exchange: &RecentHistory) -> Vec<String> {
        let text = |message: &Message| {
            let body = message.body_parts().collect::<Vec<_>>().concat();
            String::from_utf8(body).unwrap()
        };
        exchange.earlier_messages().iter().map(text).collect()
    }

    #[test]
    fn it_is_a_fanout_exchange() {
        let mut exchange = exchange(None);
        exchange.bind(&binding(1, "a", &TableBuf::new()));
        exchange.bind(&binding(2, "b", &TableBuf::new()));
        assert_eq!(routed(&exchange, &[b"zzz"], None), [1, 2]);
        exchange.unbind(&binding(1, "a", &TableBuf::new()));
        assert_eq!(routed(&exchange, &[b"zzz"], None), [2]);
        assert!(
            kept(&exchange).is_empty(),
            "asking for the way keeps nothing"
        );
    }

    #[test]
    fn the_latest_messages_are_kept_oldest_first() {
        let exchange = exchange(Some(3));
        publish_all(&exchange, &["1", "2", "3", "4", "5"]);
        assert_eq!(kept(&exchange), ["3", "4", "5"]);
        assert_eq!(
            kept(&exchange),
            ["3", "4", "5"],
            "looking takes nothing away"
        );
    }

    #[test]
    fn twenty_are_kept_unless_asked_otherwise() {
        let exchange = exchange(None);
        (0..25).for_each(|n| publish_all(&exchange, &[&n.to_string()]));
        assert_eq!(kept(&exchange).len(), 20);
        assert_eq!(kept(&exchange)[0], "5");
    }

    #[test]
    fn a_message_can_ask_not_to_be_kept() {
        let exchange = exchange(None);
        let asks = |value| TableBuf::from_entries([(NO_STORE, value)]);
        publish(&exchange, b"hidden", &asks(Value::Bool(true)));
        publish(&exchange, b"false", &asks(Value::Bool(false)));
        publish(&exchange, b"text", &asks(Value::LongStr(b"true")));
        assert_eq!(kept(&exchange), ["false", "text"]);
    }

    #[test]
    fn however_long_it_may_be_it_needs_no_more_than_its_bytes() {
        let exchange = exchange(Some(i64::MAX));
        let body = vec![b'a'; HISTORY_BYTES_MAX / 4];
        for _ in 0..10 {
            publish(&exchange, &body, &TableBuf::new());
        }
        publish(&exchange, &vec![b'b'; HISTORY_BYTES_MAX], &TableBuf::new());
        assert_eq!(exchange.earlier_messages().len(), 3);
        let history = exchange.history.lock().unwrap();
        let held: usize = history.messages.iter().map(bytes_of).sum();
        assert_eq!(history.bytes, held);
        assert!(held <= HISTORY_BYTES_MAX);
    }

    #[test]
    fn the_length_is_a_positive_signed_integer() {
        let judged = |value| {
            let table = TableBuf::from_entries([(LENGTH, value)]);
            check_arguments(table.view()).map_err(|fault| fault.reply_text())
        };
        for length in [
            Value::I8(1),
            Value::I16(2),
            Value::I32(3),
            Value::I64(i64::MAX),
        ] {
            assert_eq!(judged(length), Ok(()));
        }
        for (value, text) in [
            (Value::I32(0), "0"),
            (Value::I64(-5), "-5"),
            (Value::LongStr(b"abc"), "<<\"abc\">>"),
            (Value::Bool(true), "true"),
            (Value::U8(7), "7"),
        ] {
            let text = format!(
                "PRECONDITION_FAILED - Invalid argument {text}, 'x-recent-history-length' must be a \
                 positive integer"
            );
            assert_eq!(judged(value), Err(text));
        }
    }
}
