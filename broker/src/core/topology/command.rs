//! [`Command`]: a change to a vhost as plain data, and [`Applied`], what it led to.

use std::sync::Arc;

use leveret_storage::Epoch;

use super::ExchangeSpec;
use crate::core::Message;
use crate::core::binding::{Binding, Destination};
use crate::core::exchange::ExchangeId;
use crate::core::policy::{Policy, PolicyKind};
use crate::core::queue::QueueId;
use crate::core::queue_handle::{QueueHandle, QueueSpec};

/// One change, judged and complete. The same commands in the same order give the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds an exchange.
    DeclareExchange(ExchangeSpec),
    /// Removes an exchange, its bindings both ways, and the auto-delete exchanges this leaves unbound.
    DeleteExchange(ExchangeId),
    /// Adds a policy, or replaces the one of its kind and name.
    SetPolicy(Arc<Policy>),
    /// Removes the policy of this kind and name.
    ClearPolicy(PolicyKind, Arc<str>),
    /// Adds a queue.
    DeclareQueue(QueueSpec),
    /// Removes a queue, its bindings, and the auto-delete exchanges this leaves unbound.
    DeleteQueue(QueueId),
    /// Adds a binding.
    Bind(Binding),
    /// Removes a binding, and the auto-delete exchanges this leaves unbound.
    Unbind(Binding),
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned<Answer> {
    /// Nothing changes; this is the answer.
    Answer(Answer),
    /// This is to be applied.
    Apply(Command),
}

/// How long what is so already will be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Until the broker ends, at most.
    Transient,
    /// It was written down: that it is there, or that it is gone.
    Recorded,
}

/// One thing that has changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// An exchange has been added.
    ExchangeDeclared(Arc<ExchangeSpec>),
    /// An exchange is gone, by request or because it was auto-delete (EXCH-25).
    ExchangeDeleted(Arc<ExchangeSpec>),
    /// A queue has been added.
    QueueDeclared(Arc<QueueHandle>),
    /// A queue is gone. Its body may still have to be retired.
    QueueDeleted(Arc<QueueHandle>),
    /// The own queue of an exchange is gone with it. Its body has still to be retired.
    OwnQueueGone(Arc<QueueHandle>),
    /// A binding has been added.
    Bound(Arc<Binding>),
    /// A binding is gone, by request or with one of its ends.
    Unbound(Arc<Binding>),
    /// A policy has been added or replaced.
    PolicySet(Arc<Policy>),
    /// A policy is gone.
    PolicyCleared(Arc<Policy>),
    /// Policies have changed what a queue's handle says about it; its body has yet to be told.
    QueueChanged(Arc<QueueHandle>),
}

/// What a command led to, in order: first what it says, then what followed from it.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The changes; empty when there was nothing left to do.
    pub changes: Vec<Change>,
    /// When whoever asked may be told, if that needs waiting for: when what has changed is safe, or,
    /// if it was so already, when the change that made it so is. `None` if nothing durable is
    /// concerned.
    pub durable_at: Option<Epoch>,
    /// Messages that new bindings' destinations are to get: [`crate::core::handed_down`].
    pub handed_down: Vec<HandedDown>,
}

/// Messages that an exchange has kept for whoever is bound to it later.
#[derive(Clone, Debug)]
pub struct HandedDown {
    /// Who is bound now.
    pub to: Destination,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
}

impl Applied {
    /// Nothing has changed, and what was asked about is safe then.
    pub(crate) fn unchanged(durable_at: Option<Epoch>) -> Self {
        Self {
            changes: Vec::new(),
            durable_at,
            handed_down: Vec::new(),
        }
    }

    /// Appends what another command led to.
    pub(crate) fn add(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.handed_down.extend(later.handed_down);
        self.durable_at = self.durable_at.max(later.durable_at);
    }
}
