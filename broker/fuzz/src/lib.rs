//! One function per fuzz target: takes any bytes, panics when a property does not hold.
//!
//! These are the readers of what an operator or a disk brings. Frames are fuzzed in `protocol/fuzz`, the
//! files of the store in `storage/fuzz`.
//!
//! The fuzzer's binaries and `cargo test` (`tests/corpus.rs`) run the same functions.
//!
//! What it is not: part of the crate's interface.

use leveret::Config;
use leveret::definitions::{Definitions, dry_run, of_configuration};

/// What a key or a value of the catalog is at most, so that lengths are short in the input.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Any text as a file of definitions: what is read is written so that it is read equal, and whether it could
/// be imported is found out without harm.
pub fn definitions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(read) = Definitions::from_json(text, "/") else {
        return;
    };
    let written = read.to_json("leveret", "0");
    let again = Definitions::from_json(&written, "/").expect("what was written is read");
    assert_eq!(written, again.to_json("leveret", "0"));
    let verdict = dry_run(&read, &Config::default()).is_ok();
    assert_eq!(verdict, dry_run(&again, &Config::default()).is_ok());
}

/// Any entries as the catalog of a data directory: what they bring back can be exported and read again.
pub fn catalog(data: &[u8]) {
    let config = Config::default();
    if let Ok(exported) = of_configuration(&config, &entries(data)) {
        let written = exported.to_json("leveret", "0");
        Definitions::from_json(&written, "/").expect("what was exported is read");
    }
}

/// Any text as a configuration file: what is read is allowed, and shows no password.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(config) = Config::from_toml(text) {
        assert!(config.validate().is_ok());
        assert!(!format!("{config:?}").contains("canary"));
    }
}

/// Entries as length, key, length, value, with lengths of one and two octets.
fn entries(mut data: &[u8]) -> Entries {
    let mut entries = Entries::new();
    while let Some((key, rest)) = piece::<1>(data) {
        let (value, rest) = piece::<2>(rest).unwrap_or_default();
        entries.push((key.to_vec(), value.to_vec()));
        data = rest;
    }
    entries
}

/// A piece behind its length of `N` octets, and what follows it.
fn piece<const N: usize>(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<N>()?;
    let length = length
        .iter()
        .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    Some(rest.split_at(length.min(rest.len())))
}
