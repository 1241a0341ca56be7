//! Where the messages go that an exchange has held back, now that their time has come.
//!
//! What it is not: it offers nothing (see [`crate::core::effects`]), and knows no queue's rules.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use leveret_protocol::Properties;
use rustc_hash::FxHashMap;

use super::delay;
use super::exchange::Routing;
use super::publishing::distinct_routing_keys;
use super::queue_handle::QueueHandle;
use super::vhost::Vhost;
use super::{Message, Moment};

/// A queue, and what it is to be offered.
type Part = (Arc<QueueHandle>, Vec<Message>);

/// Routes what the exchange of this own queue has held, in order; each queue's part keeps the order.
/// What leads nowhere, or whose exchange has gone meanwhile, is dropped.
pub(super) fn by_queue(
    vhost: &Vhost,
    own: &QueueHandle,
    messages: &[Message],
    now: Moment,
) -> Vec<Part> {
    let mut parts = Parts::default();
    let mut scratch = Vec::new();
    for message in messages {
        let Ok(message) = delay::released(message, &mut scratch) else {
            continue;
        };
        for queue in targets(vhost, own, &message, now) {
            parts.push(queue, message.clone());
        }
    }
    parts.list
}

fn targets(
    vhost: &Vhost,
    own: &QueueHandle,
    message: &Message,
    now: Moment,
) -> Vec<Arc<QueueHandle>> {
    let properties = Properties::parse(message.properties());
    let (Ok(properties), Some(exchange)) = (properties, own.spec().of_exchange) else {
        return Vec::new();
    };
    let keys = distinct_routing_keys(message, properties.headers);
    let routing = Routing {
        routing_keys: &keys,
        headers: properties.headers,
        message: Some(message),
        now,
    };
    let targets = vhost.route_held(exchange, &routing);
    targets.map_or_else(|_| Vec::new(), |targets| targets.into_queues())
}

#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    places: FxHashMap<u64, usize>,
}

impl Parts {
    fn push(&mut self, queue: Arc<QueueHandle>, message: Message) {
        let place = match self.places.entry(queue.id().0) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                self.list.push((queue, Vec::new()));
                *place.insert(self.list.len() - 1)
            }
        };
        if let Some((_, batch)) = self.list.get_mut(place) {
            batch.push(message);
        }
    }
}

#[cfg(test)]
mod tests;
