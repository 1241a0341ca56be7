//! Replays the fuzzer's seed corpus, and a fixed number of mutations of it, through the functions
//! that the fuzzer runs: every run of `cargo test` covers the same inputs, with any toolchain.

mod replay;
#[path = "../../fuzz/src/lib.rs"]
pub mod targets;

use replay::replay;

/// Mutated inputs per target: together a few seconds in a debug build.
const MUTATIONS: u64 = 20_000;

#[test]
fn framer() {
    replay("framer", targets::framer, MUTATIONS);
}

#[test]
fn method() {
    replay("method", targets::method, MUTATIONS);
}

#[test]
fn table() {
    replay("table", targets::table, MUTATIONS);
}

#[test]
fn properties() {
    replay("properties", targets::properties, MUTATIONS);
}

#[test]
fn connection() {
    replay("connection", targets::connection, MUTATIONS);
}
