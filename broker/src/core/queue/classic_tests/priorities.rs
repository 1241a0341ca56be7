//! The rules of message priorities, by their IDs.

use super::bench::{Bench, bodies, limited};
use crate::core::Message;
use crate::core::queue::testing::{consumer, getter, prioritized};
use crate::core::queue::*;

fn with_priorities(max_priority: u8) -> ClassicOptions {
    ClassicOptions {
        max_priority,
        ..ClassicOptions::default()
    }
}

/// A message for each word; what follows the letter is its priority, and its body is the word.
fn messages(words: &str, expiration_ms: Option<u64>) -> Vec<Message> {
    let words = words.split_whitespace();
    let message = |word: &str| {
        let priority = word.get(1..).and_then(|digits| digits.parse().ok());
        prioritized(word, expiration_ms, false, priority.unwrap_or(0))
    };
    words.map(message).collect()
}

fn publish(bench: &mut Bench, words: &str) {
    offer(bench, messages(words, None));
}

fn offer(bench: &mut Bench, mut batch: Vec<Message>) {
    let now = bench.now();
    bench.queue.offer(&mut batch, now, &mut bench.effects);
}

/// All that is ready, in the order in which it is got.
fn drain(bench: &mut Bench) -> String {
    let slot = bench.attach(super::no_ack(getter(false)));
    let gotten = std::iter::from_fn(|| bench.get(slot));
    let words: Vec<String> = gotten.map(|(word, _)| word).collect();
    words.join(" ")
}

#[test]
fn prio_01_the_highest_goes_first_and_equals_in_the_order_they_came() {
    let mut bench = Bench::new(with_priorities(9));
    publish(&mut bench, "a1 b5 c0 d5 e9 f1 g9 h0");
    assert_eq!(drain(&mut bench), "e9 g9 b5 d5 a1 f1 c0 h0");
    publish(&mut bench, "i0 j1");
    assert_eq!(drain(&mut bench), "j1 i0");
}

#[test]
fn prio_01_every_level_of_255_is_one() {
    let mut bench = Bench::new(with_priorities(255));
    let up: Vec<String> = (0..=255).map(|n| format!("x{n}")).collect();
    publish(&mut bench, &up.join(" "));
    let down: Vec<_> = up.into_iter().rev().collect();
    assert_eq!(drain(&mut bench), down.join(" "));
}

#[test]
fn prio_02_no_priority_is_0_and_one_above_the_highest_is_the_highest() {
    let mut bench = Bench::new(with_priorities(5));
    publish(&mut bench, "a4 b200 c5 d e0 f6");
    let slot = bench.attach(consumer(0));
    let (_, out) = bench.pull_within(slot, super::PLENTY);
    assert_eq!(bodies(&out), "b200 c5 f6 a4 d e0");
    let priorities: Vec<u8> = out.iter().map(|d| d.message.priority()).collect();
    assert_eq!(priorities, [200, 5, 6, 4, 0, 0], "as they were published");
}

#[test]
fn prio_03_deliv_06_what_comes_back_has_its_place_in_its_level() {
    let mut bench = Bench::new(with_priorities(9));
    publish(&mut bench, "a1 b1 c1 d1 e2");
    let slot = bench.attach(consumer(4));
    assert_eq!(bench.pull_some(slot, 4).1, "e2 a1 b1 c1");
    publish(&mut bench, "f2 g0");
    bench.settle(slot, Verdict::Requeue, [3, 1]);
    bench.detach(slot, Unsettled::Keep);
    assert_eq!(drain(&mut bench), "f2 a1* c1* d1 g0");
    bench.settle(slot, Verdict::Requeue, [2, 0]);
    assert_eq!(drain(&mut bench), "e2* b1*");
}

#[test]
fn prio_04_06_without_levels_priorities_make_no_difference() {
    let mut bench = Bench::new(with_priorities(0));
    publish(&mut bench, "a1 b5 c0 d255");
    assert_eq!(drain(&mut bench), "a1 b5 c0 d255");
}

#[test]
fn prio_05_what_a_consumer_has_is_not_overtaken() {
    let mut bench = Bench::new(with_priorities(9));
    let slot = bench.attach(consumer(2));
    publish(&mut bench, "a1 b1 c1");
    publish(&mut bench, "d9");
    assert_eq!(bench.pull(slot), "a1 b1");
    bench.settle(slot, Verdict::Ack, [0, 1]);
    assert_eq!(bench.pull(slot), "d9 c1");
}

#[test]
fn prio_07_counts_are_over_all_levels() {
    let mut bench = Bench::new(with_priorities(9));
    publish(&mut bench, "a1 b1 c9 d0");
    assert_eq!(bench.counts(), (4, 0));
    assert_eq!(bench.queue.status().ready_bytes, 8);
    let slot = bench.attach(getter(false));
    assert_eq!(bench.get(slot), Some(("c9".to_owned(), 3)));
    assert_eq!((bench.purge(), bench.counts()), (3, (0, 1)));
    publish(&mut bench, "e1 f2");
    bench.settle(slot, Verdict::Requeue, [0]);
    assert_eq!(drain(&mut bench), "c9* f2 e1");
    assert_eq!(bench.queue.status().held_bytes, 0);
}

#[test]
fn len_11_drop_head_drops_the_oldest_of_the_highest() {
    let mut bench = Bench::new(ClassicOptions {
        max_priority: 9,
        ..limited(2, Overflow::DropHead)
    });
    publish(&mut bench, "a1 b5 c0");
    assert_eq!((&*bench.dead(), bench.counts()), ("b5:maxlen", (2, 0)));
    publish(&mut bench, "d1 e9");
    assert_eq!(bench.dead(), "a1:maxlen e9:maxlen");
    assert_eq!(drain(&mut bench), "d1 c0");
}

#[test]
fn len_04_reject_publish_refuses_whatever_the_priority() {
    let mut bench = Bench::new(ClassicOptions {
        max_priority: 9,
        ..limited(2, Overflow::RejectPublish)
    });
    publish(&mut bench, "a1 b5 c9");
    assert_eq!(bench.effects.rejected, [2]);
    assert_eq!(drain(&mut bench), "b5 a1");
}

#[test]
fn ttl_08_what_has_expired_waits_behind_a_live_higher_one() {
    let mut bench = Bench::new(ClassicOptions {
        dead_letters: true,
        ..with_priorities(9)
    });
    offer(&mut bench, messages("a1 b2", Some(10)));
    assert_eq!(bench.effects.tick_at.take(), Some(Moment::from_unix_ms(10)));
    publish(&mut bench, "c5");
    offer(&mut bench, messages("d5", Some(10)));
    bench.tick_at(20);
    assert_eq!((&*bench.dead(), bench.counts()), ("", (4, 0)));
    let slot = bench.attach(getter(false));
    assert_eq!(bench.get(slot), Some(("c5".to_owned(), 0)));
    assert_eq!(bench.dead(), "d5:expired b2:expired a1:expired");
    assert_eq!(bench.counts(), (0, 1));
}

#[test]
fn the_levels_stay_whatever_the_options_become() {
    let mut bench = Bench::new(with_priorities(9));
    let now = bench.now();
    bench
        .queue
        .set_options(with_priorities(0), now, &mut bench.effects);
    publish(&mut bench, "a1 b5");
    assert_eq!(drain(&mut bench), "b5 a1");
}
