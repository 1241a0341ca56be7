//! Damage of every kind: each is noticed, nothing is made up, and what is not damaged stays.
//!
//! `LEVERET_FLIPS=all cargo test --release -p leveret-storage flipped` turns every bit of the stores
//! over; without it one bit of every so many bytes.

use std::collections::BTreeMap;

use super::bench::{Bench, Survey, small};
use super::plain::Random;
use crate::checkpoint;
use crate::disk::Disk as _;
use crate::disk::fake::FakeDisk;
use crate::recovery::trailer_of;
use crate::segment::{SegmentId, header};
use crate::{CatalogChange, LogId, NewMessage, OpenError, Records, Settled, inspect};

const SEGMENT_BYTES: u64 = 8192;
const LOGS: u64 = 3;

/// A store as it was left, and what it held.
struct Left {
    disk: FakeDisk,
    /// Every message that ever was, by log and index.
    ever: Contents,
    /// Those that live.
    live: Contents,
    catalog: Vec<(Vec<u8>, Vec<u8>)>,
    /// The last commit, which nothing behind it vouches for: file, first byte, end.
    tail: Option<(String, u64, u64)>,
    /// The messages in it.
    last: Vec<(u64, u64)>,
}

type Contents = BTreeMap<(u64, u64), Vec<u8>>;

/// Makes stores.
struct Maker {
    bench: Bench,
    ever: Contents,
    live: Contents,
}

impl Maker {
    fn new(disk: &FakeDisk) -> Self {
        let bench = Bench::open(disk, &small(SEGMENT_BYTES)).unwrap();
        let mut maker = Self {
            bench,
            ever: Contents::new(),
            live: Contents::new(),
        };
        let create = |log| CatalogChange::CreateLog(LogId(log));
        let name = |log: u64| CatalogChange::Put {
            key: vec![log as u8],
            value: format!("queue {log}").into_bytes(),
        };
        let changes: Vec<_> = (1..=LOGS)
            .flat_map(|log| [create(log), name(log)])
            .collect();
        maker.commit(|records| records.catalog(&changes, 5));
        maker
    }

    fn commit(&mut self, fill: impl FnOnce(&mut Records)) {
        let mut records = Records::default();
        fill(&mut records);
        records.require_sync();
        self.bench.commit(&records).unwrap();
    }

    fn message(&mut self, log: u64, index: u64, records: &mut Records) {
        let len = 100 + (index * 37 + log * 11) % 700;
        let bytes: Vec<_> = (0..len).map(|at| (at * 7 + index + log) as u8).collect();
        let message = NewMessage {
            index,
            time_ms: 9,
            body_bytes: bytes.len() as u32,
            pieces: &[&bytes],
        };
        records.message(LogId(log), message);
        self.ever.insert((log, index), bytes.clone());
        self.live.insert((log, index), bytes);
    }

    fn settle(&mut self, log: u64, first: u64, last: u64, records: &mut Records) {
        let gone: Vec<_> = self.live.range((log, first)..=(log, last)).collect();
        let settled = Settled {
            first,
            last,
            count: gone.len() as u64,
            body_bytes: gone.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
        };
        records.settle(LogId(log), settled);
        self.live
            .retain(|(of, index), _| *of != log || !(first..=last).contains(index));
    }

    fn messages(&mut self, first: u64, last: u64) {
        for index in first..=last {
            let mut records = Records::default();
            (1..=LOGS).for_each(|log| self.message(log, index, &mut records));
            self.bench.commit(&records).unwrap();
        }
    }
}

/// Full segments, one of them compacted, two checkpoints; and, unless it was closed, a segment that
/// is not full.
fn left(closes: bool) -> Left {
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    maker.messages(0, 12);
    let mut records = Records::default();
    // Two old messages stay, in a segment each.
    maker.settle(1, 1, 6, &mut records);
    maker.settle(1, 8, 9, &mut records);
    (2..=LOGS).for_each(|log| maker.settle(log, 0, 9, &mut records));
    records.returned(LogId(1), 11, 2);
    records.mark(LogId(2), 8);
    maker.commit(|into| std::mem::swap(into, &mut records));
    maker.messages(13, 60);
    let mut records = Records::default();
    maker.settle(2, 20, 24, &mut records);
    maker.commit(|into| std::mem::swap(into, &mut records));
    maker.messages(61, 67);
    let before = maker.bench.end();
    let known: Vec<_> = maker.ever.keys().copied().collect();
    maker.messages(68, 68);
    let after = maker.bench.end();
    let names = disk.list().unwrap();
    let is_compacted = |name: &String| SegmentId::from_file_name(name).unwrap().generation > 0;
    let segments = names.iter().filter(|name| name.starts_with("journal"));
    assert!(segments.clone().any(is_compacted), "{names:?}");
    assert!(segments.count() >= 8);
    let bytes: usize = names
        .iter()
        .map(|name| disk.contents(name).unwrap().len())
        .sum();
    assert!(bytes >= 64 * 1024, "{bytes}");
    let Maker { bench, ever, live } = maker;
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_eq!(before.0, after.0, "the last commit lies in one segment");
    if closes {
        bench.close().unwrap();
    }
    let last = ever.keys().filter(|key| !known.contains(key));
    let catalog = (1..=LOGS).map(|log| (vec![log as u8], format!("queue {log}").into_bytes()));
    Left {
        disk: disk.copy(),
        last: last.copied().collect(),
        live,
        catalog: catalog.collect(),
        tail: (!closes).then_some((before.0, before.1, after.1)),
        ever,
    }
}

/// How a damaged store shows it.
struct Shown {
    survey: Option<Survey>,
    /// Somebody was told.
    is_reported: bool,
    notes: Vec<String>,
}

impl Left {
    /// Opens the damaged store, and checks that nothing was made up.
    fn look(&self, disk: &FakeDisk, what: &str) -> Shown {
        let (mut is_reported, mut notes) = (false, Vec::new());
        match inspect::verify(disk) {
            Ok(report) => {
                is_reported |= !report.damage.is_empty();
                notes = report.notes;
            }
            Err(_) => is_reported = true,
        }
        let Ok(bench) = Bench::open(disk, &small(SEGMENT_BYTES)) else {
            return Shown {
                survey: None,
                is_reported: true,
                notes,
            };
        };
        is_reported |= !bench.recovered.damage.is_empty();
        let survey = bench.survey();
        is_reported |= !survey.unreadable.is_empty();
        for (key, bytes) in &survey.messages {
            assert_eq!(self.ever.get(key), Some(bytes), "{what}: made up: {key:?}");
        }
        assert_eq!(bench.recovered.catalog, self.catalog, "{what}");
        Shown {
            survey: Some(survey),
            is_reported,
            notes,
        }
    }

    /// The live messages that are not there any more.
    fn missing(&self, survey: &Survey) -> Vec<(u64, u64)> {
        let live = self.live.keys();
        live.filter(|key| !survey.messages.contains_key(key))
            .copied()
            .collect()
    }

    /// A part of one file is not what it was: at most `missing_max` messages may be gone with it.
    fn check_range(&self, disk: &FakeDisk, name: &str, at: (u64, u64), missing_max: usize) {
        let what = format!("{name} {at:?} {disk:?}");
        let shown = self.look(disk, &what);
        let in_tail = self
            .tail
            .as_ref()
            .filter(|(file, from, _)| file == name && at.1 > *from);
        if let Some((_, from, end)) = in_tail {
            let survey = shown.survey.unwrap();
            let missing = self.missing(&survey);
            if at.0 >= *end {
                assert_eq!(missing, [], "{what}: nothing was written there");
            } else if at.0 >= *from {
                assert!(missing.iter().all(|key| self.last.contains(key)), "{what}");
                let is_told = shown.is_reported || !shown.notes.is_empty();
                assert!(is_told, "{what}: nobody is told");
            }
            return;
        }
        assert!(shown.is_reported, "{what}: nobody is told");
        if let Some(survey) = shown.survey {
            let missing = self.missing(&survey);
            assert!(missing.len() <= missing_max, "{what}: missing {missing:?}");
        }
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.disk.list().unwrap();
        let contents = |name: String| {
            let bytes = self.disk.contents(&name).unwrap();
            (name, bytes)
        };
        names.into_iter().map(contents).collect()
    }
}

fn every_flip(left: &Left) {
    let wanted = std::env::var("LEVERET_FLIPS").unwrap_or_default();
    let stride = if wanted == "few" { 8 } else { 1 };
    let mut random = Random::new(3);
    for (name, bytes) in left.files() {
        let (mut bit, end) = (0, bytes.len() as u64 * 8);
        while bit < end {
            let disk = left.disk.copy();
            disk.flip_bit(&name, bit).unwrap();
            left.check_range(&disk, &name, (bit / 8, bit / 8 + 1), 1);
            // Every byte of small files, some of long ones.
            bit += match () {
                () if wanted == "all" => 1,
                () if end < 1024 * 8 => 1 + random.below(40),
                () => 1 + random.below(8 * 160 * stride),
            };
        }
    }
}

#[test]
fn every_flipped_bit_of_a_closed_store_is_noticed() {
    every_flip(&left(true));
}

#[test]
fn every_flipped_bit_of_a_store_that_was_not_closed_is_noticed() {
    every_flip(&left(false));
}

#[test]
fn a_store_without_damage_shows_all_and_reports_nothing() {
    for closes in [true, false] {
        let left = left(closes);
        let shown = left.look(&left.disk.copy(), "whole");
        assert!(!shown.is_reported);
        assert_eq!(shown.notes, [""; 0]);
        assert_eq!(shown.survey.unwrap().messages, left.live);
    }
}

/// Every file cut off: a full one is noticed at any length, and what was not full may only lose what
/// it lost.
#[test]
fn every_file_at_every_length() {
    for closes in [true, false] {
        let left = left(closes);
        for (name, bytes) in left.files() {
            let step = if bytes.len() < 1024 { 11 } else { 211 };
            for len in (0..bytes.len() as u64).step_by(step) {
                let disk = left.disk.copy();
                disk.truncate(&name, len).unwrap();
                let end = bytes.len() as u64;
                if left.tail.as_ref().is_some_and(|(file, ..)| *file == name) {
                    // It looks like one that the crash cut: nobody can tell how much it had.
                    left.look(&disk, &name);
                } else {
                    left.check_range(&disk, &name, (len, end), usize::MAX);
                }
            }
        }
    }
}

/// Whole sectors in the wrong place, an old copy of them, or nothing in their place.
#[test]
fn misdirected_and_lost_writes_are_noticed() {
    let left = left(true);
    for (name, bytes) in left.files() {
        let sectors: Vec<_> = bytes.chunks_exact(512).map(<[u8]>::to_vec).collect();
        for at in 0..sectors.len() {
            let others = [
                vec![0; 512],
                sectors[(at + 1) % sectors.len()].clone(),
                left.disk.contents("superblock").unwrap().repeat(8),
            ];
            for other in others.iter().filter(|other| **other != sectors[at]) {
                let disk = left.disk.copy();
                let mut damaged = bytes.clone();
                damaged[at * 512..(at + 1) * 512].copy_from_slice(other);
                disk.plant(&name, &damaged);
                let range = (at as u64 * 512, at as u64 * 512 + 512);
                left.check_range(&disk, &name, range, 5);
            }
            let next = (at + 1) % sectors.len();
            if sectors[at] != sectors[next] {
                let (disk, mut swapped) = (left.disk.copy(), bytes.clone());
                swapped[at * 512..(at + 1) * 512].copy_from_slice(&sectors[next]);
                swapped[next * 512..(next + 1) * 512].copy_from_slice(&sectors[at]);
                disk.plant(&name, &swapped);
                left.check_range(&disk, &name, (0, bytes.len() as u64), 10);
            }
        }
    }
}

fn segments(left: &Left) -> Vec<SegmentId> {
    let names = left.disk.list().unwrap();
    names
        .iter()
        .filter_map(|name| SegmentId::from_file_name(name))
        .collect()
}

fn checkpoints(left: &Left) -> Vec<String> {
    let mut names = left.disk.list().unwrap();
    names.retain(|name| checkpoint::number_of(name).is_some());
    names.sort();
    names
}

#[test]
fn a_missing_segment_is_named_with_its_logs_and_the_rest_goes_on() {
    let left = left(true);
    for id in segments(&left) {
        let disk = left.disk.copy();
        disk.lose(&id.file_name()).unwrap();
        let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        let missing = left.missing(&bench.survey());
        if missing.is_empty() {
            // A file that only the checkpoint before needed.
            continue;
        }
        let [damage] = &bench.recovered.damage[..] else {
            panic!("{:?}", bench.recovered.damage);
        };
        assert_eq!(damage.file, id.file_name());
        let logs: std::collections::BTreeSet<_> = missing.iter().map(|(log, _)| *log).collect();
        assert!(damage.logs.iter().map(|log| log.0).eq(logs.iter().copied()));
        for log in logs {
            let of_log = || missing.iter().filter(|(of, _)| *of == log);
            let said = format!("log {log}: {} messages from", of_log().count());
            assert!(damage.what.contains(&said), "{} {said}", damage.what);
        }
        assert!(missing.len() < left.live.len() / 2);
        drop(bench);
        // It is told again, until somebody has seen to it.
        let again = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        assert_eq!(again.recovered.damage.len(), 1);
    }
}

/// A segment that no checkpoint lists yet: the commits count on, so that it is missed.
#[test]
fn a_missing_segment_behind_the_checkpoint_is_noticed() {
    let left = left(false);
    let newest = checkpoints(&left).pop().unwrap();
    let disk = left.disk.copy();
    disk.lose(&newest).unwrap();
    let behind: Vec<_> = segments(&left).into_iter().rev().collect();
    let (last, before) = (behind[0], behind[1]);
    assert_eq!(last.generation + before.generation, 0);
    disk.lose(&before.file_name()).unwrap();
    let report = inspect::verify(&disk).unwrap();
    let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    for damage in [&report.damage, &bench.recovered.damage] {
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(damage[0].what.contains("are missing"), "{damage:?}");
    }
}

#[test]
fn another_generation_or_an_older_copy_of_a_segment_is_noticed() {
    let left = left(true);
    let ids = segments(&left);
    for id in &ids {
        for other in ids.iter().filter(|other| *other != id) {
            let disk = left.disk.copy();
            let planted = left.disk.contents(&other.file_name()).unwrap();
            disk.plant(&id.file_name(), &planted);
            left.check_range(&disk, &id.file_name(), (0, 8192), 60);
        }
    }
    // As it was before it was full.
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    maker.messages(0, 2);
    let (name, _) = maker.bench.end().unwrap();
    let older = disk.contents(&name).unwrap();
    maker.messages(3, 20);
    let disk = disk.copy();
    disk.plant(&name, &older);
    let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.recovered.damage[0].file, name);
}

#[test]
fn a_damaged_or_missing_newest_checkpoint_costs_nothing() {
    for closes in [true, false] {
        let left = left(closes);
        let [older, newest] = &checkpoints(&left)[..] else {
            panic!("two are kept");
        };
        let damaged = left.disk.copy();
        damaged.flip_bit(newest, 999).unwrap();
        let shown = left.look(&damaged, newest);
        assert!(shown.is_reported);
        assert_eq!(shown.survey.unwrap().messages, left.live);
        let missing = left.disk.copy();
        missing.lose(newest).unwrap();
        let shown = left.look(&missing, newest);
        assert_eq!(shown.survey.unwrap().messages, left.live);

        let neither = left.disk.copy();
        neither.flip_bit(newest, 999).unwrap();
        neither.flip_bit(older, 999).unwrap();
        refused_untouched(&neither, |error| matches!(error, OpenError::Damaged { .. }));
        neither.lose(newest).unwrap();
        neither.lose(older).unwrap();
        refused_untouched(&neither, |error| matches!(error, OpenError::Damaged { .. }));
    }
}

/// A compacted file that only the damaged checkpoint knew of is not replayed beside the original.
#[test]
fn falling_back_to_the_checkpoint_before_a_compaction() {
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    maker.messages(0, 30);
    let [before, newest] = &maker.bench.keeper.kept[..] else {
        panic!("two are kept");
    };
    let (replay_from, newest) = (before.replay_from, newest.clone());
    let id = *newest.segments.last().unwrap();
    assert!(id.number >= replay_from);
    // What was settled while the newest checkpoint was on its way to the disk.
    let mut records = Records::default();
    for (log, index) in messages_in(&disk, id).into_iter().skip(3) {
        maker.settle(log, index, index, &mut records);
    }
    maker.commit(|into| std::mem::swap(into, &mut records));
    maker.bench.keeper.compact_sparse(&[id]).unwrap();
    let compacted = SegmentId {
        generation: 1,
        ..id
    };
    assert!(disk.contents(&compacted.file_name()).is_some());
    let fallen = disk.copy();
    let name = checkpoint::file_name(newest.number);
    fallen.flip_bit(&name, 999).unwrap();
    let bench = Bench::open(&fallen, &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.survey().messages, maker.live);
    let damage = &bench.recovered.damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
}

fn refused_untouched(disk: &FakeDisk, is_right: impl Fn(&OpenError) -> bool) {
    let before: Vec<_> = contents(disk);
    let Err(error) = Bench::open(disk, &small(SEGMENT_BYTES)) else {
        panic!("opened");
    };
    assert!(is_right(&error), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert_eq!(contents(disk), before);
    let error = inspect::verify(disk).unwrap_err();
    assert!(is_right(&error), "{error}");
}

fn contents(disk: &FakeDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap();
    let content = |name: String| {
        let bytes = disk.contents(&name).unwrap();
        (name, bytes)
    };
    names.into_iter().map(content).collect()
}

#[test]
fn a_later_version_is_refused_and_nothing_is_touched() {
    let is_newer = |error: &OpenError| {
        matches!(
            error,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        )
    };
    for closes in [true, false] {
        let left = left(closes);
        let mut names: Vec<_> = segments(&left).iter().map(|id| id.file_name()).collect();
        names.extend(checkpoints(&left));
        names.push("superblock".to_owned());
        for name in names {
            let disk = left.disk.copy();
            let mut bytes = disk.contents(&name).unwrap();
            of_version_2(&name, &mut bytes);
            disk.plant(&name, &bytes);
            refused_untouched(&disk, is_newer);
        }
    }
}

/// The same file as a later program would begin it.
pub(super) fn of_version_2(name: &str, bytes: &mut [u8]) {
    use crate::checksum::{checksum, checksum_of_file};
    if let Some(id) = SegmentId::from_file_name(name) {
        bytes[8] = 2;
        let sum = checksum(id.at(0), &bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    } else if name == "superblock" {
        bytes[12] = 2;
        let sum = checksum_of_file(name, &[&bytes[12..]]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    } else {
        bytes[8] = 2;
        let sum = checksum_of_file(name, &[&bytes[..12], &bytes[16..]]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A segment of another store has the right name and right checksums, and other messages.
#[test]
fn a_segment_of_another_store_is_not_believed() {
    for closes in [true, false] {
        let left = left(closes);
        for id in segments(&left) {
            let disk = left.disk.copy();
            let mut foreign = disk.contents(&id.file_name()).unwrap();
            foreign[..64].copy_from_slice(&header(id, [9; 16]));
            disk.plant(&id.file_name(), &foreign);
            let what = format!("foreign {}", id.file_name());
            let shown = left.look(&disk, &what);
            assert!(shown.is_reported, "{what}");
            let survey = shown.survey.unwrap();
            let there: Vec<_> = survey.messages.keys().collect();
            let lost = left.missing(&survey);
            let in_it = messages_in(&left.disk, id);
            assert!(
                there
                    .iter()
                    .all(|key| !in_it.contains(key) || is_elsewhere(&left, id))
            );
            assert!(
                lost.iter().all(|key| in_it.contains(key)),
                "{what}: {lost:?}"
            );
            assert!(
                disk.contents(&id.file_name()).is_some(),
                "{what}: it is kept"
            );
        }
    }
}

/// Whether the segment lies in another file too.
fn is_elsewhere(left: &Left, id: SegmentId) -> bool {
    let others = segments(left);
    others
        .iter()
        .any(|other| other.number == id.number && other != &id)
}

fn messages_in(disk: &FakeDisk, id: SegmentId) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let file = disk.open(&id.file_name()).unwrap();
    let span = crate::scan::Span {
        file: &*file,
        id,
        from: 64,
        to: file.len().unwrap(),
    };
    crate::scan::scan(span, |record, _| {
        if record.kind == crate::records::Kind::Message {
            found.push((record.log.0, record.index));
        }
        Ok(())
    })
    .unwrap();
    found
}

/// The index of a full segment is only a help: without it the messages are found all the same.
#[test]
fn a_damaged_index_hides_no_message() {
    let left = left(true);
    for (name, bytes) in left.files() {
        if SegmentId::from_file_name(&name).is_none() {
            continue;
        }
        let end = bytes.len() as u64;
        let id = SegmentId::from_file_name(&name).unwrap();
        let file = left.disk.open(&name).unwrap();
        let (index_at, _) = trailer_of(&*file, id, end).unwrap().unwrap();
        for at in (index_at..end).step_by(7) {
            let disk = left.disk.copy();
            disk.flip_bit(&name, at * 8).unwrap();
            let shown = left.look(&disk, &name);
            assert!(shown.is_reported, "{name} {at}");
            assert_eq!(shown.survey.unwrap().messages, left.live, "{name} {at}");
        }
    }
}

/// A damaged message is not copied, and its segment stays for whoever can repair it.
#[test]
fn a_damaged_record_is_not_compacted() {
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    maker.messages(0, 20);
    let id = maker.bench.keeper.kept.last().unwrap().segments[0];
    let inside = messages_in(&disk, id);
    let mut records = Records::default();
    for (log, index) in inside.iter().skip(2) {
        maker.settle(*log, *index, *index, &mut records);
    }
    maker.commit(|into| std::mem::swap(into, &mut records));
    // Within the first message, behind the batch with the catalog and its own.
    let at = first_message_at(&disk, id) + 60;
    disk.flip_bit(&id.file_name(), at * 8).unwrap();
    maker.messages(21, 80);
    let names = disk.list().unwrap();
    let compacted = SegmentId {
        generation: 1,
        ..id
    };
    assert!(names.contains(&id.file_name()), "{names:?}");
    assert!(!names.contains(&compacted.file_name()), "{names:?}");
    let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.recovered.damage[0].file, id.file_name());
    let survey = bench.survey();
    assert_eq!(survey.unreadable, inside[..1]);
    let lost = maker.live.keys();
    let lost = lost.filter(|key| !survey.messages.contains_key(key));
    assert!(lost.eq(&inside[..1]));
}

fn first_message_at(disk: &FakeDisk, id: SegmentId) -> u64 {
    let file = disk.open(&id.file_name()).unwrap();
    let mut found = None;
    let span = crate::scan::Span {
        file: &*file,
        id,
        from: 64,
        to: file.len().unwrap(),
    };
    crate::scan::scan(span, |record, at| {
        if record.kind == crate::records::Kind::Message {
            found.get_or_insert(at);
        }
        Ok(())
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn a_checkpoint_of_another_store_or_another_time_is_not_believed() {
    let left = left(true);
    let [older, newest] = &checkpoints(&left)[..] else {
        panic!("two are kept");
    };
    let foreign = FakeDisk::new();
    let mut options = small(SEGMENT_BYTES);
    options.new_store_id = [9; 16];
    drop(Bench::open(&foreign, &options).unwrap());
    let mut bytes = foreign.contents(&checkpoint::file_name(1)).unwrap();
    // As if it had the same number.
    let number = checkpoint::number_of(newest).unwrap();
    bytes[24..32].copy_from_slice(&number.to_le_bytes());
    let sum = crate::checksum::checksum_of_file(newest, &[&bytes[..12], &bytes[16..]]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    for planted in [bytes, left.disk.contents(older).unwrap()] {
        let disk = left.disk.copy();
        disk.plant(newest, &planted);
        let shown = left.look(&disk, newest);
        assert!(shown.is_reported);
        assert_eq!(shown.survey.unwrap().messages, left.live);
    }
}

/// Checkpoints may wait for the one who writes them while segments are compacted. What they list must
/// be there when they are written.
#[test]
fn a_file_that_a_waiting_checkpoint_lists_is_not_removed() {
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    let mut records = Records::default();
    for index in 0..40 {
        let message = NewMessage {
            index,
            time_ms: 9,
            body_bytes: 2,
            pieces: &[b"ab"],
        };
        records.message(LogId(1), message);
        maker.live.insert((1, index), b"ab".to_vec());
    }
    maker.commit(|into| std::mem::swap(into, &mut records));
    maker.messages(40, 60);
    let id = maker.bench.keeper.kept.last().unwrap().segments[0];
    let generation = |generation| SegmentId { generation, ..id };
    let inside = messages_in(&disk, id);
    let settle = |maker: &mut Maker, left: usize| {
        let mut records = Records::default();
        for (log, index) in inside.iter().skip(left) {
            if maker.live.contains_key(&(*log, *index)) {
                maker.settle(*log, *index, *index, &mut records);
            }
        }
        maker.commit(|into| std::mem::swap(into, &mut records));
    };
    settle(&mut maker, 4);
    let [first, second] = [(); 2].map(|()| maker.bench.journal.checkpoint(false));
    maker.bench.keeper.compact_sparse(&[id]).unwrap();
    let third = maker.bench.journal.checkpoint(false);
    assert!(third.segments.contains(&generation(1)));
    settle(&mut maker, 1);
    for waiting in [first, second, third] {
        maker.bench.keeper.write_checkpoint(&waiting).unwrap();
        let names = disk.list().unwrap();
        for id in &waiting.segments {
            assert!(names.contains(&id.file_name()), "{id:?} {names:?}");
        }
    }
    assert!(disk.contents(&generation(2).file_name()).is_some(), "later");
}

/// With the newest checkpoint damaged too, full segments are replayed: what is wrong in them is damage
/// and not the end, whatever is or is not behind it.
#[test]
fn damage_in_a_full_segment_that_is_replayed() {
    let left = left(true);
    let newest = checkpoints(&left).pop().unwrap();
    let last = segments(&left).pop().unwrap();
    let len = left.disk.contents(&last.file_name()).unwrap().len() as u64;
    for at in (64..len).step_by(67) {
        let disk = left.disk.copy();
        disk.flip_bit(&newest, 999).unwrap();
        disk.flip_bit(&last.file_name(), at * 8).unwrap();
        let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        let damage = &bench.recovered.damage;
        assert!(
            damage.iter().any(|damage| damage.file == last.file_name())
                || is_footer(&left, last, at),
            "{at}: {damage:?}"
        );
        assert!(left.missing(&bench.survey()).len() <= 1, "{at}");
    }
}

/// Damage to a trailer makes a full segment one that is not full, which loses nothing.
fn is_footer(left: &Left, id: SegmentId, at: u64) -> bool {
    let file = left.disk.open(&id.file_name()).unwrap();
    let len = file.len().unwrap();
    let (index_at, _) = trailer_of(&*file, id, len).unwrap().unwrap();
    at >= index_at
}

/// Segments of which nothing lives any more stay while the checkpoint before may need them.
#[test]
fn the_checkpoint_before_finds_the_segments_that_it_needs() {
    let disk = FakeDisk::new();
    let mut maker = Maker::new(&disk);
    for index in 0..60 {
        maker.messages(index, index);
        let mut records = Records::default();
        (1..=LOGS).for_each(|log| maker.settle(log, index, index, &mut records));
        maker.commit(|into| std::mem::swap(into, &mut records));
        let newest = maker.bench.keeper.kept.last().unwrap().number;
        let fallen = disk.copy();
        fallen
            .flip_bit(&checkpoint::file_name(newest), 300)
            .unwrap();
        match Bench::open(&fallen, &small(SEGMENT_BYTES)) {
            Ok(bench) => {
                let damage = &bench.recovered.damage;
                assert_eq!(damage.len(), 1, "{damage:?}");
                assert_eq!(bench.survey().messages, maker.live);
            }
            Err(_) => assert_eq!(newest, 1, "there was one before"),
        }
    }
}

/// Also what a segment of another store says about the catalog is not believed.
#[test]
fn a_foreign_catalog_is_not_believed() {
    let left = left(true);
    let id = SegmentId {
        number: segments(&left).pop().unwrap().number + 1,
        generation: 0,
    };
    let mut records = Records::default();
    let change = CatalogChange::Put {
        key: b"foreign".to_vec(),
        value: Vec::new(),
    };
    records.catalog(&[change], 0);
    let mut record = records.bytes().to_vec();
    crate::record::seal(&mut record, id.at(64));
    let mut bytes = header(id, [9; 16]);
    bytes.extend_from_slice(&record);
    let disk = left.disk.copy();
    disk.plant(&id.file_name(), &bytes);
    // Checks the catalog.
    assert!(left.look(&disk, "foreign").is_reported);
    bytes[..64].copy_from_slice(&header(id, [7; 16]));
    let disk = left.disk.copy();
    disk.plant(&id.file_name(), &bytes);
    let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.recovered.catalog.len(), left.catalog.len() + 1);
}

#[test]
fn a_full_segment_that_was_cut_off_is_told_when_the_store_is_opened() {
    let left = left(true);
    for id in segments(&left) {
        let disk = left.disk.copy();
        let len = disk.contents(&id.file_name()).unwrap().len() as u64;
        disk.truncate(&id.file_name(), len - 1).unwrap();
        let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        let damage = &bench.recovered.damage;
        let newest = checkpoint::file_name(bench.keeper.kept[0].number);
        let bytes = left.disk.contents(&newest).unwrap();
        let listed = checkpoint::decode(&newest, &bytes).unwrap().ledger;
        let is_listed =
            listed.segments.contains_key(&id.number) && listed.segment_id(id.number) == id;
        let is_told = damage.iter().any(|damage| damage.file == id.file_name());
        assert_eq!(is_told, is_listed, "{id:?} {damage:?}");
    }
}
