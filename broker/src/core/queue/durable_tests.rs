//! What a durable queue does beyond a transient one: marks, records, paging and recovery, over a
//! journal that commits and reads when the test says so.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::durable::RESIDENT_BYTES_MAX;
use super::fake_journal::Backing;
use super::marks::MARK_STEP;
use super::testing::{NotedBell, body, consumer, getter, message_of, port};
use super::*;

/// A body that lets a few messages fill a queue's share of memory.
const LARGE_BYTES: usize = 64 << 10;

/// A share of memory for a few of them.
const SHARE_BYTES: u64 = 8 * LARGE_BYTES as u64;

const PLENTY: Room = Room {
    messages: 256,
    bytes: usize::MAX,
};

/// A durable queue, its journal, and what its calls asked for.
struct Rig {
    queue: ClassicQueue,
    backing: Backing,
    bell: Arc<NotedBell>,
    effects: Effects,
    now_ms: u64,
    attached: u64,
}

impl Rig {
    fn new(options: ClassicOptions) -> Self {
        Self::over(Backing::new(options))
    }

    fn plain() -> Self {
        Self::new(ClassicOptions::default())
    }

    fn over((backing, queue): (Backing, ClassicQueue)) -> Self {
        Self {
            queue,
            backing,
            bell: Arc::default(),
            effects: Effects::default(),
            now_ms: 0,
            attached: 0,
        }
    }

    /// The queue after a restart; everything so far is committed.
    fn restarted(self, options: ClassicOptions) -> Self {
        self.backing.journal.commit();
        let recovered = self.backing.journal.recovered();
        let journal = self.backing.journal;
        let mut rig = Self::over(Backing::with(journal, options, Some(&recovered)));
        rig.tick();
        rig
    }

    fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    fn offer(&mut self, mut batch: Vec<Message>) {
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    fn publish(&mut self, bodies: &str) {
        let messages = bodies.split_whitespace();
        self.offer(messages.map(|text| message_of(text, None, true)).collect());
    }

    /// Messages numbered in their bodies, each 64 KiB large.
    fn publish_large(&mut self, numbers: std::ops::Range<u64>) {
        self.offer(numbers.map(|n| large(n, None)).collect());
    }

    fn share(&mut self, bytes_max: u64) {
        let now = self.now();
        self.queue
            .set_resident_bytes_max(bytes_max, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    fn attach(&mut self, spec: SlotSpec) -> SlotId {
        let port = port(&self.bell, self.attached);
        self.attached += 1;
        let now = self.now();
        let slot = self.queue.attach(spec, port, now, &mut self.effects);
        self.backing.note(&mut self.effects);
        slot.unwrap()
    }

    fn pull_all(&mut self, slot: SlotId) -> Vec<Delivery> {
        let (mut out, now) = (Vec::new(), self.now());
        self.queue
            .pull(slot, PLENTY, now, &mut out, &mut self.effects);
        self.backing.note(&mut self.effects);
        self.check_marks(&out);
        out
    }

    fn pull(&mut self, slot: SlotId) -> String {
        bodies(&self.pull_all(slot))
    }

    fn get(&mut self, slot: SlotId) -> Got {
        let got = self.queue.get(slot, self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
        if let Got::Message(delivery, _) = &got {
            self.check_marks(std::slice::from_ref(delivery));
        }
        got
    }

    /// What a getter gets once it has waited for what it has to.
    fn get_at_last(&mut self, slot: SlotId) -> Option<Delivery> {
        loop {
            match self.get(slot) {
                Got::Message(delivery, _) => return Some(delivery),
                Got::Empty => return None,
                Got::Loading => self.wait(),
            }
        }
    }

    fn check_marks(&self, deliveries: &[Delivery]) {
        let mark = self.backing.journal.committed_mark();
        let is_covered = |d: &Delivery| !d.message.is_persistent() || d.position < mark;
        assert!(deliveries.iter().all(is_covered), "delivered before {mark}");
    }

    fn settle(&mut self, slot: SlotId, verdict: Verdict, ids: &[DeliveryId]) {
        let now = self.now();
        self.queue
            .settle(slot, verdict, ids, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    fn tick(&mut self) {
        self.queue.tick(self.now(), &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    fn purge(&mut self) -> u64 {
        let purged = self.queue.purge(&mut self.effects);
        self.backing.note(&mut self.effects);
        purged
    }

    fn commit(&mut self) -> bool {
        let now = self.now();
        self.backing.commit(&self.queue, now, &mut self.effects)
    }

    fn serve(&mut self) -> bool {
        let now = self.now();
        self.backing.serve(&self.queue, now, &mut self.effects)
    }

    /// Lets everything happen that the queue waits for; there has to be something.
    fn wait(&mut self) {
        assert!(self.commit() | self.serve(), "nothing to wait for");
        while self.commit() | self.serve() {}
    }

    /// Lets everything happen that the queue waits for, if anything.
    fn settle_down(&mut self) {
        while self.commit() | self.serve() {}
    }

    fn status(&self) -> QueueStatus {
        self.queue.status()
    }

    /// The dead letters are with their next queues.
    fn forget_dead(&mut self) {
        let (buried, now) = (std::mem::take(&mut self.effects.buried), self.now());
        self.queue.forget(&buried, now, &mut self.effects);
        self.backing.note(&mut self.effects);
    }

    fn dead(&mut self) -> String {
        self.forget_dead();
        let dead = self.effects.dead_letters.drain(..);
        let words = dead.map(|d| format!("{}:{}", name(&d.message), d.reason.as_str()));
        words.collect::<Vec<_>>().join(" ")
    }

    fn left(&self) -> String {
        let left = self.backing.journal.left().into_values();
        let names: Vec<String> = left.map(|stored| name(&stored.message())).collect();
        names.join(" ")
    }

    /// A few large messages in memory at the front, and the rest, up to `count`, in the store.
    fn paged(options: ClassicOptions, count: u64) -> Self {
        let mut rig = Self::new(options);
        rig.share(SHARE_BYTES);
        for first in (0..count).step_by(4) {
            rig.publish_large(first..count.min(first + 4));
            rig.settle_down();
        }
        rig
    }
}

fn large(number: u64, expiration_ms: Option<u64>) -> Message {
    let text = format!("{number} {}", "x".repeat(LARGE_BYTES));
    message_of(&text, expiration_ms, true)
}

/// The first word of a message's body.
fn name(message: &Message) -> String {
    let text = body(message);
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn bodies(deliveries: &[Delivery]) -> String {
    let mark = |d: &Delivery| if d.redelivered { "*" } else { "" };
    let words = deliveries.iter().map(|d| name(&d.message) + mark(d));
    words.collect::<Vec<_>>().join(" ")
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    let number = |d: &Delivery| name(&d.message).parse().unwrap();
    deliveries.iter().map(number).collect()
}

fn ids(deliveries: &[Delivery]) -> Vec<DeliveryId> {
    deliveries.iter().map(|d| d.id).collect()
}

#[test]
fn only_messages_and_purges_are_waited_for() {
    let mut rig = Rig::plain();
    let slot = rig.attach(consumer(0));
    rig.settle_down();
    rig.publish("a b c");
    let first = rig.backing.durable_at.take();
    assert!(first.is_some());
    rig.offer(vec![message_of("t", None, false)]);
    assert_eq!(rig.backing.durable_at, None, "a transient one is not kept");
    let out = rig.pull_all(slot);
    assert_eq!(bodies(&out), "a b c t");
    rig.settle(slot, Verdict::Ack, &ids(&out)[..2]);
    assert_eq!(rig.backing.durable_at, None);
    assert_eq!(rig.left(), "c");
    rig.settle(slot, Verdict::Requeue, &ids(&out));
    rig.queue
        .detach(slot, Unsettled::Requeue, rig.now(), &mut rig.effects);
    assert_eq!((rig.purge(), &*rig.left()), (2, ""));
    assert!(rig.backing.durable_at.take() > first);
    assert_eq!(rig.purge(), 0);
    assert_eq!(rig.backing.durable_at, None, "nothing to purge");
}

#[test]
fn what_is_sent_for_good_or_refused_leaves_nothing_behind() {
    let mut rig = Rig::new(ClassicOptions {
        length_max: Some(1),
        overflow: Overflow::RejectPublish,
        ..ClassicOptions::default()
    });
    let mut spec = consumer(0);
    spec.no_ack = true;
    rig.publish("a b");
    assert_eq!(rig.backing.journal.messages(), 1, "b was refused");
    let slot = rig.attach(spec);
    rig.settle_down();
    assert_eq!((&*rig.pull(slot), &*rig.left()), ("a", ""));
    let mut spec = getter(false);
    spec.no_ack = true;
    let getter = rig.attach(spec);
    rig.queue
        .detach(slot, Unsettled::Requeue, rig.now(), &mut rig.effects);
    rig.publish("c");
    assert!(rig.get_at_last(getter).is_some());
    assert_eq!(rig.left(), "");
}

#[test]
fn a_consumer_waits_for_its_first_mark_and_nobody_passes_the_head() {
    let mut rig = Rig::plain();
    rig.publish("a");
    rig.offer(vec![message_of("t", None, false)]);
    let slot = rig.attach(consumer(0));
    assert_eq!(rig.pull(slot), "");
    rig.publish("b");
    assert_eq!((rig.status().ready, rig.bell.take().len()), (3, 0));
    assert!(rig.commit(), "a tick was asked for");
    assert_eq!(rig.bell.take(), [0]);
    assert_eq!(rig.pull(slot), "a t b");
    assert_eq!(rig.backing.journal.marks(), 1);
}

#[test]
fn marks_run_ahead_of_what_is_offered() {
    let mut rig = Rig::plain();
    let mut spec = consumer(0);
    spec.no_ack = true;
    let slot = rig.attach(spec);
    rig.commit();
    let mut ticks = 0;
    for _ in 0..100 {
        rig.offer((0..100).map(|_| message_of("x", None, true)).collect());
        ticks += u32::from(rig.commit());
        assert_eq!(rig.pull_all(slot).len(), 100);
    }
    let marks = rig.backing.journal.marks() as u64;
    let steps = 100 * 100 / (MARK_STEP / 2);
    assert_eq!((ticks, marks), (0, 1 + steps), "a mark for every half step");
}

#[test]
fn a_slow_commit_holds_deliveries_back_at_the_mark() {
    let mut rig = Rig::plain();
    let mut spec = consumer(0);
    spec.no_ack = true;
    let slot = rig.attach(spec);
    rig.commit();
    let mut delivered = 0;
    for _ in 0..100 {
        rig.offer((0..100).map(|_| message_of("x", None, true)).collect());
        delivered += rig.pull_all(slot).len() as u64;
    }
    assert_eq!(delivered, MARK_STEP);
    rig.wait();
    loop {
        match rig.pull_all(slot).len() as u64 {
            0 => break,
            pulled => delivered += pulled,
        }
    }
    assert_eq!(delivered, 10_000);
}

#[test]
fn a_getter_that_has_to_wait_is_rung() {
    let mut rig = Rig::plain();
    let slot = rig.attach(getter(false));
    assert!(matches!(rig.get(slot), Got::Empty));
    rig.publish("a b");
    assert!(matches!(rig.get(slot), Got::Loading));
    assert!(matches!(rig.get(slot), Got::Loading));
    rig.commit();
    assert_eq!(rig.bell.take(), [0], "once");
    let Got::Message(delivery, 1) = rig.get(slot) else {
        panic!("nothing to get");
    };
    assert_eq!(bodies(&[delivery]), "a");
}

#[test]
fn a_getter_is_rung_when_what_it_waits_for_is_gone() {
    for is_deleted in [false, true] {
        let mut rig = Rig::plain();
        let slot = rig.attach(getter(false));
        let ended = rig.attach(getter(false));
        rig.publish("a");
        assert!(matches!(rig.get(slot), Got::Loading));
        assert!(matches!(rig.get(ended), Got::Loading));
        rig.queue
            .detach(ended, Unsettled::Requeue, rig.now(), &mut rig.effects);
        match is_deleted {
            true => assert_eq!(rig.queue.retire(DeleteConditions::default()), Ok(1)),
            false => assert_eq!(rig.purge(), 1),
        }
        assert_eq!(rig.bell.take(), [0]);
        assert!(matches!(rig.get(slot), Got::Empty));
    }
}

#[test]
fn a_failed_store_delivers_on() {
    let mut rig = Rig::plain();
    rig.publish("a b");
    rig.backing.journal.fail();
    let slot = rig.attach(consumer(0));
    let (mut out, now) = (Vec::new(), rig.now());
    rig.queue
        .pull(slot, PLENTY, now, &mut out, &mut rig.effects);
    assert_eq!(bodies(&out), "a b");
    rig.share(SHARE_BYTES);
    rig.publish_large(0..100);
    assert_eq!(rig.status().resident_messages, 102, "nothing is paged out");
}

#[test]
fn a_long_backlog_leaves_memory_and_comes_back_in_order() {
    const COUNT: u64 = 100_000;
    let mut rig = Rig::plain();
    for first in (0..COUNT).step_by(100) {
        let batch = (first..first + 100).map(|n| message_of(&format!("{n:0100}"), None, true));
        rig.offer(batch.collect());
        if first % 500 == 0 {
            rig.commit();
        }
    }
    rig.settle_down();
    let status = rig.status();
    assert_eq!((status.ready, status.ready_bytes), (COUNT, COUNT * 100));
    let overhead = crate::limits::MESSAGE_OVERHEAD_BYTES;
    let resident = status.resident_bytes + status.resident_messages * overhead;
    assert!(resident <= RESIDENT_BYTES_MAX, "{resident}");
    let slot = rig.attach(consumer(0));
    let mut delivered = 0;
    while delivered < COUNT {
        rig.settle_down();
        let out = rig.pull_all(slot);
        assert!(!out.is_empty(), "stuck at {delivered}");
        assert!(
            numbers(&out)
                .into_iter()
                .eq(delivered..delivered + out.len() as u64)
        );
        rig.settle(slot, Verdict::Ack, &ids(&out));
        delivered += out.len() as u64;
        let status = rig.status();
        assert_eq!(status.ready + status.unsettled, COUNT - delivered);
        assert!(status.resident_messages < 20_000, "{status:?}");
    }
    assert_eq!(
        rig.status(),
        QueueStatus {
            consumers: 1,
            ..QueueStatus::default()
        }
    );
    assert_eq!(rig.left(), "");
}

#[test]
fn who_returns_messages_is_told_the_epoch_and_who_acks_is_not() {
    let mut rig = Rig::plain();
    rig.offer(vec![message_of("a", None, true)]);
    let slot = rig.attach(consumer(0));
    // A tick that comes before the mark is on disk does not ask again for the one that waits for it.
    rig.queue.tick(rig.now(), &mut rig.effects);
    assert_eq!(rig.effects.tick_at_epoch, None);
    rig.settle_down();
    for (verdict, is_told) in [(Verdict::Requeue, true), (Verdict::Ack, false)] {
        let out = rig.pull_all(slot);
        rig.effects.durable_at = None;
        let now = rig.now();
        rig.queue
            .settle(slot, verdict, &ids(&out), now, &mut rig.effects);
        assert_eq!(rig.effects.durable_at.is_some(), is_told, "{verdict:?}");
    }
}

#[test]
fn a_smaller_share_takes_hold_at_once() {
    let mut rig = Rig::plain();
    rig.attach(consumer(1));
    for first in (0..60).step_by(4) {
        rig.publish_large(first..first + 4);
    }
    rig.settle_down();
    assert_eq!(rig.status().resident_messages, 60);
    rig.share(SHARE_BYTES);
    rig.settle_down();
    let resident = rig.status().resident_messages;
    assert!(resident <= 8, "{resident}");
    assert_eq!(rig.status().ready, 59, "and one is the consumer's");
}

#[test]
fn a_queue_that_nobody_reads_keeps_little_in_memory() {
    let mut rig = Rig::plain();
    let slot = rig.attach(consumer(1));
    for first in (0..60).step_by(4) {
        rig.publish_large(first..first + 4);
    }
    rig.settle_down();
    assert_eq!(rig.status().resident_messages, 60);
    let now = rig.now();
    rig.queue
        .detach(slot, Unsettled::Keep, now, &mut rig.effects);
    rig.settle_down();
    let resident = rig.status().resident_messages;
    assert!(resident < 40, "{resident}");
    assert_eq!(rig.status().ready, 60);
}

#[test]
fn a_purge_settles_what_is_in_the_store_only_and_forgets_the_load() {
    let mut rig = Rig::paged(ClassicOptions::default(), 100);
    assert!(rig.status().resident_messages < 40);
    let slot = rig.attach(consumer(1));
    rig.commit();
    let load = rig.backing.load;
    let out = rig.pull_all(slot);
    assert_eq!(bodies(&out), "0");
    assert_eq!((rig.purge(), &*rig.left()), (99, "0"));
    assert_eq!(rig.status().held_bytes, LARGE_BYTES as u64 + 2);
    // The load that was under way comes back late, with what is gone by now.
    let stale = load.unwrap_or(Load {
        first: 20,
        last: 99,
        messages_max: 1,
        bytes_max: 1,
    });
    let loaded = Loaded {
        messages: vec![LoadedMessage {
            position: stale.first,
            return_count: 0,
            redelivered: false,
            expires_at: None,
            message: large(stale.first, None),
        }],
        through: stale.last,
        unreadable: Vec::new(),
    };
    rig.queue.loaded(loaded, rig.now(), &mut rig.effects);
    assert_eq!((rig.status().ready, rig.status().unsettled), (0, 1));
    rig.settle(slot, Verdict::Ack, &ids(&out));
    rig.publish_large(100..102);
    rig.settle_down();
    assert_eq!(rig.pull(slot), "100");
}

#[test]
fn a_stale_load_does_not_stand_in_for_the_one_under_way() {
    let mut rig = Rig::paged(ClassicOptions::default(), 100);
    let slot = rig.attach(consumer(0));
    rig.commit();
    let pulled = rig.pull_all(slot).len();
    let old = rig.backing.load.take().unwrap();
    assert_eq!(rig.purge(), 100 - pulled as u64);
    let out = rig.queue.status();
    assert_eq!(out.ready, 0);
    rig.queue
        .detach(slot, Unsettled::Keep, rig.now(), &mut rig.effects);
    for first in (100..200).step_by(4) {
        rig.publish_large(first..first + 4);
        rig.commit();
    }
    let slot = rig.attach(consumer(0));
    rig.commit();
    let front = rig.pull_all(slot).len();
    let under_way = rig.backing.load.take().unwrap();
    assert!(under_way.first > old.last);
    let stale = Loaded {
        through: old.last,
        ..Loaded::default()
    };
    rig.queue.loaded(stale, rig.now(), &mut rig.effects);
    assert_eq!(rig.effects.load, None, "the other one is still under way");
    rig.backing.load = Some(under_way);
    rig.settle_down();
    let next = rig.pull_all(slot);
    assert_eq!(numbers(&next).first(), Some(&(100 + front as u64)));
}

#[test]
fn len_02_the_head_is_dropped_when_it_has_been_loaded() {
    let mut rig = Rig::paged(ClassicOptions::default(), 60);
    let in_store = 60 - rig.status().resident_messages;
    assert!(in_store > 20);
    let limited = ClassicOptions {
        length_max: Some(3),
        dead_letters: true,
        ..ClassicOptions::default()
    };
    let now = rig.now();
    rig.queue.set_options(limited, now, &mut rig.effects);
    rig.backing.note(&mut rig.effects);
    assert!(rig.status().ready > 3, "over the limit for a moment");
    rig.settle_down();
    assert_eq!(rig.status().ready, 3);
    let expected: Vec<String> = (0..57).map(|n| format!("{n}:maxlen")).collect();
    assert_eq!(rig.dead(), expected.join(" "));
    assert_eq!(rig.left(), "57 58 59");
}

#[test]
fn ttl_05_messages_expire_in_the_store_without_a_reader() {
    let mut rig = Rig::new(ClassicOptions {
        message_ttl_ms: Some(1000),
        dead_letters: true,
        ..ClassicOptions::default()
    });
    rig.share(SHARE_BYTES);
    for first in (0..80).step_by(4) {
        rig.publish_large(first..first + 4);
        rig.commit();
    }
    assert!(rig.status().resident_messages < 40);
    rig.now_ms = 1000;
    rig.tick();
    while rig.serve() {}
    let expected: Vec<String> = (0..80).map(|n| format!("{n}:expired")).collect();
    assert_eq!(rig.dead(), expected.join(" "));
    assert_eq!((rig.status(), &*rig.left()), (QueueStatus::default(), ""));
}

#[test]
fn what_cannot_be_read_is_passed_over_and_stays_in_the_store() {
    let mut rig = Rig::plain();
    rig.publish("a b c");
    let mut rig = rig.restarted(ClassicOptions::default());
    let load = rig.backing.load.take().unwrap();
    let loaded = Loaded {
        messages: Vec::new(),
        through: load.first,
        unreadable: vec![load.first],
    };
    rig.queue.loaded(loaded, rig.now(), &mut rig.effects);
    rig.backing.note(&mut rig.effects);
    assert_eq!(rig.status().ready, 2);
    let slot = rig.attach(consumer(0));
    rig.settle_down();
    let out = rig.pull_all(slot);
    assert_eq!(bodies(&out), "b c");
    rig.settle(slot, Verdict::Ack, &ids(&out));
    assert_eq!(rig.status().held_bytes, 0);
    assert_eq!(rig.left(), "a");
}

#[test]
fn dur_a_restarted_queue_has_what_was_left_with_its_marks_and_deadlines() {
    let options = ClassicOptions {
        dead_letters: true,
        ..ClassicOptions::default()
    };
    let mut rig = Rig::new(options);
    let slot = rig.attach(consumer(0));
    rig.settle_down();
    rig.publish("a b c d");
    rig.offer(vec![message_of("t", None, false)]);
    rig.offer(vec![message_of("e", Some(500), true)]);
    let out = rig.pull_all(slot);
    rig.settle(slot, Verdict::Ack, &ids(&out)[1..2]);
    rig.settle(slot, Verdict::Requeue, &ids(&out)[2..3]);
    let mut rig = rig.restarted(options);
    assert_eq!(rig.status().ready, 4);
    assert_eq!(rig.status().ready_bytes, 4);
    rig.serve();
    assert_eq!(rig.status().resident_bytes, 4);
    let getter = rig.attach(getter(false));
    let mut gotten = Vec::new();
    while gotten.len() < 3 {
        gotten.extend(rig.get_at_last(getter));
    }
    assert_eq!(bodies(&gotten), "a c* d");
    assert_eq!(gotten[1].return_count, 1);
    assert_eq!(gotten[2].position, 3);
    rig.now_ms = 500;
    rig.tick();
    assert_eq!(rig.dead(), "e:expired");
    rig.publish("f");
    let last = rig.get_at_last(getter).unwrap();
    assert_eq!((last.position, &*bodies(&[last])), (6, "f"));
}

/// What a random history does.
#[derive(Clone, Debug)]
enum Step {
    Offer { count: u64, persistent: bool },
    Get,
    Settle { verdict: Verdict, chosen: u64 },
    Purge,
    Commit,
    Serve,
    Wait { ms: u64 },
    Restart,
}

fn any_step(restarts: bool) -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        3 => Just(Verdict::Ack),
        2 => Just(Verdict::Requeue),
        1 => Just(Verdict::Discard)
    ];
    prop_oneof![
        12 => (1..12_u64, prop::bool::weighted(0.97)).prop_map(|(count, persistent)| Step::Offer { count, persistent }),
        8 => Just(Step::Get),
        4 => (verdict, any::<u64>()).prop_map(|(verdict, chosen)| Step::Settle { verdict, chosen }),
        8 => Just(Step::Commit),
        5 => Just(Step::Serve),
        3 => (1..40_u64).prop_map(|ms| Step::Wait { ms }),
        u32::from(restarts) => Just(if restarts { Step::Restart } else { Step::Commit }),
        1 => prop::bool::weighted(0.1).prop_map(|rarely| if rarely { Step::Purge } else { Step::Get }),
    ]
}

/// A message as the plain model has it.
#[derive(Clone, Copy, Debug)]
struct Plain {
    returns: u32,
    persistent: bool,
    expires_ms: Option<u64>,
}

/// A durable queue under page pressure with one getter, and a plain map beside it.
struct Paging {
    rig: Rig,
    options: ClassicOptions,
    getter: SlotId,
    ready: BTreeMap<u64, Plain>,
    unsettled: BTreeMap<u64, (DeliveryId, Plain)>,
    published: u64,
    dead: Vec<String>,
}

impl Paging {
    fn new(options: ClassicOptions) -> Self {
        let mut rig = Rig::new(options);
        rig.share(SHARE_BYTES);
        Self {
            getter: rig.attach(getter(false)),
            rig,
            options,
            ready: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            published: 0,
            dead: Vec::new(),
        }
    }

    fn step(mut self, step: Step) -> Self {
        match step {
            Step::Offer { count, persistent } => self.offer(count, persistent),
            Step::Get => self.get(),
            Step::Settle { verdict, chosen } => self.settle(verdict, chosen),
            Step::Purge => self.purge(),
            Step::Commit => drop(self.rig.commit()),
            Step::Serve => drop(self.rig.serve()),
            Step::Wait { ms } => self.rig.now_ms += ms,
            Step::Restart => self = self.restart(),
        }
        self.check();
        self
    }

    fn offer(&mut self, count: u64, persistent: bool) {
        let numbers = self.published..self.published + count;
        let text = |n: u64| format!("{n} {}", "x".repeat(LARGE_BYTES));
        let batch = numbers
            .clone()
            .map(|n| message_of(&text(n), None, persistent));
        self.rig.offer(batch.collect());
        let expires_ms = self.options.message_ttl_ms.map(|ttl| self.rig.now_ms + ttl);
        let plain = Plain {
            returns: 0,
            persistent,
            expires_ms,
        };
        self.ready.extend(numbers.map(|n| (n, plain)));
        self.published += count;
    }

    /// The model's heads expire when the queue is asked for its head.
    fn expire(&mut self) {
        while let Some(head) = self.ready.first_entry()
            && head
                .get()
                .expires_ms
                .is_some_and(|at| at <= self.rig.now_ms)
        {
            self.dead.push(format!("{}:expired", head.key()));
            head.remove();
        }
    }

    fn get(&mut self) {
        match self.rig.get(self.getter) {
            Got::Loading => {}
            Got::Empty => {
                self.expire();
                assert!(self.ready.is_empty());
            }
            Got::Message(delivery, left) => {
                self.expire();
                let (number, plain) = self.ready.pop_first().unwrap();
                assert_eq!(name(&delivery.message), number.to_string());
                assert_eq!(left, self.ready.len() as u64);
                assert_eq!(delivery.return_count, plain.returns);
                assert_eq!(delivery.redelivered, plain.returns > 0);
                self.unsettled.insert(number, (delivery.id, plain));
            }
        }
    }

    fn settle(&mut self, verdict: Verdict, chosen: u64) {
        let is_chosen = |number: &u64| chosen.rotate_left((number % 64) as u32) & 1 == 1;
        let settled = self.unsettled.extract_if(.., |number, _| is_chosen(number));
        let settled: Vec<_> = settled.collect();
        let ids: Vec<_> = settled.iter().map(|(_, (id, _))| *id).collect();
        self.rig.settle(self.getter, verdict, &ids);
        for (number, (_, plain)) in settled {
            match verdict {
                Verdict::Ack => {}
                Verdict::Discard => self.dead.push(format!("{number}:rejected")),
                Verdict::Requeue => {
                    let returns = plain.returns + 1;
                    self.ready.insert(number, Plain { returns, ..plain });
                }
            }
        }
    }

    fn purge(&mut self) {
        self.rig.tick();
        self.rig.settle_down();
        self.expire();
        assert_eq!(self.rig.purge(), self.ready.len() as u64);
        self.ready.clear();
    }

    fn restart(mut self) -> Self {
        self.rig.settle_down();
        self.check_dead();
        let now_ms = self.rig.now_ms;
        self.rig = self.rig.restarted(self.options);
        self.rig.now_ms = now_ms;
        self.rig.share(SHARE_BYTES);
        self.getter = self.rig.attach(getter(false));
        let unsettled = std::mem::take(&mut self.unsettled).into_iter();
        // This journal ends cleanly: what was not returned was not delivered.
        self.ready
            .extend(unsettled.map(|(number, (_, plain))| (number, plain)));
        self.ready.retain(|_, plain| plain.persistent);
        // Its names and its positions have to stay the same thing: transient messages at the end have
        // taken none.
        self.published = self.rig.backing.journal.recovered().next_index;
        self
    }

    fn check(&mut self) {
        self.rig.forget_dead();
        let left: BTreeSet<u64> = self.rig.backing.journal.left().into_keys().collect();
        let status = self.rig.status();
        let unsettled = self
            .unsettled
            .iter()
            .map(|(number, (_, plain))| (number, plain));
        let all = self.ready.iter().chain(unsettled);
        let expected = all.filter(|(_, plain)| plain.persistent).map(|(n, _)| *n);
        let expected: BTreeSet<u64> = expected.collect();
        // The model's heads expire later than the queue's, or earlier while those are in the store.
        if self.options.message_ttl_ms.is_none() {
            assert_eq!(left, expected);
            assert_eq!(status.ready, self.ready.len() as u64);
        }
        assert_eq!(status.unsettled, self.unsettled.len() as u64);
        assert!(status.resident_messages <= status.ready + status.unsettled);
        assert!(status.resident_bytes <= status.held_bytes);
    }

    fn check_dead(&mut self) {
        self.rig.tick();
        self.rig.settle_down();
        self.expire();
        let mut dead: Vec<String> = self.rig.dead().split_whitespace().map(Into::into).collect();
        if !self.options.dead_letters {
            self.dead.clear();
        }
        dead.sort();
        self.dead.sort();
        assert_eq!(dead, std::mem::take(&mut self.dead));
    }

    /// Everything that is left comes out in order.
    fn drain(mut self) {
        self.check_dead();
        while let Some(delivery) = self.rig.get_at_last(self.getter) {
            let (number, _) = self.ready.pop_first().unwrap();
            assert_eq!(name(&delivery.message), number.to_string());
            self.rig.settle(self.getter, Verdict::Ack, &[delivery.id]);
        }
        assert!(self.ready.is_empty());
        let status = self.rig.status();
        assert_eq!((status.ready, status.ready_bytes), (0, 0));
        let unsettled = self
            .unsettled
            .values()
            .filter(|(_, plain)| plain.persistent);
        assert_eq!(self.rig.backing.journal.left().len(), unsettled.count());
        let bytes = self.rig.queue.status();
        assert_eq!(bytes.resident_bytes, bytes.held_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_got_in_order_whatever_is_in_memory(
        ttl_ms in prop_oneof![2 => Just(None), 1 => (20..90_u64).prop_map(Some)],
        dead_letters in any::<bool>(),
        steps in prop::collection::vec(any_step(true), 1..120),
    ) {
        let options = ClassicOptions { message_ttl_ms: ttl_ms, dead_letters, ..ClassicOptions::default() };
        steps.into_iter().fold(Paging::new(options), Paging::step).drain();
    }

    #[test]
    fn a_consumer_gets_everything_once_and_in_order(steps in prop::collection::vec(any_step(false), 1..120)) {
        let mut rig = Rig::plain();
        rig.share(SHARE_BYTES);
        let slot = rig.attach(consumer(7));
        let (mut published, mut delivered) = (0, 0);
        for step in steps {
            match step {
                Step::Offer { count, .. } => {
                    rig.publish_large(published..published + count);
                    published += count;
                }
                Step::Serve => drop(rig.serve()),
                Step::Commit => drop(rig.commit()),
                _ => {
                    let out = rig.pull_all(slot);
                    rig.settle(slot, Verdict::Ack, &ids(&out));
                    assert!(numbers(&out).into_iter().eq(delivered..delivered + out.len() as u64));
                    delivered += out.len() as u64;
                }
            }
            let status = rig.status();
            assert_eq!(status.ready + status.unsettled, published - delivered);
        }
        while delivered < published {
            rig.settle_down();
            let out = rig.pull_all(slot);
            assert!(!out.is_empty(), "stuck at {delivered} of {published}");
            rig.settle(slot, Verdict::Ack, &ids(&out));
            assert!(numbers(&out).into_iter().eq(delivered..delivered + out.len() as u64));
            delivered += out.len() as u64;
        }
        assert_eq!(rig.left(), "");
    }
}
