//! Reads the source tree for what a machine can judge: that every module says what it is, and that the
//! architecture's sentences about who may use what are true.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below a folder of the workspace.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The names of [`using`]'s files.
fn users_of(folder: &str, words: &[&str]) -> Vec<String> {
    names(using(folder, words))
}

/// The files of a folder whose code says one of these words; tests and comments do not count.
fn using(folder: &str, words: &[&str]) -> Vec<PathBuf> {
    let says = |text: &str| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.any(|line| words.iter().any(|word| line.contains(word)))
    };
    let is_test = |path: &Path| path.to_string_lossy().contains("tests");
    let users = sources(folder)
        .into_iter()
        .filter(|(path, text)| !is_test(path) && says(text));
    users.map(|(path, _)| path).collect()
}

fn names(paths: Vec<PathBuf>) -> Vec<String> {
    let mut names: Vec<_> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_module_says_what_it_is() {
    for folder in [
        "protocol/src",
        "broker/src",
        "conformance-tests/src",
        "examples/src",
    ] {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//!"),
                "{} does not say what it is",
                path.display()
            );
        }
    }
}

#[test]
fn the_protocol_and_the_core_do_no_io_and_read_no_clock() {
    let forbidden = [
        "tokio",
        "std::net",
        "std::fs",
        "Instant::now",
        "SystemTime",
        "thread::spawn",
    ];
    assert_eq!(users_of("protocol/src", &forbidden), [""; 0]);
    assert_eq!(users_of("broker/src/core", &forbidden), [""; 0]);
}

#[test]
fn only_the_shell_knows_tokio() {
    let shell = [
        "arrival.rs",
        "broker.rs",
        "certificates.rs",
        "changes.rs",
        "connection.rs",
        "handshake.rs",
        "listener.rs",
        "memory.rs",
        "passwords.rs",
        "serve.rs",
        "signals.rs",
        "threads.rs",
        "timers.rs",
        "workers.rs",
    ];
    let mut users = using("broker/src", &["tokio::"]);
    // The load generator is a client: it shares nothing with the broker but the protocol.
    users.retain(|path| !path.ancestors().any(|folder| folder.ends_with("cli/perf")));
    assert_eq!(names(users), shell);
}

#[test]
fn the_load_generator_knows_nothing_of_the_broker() {
    assert_eq!(users_of("broker/src/cli/perf", &["leveret::"]), [""; 0]);
}

#[test]
fn no_channel_is_unbounded() {
    assert_eq!(users_of("broker/src", &["unbounded"]), [""; 0]);
}
