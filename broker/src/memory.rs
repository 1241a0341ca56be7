//! Watches what the queues hold, and raises the alarm while that is too much.
//!
//! One task adds up what all queues hold, several times a second. Above the watermark, connections
//! that have published are not read from any more; those that only consume go on, which is what
//! brings the sum down again (FLOW-01, FLOW-08). Queues report plain counts, so a message costs
//! nothing for being counted; the price is that publishers may overshoot the watermark by what they
//! send between two looks.

use std::time::{Duration, Instant};

use crate::alarm::Cause;
use crate::core::vhost::Vhost;
use crate::limits::{
    MEMORY_CHECK_COST_SHARE, MEMORY_CHECK_MAX_MS, MEMORY_CHECK_MIN_MS, MESSAGE_OVERHEAD_BYTES,
    PUBLISHED_BYTES_PER_MS_MAX,
};
use crate::node::Node;

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
        // With very many queues the looking itself costs time, so it is done less often.
        let cost_ms = start.elapsed().as_millis() as u64 * MEMORY_CHECK_COST_SHARE;
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

fn held_bytes(vhost: &Vhost) -> u64 {
    // The list is copied out, so that no queue is asked while the topology is locked.
    let queues = vhost.topology().queues();
    let statuses = queues.iter().map(|queue| queue.body().status());
    statuses
        .map(|s| s.resident_bytes + s.resident_messages * MESSAGE_OVERHEAD_BYTES)
        .sum()
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
    use super::*;

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
