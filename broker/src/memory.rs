//! Watches what the queues hold, and raises the alarm while that is too much.
//!
//! One task adds up what all queues hold, several times a second. Above the watermark, connections
//! that have published are not read from any more; those that only consume go on, which is what
//! brings the sum down again (FLOW-01, FLOW-08). Queues report plain counts, so a message costs
//! nothing for being counted; the price is that publishers may overshoot the watermark by what they
//! send between two looks.
//!
//! Durable queues can page messages out, each above its share. With many of them the shares are lowered,
//! so that all of them together stay well below the watermark.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alarm::Cause;
use crate::core::effects::carry_out;
use crate::core::queue::{Effects, QueueStatus, RESIDENT_BYTES_MAX};
use crate::core::queue_handle::QueueHandle;
use crate::core::vhost::Vhost;
use crate::limits::{
    MEMORY_CHECK_COST_SHARE, MEMORY_CHECK_MAX_MS, MEMORY_CHECK_MIN_MS, MESSAGE_OVERHEAD_BYTES,
    PUBLISHED_BYTES_PER_MS_MAX, QUEUES_PER_LOOK_MAX, SHARE_BYTES_MIN, SHARED_MEMORY_PERCENT,
};
use crate::node::Node;

/// Watches the queues for as long as the future is polled. A watermark of zero switches it off.
pub(crate) async fn watch(node: &Node) {
    let watermark = node.config.memory_high_watermark_bytes;
    if watermark == 0 {
        return;
    }
    let mut share = RESIDENT_BYTES_MAX;
    loop {
        let (found, mut cost) = look_at_all(node).await;
        let start = Instant::now();
        let held = found.iter().map(|found| found.held_bytes).sum::<u64>();
        let held = held + remembered_bytes(node);
        set(node, held >= watermark, held);
        share = give_shares(node, &found, share);
        // With very many queues the looking itself costs time, so it is done less often.
        cost += start.elapsed();
        let cost_ms = cost.as_millis() as u64 * MEMORY_CHECK_COST_SHARE;
        let pause_ms = cost_ms.max(pause_ms(watermark, held));
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// How long the fastest publishers take to fill half of what is left, within bounds.
fn pause_ms(watermark: u64, held: u64) -> u64 {
    let left = watermark.saturating_sub(held);
    let half_ms = left / 2 / PUBLISHED_BYTES_PER_MS_MAX;
    half_ms.clamp(MEMORY_CHECK_MIN_MS, MEMORY_CHECK_MAX_MS)
}

/// A queue and what it holds in memory.
struct Found {
    vhost: Arc<Vhost>,
    queue: Arc<QueueHandle>,
    held_bytes: u64,
}

/// Looks at every queue, and lets connections have their turns in between: there may be hundreds of
/// thousands. Says how long the looking itself took.
async fn look_at_all(node: &Node) -> (Vec<Found>, Duration) {
    let (mut found, mut cost) = (Vec::new(), Duration::ZERO);
    for vhost in node.vhosts() {
        let start = Instant::now();
        // The list is copied out, so that no queue is asked while the topology is locked.
        let queues = {
            let topology = vhost.topology();
            let mut queues = topology.queues_in_any_order();
            queues.extend(topology.own_queues().cloned());
            queues
        };
        cost += start.elapsed();
        for some in queues.chunks(QUEUES_PER_LOOK_MAX) {
            let start = Instant::now();
            found.extend(some.iter().map(|queue| look(&vhost, queue)));
            cost += start.elapsed();
            tokio::task::yield_now().await;
        }
    }
    (found, cost)
}

/// What exchanges remember of messages. There are few that do.
fn remembered_bytes(node: &Node) -> u64 {
    let vhosts = node.vhosts();
    let of_vhost = |vhost: &Arc<Vhost>| {
        let topology = vhost.topology();
        let exchanges = topology.exchanges().into_iter();
        exchanges
            .map(|exchange| exchange.rules().held_bytes())
            .sum::<u64>()
    };
    vhosts.iter().map(of_vhost).sum()
}

fn look(vhost: &Arc<Vhost>, queue: &Arc<QueueHandle>) -> Found {
    Found {
        vhost: Arc::clone(vhost),
        held_bytes: held_bytes(&queue.body().status()),
        queue: Arc::clone(queue),
    }
}

fn held_bytes(status: &QueueStatus) -> u64 {
    status.resident_bytes + status.resident_messages * MESSAGE_OVERHEAD_BYTES
}

/// Tells durable queues their share if it has changed, or if they hold more and may not know of it: a
/// new queue begins with the largest. Returns the share.
fn give_shares(node: &Node, found: &[Found], before: u64) -> u64 {
    let durable = || found.iter().filter(|found| found.queue.spec().is_kept());
    let busy = durable().filter(|found| found.held_bytes > SHARE_BYTES_MIN);
    let share = share_bytes(node.config.memory_high_watermark_bytes, busy.count() as u64);
    let is_concerned = |found: &&Found| share != before || found.held_bytes > share;
    if share == before && share == RESIDENT_BYTES_MAX {
        return share;
    }
    let now = node.clock.moment(Instant::now());
    let mut effects = Effects::default();
    for Found { vhost, queue, .. } in durable().filter(is_concerned) {
        queue
            .body()
            .set_resident_bytes_max(share, now, &mut effects);
        carry_out(vhost, queue, &mut effects, now, &node.timers);
    }
    share
}

/// What each of so many durable queues may hold in memory. A power of two, so that it seldom changes.
fn share_bytes(watermark: u64, queues: u64) -> u64 {
    let all = watermark / 100 * SHARED_MEMORY_PERCENT;
    let each = (all / queues.max(1)).clamp(SHARE_BYTES_MIN, RESIDENT_BYTES_MAX);
    1 << each.ilog2()
}

fn set(node: &Node, raised: bool, held: u64) {
    let connections = &node.connections;
    if !node.alarm.set_for(connections, Cause::Memory, raised) {
        return;
    }
    if raised {
        tracing::warn!(
            held_bytes = held,
            "memory watermark reached: publishers are held up"
        );
    } else {
        tracing::info!(
            held_bytes = held,
            "memory is below the watermark: publishers go on"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::core::queue::testing::{NotedBell, consumer, message_of, port};
    use crate::core::topology::QueueDeclare;
    use crate::core::topology::tests::{allow, queue};
    use crate::durable::keeping::open_on;
    use leveret_storage::CommitBell;
    use leveret_storage::disk::fake::FakeDisk;
    use std::sync::mpsc::{Sender, channel};

    struct Told(Sender<()>);

    impl CommitBell for Told {
        fn on_commit(&self) {
            let _ = self.0.send(());
        }
    }

    /// Eight durable queues that are read, each with a megabyte in memory that is on disk too.
    fn filled_node() -> Node {
        let config = Config {
            memory_high_watermark_bytes: 10 << 20,
            ..Config::default()
        };
        let opened = open_on(Arc::new(FakeDisk::new()), &config.storage).unwrap();
        let node = Node::with(config, Some(opened)).unwrap();
        let (vhost, now) = (node.vhost("/").unwrap(), node.clock.moment(Instant::now()));
        let mut effects = Effects::default();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let request = QueueDeclare {
                durable: true,
                ..queue(name)
            };
            let (queue, _) = vhost.declare_queue(&request, &mut allow).unwrap();
            let port = port(&Arc::<NotedBell>::default(), 0);
            let attached = queue.body().attach(consumer(1), port, now, &mut effects);
            attached.unwrap();
            let message = message_of(&"x".repeat(1024), None, true);
            let mut batch = vec![message; 1024];
            queue.body().offer(&mut batch, now, &mut effects);
            effects.tick_at_epoch = None;
        }
        let (send, told) = channel();
        let written = effects.durable_at.unwrap();
        let commits = node.commits().unwrap();
        commits.ring_at(written, Arc::new(Told(send)));
        told.recv_timeout(Duration::from_secs(30)).unwrap();
        node
    }

    #[test]
    fn durable_queues_that_hold_too_much_together_page_it_out() {
        let node = filled_node();
        let held = || -> u64 {
            let (found, _) = futures_lite::future::block_on(look_at_all(&node));
            let found = found.into_iter();
            found.map(|found| found.held_bytes).sum()
        };
        let before = held();
        assert!(before > 8 << 20, "{before}");
        let mut share = RESIDENT_BYTES_MAX;
        // Each look has a queue page out a part.
        for _ in 0..8 {
            let (found, _) = futures_lite::future::block_on(look_at_all(&node));
            share = give_shares(&node, &found, share);
        }
        assert_eq!(share, 256 << 10);
        let after = held();
        assert!(after <= 4 << 20, "{after}");
    }

    #[test]
    fn many_queues_share_what_one_could_have_alone() {
        assert_eq!(share_bytes(2 << 30, 0), RESIDENT_BYTES_MAX);
        assert_eq!(share_bytes(2 << 30, 100), RESIDENT_BYTES_MAX);
        assert_eq!(share_bytes(2 << 30, 1_000), 512 << 10);
        assert_eq!(share_bytes(2 << 30, u64::MAX), SHARE_BYTES_MIN);
        assert_eq!(share_bytes(1, 1), SHARE_BYTES_MIN);
    }

    #[test]
    fn the_nearer_the_watermark_the_oftener_it_looks() {
        let watermark = 2 << 30;
        assert_eq!(pause_ms(watermark, 0), MEMORY_CHECK_MAX_MS);
        assert_eq!(pause_ms(watermark, watermark - 400_000_000), 200);
        assert_eq!(pause_ms(watermark, watermark), MEMORY_CHECK_MIN_MS);
        assert_eq!(pause_ms(watermark, watermark * 2), MEMORY_CHECK_MIN_MS);
        assert_eq!(pause_ms(4 << 20, 0), MEMORY_CHECK_MIN_MS);
    }
}
