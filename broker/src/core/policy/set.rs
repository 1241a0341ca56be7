//! [`Policies`]: the policies of one vhost, and which of them a queue or an exchange gets.
//!
//! What it is not: it tells nobody of a change.
//!
//! Invariant: a name stands for at most one policy and one operator policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Policy, PolicyKind, Settings};
use crate::core::queue::arguments::QueueType;

/// The policies of one vhost.
#[derive(Clone, Debug, Default)]
pub struct Policies(BTreeMap<(PolicyKind, Arc<str>), Arc<Policy>>);

impl Policies {
    /// Adds a policy, or replaces the one of its kind and name.
    pub(crate) fn set(&mut self, policy: Arc<Policy>) {
        let key = (policy.kind(), Arc::clone(policy.name()));
        self.0.insert(key, policy);
    }

    /// Removes a policy; `None` if there was none of this name.
    pub(crate) fn clear(&mut self, kind: PolicyKind, name: &str) -> Option<Arc<Policy>> {
        self.0.remove(&(kind, Arc::from(name)))
    }

    /// The policies of this kind, by name.
    pub fn of_kind(&self, kind: PolicyKind) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.values().filter(move |policy| policy.kind() == kind)
    }

    /// What applies to a queue.
    pub fn for_queue(&self, name: &str, queue_type: QueueType) -> Settings {
        self.settings(|policy| policy.is_for_queue(name, queue_type))
    }

    /// What applies to an exchange. The default exchange has no use for any.
    pub fn for_exchange(&self, name: &str) -> Settings {
        self.settings(|policy| !name.is_empty() && policy.is_for_exchange(name))
    }

    fn settings(&self, is_for: impl Fn(&Policy) -> bool) -> Settings {
        let decisive = |kind| self.decisive(kind, &is_for);
        Settings::new(decisive(PolicyKind::User), decisive(PolicyKind::Operator))
    }

    /// The policy of the highest priority. Among equals RabbitMQ takes any; here it is the first by name,
    /// so that the answer is the same every time.
    fn decisive(&self, kind: PolicyKind, is_for: impl Fn(&Policy) -> bool) -> Option<Arc<Policy>> {
        let candidates = self.of_kind(kind).filter(|policy| is_for(policy));
        let decisive = candidates.reduce(|best, other| match other.priority() > best.priority() {
            true => other,
            false => best,
        });
        decisive.cloned()
    }
}
