//! Policies: what an operator says about queues and exchanges by their names.
//!
//! ```text
//!   Policy ──┐ which are for it, and the one of the highest priority
//!            ├──▶ Settings ──▶ merged with the arguments it was declared with ──▶ what it does
//!   operator │    (at most one policy and one operator policy)
//!   policy ──┘
//! ```
//!
//! What it is not: the keeper of policies, which is [`crate::core::topology`]. A policy's effect never shows when a queue is declared again
//! (POL-03): equivalence compares arguments.
//!
//! Invariant: a [`Policy`] that exists has a pattern that compiles and a definition that its kind allows.

pub mod change;
mod keys;
mod merge;
mod mirroring;
mod pattern;
mod set;
mod settings;
mod value;

use std::sync::Arc;

use thiserror::Error;

pub use keys::{Definition, KeyEffect, effect, is_known};
pub(crate) use merge::alternate_exchange;
pub use pattern::NamePattern;
pub use set::Policies;
pub use settings::Settings;
pub use value::PolicyValue;

use crate::core::queue::arguments::QueueType;

/// Who set a policy, which decides what it may say and how it is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// A policy.
    User,
    /// An operator policy: limits that other policies and arguments cannot raise.
    Operator,
}

impl PolicyKind {
    /// Both kinds.
    pub const EVERY: [Self; 2] = [Self::User, Self::Operator];

    /// What a policy of this kind is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::User => "policy",
            Self::Operator => "operator policy",
        }
    }
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApplyTo {
    /// `all`: queues and exchanges
    #[default]
    All,
    /// `queues`: queues of every type
    Queues,
    /// `classic_queues`
    ClassicQueues,
    /// `quorum_queues`
    QuorumQueues,
    /// `streams`
    Streams,
    /// `exchanges`
    Exchanges,
}

impl ApplyTo {
    /// Every value.
    pub const EVERY: [Self; 6] = [
        Self::All,
        Self::Queues,
        Self::ClassicQueues,
        Self::QuorumQueues,
        Self::Streams,
        Self::Exchanges,
    ];

    /// The value's name, as operators write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
            Self::Exchanges => "exchanges",
        }
    }

    /// The value of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|value| value.as_str() == name)
    }

    fn includes(self, queue_type: QueueType) -> bool {
        match self {
            Self::All | Self::Queues => true,
            Self::ClassicQueues => queue_type == QueueType::Classic,
            Self::QuorumQueues => queue_type == QueueType::Quorum,
            Self::Streams => queue_type == QueueType::Stream,
            Self::Exchanges => false,
        }
    }
}

/// A policy that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} '{name}'{}: {reason}", kind.noun(), shown(key))]
pub struct PolicyError {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its name.
    pub name: Box<str>,
    /// The key of its definition that is at fault, if one is.
    pub key: Option<Box<str>>,
    /// What is wrong, as RabbitMQ puts it below "Validation failed".
    pub reason: String,
}

fn shown(key: &Option<Box<str>>) -> String {
    key.as_ref()
        .map_or_else(String::new, |key| format!(", key '{key}'"))
}

fn compiled(kind: PolicyKind, name: &str, pattern: &str) -> Result<NamePattern, PolicyError> {
    NamePattern::new(pattern).map_err(|why| PolicyError {
        kind,
        name: Box::from(name),
        key: None,
        reason: format!("pattern should be regular expression but is invalid: '{pattern}': {why}"),
    })
}

/// A policy or an operator policy of one vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    kind: PolicyKind,
    name: Arc<str>,
    pattern: NamePattern,
    apply_to: ApplyTo,
    priority: i64,
    definition: Definition,
}

impl Policy {
    /// A policy of this name for the queues and exchanges whose names match `pattern`. Where several
    /// match, the highest priority decides. Keys that are given twice count once, the last of them.
    ///
    /// # Errors
    /// The pattern cannot be compiled, a key is not known or not for this kind, or its value is wrong.
    pub fn new<K: Into<Box<str>>, V: Into<PolicyValue>>(
        kind: PolicyKind,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, PolicyError> {
        let definition = definition.into_iter();
        let definition = definition.map(|(key, value)| (key.into(), value.into()));
        let definition: Definition = definition.collect();
        let pattern = compiled(kind, name, pattern)?;
        if let Some(first) = keys::refusals(kind, &definition).into_iter().next() {
            return Err(first.of(kind, name));
        }
        Ok(Self {
            kind,
            name: Arc::from(name),
            pattern,
            apply_to,
            priority,
            definition,
        })
    }

    /// Everything for which [`Policy::new`] would refuse a policy, which tells the first of it.
    pub fn errors(
        kind: PolicyKind,
        name: &str,
        pattern: &str,
        definition: &Definition,
    ) -> Vec<PolicyError> {
        let of_pattern = compiled(kind, name, pattern).err().into_iter();
        let of_keys = keys::refusals(kind, definition).into_iter();
        of_pattern
            .chain(of_keys.map(|why| why.of(kind, name)))
            .collect()
    }

    /// Whether it is an operator policy.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Its name, by which it is replaced and cleared.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The names it is for.
    pub fn pattern(&self) -> &NamePattern {
        &self.pattern
    }

    /// What it is for.
    pub fn apply_to(&self) -> ApplyTo {
        self.apply_to
    }

    /// The higher, the sooner it decides.
    pub fn priority(&self) -> i64 {
        self.priority
    }

    /// Its keys and values, by key.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// What comes of its keys.
    pub fn effects(&self) -> impl Iterator<Item = (&str, KeyEffect)> {
        self.definition
            .keys()
            .map(|key| (&**key, keys::effect(key)))
    }

    /// Whether it is for this queue. A key that the type of queue does not know takes the whole policy
    /// away from it, as in RabbitMQ.
    pub fn is_for_queue(&self, name: &str, queue_type: QueueType) -> bool {
        let mut keys = self.definition.keys();
        self.apply_to.includes(queue_type)
            && keys.all(|key| keys::is_known_to(key, queue_type))
            && self.pattern.matches(name)
    }

    /// Whether it is for this exchange.
    pub fn is_for_exchange(&self, name: &str) -> bool {
        matches!(self.apply_to, ApplyTo::All | ApplyTo::Exchanges) && self.pattern.matches(name)
    }
}

#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod tests;
