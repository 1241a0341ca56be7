//! Policies of a running broker: set, cleared and listed.
//!
//! What it is not: a judge of policies; [`Policy::new`] is.

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::Broker;
use crate::core::policy::{Policy, PolicyKind, change};
use crate::core::topology::{Applied, Change};
use crate::core::vhost::Vhost;

/// A policy that cannot be set, cleared or listed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPolicy {
    /// The broker has no such vhost.
    #[error("vhost '{0}' does not exist")]
    Vhost(String),
    /// The vhost has no such policy.
    #[error("{} '{name}' does not exist in vhost '{vhost}'", kind.noun())]
    Policy {
        /// The vhost.
        vhost: String,
        /// The kind that was asked for.
        kind: PolicyKind,
        /// The name that was asked for.
        name: String,
    },
}

impl Broker {
    /// Adds a policy or an operator policy, or replaces the one of its kind and name. When this returns, it
    /// applies to every queue and exchange of the vhost that it is for (POL-01, POL-04). With a data
    /// directory it is on its way to the disk; [`Broker::shutdown`] waits until it is there.
    ///
    /// # Errors
    /// The vhost does not exist.
    pub fn set_policy(&self, vhost: &str, policy: Policy) -> Result<(), NoPolicy> {
        let node = &self.inside.node;
        let found = self.vhost(vhost)?;
        let (kind, name) = (policy.kind().noun(), Arc::clone(policy.name()));
        let now = node.clock.moment(Instant::now());
        let applied = change::set(&found, policy, now, &node.timers);
        let queues = queues_changed(&applied);
        tracing::info!(vhost, kind, %name, queues, "policy set");
        Ok(())
    }

    /// Removes a policy or an operator policy, and what it did to queues and exchanges.
    ///
    /// # Errors
    /// The vhost or the policy does not exist.
    pub fn clear_policy(&self, vhost: &str, kind: PolicyKind, name: &str) -> Result<(), NoPolicy> {
        let node = &self.inside.node;
        let found = self.vhost(vhost)?;
        let now = node.clock.moment(Instant::now());
        let applied = change::clear(&found, kind, name, now, &node.timers);
        if applied.changes.is_empty() {
            return Err(NoPolicy::Policy {
                vhost: vhost.to_owned(),
                kind,
                name: name.to_owned(),
            });
        }
        let queues = queues_changed(&applied);
        tracing::info!(vhost, kind = kind.noun(), name, queues, "policy cleared");
        Ok(())
    }

    /// The policies of this kind, by name.
    ///
    /// # Errors
    /// The vhost does not exist.
    pub fn policies(&self, vhost: &str, kind: PolicyKind) -> Result<Vec<Arc<Policy>>, NoPolicy> {
        let vhost = self.vhost(vhost)?;
        let topology = vhost.topology();
        Ok(topology.policies().of_kind(kind).cloned().collect())
    }

    fn vhost(&self, name: &str) -> Result<Arc<Vhost>, NoPolicy> {
        let found = self.inside.node.vhost(name);
        found.ok_or_else(|| NoPolicy::Vhost(name.to_owned()))
    }
}

fn queues_changed(applied: &Applied) -> usize {
    let changed = |change: &&Change| matches!(change, Change::QueueChanged(_));
    applied.changes.iter().filter(changed).count()
}
