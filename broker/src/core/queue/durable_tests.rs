//! What a durable queue does beyond a transient one: marks, records, paging and recovery, over a
//! journal that commits and reads when the test says so.

#![allow(clippy::unwrap_used)]

mod heads;
mod histories;
mod priorities;
mod rig;

use super::durable::RESIDENT_BYTES_MAX;
use super::marks::MARK_STEP;
use super::testing::{consumer, getter, message_of};
use super::*;
use rig::{LARGE_BYTES, PLENTY, Rig, SHARE_BYTES, bodies, ids, large, numbers};

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
fn ttl_03_a_message_that_a_consumer_could_take_does_not_expire_for_want_of_a_mark() {
    let mut rig = Rig::plain();
    let slot = rig.attach(consumer(1));
    rig.offer(vec![message_of("now", Some(0), true)]);
    assert_eq!(rig.pull(slot), "", "its mark is on its way");
    rig.settle_down();
    let taken = rig.pull_all(slot);
    assert_eq!(bodies(&taken), "now");
    rig.offer(vec![message_of("late", Some(0), true)]);
    rig.settle(slot, Verdict::Ack, &ids(&taken));
    assert_eq!((rig.pull(slot), rig.status().ready), (String::new(), 0));
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
