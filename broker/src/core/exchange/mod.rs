//! Exchanges: the trait that every kind implements, and [`KINDS`], the table of kinds by type name.
//!
//! An exchange keeps whatever index of its bindings makes routing fast, and nothing else: names,
//! durability and the bindings themselves belong to [`crate::core::topology`]. A new kind is one file
//! here and one row in the table.
//!
//! What it is not: following bindings from exchange to exchange, or alternates (see
//! [`crate::core::route`]).
//!
//! Invariant: a kind routes by the *set* of bindings it was given; neither the order in which they
//! came nor a hash map's order shows in what it finds, once that is sorted.

mod consistent_hash;
mod deduplication;
mod delayed;
mod destinations;
mod direct;
mod fanout;
mod headers;
mod modulus_hash;
mod random;
mod recent_history;
mod shares;
mod stable_hash;
mod topic;

use leveret_protocol::{Fault, Table};

use super::binding::Binding;
use super::queue::arguments::QueueType;
use super::{Message, Moment};
pub use destinations::{DestinationCounts, Destinations};

/// An exchange's identity: never reused, not even by an exchange of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// What is looked at to route one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routing<'a> {
    /// The key it was published with, then those of its CC and BCC headers (PUB-09).
    pub routing_keys: &'a [&'a [u8]],
    /// Its headers property, if it has one.
    pub headers: Option<Table<'a>>,
    /// The message itself. `None` asks only where such a message would go: nothing is remembered of
    /// it then, and it is not taken.
    pub message: Option<&'a Message>,
    /// When it is routed.
    pub now: Moment,
}

impl<'a> Routing<'a> {
    /// The key that it was published with, for kinds that pass over copies.
    pub fn routing_key(&self) -> &'a [u8] {
        let first = || self.routing_keys.first().copied().unwrap_or_default();
        self.message.map_or_else(first, Message::routing_key)
    }
}

/// What is looked at before a binding is made.
#[derive(Clone, Copy, Debug)]
pub struct NewBinding<'a> {
    /// The arguments that its source was declared with.
    pub source_arguments: Table<'a>,
    /// The binding key.
    pub routing_key: &'a [u8],
    /// Its own arguments.
    pub arguments: Table<'a>,
    /// The type of the queue it leads to; `None` if it leads to an exchange.
    pub queue_type: Option<QueueType>,
}

/// The rules by which one exchange finds destinations.
pub trait Exchange: Send + Sync + std::fmt::Debug {
    /// Adds a binding that the exchange does not have.
    fn bind(&mut self, binding: &Binding);

    /// Takes away a binding that the exchange has.
    fn unbind(&mut self, binding: &Binding);

    /// Adds to `found` where the message goes; the same destination may be added more than once.
    ///
    /// Many route at once, under a part of the vhost's lock: what an exchange remembers of messages
    /// lies behind atomics or a mutex of its own, which is held for a few instructions. An exchange
    /// that keeps the message to itself says so with [`Destinations::take_message`].
    fn route(&self, routing: &Routing<'_>, found: &mut Destinations);

    /// The same for a message that the exchange has held in its own queue ([`Kind::holds_messages`])
    /// until now: it came once already, and it is not to be held again.
    fn route_held(&self, routing: &Routing<'_>, found: &mut Destinations) {
        self.route(routing, found);
    }

    /// True when the exchange's arguments make it look at more of a message than the kind needs, so
    /// that [`Kind::routes_by_key`] does not hold for it.
    fn looks_at_messages(&self) -> bool {
        false
    }

    /// What a new binding's destination is to get, oldest first: messages that came before it.
    fn earlier_messages(&self) -> Vec<Message> {
        Vec::new()
    }

    /// The bytes of what it remembers of messages; they count as messages in memory.
    fn held_bytes(&self) -> u64 {
        0
    }
}

/// One kind of exchange.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The type name in `exchange.declare`; case-sensitive (EXCH-02).
    pub name: &'static str,
    /// Judges the arguments of a declaration when the exchange is new.
    pub check_arguments: fn(Table<'_>) -> Result<(), Fault>,
    /// Makes the rules of an exchange without bindings from its arguments. A catalog may hold
    /// arguments that a later version refuses, so whatever cannot be read counts as not given.
    pub make: fn(Table<'_>) -> Box<dyn Exchange>,
    /// Judges a binding before it is made (BIND-18).
    pub check_binding: fn(&NewBinding<'_>) -> Result<(), Fault>,
    /// True when exchange and routing key alone decide where a message goes, so that the answer can
    /// be kept.
    pub routes_by_key: bool,
    /// True when each exchange has a queue of its own, which no client can see, for messages that it
    /// holds back ([`Destinations::hold_message`]).
    pub holds_messages: bool,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

/// `direct`: the key must be equal (ROUTE-01).
pub static DIRECT: Kind = Kind {
    name: "direct",
    check_arguments: any_arguments,
    make: |_| Box::new(direct::Direct::default()),
    check_binding: any_binding,
    routes_by_key: true,
    holds_messages: false,
};

/// `fanout`: every binding matches (ROUTE-02).
pub static FANOUT: Kind = Kind {
    name: "fanout",
    check_arguments: any_arguments,
    make: |_| Box::new(fanout::Fanout::default()),
    check_binding: any_binding,
    routes_by_key: true,
    holds_messages: false,
};

/// `topic`: patterns of words (TOPIC-01..14).
pub static TOPIC: Kind = Kind {
    name: "topic",
    check_arguments: any_arguments,
    make: |_| Box::new(topic::Topic::default()),
    check_binding: any_binding,
    routes_by_key: true,
    holds_messages: false,
};

/// `headers`: the binding's arguments against the message's headers (HEADERS-01..12).
pub static HEADERS: Kind = Kind {
    name: "headers",
    check_arguments: any_arguments,
    make: |_| Box::new(headers::Headers::default()),
    check_binding: |binding| headers::check_binding(binding.arguments),
    routes_by_key: false,
    holds_messages: false,
};

/// `x-random`: one binding of all, drawn for each message.
pub static RANDOM: Kind = Kind {
    name: "x-random",
    check_arguments: any_arguments,
    make: |_| Box::new(random::Random::new()),
    check_binding: any_binding,
    routes_by_key: false,
    holds_messages: false,
};

/// `x-local-random`: the same among the queues of this node, which are all.
pub static LOCAL_RANDOM: Kind = Kind {
    name: "x-local-random",
    check_binding: random::check_local_binding,
    ..RANDOM
};

/// `x-modulus-hash`: one binding of all, by the hash of the routing key.
pub static MODULUS_HASH: Kind = Kind {
    name: "x-modulus-hash",
    check_arguments: any_arguments,
    make: |_| Box::new(modulus_hash::ModulusHash::default()),
    check_binding: any_binding,
    routes_by_key: true,
    holds_messages: false,
};

/// `x-consistent-hash`: one destination by a hash, each by its weight.
pub static CONSISTENT_HASH: Kind = Kind {
    name: "x-consistent-hash",
    check_arguments: consistent_hash::check_arguments,
    make: |arguments| Box::new(consistent_hash::ConsistentHash::new(arguments)),
    check_binding: consistent_hash::check_binding,
    routes_by_key: true,
    holds_messages: false,
};

/// `x-recent-history`: a fanout that hands its latest messages to new bindings.
pub static RECENT_HISTORY: Kind = Kind {
    name: "x-recent-history",
    check_arguments: recent_history::check_arguments,
    make: |arguments| Box::new(recent_history::RecentHistory::new(arguments)),
    check_binding: any_binding,
    routes_by_key: false,
    holds_messages: false,
};

/// `x-message-deduplication`: a fanout that drops what it has seen before.
pub static MESSAGE_DEDUPLICATION: Kind = Kind {
    name: "x-message-deduplication",
    check_arguments: crate::core::deduplication::check_required,
    make: |arguments| {
        let fanout = Box::new(fanout::Fanout::default());
        Box::new(deduplication::Deduplicating::new(arguments, fanout))
    },
    check_binding: any_binding,
    routes_by_key: false,
    holds_messages: false,
};

/// `x-delayed-message`: holds messages back, and routes them by another kind when their time has come.
pub static DELAYED: Kind = Kind {
    name: "x-delayed-message",
    check_arguments: delayed::check_arguments,
    make: |arguments| Box::new(delayed::Delayed::new(arguments)),
    check_binding: delayed::check_binding,
    routes_by_key: false,
    holds_messages: true,
};

/// The kinds that can be declared.
pub static KINDS: [&Kind; 11] = [
    &DIRECT,
    &FANOUT,
    &TOPIC,
    &HEADERS,
    &RANDOM,
    &LOCAL_RANDOM,
    &MODULUS_HASH,
    &CONSISTENT_HASH,
    &RECENT_HISTORY,
    &MESSAGE_DEDUPLICATION,
    &DELAYED,
];

/// The kind of this type name, if there is one.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}

/// Judges the arguments of a new exchange.
///
/// # Errors
/// 406 for arguments that the kind refuses.
pub fn check_arguments(kind: &Kind, arguments: Table<'_>) -> Result<(), Fault> {
    (kind.check_arguments)(arguments)?;
    match drops_duplicates(kind, arguments) {
        true => super::deduplication::check(arguments),
        false => Ok(()),
    }
}

/// Makes the rules of an exchange without bindings.
pub fn make(kind: &Kind, arguments: Table<'_>) -> Box<dyn Exchange> {
    let rules = (kind.make)(arguments);
    match drops_duplicates(kind, arguments) {
        true => Box::new(deduplication::Deduplicating::new(arguments, rules)),
        false => rules,
    }
}

/// True for an exchange that its arguments make drop duplicates; the type of that name does so anyway.
fn drops_duplicates(kind: &Kind, arguments: Table<'_>) -> bool {
    *kind != MESSAGE_DEDUPLICATION && super::deduplication::is_asked_for(arguments)
}

fn any_binding(_binding: &NewBinding<'_>) -> Result<(), Fault> {
    Ok(())
}

fn any_arguments(_arguments: Table<'_>) -> Result<(), Fault> {
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::binding::Destination;
    use crate::core::queue::QueueId;
    use leveret_protocol::TableBuf;

    /// A binding of exchange 1 to queue `queue`.
    pub(crate) fn binding(queue: u64, key: impl AsRef<[u8]>, arguments: &TableBuf) -> Binding {
        let destination = Destination::Queue(QueueId(queue));
        Binding::new(ExchangeId(1), destination, key.as_ref(), arguments.view())
    }

    /// The queues found, each once, in order.
    pub(crate) fn routed(
        exchange: &dyn Exchange,
        keys: &[&[u8]],
        headers: Option<Table<'_>>,
    ) -> Vec<u64> {
        let mut found = Destinations::default();
        let routing = Routing {
            routing_keys: keys,
            headers,
            ..Routing::default()
        };
        exchange.route(&routing, &mut found);
        let mut queues: Vec<_> = found
            .iter()
            .map(|destination| match destination {
                Destination::Queue(id) => id.0,
                Destination::Exchange(id) => id.0,
            })
            .collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    #[test]
    fn exch_02_types_are_known_by_exact_name() {
        for name in ["direct", "fanout", "topic", "headers"] {
            assert_eq!(kind(name).unwrap().name, name);
        }
        assert!(kind("Direct").is_none() && kind("x-nothing").is_none() && kind("").is_none());
    }
}
