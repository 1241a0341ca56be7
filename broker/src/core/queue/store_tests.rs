//! A durable queue on the real store, over a disk in memory: what it was given comes back after a
//! clean stop and after the death of the process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use leveret_storage::disk::fake::FakeDisk;
use leveret_storage::{CatalogChange, CommitBell, LogId, Records, Recovered, Store, StoreOptions};

use super::testing::{NotedBell, body, getter, port, prioritized};
use super::*;
use crate::core::stored_message::decode_all;

const LOG: LogId = LogId(1);
const NOW: Moment = Moment::from_unix_ms(1_000_000);
/// Small enough that most of the backlog is in the store only.
const SHARE_BYTES: u64 = 256 << 10;

/// Tells a waiting thread.
struct Told(Sender<()>);

impl CommitBell for Told {
    fn on_commit(&self) {
        let _ = self.0.send(());
    }
}

/// A queue on a store, both served by the test.
struct Bench {
    store: Store,
    queue: ClassicQueue,
    getter: SlotId,
    effects: Effects,
    load: Option<Load>,
    tick_at: Option<Epoch>,
}

impl Bench {
    fn open(disk: &FakeDisk) -> Self {
        Self::open_with(disk, ClassicOptions::default())
    }

    fn open_with(disk: &FakeDisk, queue: ClassicOptions) -> Self {
        let options = StoreOptions {
            segment_bytes: 1 << 20,
            ..StoreOptions::default()
        };
        let (store, recovered) = Store::open(Arc::new(disk.clone()), options).unwrap();
        let queue = queue_on(&store, &recovered, queue);
        let mut effects = Effects::default();
        queue.set_resident_bytes_max(SHARE_BYTES, NOW, &mut effects);
        let port = port(&Arc::<NotedBell>::default(), 0);
        let getter = queue
            .attach(getter(false), port, NOW, &mut effects)
            .unwrap();
        let mut bench = Self {
            store,
            queue,
            getter,
            effects,
            load: None,
            tick_at: None,
        };
        bench.note();
        bench
    }

    fn note(&mut self) {
        self.load = self.effects.load.take().or(self.load);
        self.tick_at = self.effects.tick_at_epoch.take().max(self.tick_at);
    }

    fn wait_for(&self, epoch: Epoch) {
        let (told, done) = channel();
        self.store.commits().ring_at(epoch, Arc::new(Told(told)));
        done.recv().unwrap();
    }

    fn publish(&mut self, numbers: std::ops::Range<u64>) {
        let text = |n: u64| format!("{n:01000}");
        let message = |n: u64| prioritized(&text(n), None, true, (n % 4) as u8);
        let mut batch = numbers.map(message).collect();
        self.queue.offer(&mut batch, NOW, &mut self.effects);
        let epoch = self.effects.durable_at.take().unwrap();
        self.wait_for(epoch);
        self.note();
        self.serve();
    }

    /// Lets everything happen that the queue waits for; says whether there was anything.
    fn serve(&mut self) -> bool {
        let mut any = false;
        while self.tick_at.is_some() || self.load.is_some() {
            if let Some(epoch) = self.tick_at.take() {
                self.wait_for(epoch);
                self.queue.tick(NOW, &mut self.effects);
            }
            self.note();
            if let Some(load) = self.load.take() {
                let (messages_max, bytes_max) = (load.messages_max, load.bytes_max);
                let read = self
                    .store
                    .read(LOG, load.first, load.last, messages_max, bytes_max);
                let loaded = decode_all(read, "q");
                self.queue.loaded(loaded, NOW, &mut self.effects);
            }
            self.note();
            any = true;
        }
        any
    }

    fn get(&mut self) -> Option<Delivery> {
        loop {
            let got = self.queue.get(self.getter, NOW, &mut self.effects);
            self.note();
            match got {
                Got::Message(delivery, _) => return Some(delivery),
                Got::Empty => return None,
                Got::Loading => assert!(self.serve(), "nothing to wait for"),
            }
        }
    }

    fn settle(&mut self, verdict: Verdict, deliveries: &[Delivery]) {
        let ids: Vec<DeliveryId> = deliveries.iter().map(|d| d.id).collect();
        self.queue
            .settle(self.getter, verdict, &ids, NOW, &mut self.effects);
        self.note();
    }

    /// What is left, in order: its number, and whether and how often it came before.
    fn drain(mut self) -> Vec<(u64, bool, u32)> {
        let mut left = Vec::new();
        while let Some(delivery) = self.get() {
            let number = body(&delivery.message).parse().unwrap();
            left.push((number, delivery.redelivered, delivery.return_count));
            self.settle(Verdict::Ack, &[delivery]);
        }
        assert_eq!(self.queue.status().held_bytes, 0);
        left
    }
}

fn queue_on(store: &Store, recovered: &Recovered, options: ClassicOptions) -> ClassicQueue {
    let known = recovered.logs.iter().find(|log| log.id == LOG);
    if known.is_none() {
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(LOG)], 0);
        store.submit(&mut records);
    }
    ClassicQueue::durable(options, Arc::new(store.clone()), LOG, known)
}

const PRIORITIES: ClassicOptions = ClassicOptions {
    max_priority: 9,
    auto_delete: false,
    expires_ms: None,
    single_active_consumer: false,
    message_ttl_ms: None,
    length_max: None,
    length_bytes_max: None,
    overflow: Overflow::DropHead,
    dead_letters: false,
    at_least_once: false,
    delivery_limit: None,
    counts_deliveries: false,
    keeps_transient: false,
};

/// 0 to 12,000 by priority, each level in order.
fn by_priority() -> impl Iterator<Item = u64> {
    let level = |priority: u64| (0..=12_000).filter(move |n| n % 4 == priority);
    (0..4).rev().flat_map(level)
}

#[test]
fn dur_a_queue_with_priorities_comes_back_by_priority_and_marked() {
    for is_killed in [false, true] {
        let disk = FakeDisk::new();
        let mut bench = Bench::open_with(&disk, PRIORITIES);
        for first in (0..12_000).step_by(100) {
            bench.publish(first..first + 100);
        }
        assert!(bench.queue.status().resident_messages < 1000);
        let taken: Vec<Delivery> = (0..20).map(|_| bench.get().unwrap()).collect();
        bench.settle(Verdict::Ack, &taken[..10]);
        bench.settle(Verdict::Requeue, &taken[15..]);
        bench.publish(12_000..12_001);
        let found = match is_killed {
            true => disk.kill(disk.operations()),
            false => disk.clone(),
        };
        bench.store.close();
        drop(bench);
        let left = Bench::open_with(&found, PRIORITIES).drain();
        let order = left.iter().map(|(n, ..)| *n);
        assert!(order.eq(by_priority().skip(10)), "killed: {is_killed}");
        let marked = left.iter().filter(|(_, redelivered, _)| *redelivered);
        let marked: Vec<u64> = marked.map(|(n, ..)| *n).collect();
        let delivered: Vec<u64> = by_priority().take(20).skip(10).collect();
        match is_killed {
            true => assert!(delivered.iter().all(|n| marked.contains(n))),
            false => assert_eq!(marked, delivered[5..]),
        }
    }
}

#[test]
fn dur_a_purge_among_priorities_leaves_what_was_handed_out() {
    let disk = FakeDisk::new();
    let mut bench = Bench::open_with(&disk, PRIORITIES);
    for first in (0..3000).step_by(100) {
        bench.publish(first..first + 100);
    }
    let taken: Vec<Delivery> = (0..20).map(|_| bench.get().unwrap()).collect();
    assert_eq!(bench.queue.purge(&mut bench.effects), 2980);
    bench.publish(3000..3001);
    bench.store.close();
    drop(bench);
    let bench = Bench::open_with(&disk, PRIORITIES);
    let status = bench.queue.status();
    assert_eq!((status.ready, status.ready_bytes), (21, 21_000));
    let left = bench.drain();
    let handed_out = (0..20).map(|n| 3 + 4 * n);
    assert!(left.iter().map(|(n, ..)| *n).eq(handed_out.chain([3000])));
    assert_eq!(left.len(), taken.len() + 1);
}

/// Publishes 3000 messages, acknowledges 0 to 9 and 20, returns 15, and keeps 10 to 19.
fn history(disk: &FakeDisk) -> Bench {
    let mut bench = Bench::open(disk);
    for first in (0..3000).step_by(100) {
        bench.publish(first..first + 100);
    }
    let status = bench.queue.status();
    assert_eq!(status.ready, 3000);
    assert!(status.resident_messages < 600, "{status:?}");
    let taken: Vec<Delivery> = (0..21).map(|_| bench.get().unwrap()).collect();
    bench.settle(Verdict::Ack, &taken[..10]);
    bench.settle(Verdict::Ack, &taken[20..]);
    bench.settle(Verdict::Requeue, &taken[15..16]);
    bench.publish(3000..3001);
    bench
}

#[test]
fn dur_after_a_clean_stop_everything_is_as_it_was() {
    let disk = FakeDisk::new();
    let bench = history(&disk);
    bench.store.close();
    drop(bench);
    let expected = (10..20).chain(21..3001);
    let expected = expected.map(|n| (n, n == 15, u32::from(n == 15)));
    assert_eq!(Bench::open(&disk).drain(), expected.collect::<Vec<_>>());
}

#[test]
fn dur_after_a_crash_what_may_have_been_delivered_says_so() {
    let disk = FakeDisk::new();
    let bench = history(&disk);
    let found = disk.kill(disk.operations());
    bench.store.close();
    let left = Bench::open(&found).drain();
    assert!(left.iter().map(|(n, ..)| *n).eq((10..20).chain(21..3001)));
    assert!(
        left.iter()
            .filter(|(n, ..)| *n < 20)
            .all(|(_, redelivered, _)| *redelivered)
    );
    assert_eq!(left[5].2, 1);
}

#[test]
fn dur_what_is_published_after_a_crash_was_never_delivered() {
    let disk = FakeDisk::new();
    let bench = history(&disk);
    let found = disk.kill(disk.operations());
    bench.store.close();
    let mut bench = Bench::open(&found);
    for first in (4000..6000).step_by(100) {
        bench.publish(first..first + 100);
    }
    let left = bench.drain().into_iter();
    let new: Vec<_> = left.skip_while(|(n, ..)| *n < 4000).collect();
    assert_eq!(new, (4000..6000).map(|n| (n, false, 0)).collect::<Vec<_>>());
}
