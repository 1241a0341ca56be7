//! Random histories against the plain model: append, settle, purge, reopen.

use super::bench::{Bench, small};
use super::plain::{Author, Plain};
use crate::Records;
use crate::disk::fake::FakeDisk;

/// Runs a history of so many steps, reopening now and then, in good order or not.
fn run(seed: u64, steps: u64, segment_bytes: u64, largest: u64) {
    let disk = FakeDisk::new();
    let options = small(segment_bytes);
    let (mut plain, mut author) = (Plain::default(), Author::new(seed, largest));
    let mut bench = Bench::open(&disk, &options).unwrap();
    let mut left = steps;
    while left > 0 {
        let mut records = Records::default();
        for _ in 0..1 + author.random().below(6) {
            let step = author.step(&plain);
            plain.record(&step, &mut records);
            plain.apply(&step);
            left = left.saturating_sub(1);
        }
        bench.commit(&records).unwrap();
        let chance = author.random().below(40);
        if chance < 2 {
            if chance == 0 {
                bench.close().unwrap();
            } else {
                drop(bench);
            }
            bench = Bench::open(&disk, &options).unwrap();
            assert_eq!(bench.recovered.damage, [], "seed {seed}");
        }
        if chance < 8 {
            assert_eq!(bench.contents(), plain, "seed {seed}");
        }
    }
    bench.close().unwrap();
    let bench = Bench::open(&disk, &options).unwrap();
    assert_eq!(bench.contents(), plain, "seed {seed}");
}

#[test]
fn a_store_holds_what_the_plain_model_holds() {
    for seed in 0..60 {
        run(seed, 300, 4096, 200);
    }
}

#[test]
fn also_when_messages_are_larger_than_a_segment() {
    for seed in 100..120 {
        run(seed, 150, 4096, 9000);
    }
}

#[test]
fn also_when_nothing_ever_fills_a_segment() {
    for seed in 200..220 {
        run(seed, 300, 1 << 20, 300);
    }
}
