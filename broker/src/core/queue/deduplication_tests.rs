//! Queues that drop duplicates.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use leveret_protocol::content::Body;
use leveret_protocol::{Properties, TableBuf, Value};

use super::testing::{NotedBell, body, consumer, getter, port};
use super::*;
use crate::core::MessageParts;
use crate::core::deduplication::Deduplication;

struct Bench {
    queue: ClassicQueue,
    effects: Effects,
    slot: SlotId,
    now_ms: u64,
}

fn asked(arguments: &[(&str, Value<'_>)]) -> Deduplication {
    let arguments = TableBuf::from_entries(arguments.iter().copied());
    Deduplication::read(arguments.view())
}

impl Bench {
    fn new(options: ClassicOptions, arguments: &[(&str, Value<'_>)], spec: SlotSpec) -> Self {
        let queue = ClassicQueue::new(options).dropping_duplicates(asked(arguments));
        let (now, mut effects) = (Moment::from_unix_ms(0), Effects::default());
        let port = port(&Arc::<NotedBell>::default(), 0);
        let slot = queue.attach(spec, port, now, &mut effects).unwrap();
        Self {
            queue,
            effects,
            slot,
            now_ms: 0,
        }
    }

    fn plain(spec: SlotSpec) -> Self {
        Self::new(ClassicOptions::default(), &[], spec)
    }

    fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    fn publish(&mut self, ids: &str) {
        self.publish_expiring(ids, None);
    }

    fn publish_expiring(&mut self, ids: &str, expiration_ms: Option<u64>) {
        let message = |id: &str| message(id, expiration_ms);
        let mut batch = ids.split_whitespace().map(message).collect();
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
    }

    fn get(&mut self) -> Option<Delivery> {
        match self.queue.get(self.slot, self.now(), &mut self.effects) {
            Got::Message(delivery, _) => Some(delivery),
            Got::Empty | Got::Loading => None,
        }
    }

    fn get_all(&mut self) -> String {
        let got = std::iter::from_fn(|| self.get()).collect::<Vec<_>>();
        let bodies = got.iter().map(|delivery| body(&delivery.message));
        bodies.collect::<Vec<_>>().join(" ")
    }

    fn settle(&mut self, verdict: Verdict, ids: &[u64]) {
        let ids: Vec<_> = ids.iter().copied().map(DeliveryId).collect();
        let (slot, now) = (self.slot, self.now());
        self.queue
            .settle(slot, verdict, &ids, now, &mut self.effects);
    }

    fn ready(&self) -> u64 {
        self.queue.status().ready
    }
}

/// A message whose id is its body too; "-" has no id.
fn message(id: &str, expiration_ms: Option<u64>) -> Message {
    message_of(id, expiration_ms, false)
}

fn persistent(id: &str) -> Message {
    message_of(id, None, true)
}

fn message_of(id: &str, expiration_ms: Option<u64>, persistent: bool) -> Message {
    let id_header = ("x-deduplication-header", Value::LongStr(id.as_bytes()));
    let headers = TableBuf::from_entries((id != "-").then_some(id_header));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Properties::default()
    };
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &properties.to_bytes(),
        body: Body::Whole(id.as_bytes()),
        persistent,
        priority: 0,
        expiration_ms,
    };
    Message::new(parts, &mut Vec::new())
}

#[test]
fn what_is_in_the_queue_is_not_taken_in_again() {
    let mut bench = Bench::plain(getter(false));
    bench.publish("a b a - -");
    bench.publish("b c");
    assert!(
        bench.effects.rejected.is_empty(),
        "a duplicate counts as taken"
    );
    assert_eq!(bench.get_all(), "a b - - c");
    bench.publish("a");
    assert_eq!(bench.ready(), 0, "unsettled ones are still in the queue");
    bench.settle(Verdict::Requeue, &[0]);
    bench.publish("a");
    assert_eq!(bench.get_all(), "a");
}

#[test]
fn what_has_left_the_queue_is_taken_in_again() {
    let mut bench = Bench::plain(getter(false));
    bench.publish("a b");
    bench.get_all();
    bench.settle(Verdict::Ack, &[0]);
    bench.settle(Verdict::Discard, &[1]);
    let status = bench.queue.status();
    assert_eq!((status.held_bytes, status.unsettled), (0, 0));
    bench.publish("a b");
    assert_eq!(bench.ready(), 2);
    bench.queue.purge(&mut bench.effects);
    bench.publish("a b");
    assert_eq!(bench.ready(), 2);
}

#[test]
fn what_is_settled_by_being_sent_is_taken_in_again() {
    let mut bench = Bench::plain(getter(true));
    bench.publish("a");
    assert_eq!(bench.get_all(), "a");
    bench.publish("a");
    assert_eq!(bench.get_all(), "a");
    let mut bench = Bench::plain(SlotSpec {
        no_ack: true,
        ..consumer(0)
    });
    for _ in 0..2 {
        bench.publish("a a");
        let room = Room {
            messages: 9,
            bytes: usize::MAX,
        };
        let (now, mut out) = (bench.now(), Vec::new());
        bench
            .queue
            .pull(bench.slot, room, now, &mut out, &mut bench.effects);
        assert_eq!(out.len(), 1);
    }
}

#[test]
fn what_expires_or_is_pushed_out_is_taken_in_again() {
    let mut bench = Bench::plain(getter(false));
    bench.publish_expiring("a", Some(10));
    bench.now_ms = 10;
    bench.publish("a");
    assert_eq!(bench.ready(), 1);
    let options = ClassicOptions {
        length_max: Some(1),
        ..ClassicOptions::default()
    };
    let mut bench = Bench::new(options, &[], getter(false));
    bench.publish("a b");
    bench.publish("a");
    assert_eq!(bench.get_all(), "a");
}

#[test]
fn a_full_queue_refuses_before_it_looks_for_duplicates() {
    let options = ClassicOptions {
        length_max: Some(2),
        overflow: Overflow::RejectPublish,
        ..ClassicOptions::default()
    };
    let mut bench = Bench::new(options, &[], getter(false));
    bench.publish("a a b a c");
    assert_eq!(bench.effects.rejected, [3, 4]);
    assert_eq!(bench.get_all(), "a b");
    bench.publish("c");
    assert_eq!(bench.get_all(), "c", "what was refused is not known");
}

#[test]
fn with_a_time_it_does_not_matter_whether_the_first_is_still_there() {
    let ttl = ("x-cache-ttl", Value::I32(100));
    let mut bench = Bench::new(ClassicOptions::default(), &[ttl], getter(true));
    bench.publish("a");
    assert_eq!(bench.get_all(), "a");
    bench.now_ms = 99;
    bench.publish("a");
    assert_eq!(bench.get_all(), "");
    bench.now_ms = 100;
    bench.publish("a a");
    assert_eq!(bench.get_all(), "a");
}

#[test]
fn with_a_size_the_oldest_are_forgotten() {
    let size = ("x-cache-size", Value::I32(2));
    let mut bench = Bench::new(ClassicOptions::default(), &[size], getter(true));
    bench.publish("a b c b a");
    assert_eq!(bench.get_all(), "a b c a");
}

/// A store that commits nothing yet.
#[derive(Debug, Default)]
struct Slow(std::sync::atomic::AtomicU64);

impl Journal for Slow {
    fn submit(&self, records: &mut leveret_storage::Records) -> Epoch {
        records.clear(0);
        Epoch(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
    }

    fn committed(&self) -> Epoch {
        Epoch(0)
    }

    fn has_failed(&self) -> bool {
        false
    }
}

#[test]
fn a_duplicate_is_not_safe_before_the_first_one_is() {
    let log = leveret_storage::LogId(1);
    let queue = ClassicQueue::durable(ClassicOptions::default(), Arc::<Slow>::default(), log, None);
    let queue = queue.dropping_duplicates(asked(&[]));
    let (now, mut effects) = (Moment::from_unix_ms(0), Effects::default());
    let mut offer = |id: &str| {
        let mut batch = vec![persistent(id)];
        queue.offer(&mut batch, now, &mut effects);
        effects.durable_at.take()
    };
    let first = offer("a");
    assert!(first.is_some());
    assert_eq!(offer("a"), first);
    assert_eq!(queue.status().ready, 1);
}
