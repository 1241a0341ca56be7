//! Heads, which no limit of a queue knows of, count as long as their messages are in memory, however they go.

use super::bench::{Bench, PLENTY, no_ack};
use crate::core::queue::testing::{consumer, getter, headed};
use crate::core::queue::*;

const PROPERTIES_LEN: usize = 1_000;
const MESSAGES: u64 = 10;

/// What so many messages count for without their bodies, rounded as the queue rounds.
fn is_about(heads: u64, messages: u64) -> bool {
    let exact = messages * PROPERTIES_LEN as u64;
    (exact..exact + exact / 5).contains(&heads)
}

fn filled() -> Bench {
    let mut bench = Bench::plain();
    let mut batch = (0..MESSAGES)
        .map(|_| headed("b", PROPERTIES_LEN, false))
        .collect();
    let now = bench.now();
    bench.queue.offer(&mut batch, now, &mut bench.effects);
    bench
}

fn heads(bench: &Bench) -> u64 {
    let status = bench.queue.status();
    status.resident_bytes - status.held_bytes
}

#[test]
fn heads_of_ready_messages_count_until_they_are_purged() {
    let mut bench = filled();
    assert!(is_about(heads(&bench), MESSAGES), "{}", heads(&bench));
    assert_eq!(bench.queue.status().held_bytes, MESSAGES);
    bench.purge();
    assert_eq!(heads(&bench), 0);
}

#[test]
fn heads_of_deliveries_count_until_they_are_settled() {
    let mut bench = filled();
    let slot = bench.attach(consumer(0));
    let (_, out) = bench.pull_within(slot, PLENTY);
    assert_eq!(out.len() as u64, MESSAGES);
    assert!(is_about(heads(&bench), MESSAGES));
    bench.settle(slot, Verdict::Requeue, [0]);
    assert!(is_about(heads(&bench), MESSAGES));
    bench.settle(slot, Verdict::Ack, 1..5);
    assert!(is_about(heads(&bench), MESSAGES - 4));
    bench.settle(slot, Verdict::Discard, 5..8);
    assert!(is_about(heads(&bench), MESSAGES - 7));
    bench.detach(slot, Unsettled::Requeue);
    assert!(is_about(heads(&bench), MESSAGES - 7));
    bench.purge();
    assert_eq!(heads(&bench), 0);
}

#[test]
fn heads_do_not_count_once_they_are_sent_to_one_who_settles_nothing() {
    let mut bench = filled();
    let slot = bench.attach(no_ack(getter(false)));
    bench.get(slot);
    assert!(is_about(heads(&bench), MESSAGES - 1));
    let slot = bench.attach(no_ack(consumer(0)));
    bench.pull_within(slot, PLENTY);
    assert_eq!(heads(&bench), 0);
}

#[test]
fn heads_take_of_the_room_of_a_pull() {
    let mut bench = filled();
    let slot = bench.attach(consumer(0));
    let room = Room {
        bytes: 3 * PROPERTIES_LEN,
        ..PLENTY
    };
    assert_eq!(bench.pull_within(slot, room).1.len(), 3);
}
