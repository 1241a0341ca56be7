//! Setting and clearing policies: the topology first, then every queue that it concerns.
//!
//! ```text
//!   set, clear ──▶ Vhost::apply ──▶ exchanges have their alternates; handles their arguments
//!                        │ QueueChanged                             (under the topology's lock)
//!                        └──▶ Queue::set_arguments, one queue after the other ──▶ effects
//!                                                                   (under no lock of theirs)
//! ```
//!
//! Invariant: when a change returns, every queue that was there does as the policies say that were there
//! then. A vhost's changes come one after the other, or two of them could reach a queue in the wrong order;
//! a queue that is declared meanwhile is made as the topology has it.

use std::sync::Arc;

use super::{Policy, PolicyKind};
use crate::core::Moment;
use crate::core::effects::{Alarms, carry_out};
use crate::core::queue::Effects;
use crate::core::queue_handle::QueueHandle;
use crate::core::topology::{Applied, Change, Command};
use crate::core::vhost::Vhost;

/// Adds a policy, or replaces the one of its kind and name, and applies it (POL-01).
pub fn set(vhost: &Arc<Vhost>, policy: Policy, now: Moment, alarms: &dyn Alarms) -> Applied {
    change(vhost, Command::SetPolicy(Arc::new(policy)), now, alarms)
}

/// Removes a policy and what it did; nothing has changed if there is none of this name.
pub fn clear(
    vhost: &Arc<Vhost>,
    kind: PolicyKind,
    name: &str,
    now: Moment,
    alarms: &dyn Alarms,
) -> Applied {
    let command = Command::ClearPolicy(kind, Arc::from(name));
    change(vhost, command, now, alarms)
}

fn change(vhost: &Arc<Vhost>, command: Command, now: Moment, alarms: &dyn Alarms) -> Applied {
    let _one_after_the_other = vhost.changing_policies();
    let applied = vhost.apply(command);
    for change in &applied.changes {
        if let Change::QueueChanged(queue) = change {
            tell_one(vhost, queue, now, alarms);
        }
    }
    applied
}

/// Tells a queue what its arguments and the policies come to now, after a change that was made with others
/// under one lock.
pub(crate) fn tell(vhost: &Arc<Vhost>, queue: &Arc<QueueHandle>, now: Moment, alarms: &dyn Alarms) {
    let _one_after_the_other = vhost.changing_policies();
    tell_one(vhost, queue, now, alarms);
}

fn tell_one(vhost: &Arc<Vhost>, queue: &Arc<QueueHandle>, now: Moment, alarms: &dyn Alarms) {
    let mut effects = Effects::default();
    let arguments = queue.arguments();
    queue.body().set_arguments(&arguments, now, &mut effects);
    carry_out(vhost, queue, &mut effects, now, alarms);
}

#[cfg(test)]
mod tests;
