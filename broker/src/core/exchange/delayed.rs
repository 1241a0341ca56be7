//! `x-delayed-message`: holds a message back for as long as its `x-delay` header says, and then routes it
//! by the rules of another type, the one that the argument `x-delayed-type` names.
//!
//! ```text
//!   message ──▶ a delay? ──no──────────────────────────────────────▶ the rules of x-delayed-type
//!                  │ yes                                                     ▲
//!                  ▼                                                         │ with the bindings of then
//!        the exchange's own queue ── its time has come, the header negated ──┘
//! ```
//!
//! What it is not: the queue ([`crate::core::queue::DelayQueue`]), or the meaning of the header
//! ([`crate::core::delay`]).

use leveret_protocol::{Fault, ReplyCode, Table, Value};

use super::{DELAYED, DIRECT, Destinations, Exchange, Kind, NewBinding, Routing, kind};
use crate::core::Message;
use crate::core::binding::Binding;
use crate::core::delay::delay_ms;
use crate::core::topology::unknown_exchange_type;

/// The argument that names the type of the rules.
const TYPE: &str = "x-delayed-type";

/// An exchange that holds messages back, around one that routes.
#[derive(Debug)]
pub(super) struct Delayed {
    rules: Box<dyn Exchange>,
}

impl Delayed {
    pub(super) fn new(arguments: Table<'_>) -> Self {
        let kind = inner_kind(arguments).unwrap_or(&DIRECT);
        Self {
            rules: (kind.make)(arguments),
        }
    }
}

impl Exchange for Delayed {
    fn bind(&mut self, binding: &Binding) {
        self.rules.bind(binding);
    }

    fn unbind(&mut self, binding: &Binding) {
        self.rules.unbind(binding);
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        if routing.message.is_some() && delay_ms(routing.headers).is_some() {
            found.hold_message();
        } else {
            self.rules.route(routing, found);
        }
    }

    fn route_held(&self, routing: &Routing<'_>, found: &mut Destinations) {
        self.rules.route(routing, found);
    }

    fn earlier_messages(&self) -> Vec<Message> {
        self.rules.earlier_messages()
    }
}

/// Judges the arguments of a new exchange: they have to name a type, and to be what that type takes.
/// The texts are the plugin's.
pub(super) fn check_arguments(arguments: Table<'_>) -> Result<(), Fault> {
    let kind = inner_kind(arguments)?;
    (kind.check_arguments)(arguments)
}

/// Judges a binding by the rules of the type.
pub(super) fn check_binding(binding: &NewBinding<'_>) -> Result<(), Fault> {
    let kind = inner_kind(binding.source_arguments)?;
    (kind.check_binding)(binding)
}

fn inner_kind(arguments: Table<'_>) -> Result<&'static Kind, Fault> {
    let (Some(Value::LongStr(name)) | Some(Value::ByteArray(name))) = arguments.get(TYPE) else {
        let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
        return Err(Fault::new(ReplyCode::PreconditionFailed, text));
    };
    let name = String::from_utf8_lossy(name);
    match kind(&name) {
        None => Err(unknown_exchange_type(&name)),
        Some(inner) if *inner == DELAYED => {
            let text = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
            Err(Fault::new(ReplyCode::PreconditionFailed, text))
        }
        Some(inner) => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::TableBuf;

    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use crate::core::exchange::{KINDS, check_arguments as check, make};
    use crate::core::queue::testing::message;

    fn of_type(name: &str) -> TableBuf {
        TableBuf::new().with(TYPE, Value::LongStr(name.as_bytes()))
    }

    fn refusal(arguments: &TableBuf) -> String {
        let fault = check(&DELAYED, arguments.view()).unwrap_err();
        assert_eq!(fault.code, ReplyCode::PreconditionFailed);
        fault.reply_text()
    }

    #[test]
    fn the_type_is_required_and_has_to_exist() {
        let missing = "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing \
                       exchange type";
        assert_eq!(refusal(&TableBuf::new()), missing);
        let number = TableBuf::new().with(TYPE, Value::I32(1));
        assert_eq!(refusal(&number), missing);
        assert_eq!(
            refusal(&of_type("x-nothing")),
            "PRECONDITION_FAILED - unknown exchange type 'x-nothing'"
        );
        assert_eq!(
            refusal(&of_type("x-delayed-message")),
            "PRECONDITION_FAILED - Invalid argument, 'x-delayed-message' can't be used for \
             'x-delayed-type'"
        );
    }

    #[test]
    fn arguments_and_bindings_are_judged_by_the_type() {
        for kind in KINDS {
            let arguments = of_type(kind.name);
            let by_type = (kind.check_arguments)(arguments.view());
            let expected = match *kind == DELAYED {
                true => inner_kind(arguments.view()).map(drop),
                false => by_type,
            };
            assert_eq!(check(&DELAYED, arguments.view()), expected, "{}", kind.name);
        }
        let any = TableBuf::new().with("x-match", Value::LongStr(b"most"));
        let judged = |kind: &str| {
            check_binding(&NewBinding {
                source_arguments: of_type(kind).view(),
                routing_key: b"",
                arguments: any.view(),
                queue_type: None,
            })
        };
        assert!(judged("headers").is_err() && judged("topic").is_ok());
    }

    #[test]
    fn whatever_has_no_delay_is_routed_by_the_type() {
        let headers = TableBuf::new().with("n", Value::I32(1));
        let cases: [(&str, &[u64]); 4] = [
            ("direct", &[1]),
            ("fanout", &[1, 2, 3]),
            ("topic", &[1, 2]),
            ("headers", &[3]),
        ];
        for (name, expected) in cases {
            let mut exchange = make(&DELAYED, of_type(name).view());
            exchange.bind(&binding(
                1,
                "a.b",
                &TableBuf::new().with("n", Value::I32(2)),
            ));
            exchange.bind(&binding(
                2,
                "a.*",
                &TableBuf::new().with("n", Value::I32(3)),
            ));
            exchange.bind(&binding(3, "c", &headers));
            let found = routed(&*exchange, &[b"a.b"], Some(headers.view()));
            assert_eq!(found, expected, "{name}");
            exchange.unbind(&binding(3, "c", &headers));
            let found = routed(&*exchange, &[b"a.b"], Some(headers.view()));
            assert!(!found.contains(&3), "{name}");
        }
    }

    #[test]
    fn what_has_a_delay_is_held_until_it_comes_back() {
        let mut exchange = make(&DELAYED, of_type("fanout").view());
        exchange.bind(&binding(1, "", &TableBuf::new()));
        let headers = TableBuf::new().with("x-delay", Value::I32(1));
        let message = message("m");
        let routing = Routing {
            routing_keys: &[b"k"],
            headers: Some(headers.view()),
            message: Some(&message),
            ..Routing::default()
        };
        let mut found = Destinations::default();
        exchange.route(&routing, &mut found);
        assert!(found.is_held() && found.is_taken() && found.is_empty());
        found.clear();
        exchange.route_held(&routing, &mut found);
        assert!(!found.is_held() && !found.is_taken() && !found.is_empty());
        let asked_only = routed(&*exchange, &[b"k"], Some(headers.view()));
        assert_eq!(asked_only, [1], "where it would go at last");
    }

    #[test]
    fn what_was_held_is_no_duplicate_of_itself() {
        let arguments = of_type("fanout").with("x-message-deduplication", Value::Bool(true));
        let mut exchange = make(&DELAYED, arguments.view());
        exchange.bind(&binding(1, "", &TableBuf::new()));
        let headers = TableBuf::from_entries([
            ("x-delay", Value::I32(1)),
            ("x-deduplication-header", Value::LongStr(b"id")),
        ]);
        let message = message("m");
        let routing = Routing {
            routing_keys: &[b"k"],
            headers: Some(headers.view()),
            message: Some(&message),
            ..Routing::default()
        };
        let mut found = Destinations::default();
        exchange.route(&routing, &mut found);
        assert!(found.is_held());
        found.clear();
        exchange.route(&routing, &mut found);
        assert!(found.is_taken() && !found.is_held(), "the same once more");
        found.clear();
        exchange.route_held(&routing, &mut found);
        assert_eq!(found.iter().count(), 1);
    }
}
