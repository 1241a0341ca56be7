//! [`MemoryAlarm`]: holds up publishers while the queues hold too much.
//!
//! One task adds up what all queues hold, several times a second. Above the watermark, connections
//! that have published are not read from any more; those that only consume go on, which is what
//! brings the sum down again (FLOW-01, FLOW-08). Queues report plain counts, so a message costs
//! nothing for being counted; the price is that publishers may overshoot the watermark by what they
//! send between two looks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::core::vhost::Vhost;
use crate::limits::{
    MEMORY_CHECK_CALM_MS, MEMORY_CHECK_COST_SHARE, MEMORY_CHECK_MS, MEMORY_NEAR_WATERMARK,
    MESSAGE_OVERHEAD_BYTES,
};
use crate::node::Node;

/// Whether the queues hold more than they may.
#[derive(Debug, Default)]
pub(crate) struct MemoryAlarm {
    raised: AtomicBool,
}

impl MemoryAlarm {
    /// True while publishers are to be held up.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}

/// Watches the queues for as long as the future is polled. A watermark of zero switches it off.
pub(crate) async fn watch(node: &Node) {
    let watermark = node.config.memory_high_watermark_bytes;
    if watermark == 0 {
        return;
    }
    loop {
        let start = Instant::now();
        let held = node.vhosts().map(held_bytes).sum::<u64>();
        set(node, held >= watermark, held);
        // With very many queues the looking itself costs time, so it is done less often; and less
        // often still while the watermark is far away.
        let is_near = held >= watermark / MEMORY_NEAR_WATERMARK;
        let pause_ms = if is_near {
            MEMORY_CHECK_MS
        } else {
            MEMORY_CHECK_CALM_MS
        };
        let pause = start.elapsed() * MEMORY_CHECK_COST_SHARE;
        tokio::time::sleep(pause.max(Duration::from_millis(pause_ms))).await;
    }
}

fn held_bytes(vhost: &Vhost) -> u64 {
    // The list is copied out, so that no queue is asked while the topology is locked.
    let queues = vhost.topology().queues();
    let statuses = queues.iter().map(|queue| queue.body().status());
    statuses
        .map(|s| s.held_bytes + (s.ready + s.unsettled) * MESSAGE_OVERHEAD_BYTES)
        .sum()
}

fn set(node: &Node, raised: bool, held: u64) {
    if node.memory_alarm.raised.swap(raised, Ordering::Relaxed) == raised {
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
    node.connections
        .mailboxes()
        .iter()
        .for_each(|mailbox| mailbox.alarm_changed());
}
