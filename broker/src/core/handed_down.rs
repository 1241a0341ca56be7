//! Hands a new binding's destination what its exchange has kept for it ([`HandedDown`]).
//!
//! ```text
//!   bind ──▶ Applied { handed_down } ──▶ carry_out ─┬─ a queue ─────────────▶ offer ─▶ its effects
//!                                                   └─ an exchange ─▶ route ─▶ offer ─▶ its effects
//! ```
//!
//! It runs when the topology's lock is gone, so a message that is published meanwhile may come before
//! the older ones. Whoever waits for the answer to the binding sees them in their order, and the answer
//! waits until they are safe.
//!
//! What it is not: the exchanges' memory of messages; each kind has its own.

use std::sync::Arc;

use leveret_protocol::Properties;

use super::binding::Destination;
use super::effects::{self, Alarms};
use super::exchange::Routing;
use super::publishing::distinct_routing_keys;
use super::queue::Effects;
use super::queue_handle::QueueHandle;
use super::topology::{Applied, HandedDown};
use super::vhost::Vhost;
use super::{Message, Moment};

/// Hands over what there is to hand over. A destination that has gone meanwhile gets nothing, and what
/// finds no queue behind an exchange is dropped.
pub fn carry_out(vhost: &Arc<Vhost>, applied: &mut Applied, now: Moment, alarms: &dyn Alarms) {
    for HandedDown { to, messages } in std::mem::take(&mut applied.handed_down) {
        let mut work = Work {
            vhost,
            now,
            alarms,
            applied,
        };
        match to {
            Destination::Queue(id) => {
                if let Some(queue) = vhost.queue_by_id(id) {
                    work.offer(&queue, messages);
                }
            }
            Destination::Exchange(id) => {
                let topology = vhost.topology();
                let name = topology
                    .exchange_by_id(id)
                    .map(|to| Arc::clone(&to.spec().name));
                drop(topology);
                if let Some(name) = name {
                    messages
                        .into_iter()
                        .for_each(|message| work.route(&name, message));
                }
            }
        }
    }
}

struct Work<'w> {
    vhost: &'w Arc<Vhost>,
    now: Moment,
    alarms: &'w dyn Alarms,
    applied: &'w mut Applied,
}

impl Work<'_> {
    fn offer(&mut self, queue: &Arc<QueueHandle>, mut batch: Vec<Message>) {
        let mut effects = Effects::default();
        queue.body().offer(&mut batch, self.now, &mut effects);
        self.applied.durable_at = self.applied.durable_at.max(effects.durable_at.take());
        effects.rejected.clear();
        effects::carry_out(self.vhost, queue, &mut effects, self.now, self.alarms);
    }

    fn route(&mut self, exchange: &str, message: Message) {
        let Ok(properties) = Properties::parse(message.properties()) else {
            return;
        };
        let keys = distinct_routing_keys(&message, properties.headers);
        let routing = Routing {
            routing_keys: &keys,
            headers: properties.headers,
            message: Some(&message),
            now: self.now,
        };
        let Ok(targets) = self.vhost.route(exchange.as_bytes(), &routing) else {
            return;
        };
        for queue in targets.into_queues() {
            self.offer(&queue, vec![message.clone()]);
        }
    }
}
