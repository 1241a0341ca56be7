//! Delivery limits, counted deliveries and dead letters that are held until they have arrived.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::fake_journal::{Backing, FakeJournal};
use super::letters::is_letter;
use super::testing::{NotedBell, body, consumer, getter, message_of, port};
use super::*;

/// A queue over a journal, and what its calls asked for.
struct Rig {
    queue: ClassicQueue,
    backing: Backing,
    effects: Effects,
    now_ms: u64,
}

const AT_LEAST_ONCE: ClassicOptions = ClassicOptions {
    dead_letters: true,
    at_least_once: true,
    ..PLAIN
};

const PLAIN: ClassicOptions = ClassicOptions {
    auto_delete: false,
    expires_ms: None,
    single_active_consumer: false,
    max_priority: 0,
    message_ttl_ms: None,
    length_max: None,
    length_bytes_max: None,
    overflow: Overflow::RejectPublish,
    dead_letters: false,
    at_least_once: false,
    delivery_limit: None,
    counts_deliveries: false,
    keeps_transient: false,
};

impl Rig {
    fn new(options: ClassicOptions) -> Self {
        Self::over(Arc::default(), options, None)
    }

    fn over(
        journal: Arc<FakeJournal>,
        options: ClassicOptions,
        recovered: Option<&leveret_storage::RecoveredLog>,
    ) -> Self {
        let (backing, queue) = Backing::with(journal, options, recovered);
        Self {
            queue,
            backing,
            effects: Effects::default(),
            now_ms: 0,
        }
    }

    /// The queue after a crash that let everything be written.
    fn restarted(self, options: ClassicOptions) -> Self {
        self.backing.journal.commit();
        let recovered = self.backing.journal.recovered();
        let mut rig = Self::over(self.backing.journal, options, Some(&recovered));
        rig.now_ms = self.now_ms;
        rig.tick();
        rig
    }

    fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    fn publish(&mut self, bodies: &str, persistent: bool) {
        let messages = bodies.split_whitespace();
        let mut batch = messages.map(|b| message_of(b, None, persistent)).collect();
        self.queue.offer(&mut batch, self.now(), &mut self.effects);
        self.wait();
    }

    fn tick(&mut self) {
        self.queue.tick(self.now(), &mut self.effects);
        self.wait();
    }

    /// Lets the store do what it was asked for.
    fn wait(&mut self) {
        self.backing.note(&mut self.effects);
        let now = self.now();
        while self
            .backing
            .commit_and_serve(&self.queue, now, &mut self.effects)
        {}
    }

    fn attach(&mut self) -> SlotId {
        let port = port(&Arc::<NotedBell>::default(), 0);
        let now = self.now();
        let slot = self.queue.attach(consumer(0), port, now, &mut self.effects);
        self.wait();
        slot.unwrap()
    }

    fn pull(&mut self, slot: SlotId) -> Vec<Delivery> {
        let (mut out, now) = (Vec::new(), self.now());
        let room = Room {
            messages: 1000,
            bytes: usize::MAX,
        };
        self.queue
            .pull(slot, room, now, &mut out, &mut self.effects);
        self.wait();
        out
    }

    fn settle(&mut self, slot: SlotId, verdict: Verdict, deliveries: &[Delivery]) {
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
        let now = self.now();
        self.queue
            .settle(slot, verdict, &ids, now, &mut self.effects);
        self.wait();
    }

    /// Delivers everything and rejects it.
    fn reject_all(&mut self) {
        let slot = self.attach();
        let deliveries = self.pull(slot);
        self.settle(slot, Verdict::Discard, &deliveries);
        let now = self.now();
        self.queue
            .detach(slot, Unsettled::Requeue, now, &mut self.effects);
        self.wait();
    }

    /// What was to be sent on since the last look.
    fn dead(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.effects.dead_letters)
    }

    /// Says what became of letters.
    fn sent(&mut self, letters: &[DeadLetter], is_done: bool, sent_to: &[QueueId]) {
        let held = letters.iter().filter_map(|letter| letter.held.as_ref());
        let outcomes: Vec<LetterSent> = held
            .map(|held| LetterSent {
                position: held.position,
                is_done,
                sent_to: sent_to.to_vec(),
            })
            .collect();
        let now = self.now();
        self.queue.letters_sent(&outcomes, now, &mut self.effects);
        self.wait();
    }

    /// Reads the letters that were asked for; says whether any were.
    fn read_letters(&mut self) -> bool {
        let Some(load) = self.effects.letters_load.take() else {
            return false;
        };
        let loaded = self.backing.journal.load(load);
        let now = self.now();
        self.queue.letters_loaded(loaded, now, &mut self.effects);
        self.wait();
        true
    }

    fn counts(&self) -> (u64, u64, u64) {
        let status = self.queue.status();
        (status.ready, status.unsettled, status.dead_letters)
    }

    fn left(&self) -> usize {
        self.backing.journal.left().len()
    }
}

fn texts(letters: &[DeadLetter]) -> String {
    let texts: Vec<String> = letters.iter().map(|l| body(&l.message)).collect();
    texts.join(" ")
}

#[test]
fn qq_04_a_message_dies_when_it_comes_back_once_more_than_it_may() {
    let mut rig = Rig::new(ClassicOptions {
        dead_letters: true,
        delivery_limit: Some(2),
        ..PLAIN
    });
    rig.publish("a", true);
    let slot = rig.attach();
    for round in 0..3 {
        let deliveries = rig.pull(slot);
        let [delivery] = &deliveries[..] else {
            panic!("round {round}: {deliveries:?}");
        };
        assert_eq!(delivery.return_count, round);
        assert_eq!(delivery.redelivered, round > 0);
        rig.settle(slot, Verdict::Requeue, &deliveries);
    }
    let dead = rig.dead();
    assert_eq!(texts(&dead), "a");
    assert_eq!(dead[0].reason, DeathReason::DeliveryLimit);
    assert!(rig.pull(slot).is_empty());
}

#[test]
fn qq_04_a_connection_that_ends_counts_and_a_message_that_was_never_sent_does_not() {
    let mut rig = Rig::new(ClassicOptions {
        delivery_limit: Some(0),
        ..PLAIN
    });
    rig.publish("sent unsent", true);
    let slot = rig.attach();
    let (mut out, now) = (Vec::new(), rig.now());
    let one = Room {
        messages: 1,
        bytes: 1,
    };
    rig.queue.pull(slot, one, now, &mut out, &mut rig.effects);
    assert_eq!(out.len(), 1);
    rig.queue
        .detach(slot, Unsettled::Requeue, now, &mut rig.effects);
    rig.wait();
    assert_eq!(rig.counts(), (1, 0, 0), "dropped, for there is no exchange");
    let slot = rig.attach();
    assert_eq!(body(&rig.pull(slot)[0].message), "unsent");
    assert_eq!(rig.left(), 1);
}

#[test]
fn qq_04_counts_outlast_a_restart_and_what_a_crash_returns_does_not_count() {
    let options = ClassicOptions {
        delivery_limit: Some(1),
        ..PLAIN
    };
    let mut rig = Rig::new(options);
    rig.publish("returned delivered", true);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    rig.settle(slot, Verdict::Requeue, &deliveries[..1]);
    rig.pull(slot);
    let mut rig = rig.restarted(options);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    let counts: Vec<_> = deliveries.iter().map(|d| d.return_count).collect();
    assert_eq!(counts, [1, 0], "neither crashed delivery was returned");
    rig.settle(slot, Verdict::Requeue, &deliveries);
    assert_eq!(
        rig.counts().0 + rig.counts().1,
        1,
        "the first had come back before"
    );
}

#[test]
fn qq_06_everything_is_kept_that_a_queue_is_to_keep() {
    let options = ClassicOptions {
        keeps_transient: true,
        ..PLAIN
    };
    let mut rig = Rig::new(options);
    rig.publish("a b", false);
    assert_eq!(rig.left(), 2);
    let mut rig = rig.restarted(options);
    let (now, port) = (rig.now(), port(&Arc::<NotedBell>::default(), 0));
    let slot = rig.queue.attach(getter(false), port, now, &mut rig.effects);
    let slot = slot.unwrap();
    rig.queue.get(slot, now, &mut rig.effects);
    rig.wait();
    let Got::Message(delivery, 1) = rig.queue.get(slot, now, &mut rig.effects) else {
        panic!("not both are there");
    };
    assert!(
        !delivery.message.is_persistent(),
        "it is as it was published"
    );
    rig.settle(slot, Verdict::Ack, &[delivery]);
    assert_eq!(rig.left(), 1, "what is settled goes from the log");
}

#[test]
fn qq_06_what_is_settled_by_being_sent_goes_from_the_log() {
    let mut rig = Rig::new(ClassicOptions {
        keeps_transient: true,
        ..PLAIN
    });
    rig.publish("a b", false);
    let (now, port) = (rig.now(), port(&Arc::<NotedBell>::default(), 0));
    let spec = SlotSpec {
        no_ack: true,
        ..consumer(0)
    };
    let slot = rig.queue.attach(spec, port, now, &mut rig.effects).unwrap();
    rig.wait();
    assert_eq!(rig.pull(slot).len(), 2);
    assert_eq!(rig.left(), 0);
}

#[test]
fn a_letter_leaves_its_log_when_it_has_arrived_and_not_before() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("a b", true);
    rig.reject_all();
    let dead = rig.dead();
    assert_eq!(texts(&dead), "a b");
    assert!(rig.effects.buried.is_empty());
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 2), 2));
    rig.sent(&dead[..1], true, &[QueueId(1)]);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 1), 1));
    rig.sent(&dead[1..], true, &[QueueId(1)]);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 0), 0));
    assert_eq!(rig.effects.tick_at, None, "nothing is left to wait for");
}

#[test]
fn a_letter_that_has_not_arrived_is_tried_again_after_the_interval() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("a b", true);
    rig.reject_all();
    let dead = rig.dead();
    rig.sent(&dead[..1], false, &[QueueId(4)]);
    rig.sent(&dead[1..], false, &[]);
    let due = Moment::from_unix_ms(RETRY_INTERVAL_MS);
    assert_eq!(rig.effects.tick_at.take(), Some(due));
    assert_eq!(
        rig.queue.status().resident_messages,
        0,
        "only places are kept"
    );

    rig.now_ms = RETRY_INTERVAL_MS - 1;
    rig.tick();
    assert!(!rig.read_letters(), "too early");
    rig.now_ms = RETRY_INTERVAL_MS;
    rig.tick();
    assert!(rig.read_letters());
    let again = rig.dead();
    assert_eq!(texts(&again), "a b");
    assert_eq!(again[0].reason, DeathReason::Rejected);
    let held: Vec<_> = again
        .iter()
        .map(|l| l.held.clone().unwrap().sent_to)
        .collect();
    assert_eq!(held, [Box::from([QueueId(4)]), Box::default()]);
    rig.sent(&again, true, &[]);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 0), 0));
}

#[test]
fn a_waiting_letter_is_dead_after_a_restart_too_and_tried_again_at_once() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("dead alive", true);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    rig.settle(slot, Verdict::Discard, &deliveries[..1]);
    let dead = rig.dead();
    rig.sent(&dead, false, &[QueueId(4)]);
    rig.settle(slot, Verdict::Requeue, &deliveries[1..]);

    let mut rig = rig.restarted(AT_LEAST_ONCE);
    assert_eq!(rig.counts(), (1, 0, 1));
    let again = rig.dead();
    assert_eq!(texts(&again), "dead");
    assert_eq!(again[0].reason, DeathReason::Rejected);
    assert_eq!(again[0].held.clone().unwrap().sent_to.len(), 0, "forgotten");
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].return_count, 1);
    rig.sent(&again, true, &[QueueId(4)]);
    rig.settle(slot, Verdict::Ack, &deliveries);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 0), 0));
}

#[test]
fn letters_behind_a_ready_head_are_found_without_a_reader() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("alive dead", true);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    rig.settle(slot, Verdict::Discard, &deliveries[1..]);
    let dead = rig.dead();
    rig.sent(&dead, false, &[]);
    rig.settle(slot, Verdict::Requeue, &deliveries[..1]);
    let mut rig = rig.restarted(AT_LEAST_ONCE);
    assert_eq!(texts(&rig.dead()), "dead");
    assert_eq!(rig.counts(), (1, 0, 1));
}

#[test]
fn a_purge_leaves_letters_alone() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("a b c", true);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    rig.settle(slot, Verdict::Discard, &deliveries[1..2]);
    let dead = rig.dead();
    rig.sent(&dead, false, &[]);
    rig.now_ms = RETRY_INTERVAL_MS;
    rig.tick();
    let now = rig.now();
    rig.queue
        .detach(slot, Unsettled::Requeue, now, &mut rig.effects);
    rig.wait();
    assert_eq!(rig.queue.purge(&mut rig.effects), 2);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 1), 1));
    assert!(rig.read_letters(), "a read on its way goes on");
    assert_eq!(texts(&rig.dead()), "b");
}

#[test]
fn a_transient_letter_is_held_in_memory_and_counts_there() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("abc", false);
    rig.reject_all();
    let dead = rig.dead();
    rig.sent(&dead, false, &[]);
    let status = rig.queue.status();
    assert_eq!((status.resident_messages, status.resident_bytes), (1, 3));
    rig.now_ms = RETRY_INTERVAL_MS;
    rig.tick();
    let again = rig.dead();
    assert_eq!(texts(&again), "abc");
    rig.sent(&again, true, &[]);
    let status = rig.queue.status();
    assert_eq!(status, QueueStatus::default());
}

#[test]
fn letters_that_lead_nowhere_keep_none_back_and_attempts_are_bounded() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    let bodies: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    rig.publish(&bodies.join(" "), true);
    rig.reject_all();
    let dead = rig.dead();
    assert_eq!(dead.len(), 600);
    rig.sent(&dead, false, &[]);
    let mut seen = Vec::new();
    for round in 1..=3 {
        rig.now_ms = round * RETRY_INTERVAL_MS;
        rig.tick();
        assert!(rig.read_letters());
        let part = rig.dead();
        assert!(part.len() <= 256);
        seen.extend(part.iter().map(|letter| body(&letter.message)));
        rig.sent(&part, false, &[]);
    }
    assert_eq!(seen, bodies, "each was tried once");
    // Once they get through, one part follows the other without a pause.
    rig.now_ms = 4 * RETRY_INTERVAL_MS;
    let mut parts = 0;
    while rig.left() > 0 {
        rig.tick();
        assert!(rig.read_letters());
        let part = rig.dead();
        rig.sent(&part, true, &[]);
        parts += 1;
    }
    assert_eq!(parts, 3);
}

#[test]
fn a_queue_that_is_not_to_hold_letters_any_more_sends_them_once() {
    let mut rig = Rig::new(AT_LEAST_ONCE);
    rig.publish("a", true);
    rig.reject_all();
    let dead = rig.dead();
    rig.sent(&dead, false, &[]);
    let now = rig.now();
    let at_most_once = ClassicOptions {
        at_least_once: false,
        ..AT_LEAST_ONCE
    };
    rig.queue.set_options(at_most_once, now, &mut rig.effects);
    rig.now_ms = RETRY_INTERVAL_MS;
    rig.tick();
    assert!(rig.read_letters());
    let again = rig.dead();
    rig.sent(&again, false, &[]);
    assert_eq!((rig.counts(), rig.left()), ((0, 0, 0), 0));
}

#[test]
fn what_a_letter_had_come_back_is_noted_beside_that_it_is_one() {
    let mut rig = Rig::new(ClassicOptions {
        delivery_limit: Some(0),
        ..AT_LEAST_ONCE
    });
    rig.publish("a", true);
    let slot = rig.attach();
    let deliveries = rig.pull(slot);
    rig.settle(slot, Verdict::Requeue, &deliveries);
    let dead = rig.dead();
    rig.sent(&dead, false, &[]);
    let left = rig.backing.journal.left();
    let [stored] = left.values().collect::<Vec<_>>()[..] else {
        panic!("{left:?}");
    };
    assert!(is_letter(stored.returns));
    assert_eq!(stored.returns & 0xFFFF, 1);
    let mut rig = rig.restarted(AT_LEAST_ONCE);
    assert_eq!(rig.dead()[0].reason, DeathReason::DeliveryLimit);
}
