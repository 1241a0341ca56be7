//! Loss of power at every operation, and every directory it can leave.
//!
//! What is found must be exactly what had been submitted up to some point: a point no earlier than
//! the last commit that was reported. So nothing committed is missing, nothing is invented, and
//! order is kept.
//!
//! `LEVERET_CRASH_IMAGES=100000 cargo test --release -p leveret-storage crash` looks at so many.

use super::bench::{Bench, small};
use super::plain::{Author, Plain};
use crate::Records;
use crate::disk::fake::{FakeDisk, Operation};
use crate::journal::BATCH_LEN;
use crate::segment::HEADER_LEN;

/// A history that was written down while it happened.
struct Story {
    disk: FakeDisk,
    /// The state after each step that was submitted, the empty one first.
    states: Vec<Plain>,
    /// After so many operations of the disk, so many steps had been reported as committed.
    reported: Vec<(usize, usize)>,
    seen: Seen,
}

/// What happened in histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    checkpoints: bool,
    compaction: bool,
    /// A record larger than a segment.
    oversized: bool,
    /// A commit that nobody waited for.
    lazy: bool,
    /// A commit that lies in two segments.
    rotation: bool,
    removal: bool,
}

impl Seen {
    const ALL: Self = Self {
        checkpoints: true,
        compaction: true,
        oversized: true,
        lazy: true,
        rotation: true,
        removal: true,
    };

    fn add(&mut self, other: Self) {
        self.checkpoints |= other.checkpoints;
        self.compaction |= other.compaction;
        self.oversized |= other.oversized;
        self.lazy |= other.lazy;
        self.rotation |= other.rotation;
        self.removal |= other.removal;
    }

    fn note_history(&mut self, disk: &FakeDisk) {
        let mut checkpoints = 0;
        for recorded in disk.history() {
            match recorded.operation {
                Operation::Rename { to, .. } if to.starts_with("checkpoint") => checkpoints += 1,
                Operation::Rename { to, .. } => self.compaction |= to.ends_with(".1"),
                Operation::Allocate { len, .. } => self.oversized |= len > SEGMENT_BYTES,
                // A commit that goes on in another segment begins there with a batch record alone.
                Operation::Write { at, bytes, .. } => {
                    self.rotation |= at >= HEADER_LEN && bytes.len() == BATCH_LEN;
                }
                Operation::Remove { name, .. } => self.removal |= name.starts_with("journal"),
                _ => {}
            }
        }
        self.checkpoints |= checkpoints > 2;
    }
}

const SEGMENT_BYTES: u64 = 2048;

fn tell(seed: u64, commits: u64, closes: bool) -> Story {
    // Some messages are larger than a segment.
    let largest = if seed.is_multiple_of(4) { 4000 } else { 400 };
    let disk = FakeDisk::new();
    let mut bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
    let mut author = Author::new(seed, largest);
    let mut states = vec![Plain::default()];
    let mut reported = vec![(disk.operations(), 0)];
    let mut seen = Seen::default();
    for _ in 0..commits {
        let (mut records, mut plain) = (Records::default(), states.last().unwrap().clone());
        for _ in 0..1 + author.random().below(3) {
            let step = author.step(&plain);
            plain.record(&step, &mut records);
            plain.apply(&step);
            states.push(plain.clone());
        }
        let is_promised = records.must_sync();
        bench.commit(&records).unwrap();
        seen.lazy |= !is_promised;
        if is_promised {
            reported.push((disk.operations(), states.len() - 1));
        }
    }
    if closes {
        bench.close().unwrap();
        reported.push((disk.operations(), states.len() - 1));
    }
    seen.note_history(&disk);
    Story {
        disk,
        states,
        reported,
        seen,
    }
}

impl Story {
    /// Opens what a crash after so many operations left, and checks it.
    fn check(&self, operations: usize, image: &FakeDisk) {
        let promised = self.reported.iter().rev().find(|(at, _)| *at <= operations);
        let promised = promised.map_or(0, |(_, steps)| *steps);
        let Ok(bench) = Bench::open(image, &small(SEGMENT_BYTES)) else {
            panic!("{image:?}: cannot be opened");
        };
        assert_eq!(bench.recovered.damage, [], "{image:?}");
        let found = bench.contents();
        let is_a_prefix = self.states[promised..].contains(&found);
        assert!(
            is_a_prefix,
            "{image:?}: after {operations} operations, {promised} steps promised, found {found:#?}\nexpected at least {:#?}",
            self.states[promised]
        );
        self.check_it_goes_on(bench, found);
    }

    /// What was recovered can be written on, and is there after the next start.
    fn check_it_goes_on(&self, mut bench: Bench, mut plain: Plain) {
        let mut author = Author::new(99, 100);
        let indexes = bench
            .recovered
            .logs
            .iter()
            .map(|log| (log.id.0, log.next_index));
        author.go_on_from(bench.recovered.next_log_id, indexes);
        let mut records = Records::default();
        for _ in 0..4 {
            let step = author.step(&plain);
            plain.record(&step, &mut records);
            plain.apply(&step);
        }
        bench.commit(&records).unwrap();
        let disk = bench.disk.clone();
        drop(bench);
        let bench = Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
        assert_eq!(bench.contents(), plain, "{disk:?}");
    }
}

/// How many images are looked at in all.
fn images_wanted() -> u64 {
    let wanted = std::env::var("LEVERET_CRASH_IMAGES");
    wanted.map_or(6000, |wanted| wanted.parse().unwrap())
}

/// More images of one moment than this are sampled.
const EXHAUSTIVE_MAX: u128 = 1 << 12;

#[test]
fn every_image_of_a_short_history() {
    let mut seen = 0_u64;
    for (seed, closes) in [(1, false), (2, true), (3, false), (4, true)] {
        let story = tell(seed, 3, closes);
        for operations in 0..=story.disk.operations() {
            let images = story.disk.images(operations);
            assert!(images.total() <= EXHAUSTIVE_MAX, "{}", images.total());
            for image in images.iter() {
                story.check(operations, &image);
                seen += 1;
            }
        }
    }
    assert!(seen > 300, "only {seen} images");
}

#[test]
fn sampled_images_of_long_histories() {
    let (mut seen, mut seed) = (0, 1000);
    let mut happened = Seen::default();
    while seen < images_wanted() {
        let story = tell(seed, 5 + seed % 40, seed % 3 == 0);
        happened.add(story.seen);
        for operations in 0..=story.disk.operations() {
            let images = story.disk.images(operations);
            for sample in 0..4 {
                story.check(operations, &images.sampled(seed * 1000 + sample));
                seen += 1;
            }
        }
        seed += 1;
    }
    assert_eq!(happened, Seen::ALL);
    eprintln!("{seen} images of {} histories", seed - 1000);
}

/// A process that is killed loses nothing that it had written, and the power may go later.
#[test]
fn killed_processes_and_then_the_power() {
    for seed in 5000..5004 {
        let story = tell(seed, 12, false);
        for operations in (0..=story.disk.operations()).step_by(3) {
            let killed = story.disk.kill(operations);
            story.check(operations, &killed.copy());
            let Ok(bench) = Bench::open(&killed, &small(SEGMENT_BYTES)) else {
                panic!("{killed:?}: cannot be opened");
            };
            drop(bench);
            let images = killed.images(killed.operations());
            story.check(operations, &images.sampled(seed));
        }
    }
}
