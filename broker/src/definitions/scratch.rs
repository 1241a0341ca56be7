//! A copy of a vhost's topology to try definitions on.
//!
//! What it is not: a vhost. Its queues hold nothing and are never used.

use std::sync::Arc;

use crate::core::queue::{ClassicOptions, ClassicQueue};
use crate::core::topology::{Applied, Command, Ids, MakeQueue, Topology};

/// Something that definitions can be applied to.
pub(super) trait Target {
    fn topology(&self) -> &Topology;
    fn apply(&mut self, command: Command) -> Applied;
}

impl Target for Topology {
    fn topology(&self) -> &Topology {
        self
    }

    fn apply(&mut self, command: Command) -> Applied {
        Self::apply(self, command)
    }
}

/// What makes queues that hold nothing.
pub(super) fn make_nothing() -> MakeQueue {
    Arc::new(|_, _| Box::new(ClassicQueue::new(ClassicOptions::default())))
}

/// A copy of this topology, or that of a new vhost.
pub(super) fn copy_of(vhost: &str, existing: Option<&Topology>) -> Topology {
    let mut copy = Topology::new(vhost, Ids::default(), make_nothing());
    if let Some(existing) = existing {
        for exchange in existing.exchanges() {
            copy.apply(Command::DeclareExchange((**exchange.spec()).clone()));
        }
        for queue in existing.queues() {
            copy.apply(Command::DeclareQueue(queue.spec().clone()));
        }
        for binding in existing.bindings().iter() {
            copy.apply(Command::Bind((**binding).clone()));
        }
    }
    copy.declare_predeclared();
    copy
}
