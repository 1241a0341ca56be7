//! Replays the fuzzer's seed corpus, and a fixed number of mutations of it, through the functions
//! that the fuzzer runs: every run of `cargo test` covers the same inputs, with any toolchain.

#[path = "../../protocol/tests/corpus/replay.rs"]
mod replay;
#[path = "../fuzz/src/lib.rs"]
pub mod targets;

use replay::replay;

/// Mutated inputs per target: together a few seconds in a debug build.
const MUTATIONS: u64 = 2000;

#[test]
fn superblock() {
    replay("superblock", targets::superblock, MUTATIONS);
}

#[test]
fn checkpoint() {
    replay("checkpoint", targets::checkpoint, MUTATIONS);
}

#[test]
fn segment() {
    replay("segment", targets::segment, MUTATIONS);
}

#[test]
fn footer() {
    replay("footer", targets::footer, MUTATIONS);
}

#[test]
fn directory() {
    replay("directory", targets::directory, MUTATIONS);
}
