//! Durable queues under page pressure over random histories, beside plain maps.

#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rig::{LARGE_BYTES, Rig, SHARE_BYTES, ids, name, numbers};
use crate::core::queue::testing::{consumer, getter, prioritized};
use crate::core::queue::*;

/// What a random history does.
#[derive(Clone, Debug)]
enum Step {
    Offer {
        count: u64,
        persistent: bool,
        priorities: u64,
    },
    Get,
    Settle {
        verdict: Verdict,
        chosen: u64,
    },
    Purge,
    Commit,
    Serve,
    Wait {
        ms: u64,
    },
    Restart,
}

fn any_step(restarts: bool) -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        3 => Just(Verdict::Ack),
        2 => Just(Verdict::Requeue),
        1 => Just(Verdict::Discard)
    ];
    prop_oneof![
        12 => (1..12_u64, prop::bool::weighted(0.97), any::<u64>())
            .prop_map(|(count, persistent, priorities)| Step::Offer { count, persistent, priorities }),
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

/// What a message's place in the queue is: by priority, then by number.
type Place = (Reverse<u8>, u64);

/// The priority of the message of this number in a batch of such priorities.
fn priority(number: u64, priorities: u64) -> u8 {
    (priorities.rotate_left(3 * (number % 16) as u32) & 7) as u8
}

/// A durable queue under page pressure with one getter, and a plain map beside it.
struct Paging {
    rig: Rig,
    options: ClassicOptions,
    getter: SlotId,
    ready: BTreeMap<Place, Plain>,
    unsettled: BTreeMap<Place, (DeliveryId, Plain)>,
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
            Step::Offer {
                count,
                persistent,
                priorities,
            } => self.offer(count, persistent, priorities),
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

    fn offer(&mut self, count: u64, persistent: bool, priorities: u64) {
        let numbers = self.published..self.published + count;
        let text = |n: u64| format!("{n} {}", "x".repeat(LARGE_BYTES));
        let batch = numbers
            .clone()
            .map(|n| prioritized(&text(n), None, persistent, priority(n, priorities)));
        self.rig.offer(batch.collect());
        let expires_ms = self.options.message_ttl_ms.map(|ttl| self.rig.now_ms + ttl);
        let plain = Plain {
            returns: 0,
            persistent,
            expires_ms,
        };
        let max = self.options.max_priority;
        let place = |n| (Reverse(priority(n, priorities).min(max)), n);
        self.ready.extend(numbers.map(|n| (place(n), plain)));
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
            self.dead.push(format!("{}:expired", head.key().1));
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
                let (place, plain) = self.ready.pop_first().unwrap();
                assert_eq!(name(&delivery.message), place.1.to_string());
                assert_eq!(left, self.ready.len() as u64);
                assert_eq!(delivery.return_count, plain.returns);
                assert_eq!(delivery.redelivered, plain.returns > 0);
                self.unsettled.insert(place, (delivery.id, plain));
            }
        }
    }

    fn settle(&mut self, verdict: Verdict, chosen: u64) {
        let is_chosen = |place: &Place| chosen.rotate_left((place.1 % 64) as u32) & 1 == 1;
        let settled = self.unsettled.extract_if(.., |place, _| is_chosen(place));
        let settled: Vec<_> = settled.collect();
        let ids: Vec<_> = settled.iter().map(|(_, (id, _))| *id).collect();
        self.rig.settle(self.getter, verdict, &ids);
        for (place, (_, plain)) in settled {
            match verdict {
                Verdict::Ack => {}
                Verdict::Discard => self.dead.push(format!("{}:rejected", place.1)),
                Verdict::Requeue => {
                    let returns = plain.returns + 1;
                    self.ready.insert(place, Plain { returns, ..plain });
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
            .extend(unsettled.map(|(place, (_, plain))| (place, plain)));
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
            .map(|(place, (_, plain))| (place, plain));
        let all = self.ready.iter().chain(unsettled);
        let expected = all.filter(|(_, plain)| plain.persistent);
        let expected = expected.map(|((_, number), _)| *number);
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
            let ((_, number), _) = self.ready.pop_first().unwrap();
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

/// Consumers that come and go under page pressure; what they were assigned and never saw comes back.
#[derive(Clone, Debug)]
enum Coming {
    Offer { count: u64, priorities: u64 },
    Attach { prefetch: u16 },
    Pull { slot: usize, messages: u32 },
    Detach { slot: usize },
    Commit,
    Serve,
    Purge,
}

fn any_coming() -> impl Strategy<Value = Coming> {
    prop_oneof![
        8 => (1..12_u64, any::<u64>()).prop_map(|(count, priorities)| Coming::Offer { count, priorities }),
        2 => (1..12_u16).prop_map(|prefetch| Coming::Attach { prefetch }),
        6 => (any::<usize>(), 1..5_u32).prop_map(|(slot, messages)| Coming::Pull { slot, messages }),
        2 => any::<usize>().prop_map(|slot| Coming::Detach { slot }),
        6 => Just(Coming::Commit),
        4 => Just(Coming::Serve),
        1 => prop::bool::weighted(0.2).prop_map(|is_purge| if is_purge { Coming::Purge } else { Coming::Commit }),
    ]
}

/// The queue, its consumers, and what is left of its messages.
struct Visited {
    rig: Rig,
    slots: Vec<SlotId>,
    left: BTreeSet<Place>,
    published: u64,
}

impl Visited {
    fn step(mut self, step: Coming) -> Self {
        match step {
            Coming::Offer { count, priorities } => {
                let numbers = self.published..self.published + count;
                let text = |n: u64| format!("{n} {}", "x".repeat(LARGE_BYTES));
                let message = |n| prioritized(&text(n), None, true, priority(n, priorities));
                self.rig.offer(numbers.clone().map(message).collect());
                self.left
                    .extend(numbers.map(|n| (Reverse(priority(n, priorities)), n)));
                self.published += count;
            }
            Coming::Attach { prefetch } => self.slots.push(self.rig.attach(consumer(prefetch))),
            Coming::Commit => drop(self.rig.commit()),
            Coming::Serve => drop(self.rig.serve()),
            Coming::Purge => {
                // All that is ready goes, which only the log can tell from the rest.
                self.rig.settle_down();
                self.rig.purge();
                let log = self.rig.backing.journal.left();
                self.left.retain(|(_, number)| log.contains_key(number));
                assert_eq!(self.left.len() as u64, self.rig.status().unsettled);
            }
            Coming::Pull { .. } | Coming::Detach { .. } if self.slots.is_empty() => {}
            Coming::Pull { slot, messages } => {
                let slot = self.slots[slot % self.slots.len()];
                let out = self.rig.pull_some(slot, messages);
                self.acknowledge(slot, &out);
            }
            Coming::Detach { slot } => {
                let slot = self.slots.swap_remove(slot % self.slots.len());
                self.rig.detach(slot);
            }
        }
        let status = self.rig.status();
        assert_eq!(status.ready + status.unsettled, self.left.len() as u64);
        self
    }

    fn acknowledge(&mut self, slot: SlotId, out: &[Delivery]) {
        let max = |d: &Delivery| Reverse(d.message.priority());
        for (delivery, number) in out.iter().zip(numbers(out)) {
            assert!(self.left.remove(&(max(delivery), number)), "{number} twice");
        }
        self.rig.settle(slot, Verdict::Ack, &ids(out));
    }

    /// Once all consumers but one are gone, what is left comes in order.
    fn drain(mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.rig.detach(slot);
        }
        let slot = self.rig.attach(consumer(3));
        while let Some((_, next)) = self.left.first().copied() {
            self.rig.settle_down();
            let out = self.rig.pull_all(slot);
            assert_eq!(numbers(&out).first(), Some(&next));
            let came: Vec<u64> = self.left.iter().take(out.len()).map(|(_, n)| *n).collect();
            assert_eq!(numbers(&out), came);
            self.acknowledge(slot, &out);
        }
        assert_eq!((self.rig.status().held_bytes, &*self.rig.left()), (0, ""));
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

    // The model's heads expire late, which makes no difference only while nothing can go before them.
    #[test]
    fn prio_01_03_messages_are_got_by_priority_whatever_is_in_memory(
        max_priority in prop_oneof![1..8_u8, Just(255)],
        dead_letters in any::<bool>(),
        steps in prop::collection::vec(any_step(true), 1..120),
    ) {
        let options = ClassicOptions { max_priority, dead_letters, ..ClassicOptions::default() };
        steps.into_iter().fold(Paging::new(options), Paging::step).drain();
    }

    #[test]
    fn prio_03_consumers_come_and_go_and_nothing_is_lost_or_doubled(
        steps in prop::collection::vec(any_coming(), 1..100),
    ) {
        let mut rig = Rig::new(ClassicOptions { max_priority: 9, ..ClassicOptions::default() });
        rig.share(SHARE_BYTES);
        let visited = Visited { rig, slots: Vec::new(), left: BTreeSet::new(), published: 0 };
        steps.into_iter().fold(visited, Visited::step).drain();
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
