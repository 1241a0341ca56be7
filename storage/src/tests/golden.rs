//! Data directories as earlier programs wrote them, in `storage/tests/golden`: every one must open
//! for ever and show what the text beside it says.
//!
//! `cargo test -p leveret-storage write_golden -- --ignored` writes those of this version that are
//! not there yet; one that is there is never written again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::bench::{Bench, small};
use super::damage::of_version_2;
use super::plain::{Author, Plain};
use crate::disk::Disk as _;
use crate::disk::fake::FakeDisk;
use crate::read::Wanted;
use crate::segment::SegmentId;
use crate::{OpenError, Records, inspect};

const SEGMENT_BYTES: u64 = 2048;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A copy of the directory, in memory.
fn load(path: &Path) -> FakeDisk {
    let disk = FakeDisk::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        disk.plant(&name, &fs::read(entry.path()).unwrap());
    }
    disk
}

fn files(disk: &FakeDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list().unwrap();
    let file = |name: String| {
        let bytes = disk.contents(&name).unwrap();
        (name, bytes)
    };
    names.into_iter().map(file).collect()
}

/// What a store shows, in words.
fn describe(disk: &FakeDisk) -> String {
    let report = inspect::verify(disk).unwrap();
    let mut text = format!("closed in good order: {}\n", report.clean);
    let told = |text: &mut String, damage: &[crate::Damage]| {
        for damage in damage {
            let logs: Vec<_> = damage.logs.iter().map(|log| log.0).collect();
            let (file, (from, to)) = (&damage.file, damage.bytes);
            writeln!(text, "damage: {file} {from} to {to}, logs {logs:?}").unwrap();
        }
    };
    told(&mut text, &report.damage);
    let bench = Bench::open(disk, &small(SEGMENT_BYTES)).unwrap();
    for (key, value) in &bench.recovered.catalog {
        let (key, value) = (key.escape_ascii(), value.escape_ascii());
        writeln!(text, "catalog: {key} = {value}").unwrap();
    }
    writeln!(text, "next log: {}", bench.recovered.next_log_id).unwrap();
    for log in &bench.recovered.logs {
        let (id, next, bytes) = (log.id.0, log.next_index, log.body_bytes);
        writeln!(text, "log {id}: next index {next}, {bytes} bytes").unwrap();
        describe_log(&bench, log.id, &mut text);
    }
    text
}

fn describe_log(bench: &Bench, log: crate::LogId, text: &mut String) {
    let mut first = 0;
    while first < u64::MAX {
        let read = bench.keeper.reader.read(Wanted {
            log,
            first,
            last: u64::MAX - 1,
            messages_max: 100,
            bytes_max: 1 << 20,
        });
        for message in read.messages {
            let (index, count, bytes) = (message.index, message.return_count, message.bytes);
            let again = if message.redelivered { " again" } else { "" };
            let sum = crate::checksum::checksum_of_file("", &[&bytes]);
            let len = bytes.len();
            writeln!(text, "  {index}{again} {count}: {len} bytes, {sum:08x}").unwrap();
        }
        for index in read.unreadable {
            writeln!(text, "  {index} cannot be read").unwrap();
        }
        first = read.through + 1;
    }
}

#[test]
fn golden_directories_open_and_show_what_they_held() {
    let mut seen = 0;
    for version in [1] {
        let folder = folder().join(format!("v{version}"));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                continue;
            }
            let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
            assert_eq!(describe(&load(&path)), expected, "{path:?}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn a_golden_directory_goes_on() {
    for name in ["clean", "unclean", "compacted"] {
        let disk = load(&folder().join("v1").join(name));
        let mut bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        let mut plain = bench.contents();
        let mut author = Author::new(8, 200);
        let logs = bench.recovered.logs.iter();
        author.go_on_from(
            bench.recovered.next_log_id,
            logs.map(|log| (log.id.0, log.next_index)),
        );
        for _ in 0..100 {
            let step = author.step(&plain);
            let mut records = Records::default();
            plain.record(&step, &mut records);
            plain.apply(&step);
            bench.commit(&records).unwrap();
        }
        drop(bench);
        let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        assert_eq!(bench.contents(), plain);
    }
}

#[test]
fn the_golden_directory_of_a_later_version_is_refused() {
    let disk = load(&folder().join("newer"));
    let before = files(&disk);
    let Err(error) = Bench::open(&disk, &small(SEGMENT_BYTES)) else {
        panic!("opened");
    };
    assert!(
        matches!(error, OpenError::Newer { found: 2, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("version 2") && text.contains("up to 1"),
        "{text}"
    );
    assert_eq!(files(&disk), before);
}

/// A store with a history.
fn history(seed: u64, steps: u64) -> (FakeDisk, Bench) {
    let disk = FakeDisk::new();
    let mut bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    let (mut plain, mut author) = (Plain::default(), Author::new(seed, 120));
    for _ in 0..steps {
        let step = author.step(&plain);
        let mut records = Records::default();
        plain.record(&step, &mut records);
        plain.apply(&step);
        bench.commit(&records).unwrap();
    }
    (disk, bench)
}

fn is_compacted(disk: &FakeDisk) -> bool {
    let names = disk.list().unwrap();
    let mut ids = names
        .iter()
        .filter_map(|name| SegmentId::from_file_name(name));
    ids.any(|id| id.generation > 0)
}

#[test]
#[ignore = "writes into the source tree"]
fn write_golden() {
    let (clean, bench) = history(1, 80);
    bench.close().unwrap();
    save(&clean, "v1/clean");
    let unclean = (2..200).map(torn);
    let has_mark = |disk: &FakeDisk| describe(&disk.copy()).contains(" again 0");
    let unclean = unclean.into_iter().find(has_mark).unwrap();
    save(&unclean, "v1/unclean");
    let compacted = (3..200).map(|seed| history(seed, 150).0);
    let compacted = compacted.into_iter().find(is_compacted).unwrap();
    save(&compacted, "v1/compacted");
    let (whole, bench) = history(5, 80);
    bench.close().unwrap();
    let damaged = (64..1000).step_by(8).map(|at| flipped(&whole, at));
    let hits_message = |disk: &FakeDisk| describe(&disk.copy()).contains("cannot be read");
    let damaged = damaged.into_iter().find(hits_message).unwrap();
    save(&damaged, "v1/damaged");
    let newer = clean.copy();
    let mut bytes = newer.contents("superblock").unwrap();
    of_version_2("superblock", &mut bytes);
    newer.plant("superblock", &bytes);
    save(&newer, "newer");
}

/// A history that ends with a torn commit.
fn torn(seed: u64) -> FakeDisk {
    let (disk, bench) = history(seed, 80);
    if let Some((name, end)) = bench.end() {
        drop(bench);
        let (mut bytes, end) = (disk.contents(&name).unwrap(), end as usize);
        bytes[end..end + 70].fill(0xA5);
        disk.plant(&name, &bytes);
    }
    disk
}

fn flipped(whole: &FakeDisk, at: u64) -> FakeDisk {
    let disk = whole.copy();
    let names = disk.list().unwrap();
    let segment = names.iter().find(|name| name.starts_with("journal"));
    disk.flip_bit(segment.unwrap(), at * 8).unwrap();
    disk
}

fn save(disk: &FakeDisk, name: &str) {
    let path = folder().join(name);
    if path.exists() {
        return;
    }
    fs::create_dir_all(&path).unwrap();
    for (name, bytes) in files(disk) {
        fs::write(path.join(name), bytes).unwrap();
    }
    if name.starts_with("v1") {
        fs::write(path.with_extension("txt"), describe(&disk.copy())).unwrap();
    }
}
