//! The questions that a request asks about its user's rights, in the order of the rules.
//!
//! The core decides *when* a question is asked (PERM-12, PERM-17: after the rules about names,
//! before existence and exclusivity) and names the *part* that a resource plays. Which right that part
//! takes says the table of operations ([`crate::access::operation`]), which whoever calls the core asks.
//!
//! What it is not: users, rights, patterns or regular expressions.

use leveret_protocol::Fault;

/// The part that a resource plays in an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The queue that is declared, deleted or read from.
    Queue,
    /// The exchange that is declared, deleted or published to.
    Exchange,
    /// The queue that a binding leads to.
    DestinationQueue,
    /// The exchange that a binding leads to.
    DestinationExchange,
    /// The exchange that a binding leads from.
    Source,
    /// The key of a binding from a topic exchange.
    BindingKey,
    /// The key of a message to a topic exchange.
    RoutingKey,
    /// A queue that is new and has a dead-letter exchange (PERM-08).
    DeadLetteringQueue,
    /// That exchange, or one that a policy names.
    DeadLetterExchange,
    /// An exchange that is new and has an alternate (PERM-09).
    DivertingExchange,
    /// That alternate, or one that a policy names.
    AlternateExchange,
    /// The user that a message claims to be from.
    UserId,
    /// The user to whom a connection, with its channels, belongs.
    Owner,
}

/// What plays a part. Names come without their CR and LF bytes (TABLE-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A queue.
    Queue(&'a str),
    /// An exchange; "" is the default exchange, known to patterns as `amq.default` (PERM-02).
    Exchange(&'a str),
    /// A key on a topic exchange (PERM-13).
    Topic {
        /// The topic exchange.
        exchange: &'a str,
        /// The key of the binding or of the message.
        routing_key: &'a [u8],
    },
    /// A user, in whatever bytes a client calls it.
    User(&'a [u8]),
}

/// Answers a question: `Ok`, or the fault that refuses the request.
///
/// It is called under the vhost's lock, and once more if the declaration changes anything: it must
/// neither block nor call the vhost.
pub type Permitted<'p> = dyn FnMut(Part, Resource<'_>) -> Result<(), Fault> + 'p;
