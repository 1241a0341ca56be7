//! Numbers 72, 90 and 92: what an operator is handed by somebody else, and what he is shown of it.

use std::process::Command;

use leveret::config::{HashingAlgorithm, PasswordHash};
use leveret::{Broker, Config, Definitions};
use leveret_protocol::ShortStr;
use leveret_protocol::method::queue;

use crate::arena::Arena;
use crate::attacker::Attacker;
use crate::process::BrokerProcess;
use crate::storage::empty_directory;

fn read(text: &str) -> Result<Definitions, String> {
    Definitions::from_json(text, "/").map_err(|error| error.to_string())
}

/// Text that is no definitions at all, or that would be too much if it were followed.
fn hostile_texts() -> Vec<String> {
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let user =
        |hash: &str| format!(r#"{{"users":[{{"name":"u","password_hash":{hash},"tags":""}}]}}"#);
    vec![
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        deep("[", "]"),
        deep(r#"{"queues":"#, "}"),
        deep(r#"{"queues":[{"arguments":"#, "}]}"),
        r#"{"queues":{}}"#.to_owned(),
        r#"{"queues":[1]}"#.to_owned(),
        r#"{"queues":[{"name":1e999}]}"#.to_owned(),
        r#"{"queues":[{"name":"q","vhost":"nowhere","durable":true}]}"#.to_owned(),
        user("\"not base64!\""),
        user("\"AAAA\""),
        user("5"),
    ]
}

#[tokio::test]
async fn n072_definitions_that_are_none_change_nothing() {
    let mut arena = Arena::new().await;
    let before = format!("{:?}", arena.broker.definitions());
    for text in hostile_texts() {
        // Refused while it is read, or when it is to be applied; by a text, and as a whole.
        let shown = &text[..text.len().min(80)];
        match read(&text) {
            Err(error) => assert!(!error.is_empty() && error.len() < 10_000, "{shown}"),
            Ok(definitions) => {
                let imported = arena.broker.import_definitions(&definitions).await;
                assert!(imported.is_err(), "{shown}");
            }
        }
        assert_eq!(
            format!("{:?}", arena.broker.definitions()),
            before,
            "{shown}"
        );
        arena.still_serves().await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n072_a_user_without_a_hash_is_nobody_that_an_empty_password_fits() {
    let arena = Arena::new().await;
    for hash in ["null", "\"\""] {
        let text = format!(
            r#"{{"users":[{{"name":"hollow","password_hash":{hash},"tags":"administrator"}}],
                "permissions":[{{"user":"hollow","vhost":"/","configure":".*","write":".*","read":".*"}}]}}"#
        );
        if let Ok(definitions) = read(&text) {
            let _ = arena.broker.import_definitions(&definitions).await;
        }
        for password in ["", "null", "hollow"] {
            let mut attacker = Attacker::greeted(arena.address).await;
            let response = format!("\0hollow\0{password}");
            let login = leveret_protocol::method::connection::StartOk {
                mechanism: ShortStr(b"PLAIN"),
                response: leveret_protocol::LongStr(response.as_bytes()),
                ..Default::default()
            };
            attacker.method(0, login).await;
            attacker.dropped().await;
        }
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n072_half_of_what_contradicts_is_not_imported() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("there", &Default::default()).await;
    let queue = |name: &str| {
        format!(
            r#"{{"name":"{name}","vhost":"/","durable":true,"auto_delete":false,"arguments":{{}}}}"#
        )
    };
    let text = format!(r#"{{"queues":[{},{}]}}"#, queue("new"), queue("there"));
    let definitions = read(&text).unwrap();
    assert!(arena.broker.import_definitions(&definitions).await.is_err());
    let passive = queue::Declare {
        queue: ShortStr(b"new"),
        passive: true,
        ..Default::default()
    };
    attacker.method(1, passive).await;
    attacker.closed_channel(404, "no queue 'new'").await;
    drop(attacker);
    arena.ends_empty().await;
}

#[test]
fn n072_hashes_are_as_long_as_their_algorithms_make_them() {
    let base64 = |bytes: usize| "A".repeat(bytes.div_ceil(3) * 4);
    for bytes in [0, 3, 6, 30, 33, 39, 66, 69, 3_000_000] {
        for algorithm in [None, Some(HashingAlgorithm::Sha256)] {
            let read = PasswordHash::from_base64(&base64(bytes), algorithm);
            assert!(read.is_none() || bytes == 36, "{bytes}");
        }
    }
}

const FORGED: &str = "q\x1b[2J\x1b[31m\nforged\r\u{9b}\u{202e}";

#[tokio::test]
async fn n090_what_commands_print_moves_no_cursor() {
    let data_dir = empty_directory("n090");
    let broker = BrokerProcess::started(BrokerProcess::command(&data_dir, &[]));
    let mut attacker = Attacker::on_channel(broker.address).await;
    let declare = queue::Declare {
        queue: ShortStr(FORGED.as_bytes()),
        durable: true,
        ..Default::default()
    };
    attacker.call(1, declare, queue::DeclareOk::ID).await;
    drop(attacker);
    broker.kill();
    for arguments in [
        &["store", "dump"][..],
        &["store", "verify"],
        &["definitions", "export", "--data-dir"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        let output = command
            .env_clear()
            .args(arguments)
            .arg(&data_dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let moves = printed.contains(['\x1b', '\r', '\u{9b}', '\u{202e}']);
        let forges = printed.lines().any(|line| line.starts_with("forged"));
        assert!(
            !moves && !forges,
            "{arguments:?}: {}",
            printed.escape_debug()
        );
    }
}

/// Who cannot be asked lets nobody in: what decides about logins is read whole at the start, or the start
/// fails.
#[test]
fn n092_a_broker_that_cannot_read_who_may_log_in_does_not_start() {
    for text in [
        "[[users]]\nname = \"u\"\npassword_hash = \"not a hash\"\n",
        "[[users]]\nname = \"u\"\nhash = \"x\"\n",
        "auth_mechanisms = []\n",
        "auth_mechanisms = [\"PLAIN\", \"LDAP\"]\n",
        "loopback_users = \"guest\"\n",
        "[[users]]\nname = \"u\"\npassword = \"p\"\n[[users.permissions]]\nvhost = \"/\"\nread = \"(\"\n",
    ] {
        assert!(Config::from_toml(text).is_err(), "{text}");
    }
    let missing = Config::default().with_definitions("/nowhere/definitions.json");
    assert!(Broker::start(missing).is_err());
}
