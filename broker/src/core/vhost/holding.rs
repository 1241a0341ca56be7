//! What exchanges, queues and bindings hold of the broker's reserve.
//!
//! What it is not: a count of messages; those are the queues' to tell.
//!
//! Invariant: what a thing is given when it comes is what it gives back when it goes.

use crate::core::binding::Binding;
use crate::core::queue_handle::QueueSpec;
use crate::core::reserve::Share;
use crate::core::topology::{Applied, Change, Command, ExchangeSpec, Topology};
use crate::limits::{
    BINDING_BYTES, BINDING_USUAL_WORDS, BINDING_WORD_BYTES, EXCHANGE_BYTES, QUEUE_BYTES,
};

/// Routing keys stand in the binding and in the exchange's index, there perhaps word by word.
const ROUTING_KEY_COPIES: u64 = 3;
/// Arguments stand as they came, and as what they mean.
const ARGUMENTS_COPIES: u64 = 2;

/// Everything that is there.
pub(super) fn of_all(topology: &Topology) -> u64 {
    let exchanges = topology.exchanges().into_iter();
    let exchanges = exchanges.map(|exchange| of_exchange(exchange.spec()));
    let queues = topology.queues_in_any_order().into_iter();
    let queues = queues.map(|queue| of_queue(queue.spec()));
    let bindings = topology
        .bindings()
        .iter()
        .map(|binding| of_binding(binding));
    exchanges.chain(queues).chain(bindings).sum()
}

/// What a command would add.
pub(super) fn of_command(command: &Command) -> u64 {
    match command {
        Command::DeclareExchange(spec) => of_exchange(spec),
        Command::DeclareQueue(spec) => of_queue(spec),
        Command::Bind(binding) => of_binding(binding),
        // Policies are for operators to set, and the rest takes nothing.
        _ => 0,
    }
}

/// Takes for what has come, and gives back for what has gone.
pub(super) fn account(share: &Share, applied: &Applied) {
    for change in &applied.changes {
        match change {
            Change::ExchangeDeclared(spec) => share.cover(of_exchange(spec)),
            Change::ExchangeDeleted(spec) => share.give_back(of_exchange(spec)),
            Change::QueueDeclared(queue) => share.cover(of_queue(queue.spec())),
            Change::QueueDeleted(queue) => share.give_back(of_queue(queue.spec())),
            Change::Bound(binding) => share.cover(of_binding(binding)),
            Change::Unbound(binding) => share.give_back(of_binding(binding)),
            _ => {}
        }
    }
}

fn of_exchange(spec: &ExchangeSpec) -> u64 {
    EXCHANGE_BYTES + (spec.name.len() as u64) + copies(spec.arguments.view().as_bytes())
}

fn of_queue(spec: &QueueSpec) -> u64 {
    QUEUE_BYTES + (spec.name.len() as u64) + copies(spec.arguments.view().as_bytes())
}

fn of_binding(binding: &Binding) -> u64 {
    let routing_key = binding.routing_key();
    let words = routing_key.iter().filter(|byte| **byte == b'.').count() as u64 + 1;
    let unusual = words.saturating_sub(BINDING_USUAL_WORDS) * BINDING_WORD_BYTES;
    let key = routing_key.len() as u64 * ROUTING_KEY_COPIES + unusual;
    BINDING_BYTES + key + copies(binding.arguments().view().as_bytes())
}

fn copies(arguments: &[u8]) -> u64 {
    arguments.len() as u64 * ARGUMENTS_COPIES
}
