//! Numbers 94 to 100: what a program in Rust can still do wrong, as facts about this one's sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::method::queue;
use leveret_protocol::{Malformed, Properties, ShortStr, Table, TableBuf};

use crate::arena::Healthy;
use crate::attacker::{Attacker, FRAME_MAX, nested_arrays, nested_tables, publish};
use crate::lock_file::{numbers, packages};
use crate::process::BrokerProcess;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn manifest(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(workspace().join(path)).unwrap();
    text.parse().unwrap()
}

/// The crates whose code handles what strangers send or disks hold.
const CRATES: [&str; 3] = ["protocol", "storage", "broker"];

/// Code of these crates outside of tests: each file's path below the workspace, and its lines that are no
/// comments. A file is a test where its path or its parent module says so.
fn code() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for of in CRATES {
        let mut folders = vec![workspace().join(of).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path
                    .strip_prefix(workspace())
                    .unwrap()
                    .display()
                    .to_string();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".rs") && !is_for_tests(&name) {
                    found.push((name, lines_of(&path)));
                }
            }
        }
    }
    assert!(found.len() > 100, "{} files", found.len());
    found
}

/// Tests, what they stand on, and the load generator, which is a client.
fn is_for_tests(path: &str) -> bool {
    let words = ["test", "bench", "fake_journal", "disk/fake", "cli/perf"];
    words.iter().any(|word| path.contains(word))
}

fn lines_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("//"));
    lines.map(str::to_owned).collect()
}

/// The files with a line that says one of these.
fn files_saying(words: &[&str]) -> BTreeSet<String> {
    let code = code().into_iter();
    let says = |line: &String| words.iter().any(|word| has_word(line, word));
    let files = code.filter(|(_, lines)| lines.iter().any(says));
    files.map(|(path, _)| path).collect()
}

/// Whether this is in the line, and is not the end of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let is_end = |at: usize| {
        let before = line[..at].chars().next_back();
        word.starts_with(char::is_alphabetic)
            && before.is_some_and(|c| c == '_' || c.is_alphanumeric())
    };
    line.match_indices(word).any(|(at, _)| !is_end(at))
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.map(str::to_owned).into()
}

#[test]
fn n094_the_lints_that_forbid_panics_and_unsafe_code_stand() {
    let workspace = manifest("Cargo.toml");
    let lints = &workspace["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for lint in ["unwrap_used", "await_holding_lock", "todo", "unimplemented"] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("deny"), "{lint}");
    }
    // Arithmetic that wraps silently would be worse than the panic that ends one connection.
    let release = &workspace["profile"]["release"];
    assert_eq!(release["overflow-checks"].as_bool(), Some(true));
    assert!(
        release.get("panic").is_none(),
        "a panic must not end the process"
    );
    for of in CRATES {
        let lints = &manifest(&format!("{of}/Cargo.toml"))["lints"];
        assert_eq!(lints["workspace"].as_bool(), Some(true), "{of}");
    }
    let runs = std::fs::read_to_string(workspace_file(".ci/run")).unwrap();
    assert!(
        runs.contains(
            "cargo clippy --workspace --all-targets --all-features --locked -- -D warnings"
        )
    );
}

fn workspace_file(path: &str) -> PathBuf {
    workspace().join(path)
}

#[test]
fn n094_no_code_that_a_peer_or_a_file_reaches_panics_by_its_own_words() {
    let words = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "assert!(",
        "assert_eq!(",
        "assert_ne!(",
        "unwrap_used",
        "expect_used",
    ];
    // Without random numbers no name is safe to give out; nobody outside can bring that about.
    assert_eq!(files_saying(&words), set(["broker/src/names.rs"]));
    let unsafe_words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe_code"];
    assert_eq!(files_saying(&unsafe_words), set([]));
}

#[test]
fn n095_the_deepest_values_are_read_on_a_very_small_stack() {
    let reading = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
        for (levels, is_allowed) in [(15, true), (17, false), (20_000, false)] {
            for entries in [nested_tables(levels), nested_arrays(levels)] {
                let read = Table::parse(&entries);
                assert_eq!(read.is_ok(), is_allowed, "{levels}");
                assert!(is_allowed || read == Err(Malformed::TooDeep));
            }
        }
    });
    reading.unwrap().join().unwrap();
}

/// What is reserved before it has come: nothing of which a peer says how large it is, and on disks only
/// what the length of a file bounds. Each of these was looked at.
#[test]
fn n095_room_is_made_for_what_is_there_and_not_for_what_is_announced() {
    let reserving = set([
        // A pattern of an operator, which is there.
        "broker/src/access/variables.rs",
        // A line of the log, which is there.
        "broker/src/cli/one_line.rs",
        // The entries of a read that is there; a block's constant.
        "broker/src/core/stored_message.rs",
        "broker/src/core/queue/ready/sequence.rs",
        // Records that are to be written.
        "storage/src/active.rs",
        "storage/src/compact.rs",
        "storage/src/superblock.rs",
        // A header and a trailer of constant length, and an index whose count its own bytes bound.
        "storage/src/segment.rs",
    ]);
    assert_eq!(files_saying(&["with_capacity("]), reserving);
}

/// A hasher without a key where nobody outside chooses the keys: ids that the broker gives out, places in
/// its own lists, and channel numbers, of which one connection has 65,535 at most.
#[test]
fn n096_maps_of_what_a_peer_names_have_keyed_hashers() {
    let unkeyed = set([
        // QueueId.
        "broker/src/amqp/stage.rs",
        // Channel numbers.
        "broker/src/amqp/reply_box.rs",
        "broker/src/amqp/session.rs",
        "broker/src/amqp/settle.rs",
        // Destinations, which are ids.
        "broker/src/core/exchange/consistent_hash.rs",
        // Nodes of the trie, by their places.
        "broker/src/core/exchange/topic.rs",
        // QueueId.
        "broker/src/core/released.rs",
        // ExchangeId.
        "broker/src/core/route.rs",
        // Hashes of a publisher's own addresses: bounded, its own, and of two with one hash one is kept.
        "broker/src/core/route_cache.rs",
        // ExchangeId and QueueId; names are in maps of the standard library.
        "broker/src/core/topology/mod.rs",
        // LogId and the numbers of segments.
        "storage/src/keeper.rs",
        "storage/src/ledger.rs",
    ]);
    let words = [
        "FxHash",
        "rustc_hash",
        "BuildHasherDefault",
        "nohash",
        "ahash",
        "foldhash",
    ];
    assert_eq!(files_saying(&words), unkeyed);
}

#[test]
fn n097_nothing_is_unbounded_and_no_task_is_made_for_a_message() {
    let channels = [
        "unbounded",
        "mpsc::channel()",
        "sync::mpsc",
        "flume",
        "crossbeam_channel",
    ];
    // From the committer to the housekeeper, which is asked once and not again before it has answered.
    assert_eq!(files_saying(&channels), set(["storage/src/store.rs"]));
    // One task for a listener, one for what all share, and one for each connection.
    let spawning = set(["broker/src/broker.rs", "broker/src/net/workers.rs"]);
    assert_eq!(
        files_saying(&["tokio::spawn(", "spawn_local(", "runtime.spawn("]),
        spawning
    );
    // What a future that is dropped half-way would lose: a select waits for ends, never for frames.
    let selecting = files_saying(&["tokio::select!"]);
    let front_end = selecting.iter().filter(|path| path.contains("/amqp/"));
    assert_eq!(front_end.count(), 0);
}

#[tokio::test]
async fn n098_a_long_queue_is_emptied_and_deleted_beside_others() {
    let broker = BrokerProcess::start(&[]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    let mut out = BytesMut::new();
    for _ in 0..1_000 {
        let properties = Properties::default();
        write_publish(
            1,
            publish("", "long"),
            &properties,
            b"body",
            FRAME_MAX,
            &mut out,
        );
    }
    for by_deleting in [false, true] {
        attacker.declare("long", &TableBuf::new()).await;
        for _ in 0..200 {
            attacker.send(&out).await;
        }
        attacker.goes_on(1).await;
        let mut healthy = Healthy::at(broker.address).await;
        let mut ending = BytesMut::new();
        let queue = ShortStr(b"long");
        match by_deleting {
            true => write_method(
                1,
                queue::Delete {
                    queue,
                    ..Default::default()
                },
                &mut ending,
            ),
            false => write_method(
                1,
                queue::Purge {
                    queue,
                    ..Default::default()
                },
                &mut ending,
            ),
        }
        attacker.send(&ending).await;
        let served = tokio::time::timeout(Duration::from_secs(2), healthy.round_trip()).await;
        assert!(served.is_ok(), "others wait while 200,000 messages go");
        let id = if by_deleting {
            queue::DeleteOk::ID
        } else {
            queue::PurgeOk::ID
        };
        attacker.expect(id).await;
    }
}

/// Packages with a version below which an advisory holds, or which are not to be used at all. Whoever has
/// the database of advisories at hand asks that instead; this is what can be known without it.
const ADVISORIES: [(&str, Allowed, &str); 30] = [
    ("anyhow", Since("1.0.103"), "RUSTSEC-2026-0190"),
    ("async-std", Never, "RUSTSEC-2025-0052: unmaintained"),
    ("atty", Never, "RUSTSEC-2024-0375: unmaintained"),
    ("aws-lc-sys", Since("0.39.0"), "RUSTSEC-2026-0044 to 0048"),
    ("bincode", Never, "RUSTSEC-2025-0141: unmaintained"),
    ("bytes", Since("1.11.1"), "RUSTSEC-2026-0007"),
    ("crossbeam-channel", Since("0.5.15"), "RUSTSEC-2025-0024"),
    ("derivative", Never, "RUSTSEC-2024-0388: unmaintained"),
    ("fxhash", Never, "RUSTSEC-2025-0057: unmaintained"),
    (
        "h2",
        Since("0.4.16"),
        "RUSTSEC-2024-0003, 2024-0332, 2026-0258",
    ),
    ("hashbrown", Since("0.15.1"), "RUSTSEC-2024-0402"),
    ("idna", Since("1.0.0"), "RUSTSEC-2024-0421"),
    ("instant", Never, "RUSTSEC-2024-0384: unmaintained"),
    ("lz4_flex", Since("0.12.1"), "RUSTSEC-2026-0041"),
    ("memmap2", Since("0.9.11"), "RUSTSEC-2026-0186"),
    ("paste", Never, "RUSTSEC-2024-0436: unmaintained"),
    ("proc-macro-error", Never, "RUSTSEC-2024-0370: unmaintained"),
    ("proc-macro-error2", Never, "RUSTSEC-2026-0173"),
    ("protobuf", Since("3.7.2"), "RUSTSEC-2024-0437"),
    ("rand", Since("0.9.3"), "RUSTSEC-2026-0097"),
    ("ring", Since("0.17.12"), "RUSTSEC-2025-0009"),
    ("rkyv", Since("0.8.17"), "RUSTSEC-2026-0233 to 0235"),
    ("rsa", Never, "RUSTSEC-2023-0071: timing"),
    ("rustls", Since("0.23.18"), "RUSTSEC-2024-0336, 2024-0399"),
    ("rustls-pemfile", Never, "RUSTSEC-2025-0134: unmaintained"),
    (
        "rustls-webpki",
        Since("0.103.13"),
        "RUSTSEC-2026-0098, 0099, 0104",
    ),
    ("scc", Since("3.8.4"), "RUSTSEC-2026-0205"),
    (
        "time",
        Since("0.3.47"),
        "a stack that untrusted text could exhaust",
    ),
    ("tokio", Since("1.44.2"), "RUSTSEC-2025-0023"),
    ("tracing-subscriber", Since("0.3.20"), "RUSTSEC-2025-0055"),
];

enum Allowed {
    Since(&'static str),
    Never,
}

use Allowed::{Never, Since};

#[test]
fn n100_no_dependency_is_one_that_an_advisory_names() {
    let packages = packages();
    assert!(packages.len() > 50, "{} packages", packages.len());
    let mut found = Vec::new();
    for (name, allowed, advisory) in &ADVISORIES {
        for version in packages.get(*name).into_iter().flatten() {
            let is_allowed = match allowed {
                Since(least) => *version >= numbers(least),
                Never => false,
            };
            if !is_allowed {
                found.push(format!("{name} {version:?}: {advisory}"));
            }
        }
    }
    assert_eq!(found, [""; 0]);
    let names: Vec<_> = ADVISORIES.iter().map(|(name, ..)| *name).collect();
    assert!(names.is_sorted());
}

#[test]
fn n100_versions_are_compared_as_numbers() {
    assert!(numbers("0.103.17") >= numbers("0.103.13"));
    assert!(numbers("0.9.10") < numbers("0.9.11"));
    assert!(numbers("1.10.0") > numbers("1.9.3-beta+build"));
}
