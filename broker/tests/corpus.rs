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
fn definitions() {
    replay("definitions", targets::definitions, MUTATIONS);
}

#[test]
fn catalog() {
    replay("catalog", targets::catalog, MUTATIONS);
}

#[test]
fn sasl() {
    replay("sasl", targets::sasl, MUTATIONS);
}

#[test]
fn configuration() {
    replay("configuration", targets::configuration, MUTATIONS);
}
