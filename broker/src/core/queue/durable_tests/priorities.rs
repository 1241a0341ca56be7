//! What a durable queue with priorities does when its messages are in the store.

#![allow(clippy::unwrap_used)]

use super::rig::{LARGE_BYTES, Rig, SHARE_BYTES, bodies, ids, name, numbers};
use crate::core::Message;
use crate::core::queue::testing::{consumer, getter, prioritized};
use crate::core::queue::*;

const OPTIONS: ClassicOptions = ClassicOptions {
    auto_delete: false,
    expires_ms: None,
    single_active_consumer: false,
    max_priority: 9,
    message_ttl_ms: None,
    length_max: None,
    length_bytes_max: None,
    overflow: Overflow::DropHead,
    dead_letters: true,
    at_least_once: false,
    delivery_limit: None,
    counts_deliveries: false,
    keeps_transient: false,
};

/// The priority of a numbered message: all levels up to 4, unevenly.
fn priority(number: u64) -> u8 {
    [0, 3, 0, 1, 4, 1, 0, 2, 3, 0][(number * 7 % 10) as usize]
}

fn numbered(number: u64, body_bytes: usize) -> Message {
    let text = format!("{number} {}", "x".repeat(body_bytes));
    prioritized(&text, None, true, priority(number))
}

/// These numbers in the order in which they are delivered.
fn by_priority(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.into_iter().collect();
    numbers.sort_by_key(|number| (std::cmp::Reverse(priority(*number)), *number));
    numbers
}

/// Publishes numbered messages and lets the queue come to rest now and then.
fn fill(rig: &mut Rig, range: std::ops::Range<u64>, body_bytes: usize) {
    for first in range.clone().step_by(100) {
        let numbers = first..range.end.min(first + 100);
        rig.offer(numbers.map(|n| numbered(n, body_bytes)).collect());
        rig.settle_down();
    }
}

/// Takes everything and acknowledges it as it comes.
fn drain(rig: &mut Rig) -> Vec<Delivery> {
    let slot = rig.attach(consumer(0));
    let mut all = Vec::new();
    while rig.status().ready + rig.status().unsettled > 0 {
        rig.settle_down();
        let out = rig.pull_all(slot);
        assert!(!out.is_empty(), "stuck after {}", all.len());
        rig.settle(slot, Verdict::Ack, &ids(&out));
        all.extend(out);
    }
    all
}

#[test]
fn prio_01_a_long_backlog_leaves_memory_and_comes_back_by_priority() {
    const COUNT: u64 = 20_000;
    let mut rig = Rig::new(OPTIONS);
    fill(&mut rig, 0..COUNT, 100);
    let status = rig.status();
    assert_eq!(status.ready, COUNT);
    assert!(status.resident_messages < 6_000, "{status:?}");
    assert_eq!(numbers(&drain(&mut rig)), by_priority(0..COUNT));
    assert_eq!((rig.status().held_bytes, &*rig.left()), (0, ""));
}

#[test]
fn a_low_level_that_was_the_front_leaves_memory_when_a_higher_one_comes() {
    let mut rig = Rig::new(OPTIONS);
    rig.share(SHARE_BYTES);
    let of = |n: u64, priority| {
        let text = format!("{n} {}", "x".repeat(LARGE_BYTES));
        prioritized(&text, None, true, priority)
    };
    for level in 0..8_u8 {
        for n in 0..40 {
            rig.offer(vec![of(u64::from(level) * 40 + n, level)]);
            rig.settle_down();
        }
        let resident = rig.status().resident_messages;
        assert!(resident < 40, "{resident} at level {level}");
    }
    assert_eq!(rig.status().ready, 320);
}

/// More than one load brings, with deliveries, returns and transient messages behind it.
fn restarted(count: u64, delivered: u64) -> Rig {
    let mut rig = Rig::new(OPTIONS);
    fill(&mut rig, 0..count, 100);
    let slot = rig.attach(getter(false));
    for n in 0..delivered {
        let delivery = rig.get_at_last(slot).unwrap();
        let verdict = match n % 2 {
            0 => Verdict::Ack,
            _ => Verdict::Requeue,
        };
        rig.settle(slot, verdict, &[delivery.id]);
    }
    rig.offer(vec![prioritized("t", None, false, 9)]);
    rig.restarted(OPTIONS)
}

#[test]
fn dur_a_restarted_queue_hands_nothing_out_before_it_knows_what_goes_first() {
    const COUNT: u64 = 20_000;
    let mut rig = restarted(COUNT, 2);
    assert_eq!(rig.status().ready, COUNT - 1);
    let slot = rig.attach(consumer(1));
    let mut most = 0;
    while rig
        .backing
        .load
        .is_some_and(|load| load.first < COUNT - 4096)
    {
        rig.commit();
        assert_eq!(rig.pull(slot), "");
        rig.serve();
        most = most.max(rig.status().resident_messages);
        assert_eq!(rig.status().ready + rig.status().unsettled, COUNT - 1);
    }
    assert!(most < 100, "{most} are in memory while it reads");
    // New ones go behind what was there, whatever is known of it.
    fill(&mut rig, COUNT..COUNT + 500, 100);
    rig.detach(slot);
    rig.settle_down();
    let out = drain(&mut rig);
    let first = by_priority(0..COUNT)[0];
    let expected = (0..COUNT + 500).filter(|n| *n != first);
    assert_eq!(numbers(&out), by_priority(expected));
    assert_eq!(rig.left(), "");
}

#[test]
fn dur_what_was_delivered_before_a_restart_says_so() {
    for count in [300, 9_000] {
        let mut rig = restarted(count, 20);
        let out = drain(&mut rig);
        let redelivered: Vec<u64> = out
            .iter()
            .filter(|d| d.redelivered)
            .map(|d| name(&d.message).parse().unwrap())
            .collect();
        // Ten were acknowledged, nine of them after they had come back once; so has the eleventh.
        assert_eq!(redelivered, by_priority(0..count)[10..11]);
        assert_eq!(out.len() as u64, count - 10);
        let order = numbers(&out);
        assert_eq!(order, by_priority(order.clone()));
    }
}

#[test]
fn a_purge_leaves_what_is_handed_out_and_what_is_dying_in_the_log() {
    let mut rig = Rig::new(OPTIONS);
    rig.share(SHARE_BYTES);
    fill(&mut rig, 0..300, LARGE_BYTES / 8);
    let slot = rig.attach(consumer(12));
    rig.settle_down();
    let out = rig.pull_all(slot);
    let order = by_priority(0..300);
    assert_eq!(numbers(&out), order[..12]);
    rig.settle(slot, Verdict::Discard, &ids(&out)[..2]);
    rig.settle_down();
    assert!(rig.status().resident_messages < 150);
    // Two more were dealt when two were settled.
    assert_eq!(rig.purge(), 300 - 14);
    rig.settle_down();
    let mut left = order[..14].to_vec();
    left.sort_unstable();
    let words = |numbers: &[u64]| {
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        words.join(" ")
    };
    assert_eq!(rig.left(), words(&left));
    rig.forget_dead();
    let mut left = order[2..14].to_vec();
    left.sort_unstable();
    assert_eq!(rig.left(), words(&left));
    assert_eq!(rig.status().ready, 0);
    // What was handed out comes back to where it was, before what came later.
    fill(&mut rig, 300..600, LARGE_BYTES / 8);
    rig.detach(slot);
    let expected = order[2..14].iter().copied().chain(300..600);
    assert_eq!(numbers(&drain(&mut rig)), by_priority(expected));
    assert_eq!((rig.status().held_bytes, &*rig.left()), (0, ""));
}

#[test]
fn what_a_lost_consumer_had_and_never_saw_is_not_taken_for_all_there_is() {
    let mut rig = Rig::new(OPTIONS);
    rig.share(SHARE_BYTES);
    let (one, other) = (rig.attach(consumer(10)), rig.attach(consumer(10)));
    rig.settle_down();
    let large = |n: u64| {
        let text = format!("{n} {}", "x".repeat(LARGE_BYTES));
        prioritized(&text, None, true, 1)
    };
    // Each has every other message; what the second one had is ready again, and what lies between is not.
    rig.offer((0..20).map(large).collect());
    for slot in [other, one] {
        rig.detach(slot);
        rig.settle_down();
    }
    assert_eq!(numbers(&drain(&mut rig)), (0..20).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_read_is_passed_over_in_its_level_and_while_sorting() {
    for count in [100, 9_000] {
        let mut rig = restarted(count, 0);
        let load = rig.backing.load.take().unwrap();
        // The first part brings nothing at all, and says of two messages that they cannot be read.
        let loaded = Loaded {
            messages: Vec::new(),
            through: load.first + 1,
            unreadable: vec![load.first, load.first + 1],
        };
        rig.queue.loaded(loaded, rig.now(), &mut rig.effects);
        rig.backing.note(&mut rig.effects);
        assert_eq!(rig.status().ready, count - 2);
        rig.settle_down();
        let slot = rig.attach(consumer(1));
        rig.settle_down();
        // Nor can the beginning of what is loaded next of a level.
        if let Some(load) = rig.backing.load.take() {
            let loaded = Loaded {
                messages: Vec::new(),
                through: load.first,
                unreadable: vec![load.first],
            };
            rig.queue.loaded(loaded, rig.now(), &mut rig.effects);
            rig.backing.note(&mut rig.effects);
        }
        rig.settle_down();
        rig.detach(slot);
        let order = numbers(&drain(&mut rig));
        assert_eq!(order, by_priority(order.clone()));
        assert!(order.len() as u64 >= count - 3, "{}", order.len());
        assert_eq!((rig.status().ready, rig.status().held_bytes), (0, 0));
    }
}

#[test]
fn ttl_08_what_expires_is_found_when_what_was_before_it_has_gone() {
    let mut rig = Rig::new(OPTIONS);
    let text = |n: u64| format!("{n} {}", "x".repeat(LARGE_BYTES));
    rig.share(SHARE_BYTES);
    for n in 0..40 {
        rig.offer(vec![prioritized(&text(n), Some(1000), true, 1)]);
        rig.settle_down();
    }
    rig.offer(vec![prioritized(&text(40), None, true, 2)]);
    rig.now_ms = 1000;
    rig.tick();
    rig.settle_down();
    assert_eq!(rig.dead(), "");
    let slot = rig.attach(getter(false));
    let delivery = rig.get_at_last(slot).unwrap();
    assert_eq!(bodies(std::slice::from_ref(&delivery)), "40");
    rig.settle(slot, Verdict::Ack, &[delivery.id]);
    rig.tick();
    rig.settle_down();
    let expected: Vec<String> = (0..40).map(|n| format!("{n}:expired")).collect();
    assert_eq!(rig.dead(), expected.join(" "));
    assert_eq!((rig.status(), &*rig.left()), (QueueStatus::default(), ""));
}

#[test]
fn len_11_the_highest_is_dropped_also_after_a_restart() {
    let rig = restarted(9_000, 0);
    let limited = ClassicOptions {
        length_max: Some(3),
        ..OPTIONS
    };
    let mut rig = rig.restarted(limited);
    assert_eq!(rig.status().ready, 9_000);
    rig.settle_down();
    assert_eq!(rig.status().ready, 3);
    let order = by_priority(0..9_000);
    assert_eq!(numbers(&drain(&mut rig)), order[8_997..]);
}
