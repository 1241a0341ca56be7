//! The questions that a declaration asks about its user's permissions, in the order of the rules.
//!
//! The core decides *when* a permission is asked for (PERM-12, PERM-17: after the rules about names,
//! before existence and exclusivity) and *which* one (PERM-03..09); whoever calls it answers from the
//! user's patterns.
//!
//! What it is not: users, patterns or regular expressions.

use leveret_protocol::Fault;

/// What a user wants to do with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Create or delete it.
    Configure,
    /// Put messages into it, or bind it as a destination.
    Write,
    /// Take messages from it, or bind it as a source.
    Read,
}

/// What a permission is asked for. Names come without their CR and LF bytes (TABLE-11).
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
        /// The binding key.
        routing_key: &'a [u8],
    },
}

/// Answers a question about a permission: `Ok`, or the fault that refuses it.
///
/// It is called under the vhost's lock, and once more if the declaration changes anything: it must
/// neither block nor call the vhost.
pub type Permitted<'p> = dyn FnMut(Permission, Resource<'_>) -> Result<(), Fault> + 'p;
