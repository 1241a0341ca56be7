//! Which messages count as delivered before: after a crash all below the mark and all that came
//! back, after an orderly stop only what came back.

use std::collections::BTreeMap;

use super::bench::{Bench, small};
use super::faults::message;
use crate::disk::fake::FakeDisk;
use crate::read::Wanted;
use crate::segment::SegmentId;
use crate::{CatalogChange, LogId, NewMessage, Records, Settled};

const SEGMENT_BYTES: u64 = 8192;

fn open(disk: &FakeDisk) -> Bench {
    let bench = Bench::open(disk, &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.recovered.damage, []);
    bench
}

/// Messages 0 to 9 of log 1, and a log 2 to fill segments with.
fn begun(disk: &FakeDisk) -> Bench {
    let mut bench = open(disk);
    let mut records = Records::default();
    let logs = [1, 2].map(|log| CatalogChange::CreateLog(LogId(log)));
    records.catalog(&logs, 0);
    bench.commit(&records).unwrap();
    for index in 0..10 {
        bench.commit(&message(1, index, &[1; 50])).unwrap();
    }
    bench
}

fn mark(bench: &mut Bench, below: u64) {
    let mut records = Records::default();
    records.mark(LogId(1), below);
    bench.commit(&records).unwrap();
}

fn give_back(bench: &mut Bench, index: u64, count: u32) {
    let mut records = Records::default();
    records.returned(LogId(1), index, count);
    bench.commit(&records).unwrap();
}

/// Fills segments with messages that are settled at once.
fn fill(bench: &mut Bench, from: u64) {
    for index in from..from + 40 {
        bench.commit(&message(2, index, &[2; 500])).unwrap();
        let mut records = Records::default();
        let settled = Settled {
            first: index,
            last: index,
            count: 1,
            body_bytes: 500,
        };
        records.settle(LogId(2), settled);
        records.require_sync();
        bench.commit(&records).unwrap();
    }
}

/// The messages that count as delivered before, with how often each came back.
fn redelivered(bench: &Bench) -> BTreeMap<u64, u32> {
    let (mut found, mut first, mut messages) = (BTreeMap::new(), 0, 0);
    while first < 10 {
        let read = bench.keeper.reader.read(Wanted {
            log: LogId(1),
            first,
            last: 9,
            messages_max: 4,
            bytes_max: 10_000,
        });
        messages += read.messages.len();
        let again = read.messages.iter().filter(|message| message.redelivered);
        found.extend(again.map(|message| (message.index, message.return_count)));
        first = read.through + 1;
    }
    assert_eq!(messages, 10);
    found
}

#[test]
fn after_a_crash_all_below_the_mark_and_all_that_came_back() {
    let disk = FakeDisk::new();
    let mut bench = begun(&disk);
    mark(&mut bench, 4);
    give_back(&mut bench, 7, 2);
    assert_eq!(
        redelivered(&bench),
        BTreeMap::from([(7, 2)]),
        "while it runs"
    );
    drop(bench);
    let expected = BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 0), (7, 2)]);
    let bench = open(&disk);
    assert_eq!(redelivered(&bench), expected);
    drop(bench);
    let bench = open(&disk);
    assert_eq!(redelivered(&bench), expected, "a second crash");
    bench.close().unwrap();
    let bench = open(&disk);
    assert_eq!(
        redelivered(&bench),
        expected,
        "an orderly stop takes no doubt away"
    );
}

#[test]
fn after_an_orderly_stop_only_what_came_back() {
    let disk = FakeDisk::new();
    let mut bench = begun(&disk);
    mark(&mut bench, 4);
    give_back(&mut bench, 7, 2);
    bench.close().unwrap();
    let expected = BTreeMap::from([(7, 2)]);
    let bench = open(&disk);
    assert_eq!(redelivered(&bench), expected);
    drop(bench);
    let mut bench = open(&disk);
    assert_eq!(redelivered(&bench), expected, "nothing was delivered since");
    mark(&mut bench, 2);
    give_back(&mut bench, 7, 3);
    drop(bench);
    let expected = BTreeMap::from([(0, 0), (1, 0), (7, 3)]);
    assert_eq!(redelivered(&open(&disk)), expected);
}

#[test]
fn marks_and_counts_outlive_checkpoints_and_compaction() {
    let disk = FakeDisk::new();
    let mut bench = begun(&disk);
    mark(&mut bench, 4);
    give_back(&mut bench, 7, 1);
    give_back(&mut bench, 7, 2);
    // Others around them, which go.
    let mut records = Records::default();
    for index in 0..40 {
        let message = NewMessage {
            index,
            time_ms: 1,
            body_bytes: 0,
            pieces: &[],
        };
        records.message(LogId(2), message);
    }
    bench.commit(&records).unwrap();
    fill(&mut bench, 100);
    let mut records = Records::default();
    let settled = Settled {
        first: 0,
        last: 39,
        count: 40,
        body_bytes: 0,
    };
    records.settle(LogId(2), settled);
    bench.commit(&records).unwrap();
    fill(&mut bench, 200);
    assert!(is_compacted(&disk), "log 1 lies in a compacted segment");
    let expected = BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 0), (7, 2)]);
    let images = disk.images(disk.operations());
    for image in [images.image(0).unwrap(), images.sampled(3)] {
        let mut bench = open(&image);
        assert_eq!(redelivered(&bench), expected);
        fill(&mut bench, 300);
        let twice = image.images(image.operations()).image(0).unwrap();
        assert_eq!(redelivered(&open(&twice)), expected, "a second crash");
    }
    bench.close().unwrap();
    assert_eq!(redelivered(&open(&disk)), BTreeMap::from([(7, 2)]));
}

/// Nobody is told that a mark is there before it is: so a crash never forgets one that was.
#[test]
fn a_committed_mark_is_never_forgotten() {
    let disk = FakeDisk::new();
    let mut bench = begun(&disk);
    mark(&mut bench, 9);
    let from = disk.operations();
    fill(&mut bench, 0);
    for operations in from..=disk.operations() {
        let image = disk.images(operations).sampled(operations as u64);
        let bench = open(&image);
        assert_eq!(redelivered(&bench).len(), 9, "{image:?}");
    }
}

fn is_compacted(disk: &FakeDisk) -> bool {
    let names = crate::disk::Disk::list(disk).unwrap();
    let mut ids = names
        .iter()
        .filter_map(|name| SegmentId::from_file_name(name));
    ids.any(|id| id.generation > 0)
}
