//! Messages of which the head is the large part leave memory like those with large bodies, and come back.

use super::rig::Rig;
use crate::core::queue::testing::{getter, headed};
use crate::core::queue::*;

const PROPERTIES_LEN: usize = 10_000;
const MESSAGES: u64 = 2_000;
const SHARE_BYTES: u64 = 1 << 20;

#[test]
fn messages_with_large_heads_are_paged_out_and_loaded() {
    let mut rig = Rig::plain();
    rig.share(SHARE_BYTES);
    for first in (0..MESSAGES).step_by(50) {
        let batch = first..first + 50;
        rig.offer(
            batch
                .map(|n| headed(&n.to_string(), PROPERTIES_LEN, true))
                .collect(),
        );
        rig.settle_down();
    }
    let status = rig.status();
    assert!(status.resident_bytes < 2 * SHARE_BYTES, "{status:?}");
    assert!(status.resident_messages < MESSAGES / 4, "{status:?}");
    let slot = rig.attach(getter(false));
    for number in 0..MESSAGES {
        let delivery = rig.get_at_last(slot).unwrap();
        assert_eq!(
            super::rig::numbers(std::slice::from_ref(&delivery)),
            [number]
        );
        rig.settle(slot, Verdict::Ack, &[delivery.id]);
    }
    assert_eq!(rig.status().resident_bytes, 0);
}
