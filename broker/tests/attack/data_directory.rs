//! Numbers 81 and 82: a data directory that somebody else has had his hands in.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use leveret_protocol::TableBuf;
use leveret_protocol::method::queue;

use crate::attacker::Attacker;
use crate::process::BrokerProcess;
use crate::storage::{Forgery, confirming, durable, empty_directory, files, keep};

/// The end of a start on this directory, which must come by itself and name what is wrong.
fn refused(data_dir: &Path, because: &str) {
    let log = BrokerProcess::try_started(BrokerProcess::command(data_dir, &[]));
    let log = log.err().expect("the broker serves from it");
    assert!(log.contains(because), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn n081_links_and_pipes_in_the_data_directory_are_neither_followed_nor_waited_for() {
    let folder = empty_directory("n081");
    let (data_dir, elsewhere) = (folder.join("data"), folder.join("elsewhere"));
    std::fs::write(&elsewhere, "untouched").unwrap();
    let broker = BrokerProcess::started(BrokerProcess::command(&data_dir, &[]));
    let mut attacker = confirming(broker.address).await;
    let none = TableBuf::new();
    attacker
        .call(1, durable("q", &none), queue::DeclareOk::ID)
        .await;
    keep(&mut attacker, "q", b"kept").await;
    broker.kill();
    for (name, _) in files(&data_dir) {
        let (path, aside) = (data_dir.join(&name), folder.join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        refused(&data_dir, "is not a regular file");
        std::fs::remove_file(&path).unwrap();
        let fifo = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(fifo.success());
        refused(&data_dir, "is not a regular file");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "untouched");
    let broker = BrokerProcess::started(BrokerProcess::command(&data_dir, &[]));
    let mut reader = Attacker::on_channel(broker.address).await;
    assert_eq!(reader.get("q").await.unwrap(), b"kept");
}

#[tokio::test]
async fn n081_what_is_kept_is_for_its_owner_whatever_the_umask_allows() {
    let folder = empty_directory("n081-modes");
    let data_dir = folder.join("above/data");
    let serve = BrokerProcess::command(&data_dir, &[]);
    let mut command = Command::new("sh");
    command.env_clear();
    command.args(["-c", "umask 0; exec \"$0\" \"$@\""]);
    command.arg(serve.get_program()).args(serve.get_args());
    let broker = BrokerProcess::started(command);
    let mut attacker = confirming(broker.address).await;
    let none = TableBuf::new();
    attacker
        .call(1, durable("q", &none), queue::DeclareOk::ID)
        .await;
    keep(&mut attacker, "q", b"kept").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&data_dir), 0o700);
    for (name, _) in files(&data_dir) {
        assert_eq!(mode(&data_dir.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn n081_a_directory_that_everybody_may_write_to_is_warned_of() {
    let data_dir = empty_directory("n081-open");
    std::fs::set_permissions(&data_dir, Permissions::from_mode(0o777)).unwrap();
    let command = BrokerProcess::command(&data_dir, &[]);
    let broker = BrokerProcess::started(command);
    broker.serves().await;
    let log = broker.last_lines();
    let warned = |line: &String| line.contains("WARN") && line.contains("other users");
    assert!(log.iter().any(warned), "{log:#?}");
}

#[tokio::test]
async fn n082_files_that_somebody_has_written_are_judged_and_not_believed() {
    let data_dir = empty_directory("n082");
    let broker = BrokerProcess::started(BrokerProcess::command(&data_dir, &[]));
    let mut attacker = confirming(broker.address).await;
    let none = TableBuf::new();
    attacker
        .call(1, durable("q", &none), queue::DeclareOk::ID)
        .await;
    keep(&mut attacker, "q", b"kept").await;
    broker.kill();
    let names: Vec<_> = files(&data_dir).into_iter().map(|(name, _)| name).collect();
    let forgeries: [&Forgery; 4] = [
        // Lengths and counts of every width, all as large as they can be.
        &|bytes| bytes.iter_mut().skip(16).for_each(|byte| *byte = 0xFF),
        &|bytes| bytes.iter_mut().for_each(|byte| *byte = 0xFF),
        &|bytes| bytes.truncate(9),
        &|bytes| bytes.clear(),
    ];
    for name in names.iter().filter(|name| *name != "LOCK") {
        let path = data_dir.join(name);
        let own = std::fs::read(&path).unwrap();
        for forge in forgeries {
            let mut forged = own.clone();
            forge(&mut forged);
            std::fs::write(&path, &forged).unwrap();
            // It serves from what is left, or says why not; it never dies of it.
            let copy = empty_directory("n082-copy");
            for name in &names {
                std::fs::copy(data_dir.join(name), copy.join(name)).unwrap();
            }
            match BrokerProcess::try_started(BrokerProcess::command(&copy, &[])) {
                Ok(broker) => {
                    broker.serves().await;
                    let peak = broker.memory_peak_bytes();
                    assert!(peak < 256 << 20, "{peak} bytes for a forged {name}");
                }
                Err(log) => assert!(
                    !log.contains("panicked") && !log.is_empty(),
                    "{name}: {log}"
                ),
            }
        }
        std::fs::write(&path, own).unwrap();
    }
}
