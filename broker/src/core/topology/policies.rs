//! The policies of a vhost, and what they mean for what is in it.
//!
//! What it is not: the bodies of queues are told by whoever applied the command (see
//! [`crate::core::policy::change`]).
//!
//! Invariant: every queue's handle and every exchange says what its arguments and the policies come to.

use std::sync::Arc;

use super::{Change, Topology};
use crate::core::policy::{Policies, Policy, PolicyKind, Settings, alternate_exchange};
use crate::core::queue::arguments::{QueueArguments, QueueType};
use crate::core::queue_handle::QueueSpec;

impl Topology {
    /// The policies of the vhost.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The policies that apply to a queue.
    pub fn settings_of_queue(&self, spec: &QueueSpec) -> Settings {
        let queue_type = QueueType::of(spec.arguments.view());
        self.policies.for_queue(&spec.name, queue_type)
    }

    pub(super) fn set_policy(&mut self, policy: Arc<Policy>, changes: &mut Vec<Change>) {
        self.policies.set(Arc::clone(&policy));
        changes.push(Change::PolicySet(policy));
        self.apply_policies(changes);
    }

    pub(super) fn clear_policy(&mut self, kind: PolicyKind, name: &str, changes: &mut Vec<Change>) {
        if let Some(policy) = self.policies.clear(kind, name) {
            changes.push(Change::PolicyCleared(policy));
            self.apply_policies(changes);
        }
    }

    /// What a queue's arguments and policies come to. The arguments were checked when it was declared.
    pub(super) fn effective_arguments(&self, spec: &QueueSpec) -> QueueArguments {
        let declared = QueueArguments::check(spec.arguments.view(), &spec.name, &self.vhost);
        let settings = self.settings_of_queue(spec);
        declared.unwrap_or_default().under(&settings)
    }

    pub(super) fn alternate_by_policy(&self, name: &str) -> Option<Arc<str>> {
        alternate_exchange(&self.policies.for_exchange(name)).map(Arc::from)
    }

    /// Looks at everything anew; only what comes out different changes.
    fn apply_policies(&mut self, changes: &mut Vec<Change>) {
        for exchange in self.exchanges.values_mut() {
            let settings = self.policies.for_exchange(&exchange.spec().name);
            exchange.set_policy_alternate(alternate_exchange(&settings));
        }
        for queue in self.queues() {
            let arguments = self.effective_arguments(queue.spec());
            if queue.set_arguments(arguments) {
                changes.push(Change::QueueChanged(queue));
            }
        }
    }
}
