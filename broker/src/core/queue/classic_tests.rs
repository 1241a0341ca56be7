//! The classic queue's rules one by one, by their IDs.

#![allow(clippy::unwrap_used)]

mod bench;
mod heads;
mod priorities;

use super::consumers::ASSIGNED_MAX;
use super::testing::{changed, consumer, expiring, getter, message};
use super::*;
use bench::{Bench, PLENTY, bodies, exclusive, expiring_after, limited, no_ack, pull_only};

#[test]
fn get_01_02_03_the_head_comes_with_what_is_left() {
    let mut bench = Bench::plain();
    let (acking, done_at_once) = (bench.attach(getter(false)), bench.attach(getter(true)));
    assert_eq!(bench.get(acking), None);
    bench.publish("a b c");
    assert_eq!(bench.get(acking), Some(("a".into(), 2)));
    assert_eq!(bench.get(done_at_once), Some(("b".into(), 1)));
    assert_eq!(bench.counts(), (1, 1));
}

#[test]
fn get_05_06_getters_are_no_consumers_and_pass_by_exclusive_ones() {
    let mut bench = Bench::plain();
    let getter = bench.attach(getter(false));
    let consumer = bench.attach(exclusive());
    bench.pull_some(consumer, 0);
    bench.publish("a");
    assert_eq!(bench.queue.status().consumers, 1);
    assert_eq!(bench.get(getter), Some(("a".into(), 0)));
}

#[test]
fn cons_05_06_exclusive_use_excludes_until_it_ends() {
    let mut bench = Bench::plain();
    let shared = bench.attach(consumer(0));
    let refused = Err(AttachRefused::InExclusiveUse);
    assert_eq!(bench.try_attach(exclusive()), refused);
    bench.detach(shared, Unsettled::Requeue);
    let alone = bench.attach(exclusive());
    assert_eq!(bench.try_attach(consumer(0)), refused);
    bench.detach(alone, Unsettled::Requeue);
    assert!(bench.try_attach(consumer(0)).is_ok());
}

#[test]
fn cancel_04_kept_deliveries_can_be_settled_and_the_id_then_dies() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(0));
    bench.publish("a b c");
    assert_eq!(bench.pull_some(slot, 2), (Pulled::More, "a b".into()));
    bench.detach(slot, Unsettled::Keep);
    assert_eq!(bench.counts(), (1, 2), "c was never sent");
    assert_eq!(bench.pull(slot), "");
    bench.settle(slot, Verdict::Ack, [0]);
    bench.settle(slot, Verdict::Requeue, [1]);
    assert_eq!(bench.counts(), (2, 0));
    let next = bench.attach(consumer(0));
    assert_eq!(next.index, slot.index, "the place is used again");
    assert_eq!(bench.pull(next), "b* c");
    bench.settle(slot, Verdict::Ack, [0, 1]);
    assert_eq!(bench.counts(), (0, 2), "the old id hits nobody");
}

#[test]
fn chan_16_a_kept_slot_can_still_be_requeued_as_a_whole() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(0));
    bench.publish("a b");
    assert_eq!(bench.pull(slot), "a b");
    bench.detach(slot, Unsettled::Keep);
    bench.detach(slot, Unsettled::Requeue);
    assert_eq!(bench.counts(), (2, 0));
}

#[test]
fn deliv_02_messages_are_dealt_in_turn_before_anyone_pulls() {
    let mut bench = Bench::plain();
    let slots = [(); 3].map(|()| bench.attach(consumer(0)));
    bench.publish("a b c d e f g");
    assert_eq!(bench.bell.take(), [0, 1, 2], "each is rung once");
    assert_eq!(bench.pull(slots[2]), "c f");
    assert_eq!(bench.pull(slots[0]), "a d g");
    assert_eq!(bench.pull(slots[1]), "b e");
}

#[test]
fn deliv_03_a_full_consumer_is_skipped_and_comes_back_last() {
    let mut bench = Bench::plain();
    let [a, b, c] = [1, 9, 9].map(|prefetch| bench.attach(consumer(prefetch)));
    bench.publish("1 2 3 4");
    assert_eq!(bench.pull(a), "1");
    assert_eq!(bench.pull(b), "2 4");
    bench.settle(a, Verdict::Ack, [0]);
    bench.publish("5 6 7");
    assert_eq!(bench.pull(c), "3 5");
    assert_eq!(bench.pull(b), "6");
    assert_eq!(bench.pull(a), "7");
}

#[test]
fn cprio_01_04_the_higher_priority_comes_first_while_it_can() {
    let mut bench = Bench::plain();
    let low = bench.attach(consumer(0));
    let high = bench.attach(changed(consumer(2), |_, _, priority| *priority = 5));
    bench.publish("1 2 3");
    assert_eq!(bench.pull(high), "1 2");
    assert_eq!(bench.pull(low), "3");
    bench.settle(high, Verdict::Ack, [0]);
    bench.publish("4 5");
    assert_eq!(bench.pull(high), "4");
    assert_eq!(bench.pull(low), "5");
}

#[test]
fn qos_02_prefetch_counts_assigned_and_unsettled_together() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(3));
    bench.publish("a b c d e");
    assert_eq!(bench.counts(), (2, 3));
    assert_eq!(bench.pull_some(slot, 2), (Pulled::More, "a b".into()));
    assert_eq!(bench.pull(slot), "c");
    assert_eq!(bench.bell.take(), [0]);
    bench.settle(slot, Verdict::Ack, [1]);
    assert_eq!(bench.bell.take(), [0], "an ack brings the next (ACK-16)");
    assert_eq!(bench.pull(slot), "d");
}

#[test]
fn qos_07_no_ack_knows_no_prefetch_and_nothing_is_left_to_settle() {
    let mut bench = Bench::plain();
    let slot = bench.attach(no_ack(consumer(1)));
    bench.publish("a b c");
    assert_eq!(bench.counts(), (0, 3));
    assert_eq!(bench.pull(slot), "a b c");
    assert_eq!(bench.counts(), (0, 0));
}

#[test]
fn qos_03_a_pull_only_slot_takes_its_room_and_leaves_the_rest() {
    let mut bench = Bench::plain();
    let (limited, free) = (bench.attach(pull_only(0)), bench.attach(consumer(1)));
    bench.publish("a b c d");
    assert_eq!(bench.bell.take(), [0, 1]);
    assert_eq!(bench.pull_some(limited, 1), (Pulled::More, "a".into()));
    assert_eq!(bench.counts(), (2, 2), "c and d are ready again");
    assert_eq!(bench.pull(free), "b");
    bench.publish("e");
    assert_eq!(bench.bell.take(), [0; 0], "nobody has room");
    assert_eq!(bench.pull_some(limited, 2), (Pulled::More, "c d".into()));
    bench.settle(free, Verdict::Ack, [0]);
    assert_eq!(bench.pull(free), "e");
}

#[test]
fn qos_05_without_its_limit_a_slot_is_rung_to_go_on() {
    let mut bench = Bench::plain();
    let slot = bench.attach(pull_only(0));
    assert_eq!(bench.pull_some(slot, 1), (Pulled::Drained, String::new()));
    bench.publish("a b c");
    assert_eq!(bench.bell.take(), [0]);
    assert_eq!(bench.counts(), (2, 1), "it said it had room for one");
    bench.queue.set_pull_only(slot, false);
    assert_eq!(bench.pull(slot), "a b c");
}

#[test]
fn a_slot_without_room_is_not_dealt_to() {
    let mut bench = Bench::plain();
    let [a, b] = [(); 2].map(|()| bench.attach(consumer(0)));
    assert_eq!(bench.pull_some(a, 0), (Pulled::More, String::new()));
    bench.publish("1 2");
    assert_eq!(bench.bell.take(), [1]);
    assert_eq!(bench.pull(b), "1 2");
    assert_eq!(bench.pull(a), "");
    bench.publish("3 4");
    assert_eq!(bench.bell.take(), [1, 0]);
}

#[test]
fn no_more_than_assigned_max_wait_for_a_slot() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(0));
    let many = "x ".repeat(ASSIGNED_MAX + 3);
    bench.publish(&many);
    assert_eq!(bench.counts(), (3, ASSIGNED_MAX as u64));
    assert_eq!(bench.pull(slot).len(), many.len() - 1);
}

#[test]
fn room_in_bytes_stops_a_pull_but_never_the_first_message() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(0));
    bench.publish("aaaa bbbb cccc");
    let room = |bytes| Room { messages: 9, bytes };
    let (pulled, out) = bench.pull_within(slot, room(5));
    assert_eq!((pulled, bodies(&out)), (Pulled::More, "aaaa bbbb".into()));
    let (pulled, out) = bench.pull_within(slot, room(0));
    assert_eq!((pulled, bodies(&out)), (Pulled::Drained, "cccc".into()));
}

#[test]
fn deliv_05_06_08_a_requeued_message_comes_next_and_marked() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(3));
    bench.publish("m0 m1 m2 m3");
    assert_eq!(bench.pull(slot), "m0 m1 m2");
    bench.settle(slot, Verdict::Requeue, [1]);
    assert_eq!(bench.pull(slot), "m1*");
    bench.settle(slot, Verdict::Requeue, [3]);
    let (_, out) = bench.pull_within(slot, PLENTY);
    assert_eq!((out[0].redelivered, out[0].return_count), (true, 2));
}

#[test]
fn deliv_07_what_a_lost_consumer_held_returns_in_order_unsent_unmarked() {
    let mut bench = Bench::plain();
    let lost = bench.attach(consumer(0));
    let other = bench.attach(consumer(1));
    bench.publish("a b c d e f");
    assert_eq!(bench.pull_some(lost, 2).1, "a c");
    bench.detach(lost, Unsettled::Requeue);
    let third = bench.attach(consumer(0));
    assert_eq!(bench.pull(third), "a* c* d e f");
    assert_eq!(bench.pull(other), "b");
}

#[test]
fn ack_13_ids_settled_before_or_never_issued_are_passed_over() {
    let mut bench = Bench::plain();
    let slot = bench.attach(consumer(0));
    bench.publish("a b");
    assert_eq!(bench.pull(slot), "a b");
    bench.settle(slot, Verdict::Ack, [0]);
    bench.settle(slot, Verdict::Requeue, [0, 7, u64::MAX]);
    assert_eq!(bench.counts(), (0, 1));
    bench.queue.retire(DeleteConditions::default()).unwrap();
    bench.settle(slot, Verdict::Requeue, [1]);
    assert_eq!(bench.counts(), (0, 0));
}

#[test]
fn ack_10_12_discarded_messages_are_dead_letters_in_queue_order() {
    let mut bench = Bench::new(ClassicOptions {
        dead_letters: true,
        ..ClassicOptions::default()
    });
    let slot = bench.attach(consumer(0));
    bench.publish("a b c");
    assert_eq!(bench.pull(slot), "a b c");
    bench.settle(slot, Verdict::Discard, [2, 0]);
    assert_eq!(bench.dead(), "a:rejected c:rejected");
}

#[test]
fn without_a_dead_letter_exchange_there_are_no_dead_letters() {
    let mut bench = Bench::new(ClassicOptions {
        length_max: Some(1),
        ..ClassicOptions::default()
    });
    bench.publish("a b");
    bench.publish_expiring("c", 0);
    assert_eq!(bench.dead(), "");
    assert_eq!(bench.counts(), (0, 0));
}

#[test]
fn queue_19_25_retiring_tells_everyone_and_leaves_nothing() {
    let mut bench = Bench::plain();
    bench.publish("a b");
    let getter = bench.attach(getter(false));
    let slot = bench.attach(consumer(1));
    bench.attach(consumer(1));
    bench.publish("c d");
    bench.bell.take();
    assert_eq!(bench.queue.retire(DeleteConditions::default()), Ok(2));
    assert_eq!(bench.bell.take(), [1, 2], "rung or not, getters excepted");
    assert_eq!(bench.pull_within(slot, PLENTY).0, Pulled::Gone);
    assert_eq!(bench.get(getter), None);
    let mut batch = vec![message("e")];
    let now = bench.now();
    let offered = bench.queue.offer(&mut batch, now, &mut bench.effects);
    assert_eq!((offered, batch.len()), (Offered::Gone, 0));
    assert_eq!(bench.try_attach(consumer(0)), Err(AttachRefused::Gone));
    let again = bench.queue.retire(DeleteConditions::default());
    assert_eq!(again, Err(DeleteRefused::Gone));
    assert_eq!(bench.queue.status(), QueueStatus::default());
    assert_eq!(bench.dead(), "", "QUEUE-24");
}

#[test]
fn queue_21_22_23_conditions_are_checked_before_anything_changes() {
    let mut bench = Bench::plain();
    let both = DeleteConditions {
        if_unused: true,
        if_empty: true,
    };
    let slot = bench.attach(consumer(1));
    bench.publish("a b");
    assert_eq!(bench.queue.retire(both), Err(DeleteRefused::NotEmpty));
    assert_eq!(bench.purge(), 1);
    assert_eq!(bench.queue.retire(both), Err(DeleteRefused::InUse));
    assert_eq!(bench.pull(slot), "a");
    bench.detach(slot, Unsettled::Keep);
    assert_eq!(
        bench.queue.retire(both),
        Ok(0),
        "unsettled ones do not count"
    );
}

#[test]
fn queue_27_a_purge_takes_the_ready_messages_only() {
    let mut bench = Bench::new(expiring_after(10));
    let slot = bench.attach(consumer(1));
    bench.publish("a b c");
    assert_eq!((bench.purge(), bench.purge()), (2, 0));
    assert_eq!(bench.counts(), (0, 1));
    assert_eq!(bench.queue.status().ready_bytes, 0);
    assert_eq!(bench.pull(slot), "a");
    assert_eq!(bench.dead(), "");
}

#[test]
fn autodel_01_02_04_only_the_last_consumer_that_goes_counts() {
    let mut bench = Bench::new(ClassicOptions {
        auto_delete: true,
        ..ClassicOptions::default()
    });
    let getter = bench.attach(getter(false));
    bench.detach(getter, Unsettled::Requeue);
    assert!(!bench.effects.auto_delete, "a getter is no consumer");
    let [a, b] = [(); 2].map(|()| bench.attach(consumer(0)));
    bench.detach(a, Unsettled::Keep);
    bench.detach(a, Unsettled::Requeue);
    assert!(!bench.effects.auto_delete, "there is another one");
    bench.detach(b, Unsettled::Keep);
    assert!(bench.effects.auto_delete);
}

/// A queue that expires after 100 ms, declared at 0.
fn leased() -> Bench {
    let mut bench = Bench::new(ClassicOptions {
        expires_ms: Some(100),
        ..ClassicOptions::default()
    });
    bench.queue.renew_lease(bench.now(), &mut bench.effects);
    let first = bench.effects.tick_at.take();
    assert_eq!(first, Some(Moment::from_unix_ms(100)));
    bench
}

#[test]
fn exp_01_an_unused_queue_goes_when_its_lease_ends() {
    let mut bench = leased();
    bench.tick_at(99);
    assert!(!bench.effects.auto_delete);
    let again = bench.effects.tick_at.take();
    assert_eq!(again, Some(Moment::from_unix_ms(100)));
    bench.publish("a");
    bench.tick_at(100);
    assert!(bench.effects.auto_delete, "a publish is no use (EXP-03)");
    assert_eq!(bench.effects.tick_at, None, "once is enough");
}

#[test]
fn exp_02_a_declare_and_a_get_renew_the_lease() {
    let mut bench = leased();
    let getter = bench.attach(getter(true));
    bench.now_ms = 50;
    assert_eq!(bench.get(getter), None);
    bench.tick_at(100);
    assert!(!bench.effects.auto_delete);
    bench.queue.renew_lease(bench.now(), &mut bench.effects);
    bench.tick_at(150);
    assert!(!bench.effects.auto_delete);
    bench.tick_at(200);
    assert!(bench.effects.auto_delete);
}

#[test]
fn exp_02_consumers_keep_the_queue_and_leave_it_a_new_lease() {
    let mut bench = leased();
    let slot = bench.attach(consumer(0));
    bench.tick_at(100);
    assert!(!bench.effects.auto_delete);
    assert_eq!(bench.effects.tick_at, None, "nothing is due meanwhile");
    bench.now_ms = 500;
    bench.detach(slot, Unsettled::Requeue);
    let next = bench.effects.tick_at.take();
    assert_eq!(next, Some(Moment::from_unix_ms(600)));
    bench.tick_at(600);
    assert!(bench.effects.auto_delete);
}

#[test]
fn ttl_01_the_smaller_time_wins_and_a_tick_is_asked_for() {
    let mut bench = Bench::new(expiring_after(100));
    bench.publish_expiring("own", 40);
    assert_eq!(bench.effects.tick_at.take(), Some(Moment::from_unix_ms(40)));
    bench.publish_expiring("queues", 4000);
    assert_eq!(bench.effects.tick_at, None, "the head has not changed");
    bench.tick_at(39);
    assert_eq!(bench.counts().0, 2);
    bench.tick_at(40);
    assert_eq!(bench.dead(), "own:expired");
    assert_eq!(
        bench.effects.tick_at.take(),
        Some(Moment::from_unix_ms(100))
    );
    bench.tick_at(100);
    assert_eq!(bench.dead(), "queues:expired");
    assert_eq!(bench.effects.tick_at, None);
}

#[test]
fn ttl_02_expired_messages_are_neither_got_nor_delivered() {
    let mut bench = Bench::new(expiring_after(10));
    let getter = bench.attach(getter(false));
    bench.publish("a");
    bench.now_ms = 10;
    assert_eq!(bench.get(getter), None);
    bench.publish("b");
    bench.now_ms = 20;
    let slot = bench.attach(consumer(0));
    assert_eq!(bench.pull(slot), "");
    assert_eq!(bench.dead(), "a:expired b:expired");
}

#[test]
fn ttl_03_zero_is_delivered_at_once_or_never() {
    let mut bench = Bench::new(expiring_after(0));
    let [slot, limited] = [consumer(1), pull_only(0)].map(|spec| bench.attach(spec));
    bench.publish("a b");
    bench.now_ms = 5;
    assert_eq!(bench.pull(slot), "a", "it was on its way");
    assert_eq!(bench.pull_some(limited, 1).1, "b");
    assert_eq!(bench.dead(), "");
    bench.publish("c");
    assert_eq!(bench.dead(), "c:expired");
}

#[test]
fn ttl_04_unsettled_messages_do_not_expire_until_they_come_back() {
    let mut bench = Bench::new(expiring_after(10));
    let slot = bench.attach(consumer(0));
    bench.publish("a b");
    assert_eq!(bench.pull(slot), "a b");
    bench.settle(slot, Verdict::Requeue, [0]);
    assert_eq!(bench.pull(slot), "a*");
    bench.tick_at(50);
    assert_eq!(bench.dead(), "");
    bench.settle(slot, Verdict::Requeue, [1, 2]);
    assert_eq!(bench.dead(), "a:expired b:expired");
    assert_eq!(bench.counts(), (0, 0));
}

#[test]
fn ttl_06_an_expired_message_behind_a_live_head_stays_and_counts() {
    let mut bench = Bench::plain();
    let getter = bench.attach(getter(true));
    bench.publish("head");
    bench.publish_expiring("tail", 10);
    assert_eq!(bench.effects.tick_at, None);
    bench.tick_at(20);
    assert_eq!(bench.counts().0, 2);
    assert_eq!(bench.get(getter), Some(("head".into(), 0)));
    assert_eq!(bench.counts().0, 0, "it was the head for a moment");
}

#[test]
fn len_01_02_12_drop_head_keeps_the_newest_and_counts_ready_only() {
    let mut bench = Bench::new(limited(2, Overflow::DropHead));
    let slot = bench.attach(consumer(1));
    bench.publish("a b c d e");
    assert_eq!(bench.dead(), "b:maxlen c:maxlen");
    assert_eq!(bench.effects.rejected, [0; 0]);
    assert_eq!(bench.pull(slot), "a");
    assert_eq!(bench.counts(), (2, 1));
}

#[test]
fn len_02_06_a_message_over_the_byte_limit_empties_the_queue() {
    let mut bench = Bench::new(ClassicOptions {
        length_bytes_max: Some(5),
        ..limited(3, Overflow::DropHead)
    });
    bench.publish("aa bb");
    bench.publish("cccccc");
    assert_eq!(bench.dead(), "aa:maxlen bb:maxlen cccccc:maxlen");
    bench.publish("a b c d");
    assert_eq!(bench.dead(), "a:maxlen");
    assert_eq!(bench.queue.status().ready_bytes, 3);
}

#[test]
fn len_03_length_zero_goes_to_a_consumer_or_nowhere() {
    let mut bench = Bench::new(limited(0, Overflow::DropHead));
    let slot = bench.attach(consumer(1));
    bench.publish("a b");
    assert_eq!(bench.pull(slot), "a");
    assert_eq!(bench.dead(), "b:maxlen");
}

#[test]
fn len_04_05_reject_publish_refuses_the_new_one() {
    let mut bench = Bench::new(limited(1, Overflow::RejectPublish));
    let slot = bench.attach(consumer(1));
    bench.publish("a b c d");
    assert_eq!(std::mem::take(&mut bench.effects.rejected), [2, 3]);
    assert_eq!(bench.pull(slot), "a");
    assert_eq!(bench.dead(), "");
    let mut none = Bench::new(limited(0, Overflow::RejectPublish));
    none.attach(consumer(0));
    none.publish("a");
    assert_eq!(none.effects.rejected, [0], "whoever is ready");
}

#[test]
fn len_04_a_message_that_expires_at_once_takes_no_room_from_the_next() {
    let mut bench = Bench::new(limited(1, Overflow::RejectPublish));
    let mut batch = vec![expiring("a", Some(0)), message("b")];
    let now = bench.now();
    bench.queue.offer(&mut batch, now, &mut bench.effects);
    assert_eq!(bench.effects.rejected, [0; 0]);
    assert_eq!((&*bench.dead(), bench.counts().0), ("a:expired", 1));
}

#[test]
fn dlx_28_reject_publish_dlx_refuses_and_dead_letters_the_new_one() {
    let mut bench = Bench::new(limited(1, Overflow::RejectPublishDeadLetter));
    bench.publish("a b");
    assert_eq!(bench.effects.rejected, [1]);
    assert_eq!(bench.dead(), "b:maxlen");
}

#[test]
fn len_07_08_a_return_over_the_limit_drops_the_head_but_never_when_rejecting() {
    for (overflow, dead, ready) in [
        (Overflow::DropHead, "a:maxlen", 1),
        (Overflow::RejectPublish, "", 2),
    ] {
        let mut bench = Bench::new(limited(1, overflow));
        let getter = bench.attach(getter(false));
        bench.publish("a");
        assert!(bench.get(getter).is_some());
        bench.publish("b");
        bench.settle(getter, Verdict::Requeue, [0]);
        assert_eq!((&*bench.dead(), bench.counts().0), (dead, ready));
    }
}

#[test]
fn new_limits_hold_at_once() {
    let mut bench = Bench::plain();
    bench.publish("a b c");
    let now = bench.now();
    let options = limited(1, Overflow::DropHead);
    bench.queue.set_options(options, now, &mut bench.effects);
    assert_eq!(bench.dead(), "a:maxlen b:maxlen");
}

#[test]
fn sac_04_the_longest_waiting_of_the_highest_priority_takes_over() {
    let mut bench = Bench::new(ClassicOptions {
        single_active_consumer: true,
        ..ClassicOptions::default()
    });
    let first = bench.attach(consumer(0));
    let second = bench.attach(consumer(0));
    let third = bench.attach(consumer(0));
    let urgent = bench.attach(changed(consumer(0), |_, _, priority| *priority = 1));
    bench.publish("a b");
    assert_eq!(bench.pull(second), "");
    assert_eq!(bench.pull(first), "a b");
    bench.detach(first, Unsettled::Keep);
    bench.publish("c");
    assert_eq!(bench.pull(urgent), "c");
    bench.detach(urgent, Unsettled::Requeue);
    assert_eq!(bench.pull(third), "");
    assert_eq!(bench.pull(second), "c*");
    bench.detach(third, Unsettled::Requeue);
    bench.publish("d");
    assert_eq!(
        bench.pull(second),
        "d",
        "the end of one that waits changes nothing"
    );
    assert!(bench.bell.take().contains(&1), "who takes over is rung");
}

#[test]
fn sac_03_a_single_active_consumer_cannot_be_exclusive() {
    let mut bench = Bench::new(ClassicOptions {
        single_active_consumer: true,
        ..ClassicOptions::default()
    });
    let refused = bench.try_attach(exclusive());
    assert_eq!(refused, Err(AttachRefused::InExclusiveUse));
    bench.attach(consumer(0));
}
