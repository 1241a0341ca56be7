//! Policies on living queues and exchanges.

#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use leveret_protocol::{TableBuf, Value};
use leveret_storage::Epoch;

use super::*;
use crate::core::policy::{ApplyTo, PolicyValue};
use crate::core::queue::testing::message;
use crate::core::queue::{ClassicOptions, ClassicQueue, DeleteConditions, Load};
use crate::core::queue_handle::QueueHandle;
use crate::core::topology::tests::{ME, allow, counting, queue};
use crate::core::topology::{MakeQueue, QueueDeclare};

/// Notes the ticks that queues ask for.
#[derive(Default)]
struct NotedTicks(Mutex<Vec<Moment>>);

impl Alarms for NotedTicks {
    fn tick_at(&self, at: Moment, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        self.0.lock().unwrap().push(at);
    }
    fn tick_at_epoch(&self, _: Epoch, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
    fn load(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
}

struct Bench {
    vhost: Arc<Vhost>,
    now: Moment,
    ticks: NotedTicks,
}

impl Bench {
    fn new() -> Self {
        Self::with(Arc::new(|spec, arguments| {
            let options = ClassicOptions::new(spec.auto_delete, arguments);
            Box::new(ClassicQueue::new(options))
        }))
    }

    fn with(make_queue: MakeQueue) -> Self {
        Self {
            vhost: Arc::new(Vhost::new("/", make_queue)),
            now: Moment::from_unix_ms(0),
            ticks: NotedTicks::default(),
        }
    }

    fn declare(&self, name: &str) -> Arc<QueueHandle> {
        self.declare_with(name, &TableBuf::new())
    }

    fn declare_with(&self, name: &str, arguments: &TableBuf) -> Arc<QueueHandle> {
        let request = QueueDeclare {
            arguments: arguments.view(),
            ..queue(name)
        };
        self.vhost.declare_queue(&request, &mut allow).unwrap().0
    }

    fn offer(&self, queue: &Arc<QueueHandle>, body: &str) {
        let mut effects = Effects::default();
        let mut batch = vec![message(body)];
        queue.body().offer(&mut batch, self.now, &mut effects);
        carry_out(&self.vhost, queue, &mut effects, self.now, &self.ticks);
    }

    fn tick(&self, queue: &Arc<QueueHandle>) {
        let mut effects = Effects::default();
        queue.body().tick(self.now, &mut effects);
        carry_out(&self.vhost, queue, &mut effects, self.now, &self.ticks);
    }

    fn set(&self, name: &str, pattern: &str, definition: &[(&str, PolicyValue)]) -> Applied {
        let definition = definition.iter().cloned();
        let kind = PolicyKind::User;
        let policy = Policy::new(kind, name, pattern, ApplyTo::Queues, 0, definition).unwrap();
        set(&self.vhost, policy, self.now, &self.ticks)
    }

    fn clear(&self, name: &str) -> Applied {
        clear(&self.vhost, PolicyKind::User, name, self.now, &self.ticks)
    }
}

fn ready(queue: &Arc<QueueHandle>) -> u64 {
    queue.body().status().ready
}

#[test]
fn pol_01_pol_04_a_thousand_queues_do_at_once_as_they_are_told() {
    let bench = Bench::new();
    let queues: Vec<_> = (0..1000).map(|n| bench.declare(&format!("q{n}"))).collect();
    let other = bench.declare("other");
    for queue in queues.iter().chain([&other]) {
        ["a", "b", "c", "d"]
            .iter()
            .for_each(|body| bench.offer(queue, body));
    }
    let applied = bench.set("limit", "^q", &[("max-length", 3.into())]);
    assert_eq!(applied.changes.len(), 1001, "the policy and its queues");
    assert!(queues.iter().all(|queue| ready(queue) == 3));
    bench.set("limit", "^q", &[("max-length", 1.into())]);
    assert!(queues.iter().all(|queue| ready(queue) == 1));
    assert_eq!(bench.clear("limit").changes.len(), 1001);
    assert!(bench.clear("limit").changes.is_empty());
    queues.iter().for_each(|queue| bench.offer(queue, "e"));
    assert!(queues.iter().all(|queue| ready(queue) == 2));
    assert_eq!(ready(&other), 4);
}

#[test]
fn pol_01_a_queue_that_is_declared_later_has_the_policy_from_the_start() {
    let bench = Bench::new();
    bench.set("limit", "", &[("max-length", 1.into())]);
    let queue = bench.declare("q");
    bench.offer(&queue, "a");
    bench.offer(&queue, "b");
    assert_eq!(ready(&queue), 1);
}

#[test]
fn pol_03_a_policy_does_not_show_when_a_queue_is_declared_again() {
    let bench = Bench::new();
    let arguments = TableBuf::new().with("x-max-length", Value::I32(5));
    let first = bench.declare_with("q", &arguments);
    bench.set(
        "limit",
        "",
        &[("max-length", 1.into()), ("expires", 9.into())],
    );
    assert_eq!(first.arguments().length_max, Some(1));
    let again = bench.declare_with("q", &arguments);
    assert!(Arc::ptr_eq(&first, &again));
}

#[test]
fn dlx_24_a_policy_gives_a_dead_letter_exchange_and_takes_it_away() {
    let bench = Bench::new();
    let (from, to) = (bench.declare("from"), bench.declare("to"));
    let dead = [
        ("max-length", 1.into()),
        ("dead-letter-exchange", "".into()),
        ("dead-letter-routing-key", "to".into()),
    ];
    bench.set("dead", "^from$", &dead);
    bench.offer(&from, "a");
    bench.offer(&from, "b");
    assert_eq!((ready(&from), ready(&to)), (1, 1));
    bench.set("dead", "^from$", &dead[..1]);
    bench.offer(&from, "c");
    assert_eq!((ready(&from), ready(&to)), (1, 1));
}

#[test]
fn pol_04_a_time_to_live_is_for_what_comes_from_now_on() {
    let mut bench = Bench::new();
    let queue = bench.declare("q");
    bench.offer(&queue, "old");
    bench.set("ttl", "", &[("message-ttl", 10.into())]);
    bench.offer(&queue, "new");
    bench.now = bench.now.after_ms(100);
    bench.tick(&queue);
    assert_eq!(
        ready(&queue),
        2,
        "the old one is the head and has no deadline"
    );
    bench.clear("ttl");
    bench
        .vhost
        .remove_queue(&queue, DeleteConditions::default())
        .unwrap();
    let queue = bench.declare("q");
    bench.set("ttl", "", &[("message-ttl", 10.into())]);
    bench.offer(&queue, "new");
    bench.clear("ttl");
    bench.offer(&queue, "after it");
    bench.now = bench.now.after_ms(100);
    bench.tick(&queue);
    assert_eq!(ready(&queue), 1, "a deadline stays");
}

#[test]
fn pol_04_exp_01_a_lease_begins_when_a_policy_gives_or_changes_it() {
    let mut bench = Bench::new();
    let queue = bench.declare("q");
    bench.now = bench.now.after_ms(1000);
    bench.set("lease", "", &[("expires", 50.into())]);
    assert_eq!(
        bench.ticks.0.lock().unwrap().pop(),
        Some(bench.now.after_ms(50))
    );
    bench.now = bench.now.after_ms(40);
    bench.set("lease", "", &[("expires", 60.into())]);
    bench.now = bench.now.after_ms(50);
    bench.tick(&queue);
    assert!(!queue.is_gone(), "a new lease has begun");
    bench.now = bench.now.after_ms(10);
    bench.tick(&queue);
    assert!(queue.is_gone());
}

#[test]
fn exp_01_a_policy_that_goes_takes_its_lease_along() {
    let mut bench = Bench::new();
    let queue = bench.declare("q");
    bench.set("lease", "", &[("expires", 50.into())]);
    bench.clear("lease");
    bench.now = bench.now.after_ms(1000);
    bench.tick(&queue);
    assert!(!queue.is_gone());
}

/// Sets and clears a policy for some queues a few times.
fn change_often(bench: &Bench, name: &str, pattern: &str) {
    for limit in 1..4 {
        bench.set(name, pattern, &[("max-length", limit.into())]);
        bench.clear(name);
    }
    bench.set(name, pattern, &[("max-length", 4.into())]);
}

/// Declares queues and deletes every other of them.
fn come_and_go(bench: &Bench, names: &[String]) {
    for (number, name) in names.iter().enumerate() {
        bench.declare(name);
        if number % 2 == 1 {
            let all = DeleteConditions::default();
            let deleted = bench.vhost.delete_queue(name, ME, all, &mut allow);
            deleted.unwrap();
        }
    }
}

#[test]
fn pol_01_policies_that_change_while_queues_come_and_go_end_consistent() {
    let bench = Bench::with(counting());
    let names = [0, 1].map(|half| Vec::from_iter((0..5).map(|n| format!("q{half}{n}"))));
    for round in 0..300 {
        std::thread::scope(|threads| {
            threads.spawn(|| change_often(&bench, "p1", "[0-3]$"));
            threads.spawn(|| change_often(&bench, "p2", "[2-9]$"));
            for names in &names {
                threads.spawn(|| come_and_go(&bench, names));
            }
        });
        for queue in bench.vhost.topology().queues() {
            let settings = bench.vhost.topology().settings_of_queue(queue.spec());
            let expected = settings.number("max-length");
            assert_eq!(queue.arguments().length_max, expected);
            let told = queue.body().status().ready_bytes;
            assert_eq!(Some(told), expected, "{}, round {round}", queue.name());
        }
    }
}
