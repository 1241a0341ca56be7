//! Space: a full disk stops nothing for good, and what is settled gives its space back.

use std::sync::Arc;

use super::bench::{Bench, small};
use super::faults::{end_of, message, wait_until};
use super::plain::{Plain, Step};
use crate::disk::Disk as _;
use crate::disk::fake::FakeDisk;
use crate::{CatalogChange, CommitState, LogId, Records, Settled, Store};

const KIB: u64 = 1024;

fn settled(first: u64, last: u64, body_bytes: u64) -> Records {
    let mut records = Records::default();
    let settled = Settled {
        first,
        last,
        count: last - first + 1,
        body_bytes,
    };
    records.settle(LogId(1), settled);
    records
}

#[test]
fn a_full_disk_takes_settlements_and_is_not_full_afterwards() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(128 * KIB));
    let mut options = small(8 * KIB);
    options.free_bytes_min = 32 * KIB;
    let (store, _) = Store::open(Arc::new(disk.clone()), options.clone()).unwrap();
    let mut records = Records::default();
    records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
    store.submit(&mut records);
    let mut next = 0;
    for round in 0..3 {
        let first = next;
        while !store.status().disk_full {
            let epoch = store.submit(&mut message(1, next, &[3; 1000]));
            assert_eq!(end_of(&store, epoch), CommitState::Reached);
            next += 1;
            assert!(next < 2000, "it never becomes full");
        }
        assert!(next > first + 20, "round {round}: {first} to {next}");
        // One at a time, as consumers do, or all at once, as a purge does.
        let step = if round == 1 { next - first } else { 1 };
        for index in (first..next).step_by(step as usize) {
            let last = index + step - 1;
            let mut records = settled(index, last, 1000 * step);
            records.require_sync();
            let epoch = store.submit(&mut records);
            assert_eq!(end_of(&store, epoch), CommitState::Reached);
        }
        wait_until(|| !store.status().disk_full);
        assert!(disk.free_bytes().unwrap() >= 32 * KIB);
        assert_eq!(store.status().failed, None);
    }
    store.close();
    let bench = Bench::open(&disk.copy(), &options).unwrap();
    assert_eq!(bench.contents().logs[&1].len(), 0);
}

/// Publishers that do not stop wait for room; nothing fails, and nothing is lost.
#[test]
fn a_disk_without_any_room_is_waited_for() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(40 * KIB));
    let (store, _) = Store::open(Arc::new(disk.clone()), small(8 * KIB)).unwrap();
    let mut records = Records::default();
    records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
    store.submit(&mut records);
    let epochs: Vec<_> = (0..60)
        .map(|index| store.submit(&mut message(1, index, &[3; 1000])))
        .collect();
    let last = *epochs.last().unwrap();
    wait_until(|| store.status().disk_full);
    assert_eq!(store.commits().state(last), CommitState::Waiting);
    disk.set_capacity(None);
    assert_eq!(end_of(&store, last), CommitState::Reached);
    wait_until(|| !store.status().disk_full);
    store.close();
    let bench = Bench::open(&disk.copy(), &small(8 * KIB)).unwrap();
    assert_eq!(bench.contents().logs[&1].len(), 60);
}

/// Does steps to a store and to the plain model.
struct Both {
    bench: Bench,
    plain: Plain,
}

impl Both {
    fn new(disk: &FakeDisk, segment_bytes: u64) -> Self {
        let bench = Bench::open(disk, &small(segment_bytes)).unwrap();
        let plain = Plain::default();
        let mut both = Self { bench, plain };
        both.take(&[Step::Catalog(vec![CatalogChange::CreateLog(LogId(1))])]);
        both
    }

    fn take(&mut self, steps: &[Step]) {
        let mut records = Records::default();
        for step in steps {
            self.plain.record(step, &mut records);
            self.plain.apply(step);
        }
        self.bench.commit(&records).unwrap();
    }

    fn messages(&mut self, first: u64, last: u64, len: usize) {
        let step = |index| Step::Message {
            log: 1,
            index,
            bytes: vec![index as u8; len],
        };
        let steps: Vec<_> = (first..=last).map(step).collect();
        self.take(&steps);
    }

    fn settle(&mut self, first: u64, last: u64) {
        self.take(&[Step::Settle {
            log: 1,
            first,
            last,
        }]);
    }
}

#[test]
fn old_messages_do_not_hold_on_to_the_space_around_them() {
    let disk = FakeDisk::new();
    let mut both = Both::new(&disk, 8 * KIB);
    // About one segment each, of which one message stays.
    for round in 0..40 {
        both.messages(round * 20, round * 20 + 19, 350);
    }
    let before = disk.used_bytes();
    for round in 0..40 {
        both.settle(round * 20 + 1, round * 20 + 19);
    }
    for round in 40..60 {
        both.messages(round * 20, round * 20 + 19, 350);
        both.settle(round * 20, round * 20 + 19);
    }
    let after = disk.used_bytes();
    assert!(after * 4 < before, "{before} bytes before, {after} after");
    assert_eq!(both.bench.contents(), both.plain);
    drop(both.bench);
    let bench = Bench::open(&disk, &small(8 * KIB)).unwrap();
    assert_eq!(bench.contents(), both.plain);
    assert_eq!(bench.recovered.damage, []);
}

#[test]
fn one_old_message_among_ten_thousand() {
    let disk = FakeDisk::new();
    let mut both = Both::new(&disk, 256 * KIB);
    both.messages(0, 0, 1024);
    for round in 0..500 {
        let first = 1 + round * 20;
        both.messages(first, first + 19, 1024);
        both.settle(first, first + 19);
    }
    assert!(disk.used_bytes() < 8 * 256 * KIB, "{}", disk.used_bytes());
    assert_eq!(both.bench.contents(), both.plain);
}

/// Settled with gaps between, as transient messages leave them: counted, and given back.
#[test]
fn what_was_settled_across_gaps_gives_its_space_back_too() {
    let disk = FakeDisk::new();
    let mut both = Both::new(&disk, 8 * KIB);
    for round in 0..30_u64 {
        let step = |at: u64| Step::Message {
            log: 1,
            index: round * 100 + at * 3,
            bytes: vec![at as u8; 350],
        };
        let steps: Vec<_> = (0..20).map(step).collect();
        both.take(&steps);
        // All but the last, which is settled in the next round.
        both.settle((round * 100).saturating_sub(50), round * 100 + 56);
    }
    assert!(disk.used_bytes() < 10 * 8 * KIB, "{}", disk.used_bytes());
    assert_eq!(both.bench.contents(), both.plain);
}
