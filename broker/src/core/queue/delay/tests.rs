//! The delay queue in virtual time, over a journal that commits and reads at will: against a naive model
//! (`model`), and its bounds.

#![allow(clippy::unwrap_used)]

mod model;

use std::collections::BTreeSet;

use leveret_protocol::content::Body;
use leveret_protocol::{Properties, TableBuf, Value};
use leveret_storage::Epoch;

use super::machine::{PART_MESSAGES_MAX, READ_MESSAGES_MAX, UNCOMMITTED_MESSAGES_MAX};
use super::*;
use crate::core::MessageParts;
use crate::core::queue::fake_journal::{FakeJournal, LOG};
use crate::core::queue::testing::body;
use crate::core::queue::{Load, LoadedMessage};
use crate::core::stored_message::decode_all;

fn delayed(text: &str, delay_ms: u64, persistent: bool) -> Message {
    let headers = TableBuf::new().with("x-delay", Value::I64(delay_ms as i64));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Properties::default()
    };
    let parts = MessageParts {
        exchange: b"x",
        routing_key: b"k",
        properties: &properties.to_bytes(),
        body: Body::Whole(text.as_bytes()),
        persistent,
        priority: 0,
        expiration_ms: None,
    };
    Message::new(parts, &mut Vec::new())
}

/// A queue, and whoever calls it: what it has asked for and what it has released.
struct Driver {
    queue: DelayQueue,
    journal: Arc<FakeJournal>,
    now: Moment,
    effects: Effects,
    ticks: BTreeSet<Moment>,
    tick_at_epoch: Option<Epoch>,
    load: Option<Load>,
    /// What was released and is being routed.
    out: Option<(Vec<Message>, Vec<Buried>)>,
}

impl Driver {
    fn new() -> Self {
        let journal = Arc::<FakeJournal>::default();
        Self::on(
            DelayQueue::durable(journal.clone(), LOG, None),
            journal,
            1_000,
        )
    }

    fn in_memory() -> Self {
        Self::on(DelayQueue::new(), Arc::default(), 1_000)
    }

    fn on(queue: DelayQueue, journal: Arc<FakeJournal>, now_ms: u64) -> Self {
        Self {
            queue,
            journal,
            now: Moment::from_unix_ms(now_ms),
            effects: Effects::default(),
            ticks: BTreeSet::new(),
            tick_at_epoch: None,
            load: None,
            out: None,
        }
    }

    /// A crash, or a stop: what was being routed counts as routed and was not settled.
    fn restart(&mut self) {
        self.journal.commit();
        let recovered = self.journal.recovered();
        let queue = DelayQueue::durable(self.journal.clone(), LOG, Some(&recovered));
        *self = Self::on(queue, self.journal.clone(), self.now.unix_ms());
        self.tick();
    }

    fn note(&mut self) {
        let effects = &mut self.effects;
        self.ticks.extend(effects.tick_at.take());
        self.tick_at_epoch = self.tick_at_epoch.max(effects.tick_at_epoch.take());
        if let Some(load) = effects.load.take() {
            assert_eq!(self.load.replace(load), None, "one load at a time");
        }
        let released = std::mem::take(&mut effects.released);
        let buried = std::mem::take(&mut effects.buried);
        if released.is_empty() {
            assert!(buried.is_empty());
            return;
        }
        assert!(released.len() <= PART_MESSAGES_MAX);
        assert!(self.load.is_none());
        let before = self.out.replace((released, buried));
        assert!(before.is_none(), "one part at a time");
    }

    fn offer(&mut self, mut batch: Vec<Message>) -> Offered {
        let offered = self.queue.offer(&mut batch, self.now, &mut self.effects);
        self.note();
        offered
    }

    fn tick(&mut self) {
        self.queue.tick(self.now, &mut self.effects);
        self.note();
    }

    /// Ticks if that is due; says whether it was.
    fn tick_if_due(&mut self) -> bool {
        let due = self.ticks.first().is_some_and(|at| *at <= self.now);
        if due {
            self.ticks.pop_first();
            self.tick();
        }
        due
    }

    fn commit(&mut self) -> bool {
        self.journal.commit();
        let committed = self.journal.committed();
        let due = self.tick_at_epoch.take_if(|at| *at <= committed).is_some();
        if due {
            self.tick();
        }
        due
    }

    fn serve(&mut self) -> bool {
        let Some(load) = self.load.take() else {
            return false;
        };
        let loaded = decode_all(self.journal.read(load), "q");
        self.queue.loaded(loaded, self.now, &mut self.effects);
        self.note();
        true
    }

    /// What was released has been routed; says what it was.
    fn finish(&mut self) -> Vec<String> {
        let Some((released, buried)) = self.out.take() else {
            return Vec::new();
        };
        self.queue.forget(&buried, self.now, &mut self.effects);
        self.note();
        released.iter().map(body).collect()
    }

    /// Does all that is to be done now; says what was released meanwhile.
    fn run(&mut self) -> Vec<String> {
        let mut released = Vec::new();
        loop {
            let finished = self.finish();
            let is_quiet = finished.is_empty();
            released.extend(finished);
            if is_quiet && !self.tick_if_due() && !self.serve() && !self.commit() {
                return released;
            }
        }
    }

    fn advance(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now.after_ms(ms);
        self.run()
    }
}

fn batch(texts: impl IntoIterator<Item = u64>, delay_ms: u64, persistent: bool) -> Vec<Message> {
    let texts = texts.into_iter();
    texts
        .map(|text| delayed(&text.to_string(), delay_ms, persistent))
        .collect()
}

fn numbers(texts: &[String]) -> Vec<u64> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_persistent_message_is_safe_when_its_commit_has_come_and_leaves_no_body_in_memory() {
    let driver = Driver::new();
    let mut effects = Effects::default();
    let large = "x".repeat(5_000);
    let mut messages = vec![delayed(&large, 10, true), delayed("small", 10, false)];
    driver.queue.offer(&mut messages, driver.now, &mut effects);
    assert_eq!(effects.durable_at, Some(Epoch(1)));
    assert_eq!(effects.tick_at, Some(driver.now.after_ms(10)));
    let status = driver.queue.status();
    assert_eq!((status.ready, status.ready_bytes), (2, 5_005));
    assert_eq!(status.resident_messages, 1);
    assert!(status.resident_bytes < 500, "{status:?}");
    let mut effects = Effects::default();
    let mut messages = vec![delayed("transient", 10, false)];
    driver.queue.offer(&mut messages, driver.now, &mut effects);
    assert_eq!(effects.durable_at, None);
    assert_eq!(effects.tick_at, None, "it was asked for before");
}

#[test]
fn a_deadline_that_comes_before_the_commit_waits_for_it() {
    let mut driver = Driver::new();
    driver.offer(batch([1], 1, true));
    driver.now = driver.now.after_ms(1);
    assert!(driver.tick_if_due());
    assert!(driver.load.is_none() && driver.out.is_none());
    assert_eq!(driver.tick_at_epoch, Some(Epoch(1)));
    assert_eq!(driver.run(), ["1"]);
}

#[test]
fn deadlines_that_have_passed_while_the_broker_was_down_are_due_at_once_in_order() {
    let mut driver = Driver::new();
    driver.offer(batch([3], 300, true));
    driver.offer(batch([1, 2], 100, true));
    driver.offer(batch([4], 9_000, true));
    driver.offer(batch([5], 100, false));
    driver.journal.commit();
    driver.now = driver.now.after_ms(1_000);
    driver.restart();
    assert_eq!(driver.run(), ["1", "2", "3"]);
    assert_eq!(driver.advance(7_999), [""; 0]);
    assert_eq!(driver.advance(1), ["4"]);
    assert!(driver.journal.left().is_empty());
}

#[test]
fn a_log_of_many_parts_is_read_to_its_end_before_anything_is_released() {
    let mut driver = Driver::new();
    let count = 2 * READ_MESSAGES_MAX as u64 + 10;
    let messages = (0..count).map(|n| delayed(&n.to_string(), 5 + count - n, true));
    driver.offer(messages.collect());
    driver.commit();
    driver.now = driver.now.after_ms(100_000);
    driver.restart();
    for _ in 0..3 {
        assert!(driver.out.is_none());
        assert_eq!(driver.load.unwrap().messages_max, READ_MESSAGES_MAX);
        driver.serve();
    }
    let released = numbers(&driver.run());
    assert!(released.into_iter().eq((0..count).rev()));
}

#[test]
fn what_was_routed_and_not_settled_comes_once_more_after_a_crash() {
    let mut driver = Driver::new();
    driver.offer(batch([1, 2], 5, true));
    driver.commit();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    driver.serve();
    assert!(driver.out.is_some());
    driver.restart();
    assert_eq!(driver.run(), ["1", "2"]);
    driver.restart();
    assert_eq!(driver.run(), [""; 0]);
}

#[test]
fn a_flood_in_memory_goes_out_in_parts_with_pauses() {
    let mut driver = Driver::in_memory();
    driver.offer(batch(0..3_000, 5, true));
    driver.now = driver.now.after_ms(5);
    let mut released = Vec::new();
    while released.len() < 3_000 {
        assert!(driver.tick_if_due());
        assert!(!driver.tick_if_due(), "not twice at one moment");
        released.extend(numbers(&driver.finish()));
        driver.now = driver.now.after_ms(1);
    }
    assert!(released.into_iter().eq(0..3_000));
}

#[test]
fn a_flood_from_the_log_waits_for_the_store() {
    let mut driver = Driver::new();
    let all = 3 * UNCOMMITTED_MESSAGES_MAX as u64;
    driver.offer(batch(0..all, 5, true));
    driver.commit();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    let mut released = Vec::new();
    for round in 1..=3 {
        while driver.serve() {
            released.extend(numbers(&driver.finish()));
        }
        assert_eq!(released.len(), round * UNCOMMITTED_MESSAGES_MAX);
        // Whoever publishes meanwhile does not put it off.
        driver.offer(batch([all], 100_000, true));
        assert!(driver.load.is_none());
        assert_eq!(driver.commit(), round < 3);
    }
    assert!(released.into_iter().eq(0..all));
    assert_eq!(driver.queue.status().ready, 3);
}

#[test]
fn what_is_scattered_over_the_log_is_released_together_after_some_loads() {
    let mut driver = Driver::new();
    // Deadlines in the opposite order of positions: no two can be read at once.
    for n in (0..200).rev() {
        driver.offer(batch([n], 5 + n, true));
    }
    driver.commit();
    driver.now = driver.now.after_ms(1_000);
    driver.tick();
    let mut parts = Vec::new();
    let mut released = Vec::new();
    while driver.load.is_some() {
        let load = driver.load.unwrap();
        assert_eq!((load.first, load.messages_max), (load.last, 1));
        driver.serve();
        let finished = numbers(&driver.finish());
        parts.extend((!finished.is_empty()).then_some(finished.len()));
        released.extend(finished);
    }
    assert_eq!(parts, [64, 64, 64, 8]);
    assert!(released.into_iter().eq(0..200));
}

#[test]
fn large_bodies_make_small_parts() {
    let mut driver = Driver::new();
    let large = "x".repeat(700_000);
    let messages = |persistent| vec![delayed(&large, 5, persistent); 4];
    for persistent in [true, false] {
        driver.offer(messages(persistent));
        driver.commit();
        driver.now = driver.now.after_ms(5);
        assert!(driver.tick_if_due());
        driver.serve();
        let (released, _) = driver.out.as_ref().unwrap();
        assert_eq!(released.len(), 2, "{persistent}");
        driver.now = driver.now.after_ms(5);
        let (at_once, later) = if persistent { (4, 0) } else { (2, 2) };
        assert_eq!(driver.run().len(), at_once, "the next part is not put off");
        assert_eq!(driver.advance(5).len(), later, "after a pause");
    }
}

#[test]
fn a_mixture_of_both_kinds_goes_out_in_order_and_without_pauses() {
    let mut driver = Driver::new();
    for n in 0..100 {
        driver.offer(batch([n], 5, n % 2 == 0));
    }
    driver.commit();
    let released = driver.advance(5);
    assert!(numbers(&released).into_iter().eq(0..100));
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let mut driver = Driver::new();
    driver.offer(batch(1..=4, 5, true));
    driver.commit();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    let load = driver.load.take().unwrap();
    assert_eq!((load.first, load.last), (0, 3));
    let mut loaded = decode_all(driver.journal.read(load), "q");
    loaded.messages.retain(|m| m.position == 2);
    (loaded.through, loaded.unreadable) = (2, vec![0, 1]);
    driver.queue.loaded(loaded, driver.now, &mut driver.effects);
    driver.note();
    assert_eq!(driver.run(), ["3", "4"]);
    assert_eq!(driver.queue.status().ready, 0);
    let left: Vec<_> = driver.journal.left().into_keys().collect();
    assert_eq!(left, [0, 1], "they stay for whoever repairs the disk");
}

#[test]
fn a_log_of_which_nothing_can_be_read_does_not_end_it_all() {
    let mut driver = Driver::new();
    for n in (0..100).rev() {
        driver.offer(batch([n], 5 + n, true));
    }
    driver.offer(batch([100], 500, true));
    driver.commit();
    driver.now = driver.now.after_ms(200);
    driver.tick();
    while let Some(load) = driver.load.take() {
        let loaded = Loaded {
            messages: Vec::new(),
            through: load.last,
            unreadable: vec![load.first],
        };
        driver.queue.loaded(loaded, driver.now, &mut driver.effects);
        driver.note();
    }
    assert_eq!(driver.advance(300), ["100"]);
}

#[test]
fn a_part_in_which_nothing_can_be_read_does_not_end_it_all() {
    let mut driver = Driver::new();
    driver.offer(batch([1], 5, true));
    driver.offer(batch([2], 6, true));
    driver.commit();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    let loaded = Loaded {
        messages: Vec::<LoadedMessage>::new(),
        through: driver.load.take().unwrap().last,
        unreadable: vec![0],
    };
    driver.queue.loaded(loaded, driver.now, &mut driver.effects);
    driver.note();
    assert_eq!(driver.advance(1), ["2"]);
}

#[test]
fn after_the_store_has_failed_what_it_has_still_goes_out() {
    let mut driver = Driver::new();
    driver.offer(batch([1], 5, true));
    driver.commit();
    driver.offer(batch([2], 5, true));
    driver.offer(batch([3], 5, false));
    driver.journal.fail();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    driver.serve();
    assert_eq!(
        driver.finish(),
        ["1", "3"],
        "of 2 nobody was told that it is safe"
    );
}

#[test]
fn a_queue_that_has_gone_takes_nothing_and_writes_nothing() {
    let mut driver = Driver::new();
    driver.offer(batch([1, 2], 5, true));
    driver.offer(batch([3], 9, false));
    driver.commit();
    driver.now = driver.now.after_ms(5);
    driver.tick();
    driver.serve();
    assert_eq!(driver.queue.retire(DeleteConditions::default()), Ok(1));
    assert_eq!(
        driver.queue.retire(DeleteConditions::default()),
        Err(DeleteRefused::Gone)
    );
    assert_eq!(driver.finish(), ["1", "2"]);
    assert_eq!(driver.journal.left().len(), 2, "its log goes as a whole");
    assert_eq!(driver.offer(batch([4], 1, true)), Offered::Gone);
    assert_eq!(driver.advance(100), [""; 0]);
    assert_eq!(driver.queue.status(), QueueStatus::default());
}
