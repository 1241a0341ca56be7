//! Carrying out commands.
//!
//! Auto-delete exchanges go in a cascade, worked off with a list rather than by recursion, so that
//! its length is bounded by the number of exchanges and not by the stack.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Applied, Change, Command, ExchangeSpec, ExchangeState, HandedDown, Topology};
use crate::core::binding::{Binding, Destination};
use crate::core::exchange::ExchangeId;
use crate::core::policy::PolicyKind;
use crate::core::queue::QueueId;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue_handle::{QueueHandle, QueueSpec};

impl Topology {
    /// Carries out one command.
    pub fn apply(&mut self, command: Command) -> Applied {
        let mut applied = Applied::default();
        let changes = &mut applied.changes;
        match command {
            Command::DeclareExchange(spec) => self.declare_exchange(spec, changes),
            Command::DeleteExchange(id) => self.delete_exchanges(vec![id], changes),
            Command::SetPolicy(policy) => self.set_policy(policy, changes),
            Command::ClearPolicy(kind, name) => self.clear_policy(kind, &name, changes),
            Command::DeclareQueue(spec) => self.declare_queue(spec, changes),
            Command::DeleteQueue(id) => self.delete_queue(id, changes),
            Command::Bind(binding) => self.bind(binding, &mut applied),
            Command::Unbind(binding) => self.unbind(binding, changes),
        }
        applied
    }

    /// Takes everything out; what is left is no vhost any more.
    pub fn empty(&mut self) -> Applied {
        let mut changes = Vec::new();
        for queue in self.queues() {
            self.delete_queue(queue.id(), &mut changes);
        }
        let mut exchanges: Vec<_> = self.exchanges.keys().copied().collect();
        exchanges.sort_unstable();
        self.delete_exchanges(exchanges, &mut changes);
        for kind in PolicyKind::EVERY {
            let policies: Vec<_> = self.policies.of_kind(kind).cloned().collect();
            for policy in policies {
                self.policies.clear(kind, policy.name());
                changes.push(Change::PolicyCleared(policy));
            }
        }
        Applied {
            changes,
            ..Applied::default()
        }
    }

    fn declare_exchange(&mut self, spec: ExchangeSpec, changes: &mut Vec<Change>) {
        if self.exchange_ids.contains_key(&spec.name) {
            return;
        }
        self.ids.pass(spec.id.0);
        let alternate = self.alternate_by_policy(&spec.name);
        let state = ExchangeState::new(spec, alternate);
        let spec = Arc::clone(state.spec());
        if spec.kind.holds_messages {
            self.make_own_queue(&spec);
        }
        self.exchange_ids.insert(Arc::clone(&spec.name), spec.id);
        self.exchanges.insert(spec.id, state);
        changes.push(Change::ExchangeDeclared(spec));
    }

    fn make_own_queue(&mut self, exchange: &ExchangeSpec) {
        let spec = QueueSpec::of_exchange(exchange.id, &exchange.name, exchange.durable);
        // No client has declared it, so neither arguments nor policies are for it.
        let arguments = QueueArguments::default();
        let body = (self.make_queue)(&spec, &arguments);
        let queue = Arc::new(QueueHandle::new(spec, arguments, body));
        self.own_queues.insert(exchange.id, queue);
    }

    fn declare_queue(&mut self, spec: QueueSpec, changes: &mut Vec<Change>) {
        if self.queue_ids.contains_key(&spec.name) {
            return;
        }
        self.ids.pass(spec.id.0);
        if let Some(owner) = spec.exclusive_owner {
            self.exclusive.entry(owner).or_default().insert(spec.id);
        }
        let arguments = self.effective_arguments(&spec);
        let body = (self.make_queue)(&spec, &arguments);
        let queue = Arc::new(QueueHandle::new(spec, arguments, body));
        self.queue_ids.insert(Arc::clone(queue.name()), queue.id());
        self.queues.insert(queue.id(), Arc::clone(&queue));
        changes.push(Change::QueueDeclared(queue));
    }

    fn bind(&mut self, binding: Binding, applied: &mut Applied) {
        let has_destination = match binding.destination() {
            Destination::Queue(id) => self.queues.contains_key(&id),
            Destination::Exchange(id) => self.exchanges.contains_key(&id),
        };
        let Some(source) = self.exchanges.get_mut(&binding.source()) else {
            return;
        };
        if let Some(id) = binding.durable_id() {
            self.ids.pass(id.0);
        }
        let binding = Arc::new(binding);
        if has_destination && self.bindings.add(Arc::clone(&binding)) {
            source.rules.bind(&binding);
            source.next_generation();
            let (to, messages) = (binding.destination(), source.rules.earlier_messages());
            if !messages.is_empty() {
                applied.handed_down.push(HandedDown { to, messages });
            }
            applied.changes.push(Change::Bound(binding));
        }
    }

    fn unbind(&mut self, binding: Binding, changes: &mut Vec<Change>) {
        if let Some(binding) = self.bindings.remove(&binding) {
            let unbound = self.forget_binding(binding, changes);
            self.delete_exchanges(Vec::from_iter(unbound), changes);
        }
    }

    fn delete_queue(&mut self, id: QueueId, changes: &mut Vec<Change>) {
        let Some(queue) = self.queues.remove(&id) else {
            return;
        };
        self.queue_ids.remove(queue.name());
        self.disown(&queue);
        queue.mark_gone();
        changes.push(Change::QueueDeleted(queue));
        let unbound = self.unbind_destination(Destination::Queue(id), changes);
        self.delete_exchanges(unbound, changes);
    }

    fn disown(&mut self, queue: &QueueHandle) {
        let Some(owner) = queue.spec().exclusive_owner else {
            return;
        };
        if let Some(owned) = self.exclusive.get_mut(&owner) {
            owned.remove(&queue.id());
            if owned.is_empty() {
                self.exclusive.remove(&owner);
            }
        }
    }

    /// Deletes exchanges, and the auto-delete exchanges that this leaves without a binding as a
    /// source, and so on (EXCH-27).
    fn delete_exchanges(&mut self, mut doomed: Vec<ExchangeId>, changes: &mut Vec<Change>) {
        while let Some(id) = doomed.pop() {
            let Some(exchange) = self.exchanges.remove(&id) else {
                continue;
            };
            exchange.next_generation();
            let spec = exchange.spec();
            self.exchange_ids.remove(&spec.name);
            changes.push(Change::ExchangeDeleted(Arc::clone(spec)));
            if let Some(own) = self.own_queues.remove(&id) {
                own.mark_gone();
                changes.push(Change::OwnQueueGone(own));
            }
            let led_away = self.bindings.remove_source(id);
            changes.extend(led_away.into_iter().map(Change::Unbound));
            doomed.extend(self.unbind_destination(Destination::Exchange(id), changes));
        }
    }

    /// Takes away what leads to the destination; returns the auto-delete exchanges left unbound.
    fn unbind_destination(
        &mut self,
        destination: Destination,
        changes: &mut Vec<Change>,
    ) -> Vec<ExchangeId> {
        let removed = self.bindings.remove_destination(destination);
        let unbound: BTreeSet<_> = removed
            .into_iter()
            .filter_map(|binding| self.forget_binding(binding, changes))
            .collect();
        unbound.into_iter().rev().collect()
    }

    /// Tells a source that a binding is gone; returns the source if that was an auto-delete
    /// exchange's last (EXCH-25). Losing a binding as a destination deletes nothing (EXCH-26).
    fn forget_binding(
        &mut self,
        binding: Arc<Binding>,
        changes: &mut Vec<Change>,
    ) -> Option<ExchangeId> {
        let id = binding.source();
        let source = self.exchanges.get_mut(&id);
        let auto_delete = source.is_some_and(|source| {
            source.rules.unbind(&binding);
            source.next_generation();
            source.spec().auto_delete
        });
        changes.push(Change::Unbound(binding));
        (auto_delete && !self.bindings.has_source(id)).then_some(id)
    }
}
