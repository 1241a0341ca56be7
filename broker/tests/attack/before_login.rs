//! Numbers 1 to 9: bytes on a fresh socket, from somebody of whom nothing is known.
//!
//! What such a peer learns is nothing: its connection is closed without a word (CONN-08), and it costs
//! what it has sent.

use std::time::Duration;

use leveret_protocol::PROTOCOL_HEADER;
use leveret_protocol::method::connection;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::arena::{Arena, impatient};
use crate::attacker::{
    Attacker, frame_claiming, long, method_frame, nested_arrays, nested_tables, short, start_ok,
};
use crate::process::BrokerProcess;

/// Strangers at once, where it is counted what each costs.
const STRANGERS: usize = 500;
/// What one of them may cost: its task, its socket's part in the broker, a first read buffer.
const STRANGER_BYTES_MAX: u64 = 32 << 10;
/// What the allocator may take at once for whatever comes.
const SLACK_BYTES: u64 = 8 << 20;

/// What PROTO-07 and PROTO-09 do to everybody who does not finish.
async fn dropped_at_the_handshake_timeout(mut attacker: Attacker, since: Instant) {
    attacker.dropped().await;
    let timeout = Duration::from_millis(impatient().handshake_timeout_ms);
    assert!(since.elapsed() >= timeout, "{:?}", since.elapsed());
}

#[tokio::test]
async fn n001_silence_one_byte_and_half_a_header_end_with_the_handshake_timeout() {
    let mut arena = Arena::new().await;
    let since = Instant::now();
    let mut attackers = Vec::new();
    for beginning in [&b""[..], b"A", b"AMQP\0"] {
        let mut attacker = Attacker::connect(arena.address).await;
        attacker.send(beginning).await;
        attackers.push(attacker);
    }
    attackers.push(Attacker::greeted(arena.address).await);
    arena.still_serves().await;
    for attacker in attackers {
        dropped_at_the_handshake_timeout(attacker, since).await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n001_a_byte_now_and_then_buys_no_time() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::greeted(arena.address).await;
    let bytes = start_ok(&long(b""));
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let since = Instant::now();
    let mut sent = 0;
    for byte in &bytes {
        pace.tick().await;
        sent += 1;
        if !attacker.shout(&[*byte]).await {
            break;
        }
    }
    assert!(sent < bytes.len(), "the broker waited for all of it");
    assert!(since.elapsed() < Duration::from_secs(5));
    attacker.dropped().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n001_who_waits_in_a_handshake_costs_little_memory() {
    let broker = BrokerProcess::start(&[]).await;
    let before = broker.memory_peak_bytes();
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let mut stranger = Attacker::connect(broker.address).await;
        stranger.send(b"AMQP\0").await;
        strangers.push(stranger);
    }
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    let allowed = STRANGERS as u64 * STRANGER_BYTES_MAX + SLACK_BYTES;
    assert!(grown < allowed, "{grown} bytes for {STRANGERS} strangers");
}

#[tokio::test]
async fn n002_another_protocol_is_answered_with_our_header_and_never_with_its_own_bytes() {
    let mut arena = Arena::new().await;
    let others: [&[u8]; 8] = [
        b"AMQP\0\0\x09\x02",
        b"AMQP\x03\x01\0\0",
        b"AMQP\0\x01\0\0",
        b"GET / HTTP/1.1\r\nHost: canary.example\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03canary",
        b"CONNECT\naccept-version:1.2\n\n\0",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
        &[0xFF; 4096],
    ];
    for other in others {
        let mut attacker = Attacker::connect(arena.address).await;
        attacker.send(other).await;
        let answer = attacker.read_to_end().await;
        // What lies unread when a socket is closed can make the system throw away the answer too.
        let is_ours = answer == PROTOCOL_HEADER || (answer.is_empty() && other.len() > 8);
        assert!(
            is_ours,
            "{} to {}",
            answer.escape_ascii(),
            other.escape_ascii()
        );
        arena.still_serves().await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n004_frame_size_before_login_is_judged_by_its_header() {
    let mut arena = Arena::new().await;
    for size in [
        4097,
        131_072,
        0x7FFF_FFFF,
        0x8000_0000,
        u32::MAX - 7,
        u32::MAX,
    ] {
        let mut attacker = Attacker::greeted(arena.address).await;
        // Only the head: if this waited for the payload it would last as long as the handshake may.
        let head = frame_claiming(1, 0, size, &[], 0);
        attacker.send(&head[..7]).await;
        attacker.dropped().await;
        arena.still_serves().await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n004_announced_sizes_take_no_memory() {
    let broker = BrokerProcess::start(&["failed_login_delay_ms=60000"]).await;
    let before = broker.memory_peak_bytes();
    let mut attackers = Vec::new();
    for _ in 0..STRANGERS {
        let mut attacker = Attacker::greeted(broker.address).await;
        let head = frame_claiming(1, 0, u32::MAX, &[], 0);
        attacker.send(&head[..7]).await;
        attackers.push(attacker);
    }
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    let allowed = STRANGERS as u64 * STRANGER_BYTES_MAX + SLACK_BYTES;
    assert!(grown < allowed, "{grown} bytes for {STRANGERS} times 4 GiB");
}

#[tokio::test]
async fn n005_memory_is_taken_for_bytes_received_and_given_back_at_the_timeout() {
    let broker = BrokerProcess::start(&["handshake_timeout_ms=3000"]).await;
    let before = broker.memory_peak_bytes();
    let mut attackers = Vec::new();
    for _ in 0..STRANGERS {
        let mut attacker = Attacker::greeted(broker.address).await;
        let begun = frame_claiming(1, 0, 4096, &[7; 100], 0);
        attacker.send(&begun[..107]).await;
        attackers.push(attacker);
    }
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    let allowed = STRANGERS as u64 * STRANGER_BYTES_MAX + SLACK_BYTES;
    assert!(grown < allowed, "{grown} bytes for {STRANGERS} half logins");
    for mut attacker in attackers {
        attacker.dropped().await;
    }
}

#[tokio::test]
async fn n006_input_without_an_end_is_not_gathered() {
    let mut arena = Arena::new().await;
    // The largest frame there may be, whose end is wrong; then as much as the broker takes.
    let mut attacker = Attacker::greeted(arena.address).await;
    attacker
        .send(&frame_claiming(1, 0, 4096, &[0; 4096], 0))
        .await;
    let piece = vec![0; 65_536];
    let mut taken = true;
    for _ in 0..4096 {
        taken = attacker.shout(&piece).await;
        if !taken {
            break;
        }
        arena.still_serves().await;
    }
    assert!(!taken, "256 MiB were taken from a stranger");
    attacker.dropped().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n006_a_flood_from_a_stranger_takes_no_memory() {
    let broker = BrokerProcess::start(&["failed_login_delay_ms=1000"]).await;
    let before = broker.memory_peak_bytes();
    let mut attacker = Attacker::greeted(broker.address).await;
    let piece = vec![0xAA; 65_536];
    while attacker.shout(&piece).await {}
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < SLACK_BYTES, "{grown} bytes for a flood");
}

#[tokio::test]
async fn n007_sixteen_levels_of_client_properties_are_taken_and_no_more() {
    let mut arena = Arena::new().await;
    let mut polite = Attacker::greeted(arena.address).await;
    polite.send(&start_ok(&long(&nested_tables(15)))).await;
    polite.expect(connection::Tune::ID).await;
    drop(polite);
    let mut too_deep = vec![nested_tables(17), nested_arrays(17)];
    // As deep as the frame before login can be.
    too_deep.extend([nested_tables(570), nested_arrays(800)]);
    for properties in too_deep {
        let mut attacker = Attacker::greeted(arena.address).await;
        let login = start_ok(&long(&properties));
        assert!(login.len() <= 4104, "{}", login.len());
        attacker.send(&login).await;
        attacker.dropped().await;
        arena.still_serves().await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n008_elements_of_no_width_are_as_many_as_there_are_bytes() {
    let mut arena = Arena::new().await;
    // Nothing is smaller than a tag, so a frame bounds the count.
    let voids = [&[1, b'a', b'A'][..], &long(&[b'V'; 3900])].concat();
    let nameless = [0, b'V'].repeat(1900);
    for properties in [voids, nameless] {
        let mut attacker = Attacker::greeted(arena.address).await;
        attacker.send(&start_ok(&long(&properties))).await;
        attacker.expect(connection::Tune::ID).await;
        arena.still_serves().await;
    }
    // An array that says it holds more than there is.
    let mut claim = vec![1, b'a', b'A'];
    claim.extend(u32::MAX.to_be_bytes());
    claim.extend([b'V'; 100]);
    let mut attacker = Attacker::greeted(arena.address).await;
    attacker.send(&start_ok(&long(&claim))).await;
    attacker.dropped().await;
    arena.ends_empty().await;
}

/// Lengths that contradict what is around them, in each place where a length stands.
fn wrong_lengths() -> Vec<Vec<u8>> {
    let claims = [5, 0x7FFF_FFFF, 0x8000_0000_u32, u32::MAX - 3, u32::MAX];
    let mut wrong = Vec::new();
    for claim in claims {
        let claim = claim.to_be_bytes();
        // The whole table, and a value of each type that has a length.
        wrong.push([&claim[..], b"\x01aV"].concat());
        for tag in *b"SxAF" {
            let entry = [&[1, b'a', tag][..], &claim, b"xy"].concat();
            wrong.push(long(&entry));
        }
    }
    // A name that is longer than its table.
    wrong.push(long(&[255, b'a', b'V']));
    wrong
}

#[tokio::test]
async fn n009_lengths_that_contradict_each_other_before_login() {
    let mut arena = Arena::new().await;
    let mut logins: Vec<_> = wrong_lengths()
        .iter()
        .map(|properties| start_ok(properties))
        .collect();
    // The response's own length, and a mechanism that is longer than the frame.
    let mechanism = [&long(b"")[..], &short(b"PLAIN")].concat();
    for claim in [13, 0x8000_0000, u32::MAX] {
        let response = [&claim.to_be_bytes()[..], b"\0guest\0guest"].concat();
        let arguments = [&mechanism[..], &response, &short(b"en_US")].concat();
        logins.push(method_frame(0, connection::StartOk::ID, &arguments));
    }
    logins.push(method_frame(
        0,
        connection::StartOk::ID,
        b"\0\0\0\0\xffPLAIN",
    ));
    for login in logins {
        let mut attacker = Attacker::greeted(arena.address).await;
        attacker.send(&login).await;
        attacker.dropped().await;
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n009_lengths_that_contradict_each_other_after_login() {
    let mut arena = Arena::new().await;
    for arguments in wrong_lengths() {
        // In a method's arguments.
        let mut attacker = Attacker::on_channel(arena.address).await;
        let declare = [&[0, 0][..], &short(b"q"), &[0], &arguments].concat();
        let id = leveret_protocol::method::queue::Declare::ID;
        attacker.send(&method_frame(1, id, &declare)).await;
        let close = attacker.close().await;
        assert!(matches!(close.code, 501 | 502), "{close:?}");
        // In a message's headers.
        let mut attacker = Attacker::on_channel(arena.address).await;
        let properties = [&[0x20, 0][..], &arguments].concat();
        attacker.publish_raw("nobody", &properties, b"body").await;
        attacker.closed(541, "INTERNAL_ERROR").await;
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}
