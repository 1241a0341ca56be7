//! Many logins at once, each of which takes its time: who waits for whom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use leveret::config::Password;
use leveret::{Broker, Config, UserChange};
use leveret_protocol::client::write_publish;
use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{Properties, ShortStr};
use tokio::io::AsyncWriteExt as _;

use crate::dialogue::{Answer, answer, begin, plain, refused};
use crate::support::{Client, start};

/// How long nobody may be held up by others (R8).
const HELD_UP_MAX: Duration = Duration::from_secs(1);

async fn broker(more: &str) -> (Broker, SocketAddr) {
    let text = format!("password_hashing = 'argon2id'\nlogin_threads = 1\n{more}");
    let (broker, address) = start(Config::from_toml(&text).unwrap()).await;
    for user in ["ada", "eve"] {
        let change = UserChange {
            password: Some(Password::new(user)),
            ..UserChange::default()
        };
        broker.put_user(user, change).await.unwrap();
    }
    (broker, address)
}

/// Starts so many logins that fail, and waits for none of them.
async fn flood(address: SocketAddr, logins: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..logins {
        let response = format!("\0ada\0guess {number}");
        clients.push(begin(address, "PLAIN", response.as_bytes()).await);
    }
    clients
}

#[tokio::test]
async fn a_storm_of_logins_holds_up_nobody_who_is_logged_in() {
    let (_broker, address) = broker("").await;
    let mut client = Client::open(address).await;
    client
        .call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    let declare = queue::Declare {
        queue: ShortStr(b"q"),
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
    // Together they take a thread for seconds.
    let _flood = flood(address, 300).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        publish_and_get(&mut client).await;
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < HELD_UP_MAX, "{slowest:?}");
}

async fn publish_and_get(client: &mut Client) {
    let mut out = BytesMut::new();
    let publish = basic::Publish {
        routing_key: ShortStr(b"q"),
        ..Default::default()
    };
    write_publish(
        1,
        publish,
        &Properties::default(),
        b"body",
        131_072,
        &mut out,
    );
    client.stream.write_all(&out).await.unwrap();
    let get = basic::Get {
        queue: ShortStr(b"q"),
        no_ack: true,
        ..Default::default()
    };
    client.call(1, get, basic::GetOk::ID).await;
    // Head and body.
    client.next_frame().await;
    client.next_frame().await;
}

#[tokio::test]
async fn logins_wait_for_their_turn_and_none_is_refused_because_there_are_many() {
    // The failures of this address are not to put anybody off.
    let (_broker, address) =
        broker("failed_login_delay_ms = 0\nhandshake_timeout_ms = 60000").await;
    let _flood = flood(address, 100).await;
    let mut good = Vec::new();
    for number in 0..100 {
        let user = ["ada", "eve"][number % 2];
        let response = format!("\0{user}\0{user}");
        good.push(begin(address, "PLAIN", response.as_bytes()).await);
    }
    for mut client in good {
        client.expect(connection::Start::ID).await;
        assert_eq!(answer(&mut client).await, Answer::LoggedIn);
    }
}

/// Whoever waits longer than for a handshake is cut off like anybody else.
#[tokio::test]
async fn a_login_waits_no_longer_than_a_handshake_may_take() {
    let (_broker, address) =
        broker("failed_login_delay_ms = 3600000\nhandshake_timeout_ms = 2000").await;
    // More than are let through at once; an hour's delay puts off whoever comes after them.
    let _flood = flood(address, 200).await;
    let mut late = begin(address, "PLAIN", b"\0eve\0eve").await;
    late.expect(connection::Start::ID).await;
    assert_eq!(answer(&mut late).await, Answer::Silence);
}

#[tokio::test]
async fn thousands_who_come_back_cost_argon2id_once() {
    let (_broker, address) = broker("").await;
    assert_eq!(plain(address, "ada", "ada").await, Answer::LoggedIn);
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(plain(address, "ada", "ada").await, Answer::LoggedIn);
    }
    let known = start.elapsed() / 200;
    let start = Instant::now();
    for _ in 0..10 {
        let mut client = begin(address, "PLAIN", b"\0ada\0guess").await;
        client.expect(connection::Start::ID).await;
        assert_eq!(answer(&mut client).await, refused("PLAIN"));
    }
    let unknown = start.elapsed() / 10;
    assert!(known * 3 < unknown, "{known:?}, {unknown:?}");
}

/// The quickest of several, which is the one that nothing else has held up.
async fn quickest(address: SocketAddr, user: &str, password: &str) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(plain(address, user, password).await, refused("PLAIN"));
        quickest = quickest.min(start.elapsed());
    }
    quickest
}

/// Attack number 11: a few milliseconds tell whether argon2id has run, so it runs for everybody. Where it does not, an
/// answer comes in a hundredth of the time; a fourth leaves room for what else the machine does.
#[tokio::test]
async fn attack_011_a_refusal_takes_as_long_whether_or_not_there_is_such_a_user() {
    let text = "users = [{ name = 'quick', password = 'quick' }, { name = 'nopass' }]";
    let (_broker, address) = broker(text).await;
    let known = quickest(address, "ada", "guess").await;
    for (user, password) in [
        ("nobody", "guess"),
        ("quick", "guess"),
        ("nopass", "guess"),
        ("ada", ""),
    ] {
        let other = quickest(address, user, password).await;
        let (least, most) = (known / 4, known * 4);
        let is_alike = (least..most).contains(&other);
        assert!(
            is_alike,
            "{user:?} takes {other:?}, and a known one {known:?}"
        );
    }
}
