//! A queue with one consumer: offer, pull, settle, in batches as large as a connection's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret::core::queue::{
    Bell, ClassicOptions, ClassicQueue, Delivery, DeliveryId, Effects, Offered, Port, Pulled,
    Queue, Room, SlotId, SlotKind, SlotSpec, Verdict,
};
use leveret::core::{Message, MessageParts, Moment};
use leveret::limits::{OUTBOX_HIGH_BYTES, PULL_MESSAGES_MAX};
use leveret_protocol::content::Body;

use super::{MESSAGES, Part};

/// Messages handed over at once.
const BATCH: usize = 100;
const NOW: Moment = Moment::from_unix_ms(1_700_000_000_000);

/// Counts its rings.
#[derive(Default)]
struct Counter(AtomicU64);

impl Bell for Counter {
    fn ring(&self, _: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Served {
    queue: ClassicQueue,
    slot: SlotId,
    message: Message,
    batch: Vec<Message>,
    out: Vec<Delivery>,
    ids: Vec<DeliveryId>,
    effects: Effects,
    no_ack: bool,
}

impl Part for Served {
    fn round(&mut self) {
        for _ in 0..MESSAGES / BATCH {
            let copies = std::iter::repeat_n(&self.message, BATCH);
            self.batch.extend(copies.cloned());
            let offered = self.queue.offer(&mut self.batch, NOW, &mut self.effects);
            assert_eq!(offered, Offered::Taken);
            self.pull();
            if !self.no_ack {
                self.acknowledge();
            }
            self.out.clear();
        }
    }
}

impl Served {
    fn pull(&mut self) {
        let room = Room {
            messages: PULL_MESSAGES_MAX,
            bytes: OUTBOX_HIGH_BYTES,
        };
        let pulled = self
            .queue
            .pull(self.slot, room, NOW, &mut self.out, &mut self.effects);
        assert_eq!((pulled, self.out.len()), (Pulled::Drained, BATCH));
    }

    fn acknowledge(&mut self) {
        self.ids.clear();
        self.ids.extend(self.out.iter().map(|delivery| delivery.id));
        let effects = &mut self.effects;
        self.queue
            .settle(self.slot, Verdict::Ack, &self.ids, NOW, effects);
    }
}

pub(super) fn auto_ack() -> Box<dyn Part> {
    served(true)
}

pub(super) fn ack() -> Box<dyn Part> {
    served(false)
}

fn served(no_ack: bool) -> Box<dyn Part> {
    let queue = ClassicQueue::new(ClassicOptions::default());
    let kind = SlotKind::Consumer {
        exclusive: false,
        prefetch: 0,
        pull_only: false,
        priority: 0,
    };
    let port = Port {
        bell: Arc::new(Counter::default()),
        token: 0,
    };
    let mut effects = Effects::default();
    let slot = queue.attach(SlotSpec { kind, no_ack }, port, NOW, &mut effects);
    Box::new(Served {
        slot: slot.expect("a slot"),
        queue,
        message: message(),
        batch: Vec::new(),
        out: Vec::new(),
        ids: Vec::new(),
        effects,
        no_ack,
    })
}

fn message() -> Message {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0, 0],
        body: Body::Whole(b"sixteen bytes!!!"),
        persistent: false,
        priority: 0,
        expiration_ms: None,
    };
    Message::new(parts, &mut Vec::new())
}
