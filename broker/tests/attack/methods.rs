//! Numbers 25 to 27: methods that do not exist, are not whole, or are not a client's; and names.

use std::path::Path;

use leveret::Config;
use leveret_protocol::method::{basic, channel, connection, exchange, queue};
use leveret_protocol::{MethodId, Properties, ShortStr};

use crate::arena::{Arena, impatient};
use crate::attacker::{Attacker, frame, header, long, method_frame, short};
use crate::support::start;

async fn closes(arena: &mut Arena, bytes: &[u8], code: u16, text: &str) -> MethodId {
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.send(bytes).await;
    arena.still_serves().await;
    attacker.closed(code, text).await.culprit
}

#[tokio::test]
async fn n025_methods_that_do_not_exist() {
    let mut arena = Arena::new().await;
    for (class_id, method_id) in [
        (0, 0),
        (10, 0),
        (10, 9),
        (20, 50),
        (50, 12),
        (60, 10_000),
        (61, 10),
        (110, 10),
        (u16::MAX, u16::MAX),
    ] {
        for number in [0, 1, 9] {
            let id = MethodId::new(class_id, method_id);
            let unknown = method_frame(number, id, &[0; 40]);
            let culprit = closes(&mut arena, &unknown, 503, "COMMAND_INVALID").await;
            assert_eq!(culprit, id);
        }
    }
    arena.ends_empty().await;
}

/// A queue.declare's arguments, which have a field of nearly every type.
fn declare_arguments() -> Vec<u8> {
    [&[0, 0][..], &short(b"q"), &[0], &long(b"")].concat()
}

#[tokio::test]
async fn n025_arguments_that_are_cut_or_too_long() {
    let mut arena = Arena::new().await;
    let whole = declare_arguments();
    for len in 0..whole.len() {
        let cut = method_frame(1, queue::Declare::ID, &whole[..len]);
        let culprit = closes(&mut arena, &cut, 501, "cannot decode").await;
        assert_eq!(culprit, queue::Declare::ID);
    }
    for more in [1, 100, 100_000] {
        let long = [&whole[..], &vec![0; more]].concat();
        let long = method_frame(1, queue::Declare::ID, &long);
        closes(&mut arena, &long, 501, "cannot decode").await;
    }
    // The two methods that are taken apart by hand.
    let publish = [&[0, 0][..], &short(b""), &short(b"k"), &[0]].concat();
    let ack = [0, 0, 0, 0, 0, 0, 0, 1, 0];
    for (id, whole) in [(basic::Publish::ID, &publish[..]), (basic::Ack::ID, &ack)] {
        for len in 0..whole.len() {
            closes(
                &mut arena,
                &method_frame(1, id, &whole[..len]),
                501,
                "cannot decode",
            )
            .await;
        }
        let long = method_frame(1, id, &[whole, &[0]].concat());
        closes(&mut arena, &long, 501, "cannot decode").await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n025_reserved_fields_and_undefined_bits_are_passed_over() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    // Any ticket, and the three bits that a declare does not have.
    let odd = [&[0xFF, 0xFF][..], &short(b"q"), &[0b1110_0000], &long(b"")].concat();
    attacker
        .send(&method_frame(1, queue::Declare::ID, &odd))
        .await;
    attacker.expect(queue::DeclareOk::ID).await;
    let odd = [&[7, 7][..], &short(b""), &short(b"q"), &[0b1111_1100]].concat();
    attacker
        .send(&method_frame(1, basic::Publish::ID, &odd))
        .await;
    attacker
        .send(&frame(2, 1, &header(60, 0, 0, &[0, 0])))
        .await;
    assert_eq!(attacker.get("q").await.unwrap(), b"");
    let reserved = channel::Open {
        out_of_band: ShortStr(b"reserved"),
    };
    attacker.call(2, reserved, channel::OpenOk::ID).await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n026_methods_that_only_a_server_sends() {
    let mut arena = Arena::new().await;
    let tag_and_flag = [&short(b"tag")[..], &[0; 9], &short(b""), &short(b"q")].concat();
    let declare_ok = [&short(b"q")[..], &[0; 8]].concat();
    let returned = [&[1, 56][..], &short(b"NO_ROUTE"), &short(b""), &short(b"q")].concat();
    let get_ok = [&[0; 9][..], &short(b""), &short(b"q"), &[0; 4]].concat();
    let theirs: [(MethodId, &[u8]); 16] = [
        (channel::OpenOk::ID, &[0; 4]),
        (channel::FlowOk::ID, &[1]),
        (channel::CloseOk::ID, &[]),
        (exchange::DeclareOk::ID, &[]),
        (exchange::BindOk::ID, &[]),
        (queue::DeclareOk::ID, &declare_ok),
        (queue::BindOk::ID, &[]),
        (queue::PurgeOk::ID, &[0; 4]),
        (queue::DeleteOk::ID, &[0; 4]),
        (basic::QosOk::ID, &[]),
        (basic::ConsumeOk::ID, &[1, b't']),
        (basic::CancelOk::ID, &[1, b't']),
        (basic::Return::ID, &returned),
        (basic::Deliver::ID, &tag_and_flag),
        (basic::GetOk::ID, &get_ok),
        (basic::GetEmpty::ID, &[0]),
    ];
    for (id, arguments) in theirs {
        let mut sent = method_frame(1, id, arguments);
        sent.extend(frame(2, 1, &header(60, 0, 0, &[0, 0])));
        let text = "COMMAND_INVALID - unimplemented method";
        assert_eq!(closes(&mut arena, &sent, 503, text).await, id);
    }
    for (id, arguments) in [
        (connection::Start::ID, &[0; 14][..]),
        (connection::Tune::ID, &[0; 8]),
        (connection::OpenOk::ID, &[0]),
        (connection::Blocked::ID, &[0]),
        (connection::Unblocked::ID, &[]),
    ] {
        let sent = method_frame(0, id, arguments);
        let text = "unexpected method in connection state running";
        assert_eq!(closes(&mut arena, &sent, 504, text).await, id);
    }
    arena.ends_empty().await;
}

/// Names that are paths, ends of strings, or something else to somebody.
fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "../../../etc/passwd",
        "..",
        ".",
        "/",
        "/absolute",
        "a/b/c",
        "%2F%2e%2e%2f",
        "C:\\con",
        "nul\0byte",
        "\x01\x1b[31m\x7f",
        "<script>alert(1)</script>",
        "'; drop table queues; --",
        "${jndi:ldap://x}",
        "%s%n%x",
        "\u{202e}txt.exe",
        " ",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(vec![b'q'; 255]);
    names.push("🐇".repeat(63).into_bytes());
    names
}

fn durable_queue(name: &[u8]) -> queue::Declare<'_> {
    queue::Declare {
        queue: ShortStr(name),
        durable: true,
        ..Default::default()
    }
}

/// The names of all files below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn n027_names_are_bytes_and_never_paths() {
    let folder = crate::storage::empty_directory("n027");
    let data_dir = folder.join("data");
    let config = Config {
        data_dir: Some(data_dir.clone()),
        ..impatient()
    };
    let (broker, address) = start(config.clone()).await;
    let mut attacker = Attacker::on_channel(address).await;
    for name in hostile_names() {
        attacker
            .call(1, durable_queue(&name), queue::DeclareOk::ID)
            .await;
        let declare = exchange::Declare {
            exchange: ShortStr(&name),
            kind: ShortStr(b"fanout"),
            durable: true,
            ..Default::default()
        };
        attacker.call(1, declare, exchange::DeclareOk::ID).await;
        let bind = queue::Bind {
            queue: ShortStr(&name),
            exchange: ShortStr(&name),
            routing_key: ShortStr(&name),
            ..Default::default()
        };
        attacker.call(1, bind, queue::BindOk::ID).await;
        let exchange = String::from_utf8(name.clone()).unwrap();
        let persistent = Properties {
            delivery_mode: Some(2),
            ..Default::default()
        };
        attacker
            .publish_to(&exchange, &exchange, &persistent, &name)
            .await;
    }
    attacker.goes_on(1).await;
    for file in files(&folder) {
        let known = ["LOCK", "superblock", "checkpoint-", "journal-"];
        let is_known = known
            .iter()
            .any(|known| file.starts_with(&format!("data/{known}")));
        assert!(
            file == "data" || is_known,
            "a name has become the file {file:?}"
        );
    }
    drop(attacker);
    broker.shutdown(crate::support::PATIENCE).await;
    // They are there again, each with its message.
    let (broker, address) = start(config).await;
    let mut reader = Attacker::on_channel(address).await;
    for name in hostile_names() {
        let queue = String::from_utf8(name.clone()).unwrap();
        assert_eq!(reader.get(&queue).await, Some(name));
    }
    drop(reader);
    broker.shutdown(crate::support::PATIENCE).await;
}

#[tokio::test]
async fn n027_what_is_no_text_is_refused_in_methods_and_carried_in_messages() {
    let mut arena = Arena::new().await;
    for name in [
        &b"\xff"[..],
        b"a\xc3",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
    ] {
        let arguments = [&[0, 0][..], &short(name), &[0], &long(b"")].concat();
        let declare = method_frame(1, queue::Declare::ID, &arguments);
        closes(&mut arena, &declare, 501, "Malformed UTF-8 in shortstr").await;
        let consume = [&[0, 0][..], &short(b"q"), &short(name), &[0], &long(b"")].concat();
        let consume = method_frame(1, basic::Consume::ID, &consume);
        closes(&mut arena, &consume, 501, "Malformed UTF-8 in shortstr").await;
        let mut attacker = Attacker::on_channel(arena.address).await;
        let publish = [&[0, 0][..], &short(name), &short(name), &[0]].concat();
        attacker
            .send(&method_frame(1, basic::Publish::ID, &publish))
            .await;
        attacker
            .send(&frame(2, 1, &header(60, 0, 0, &[0, 0])))
            .await;
        // The name is said back as text all the same.
        attacker.closed_channel(404, "no exchange '").await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n027_line_ends_are_taken_out_of_names() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .call(1, durable_queue(b"a\r\nb\n"), queue::DeclareOk::ID)
        .await;
    attacker
        .publish("ab", &Properties::default(), b"here")
        .await;
    assert_eq!(attacker.get("ab").await.unwrap(), b"here");
    drop(attacker);
    arena.ends_empty().await;
}
