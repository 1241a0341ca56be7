//! [`ClassicOptions`]: what a classic queue was told at its declaration or by a policy.
//!
//! What it is not: it does not read `x-` arguments or policies; whoever declares the queue has
//! checked and merged them (LEN-10) before they become options.

use super::arguments::{QueueArguments, QueueType};

/// What a queue does when a message would take it over its length limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// `drop-head`: the oldest ready messages make room (LEN-02).
    #[default]
    DropHead,
    /// `reject-publish`: the new message is refused (LEN-04).
    RejectPublish,
    /// `reject-publish-dlx`: the new message is refused and dead-lettered (DLX-28).
    RejectPublishDeadLetter,
}

/// How a classic queue behaves; the default has no limit of any kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassicOptions {
    /// Delete the queue when its last consumer goes (AUTODEL-01).
    pub auto_delete: bool,
    /// Delete the queue when it has gone unused for this long; never zero (EXP-01).
    pub expires_ms: Option<u64>,
    /// Only one consumer at a time gets messages (SAC-01). A later change of options leaves it.
    pub single_active_consumer: bool,
    /// The highest of the priorities by which messages are ordered; 0 for none (PRIO-01, PRIO-04). A
    /// later change of options leaves it.
    pub max_priority: u8,
    /// How long a message may stay ready, counted from its arrival; 0 is a valid time (TTL-03).
    pub message_ttl_ms: Option<u64>,
    /// The most ready messages (LEN-01).
    pub length_max: Option<u64>,
    /// The most body bytes of ready messages (LEN-01).
    pub length_bytes_max: Option<u64>,
    /// What happens above a limit.
    pub overflow: Overflow,
    /// True when the queue has a dead-letter exchange: only then is a dead message handed out again.
    pub dead_letters: bool,
    /// A dead letter is kept until every queue that it is for has it (`at-least-once`). Only ever true
    /// together with `dead_letters`.
    pub at_least_once: bool,
    /// How often a message may come back; one that comes back once more dies (QQ-04).
    pub delivery_limit: Option<u32>,
    /// Deliveries tell how often the message came back (QQ-03).
    pub counts_deliveries: bool,
    /// Transient messages are kept like persistent ones (QQ-06).
    pub keeps_transient: bool,
}

impl ClassicOptions {
    /// What a queue's arguments, merged with its policies, ask for.
    pub fn new(auto_delete: bool, arguments: &QueueArguments) -> Self {
        let is_quorum = arguments.queue_type == QueueType::Quorum;
        Self {
            auto_delete,
            expires_ms: arguments.expires_ms,
            single_active_consumer: arguments.single_active_consumer,
            max_priority: arguments.max_priority.unwrap_or(0),
            message_ttl_ms: arguments.message_ttl_ms,
            length_max: arguments.length_max,
            length_bytes_max: arguments.length_bytes_max,
            overflow: arguments.overflow.unwrap_or_default(),
            dead_letters: arguments.dead_letter_exchange.is_some(),
            at_least_once: arguments.holds_dead_letters(),
            delivery_limit: arguments.delivery_limit.map(saturated),
            counts_deliveries: is_quorum || arguments.delivery_limit.is_some(),
            keeps_transient: is_quorum,
        }
    }

    /// True when `messages` ready messages of `bytes` body bytes are more than allowed.
    pub(super) fn exceeded_by(&self, messages: u64, bytes: u64) -> bool {
        self.length_max.is_some_and(|max| messages > max)
            || self.length_bytes_max.is_some_and(|max| bytes > max)
    }

    /// True when a new message may have to be refused instead of an old one dropped.
    pub(super) fn may_refuse(&self) -> bool {
        self.overflow != Overflow::DropHead
            && (self.length_max.is_some() || self.length_bytes_max.is_some())
    }
}

/// Nothing comes back more often than can be counted.
fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
