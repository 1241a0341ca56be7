//! Replays a fuzzer's seed corpus, and a fixed number of mutations of it.
//!
//! What it is not: a fuzzer. It looks at no coverage, and every run covers the same inputs. The tests of other
//! crates of the workspace take this file in by its path.

use std::fs;
use std::path::Path;

/// An input grows no longer than this, as the fuzzer's own default.
const INPUT_LEN_MAX: usize = 4096;
/// Octets that mean something somewhere: frame end, kinds, tags, class numbers, lengths, JSON, extremes.
const TELLING_OCTETS: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 6, 8, 10, 48, 60, 64, 0x7F, 0x80, 0xCE, 0xFF, b'A', b'F', b'S', b'V', b'l',
    b'"', b'{', b'}', b'[', b']', b',', b'\\',
];

/// Runs the target on every file of its corpus, and on so many mutations of them.
pub(crate) fn replay(name: &str, target: fn(&[u8]), mutations: u64) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "there is no corpus for {name}");
    for seed in &seeds {
        target(seed);
    }
    for number in 0..mutations {
        let input = mutated(&seeds, &mut Random(number));
        guarded(&input, number, target);
    }
}

/// Runs the target; a failure shows the input, which then belongs into the corpus.
fn guarded(input: &[u8], number: u64, target: fn(&[u8])) {
    if let Err(cause) = std::panic::catch_unwind(|| target(input)) {
        eprintln!("mutation {number}: \"{}\"", input.escape_ascii());
        std::panic::resume_unwind(cause);
    }
}

/// The corpus in the order of the files' names, so that every run sees the same.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = fs::read_dir(folder.join(name)).expect("the target has a corpus");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect()
}

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        mutate(&mut input, seeds, random);
    }
    input.truncate(INPUT_LEN_MAX);
    input
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        input.push(random.octet());
    }
    let at = random.below(input.len());
    match random.below(7) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.octet(),
        2 => input[at] = TELLING_OCTETS[random.below(TELLING_OCTETS.len())],
        3 => input.truncate(at),
        4 => input.insert(at, random.octet()),
        5 => drop(input.remove(at)),
        _ => splice(input, at, &seeds[random.below(seeds.len())], random),
    }
}

/// Puts a piece of another seed in.
fn splice(input: &mut Vec<u8>, at: usize, other: &[u8], random: &mut Random) {
    let from = random.below(other.len() + 1);
    let to = from + random.below(other.len() - from + 1);
    input.splice(at..at, other[from..to].iter().copied());
}

/// SplitMix64, started from the mutation's number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn octet(&mut self) -> u8 {
        self.next() as u8
    }
}
