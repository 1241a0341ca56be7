//! [`Timers`]: calls queues back when a message of theirs, or they themselves, are about to expire.
//!
//! One heap and one task for all queues. A queue asks for an earlier tick only when it needs one, so
//! the heap holds a few entries per queue at most; entries of deleted queues are passed over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use leveret_storage::Epoch;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::core::Moment;
use crate::core::effects::{Alarms, carry_out};
use crate::core::queue::{Effects, Load, QueueId};
use crate::core::queue_handle::QueueHandle;
use crate::core::vhost::Vhost;

/// A queue that wants to be ticked, ordered by when.
#[derive(Debug)]
struct Tick {
    at: Moment,
    id: QueueId,
    queue: Weak<QueueHandle>,
    vhost: Weak<Vhost>,
}

impl PartialEq for Tick {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Tick {}

impl PartialOrd for Tick {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tick {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// The ticks that were asked for. A queue that asks twice for one moment is ticked once.
#[derive(Debug, Default)]
struct Ticks {
    heap: BinaryHeap<Reverse<Tick>>,
    asked: HashSet<(QueueId, Moment)>,
}

/// The deadlines of all queues.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    ticks: Mutex<Ticks>,
    earlier: Notify,
}

impl Alarms for Timers {
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        let id = queue.id();
        let (queue, vhost) = (Arc::downgrade(queue), Arc::downgrade(vhost));
        let mut ticks = self.lock();
        if !ticks.asked.insert((id, at)) {
            return;
        }
        let is_earliest = ticks.heap.peek().is_none_or(|Reverse(first)| at < first.at);
        ticks.heap.push(Reverse(Tick {
            at,
            id,
            queue,
            vhost,
        }));
        drop(ticks);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    fn tick_at_epoch(&self, _epoch: Epoch, _queue: &Arc<QueueHandle>, _vhost: &Arc<Vhost>) {}

    fn load(&self, _load: Load, _queue: &Arc<QueueHandle>, _vhost: &Arc<Vhost>) {}
}

impl Timers {
    /// Ticks queues when they are due, for as long as the future is polled.
    pub(crate) async fn run(&self, clock: Clock) {
        loop {
            let next = self.lock().heap.peek().map(|Reverse(tick)| tick.at);
            match next {
                None => self.earlier.notified().await,
                Some(at) => {
                    let sleep = tokio::time::sleep_until(clock.instant(at).into());
                    tokio::select! {
                        () = self.earlier.notified() => {}
                        () = sleep => self.tick_due(clock.moment(Instant::now())),
                    }
                }
            }
        }
    }

    fn tick_due(&self, now: Moment) {
        let mut effects = Effects::default();
        while let Some(due) = self.take_due(now) {
            if let (Some(queue), Some(vhost)) = (due.queue.upgrade(), due.vhost.upgrade()) {
                queue.body().tick(now, &mut effects);
                carry_out(&vhost, &queue, &mut effects, now, self);
            }
        }
    }

    fn take_due(&self, now: Moment) -> Option<Tick> {
        let mut ticks = self.lock();
        let is_due = ticks
            .heap
            .peek()
            .is_some_and(|Reverse(first)| first.at <= now);
        if !is_due {
            return None;
        }
        let Reverse(due) = ticks.heap.pop()?;
        ticks.asked.remove(&(due.id, due.at));
        Some(due)
    }

    fn lock(&self) -> MutexGuard<'_, Ticks> {
        // Pushing and popping leave the heap whole whatever happens.
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::{TableBuf, Value};

    use super::*;
    use crate::config::{Config, VhostConfig};
    use crate::core::queue_handle::ConnectionId;
    use crate::core::topology::QueueDeclare;
    use crate::node::Node;

    fn node_of_two_vhosts() -> Node {
        let vhosts = vec![VhostConfig {
            name: "orders".to_owned(),
            connections_max: None,
            queues_max: None,
        }];
        Node::new(Config {
            vhosts,
            ..Config::default()
        })
        .unwrap()
    }

    fn declare_expiring(vhost: &Vhost) -> Arc<QueueHandle> {
        let arguments = TableBuf::new().with("x-expires", Value::I32(10));
        let request = QueueDeclare {
            name: "q",
            generated_name: "",
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: arguments.view(),
            connection: ConnectionId(1),
            queues_max: None,
        };
        vhost.declare_queue(&request, &mut |_, _| Ok(())).unwrap().0
    }

    #[test]
    fn queues_of_two_vhosts_that_ask_for_the_same_moment_are_both_ticked() {
        let node = node_of_two_vhosts();
        let now = Moment::from_unix_ms(1_000);
        let mut queues = Vec::new();
        for name in ["/", "orders"] {
            let vhost = node.vhost(name).unwrap();
            let queue = declare_expiring(&vhost);
            let mut effects = Effects::default();
            queue.body().renew_lease(now, &mut effects);
            carry_out(&vhost, &queue, &mut effects, now, &node.timers);
            queues.push(queue);
        }
        node.timers.tick_due(now.after_ms(10));
        let gone: Vec<_> = queues.iter().map(|queue| queue.is_gone()).collect();
        assert_eq!(gone, [true, true]);
    }
}
