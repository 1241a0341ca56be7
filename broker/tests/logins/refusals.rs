//! Attack number 10: what can be wrong with the response of a mechanism, and number 11: what a refusal tells.

use std::net::SocketAddr;

use leveret::config::AuthMechanism;
use leveret::{Broker, Config};
use leveret_protocol::method::connection;
use leveret_protocol::{TableBuf, Value};

use crate::dialogue::{Answer, answer, begin, log_in, plain, refused, send_secure_ok};
use crate::support::start;

/// Users with and without a password, in clear text and by every algorithm.
async fn broker() -> (Broker, SocketAddr) {
    let mut config = Config::from_toml(
        "failed_login_delay_ms = 1
         auth_mechanisms = ['PLAIN', 'AMQPLAIN', 'RABBIT-CR-DEMO', 'EXTERNAL']
         default_user = ''
         [[users]]
         name = 'ada'
         password = 'hush'
         [[users]]
         name = 'guest'
         password = 'guest'
         [[users]]
         name = 'nopass'
         [[users]]
         name = 'empty'
         password = ''
         [[users]]
         name = 'emptyhash'
         password_hash = ''
         [[users]]
         name = 'slow'
         password_hash = '$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$L1q3YlZz5QV14Kpd1y3ihou6hLdt6cgE9PKfOVGtLUE'",
    )
    .unwrap();
    config.loopback_users = vec!["guest".to_owned()];
    start(config).await
}

#[tokio::test]
async fn attack_010_a_mechanism_that_is_not_offered_ends_in_silence() {
    let (_broker, address) = broker().await;
    for mechanism in [
        "",
        "plain",
        "PLAIN ",
        "ANONYMOUS",
        "SCRAM-SHA-256",
        "PLAIN AMQPLAIN",
        "\u{1b}[31m\n",
    ] {
        let answer = log_in(address, mechanism, b"\0ada\0hush").await;
        assert_eq!(answer, Answer::Silence, "{mechanism:?}");
    }
}

#[tokio::test]
async fn attack_010_external_without_a_certificate_lets_nobody_in() {
    let (_broker, address) = broker().await;
    for response in [&b""[..], b"ada", b"\0ada\0hush"] {
        let answer = log_in(address, "EXTERNAL", response).await;
        assert_ne!(answer, Answer::LoggedIn, "{response:?}");
    }
}

#[tokio::test]
async fn attack_010_plain_that_is_not_nul_user_nul_password_ends_in_silence() {
    let (_broker, address) = broker().await;
    for response in [
        &b""[..],
        b"\0",
        b"ada",
        b"ada\0hush",
        b"\0ada",
        b"ada\0ada\0hush",
        b"guest\0ada\0hush",
        b"\0ada\0hush\0",
        b"\0ada\0hush\0more",
    ] {
        let answer = log_in(address, "PLAIN", response).await;
        assert_eq!(answer, Answer::Silence, "{response:?}");
    }
    assert_eq!(plain(address, "ada", "hush").await, Answer::LoggedIn);
}

/// CVE-2016-9877 and its like: without a password no password is right.
#[tokio::test]
async fn attack_010_an_empty_password_lets_nobody_in() {
    let (_broker, address) = broker().await;
    for user in ["ada", "slow", "nopass", "empty", "emptyhash", "eve", ""] {
        for password in ["", "***", "null", "nobody"] {
            let answer = plain(address, user, password).await;
            assert_eq!(answer, refused("PLAIN"), "{user:?} {password:?}");
        }
        let entries = [
            ("LOGIN", Value::LongStr(user.as_bytes())),
            ("PASSWORD", Value::LongStr(b"")),
        ];
        let table = TableBuf::from_entries(entries);
        let answer = log_in(address, "AMQPLAIN", table.view().as_bytes()).await;
        assert_eq!(answer, refused("AMQPLAIN"), "{user:?}");
    }
}

#[tokio::test]
async fn attack_010_amqplain_without_both_strings_ends_in_silence() {
    let (_broker, address) = broker().await;
    let (ada, hush) = (Value::LongStr(b"ada"), Value::LongStr(b"hush"));
    let good = TableBuf::from_entries([("LOGIN", ada), ("PASSWORD", hush)]);
    let mut responses = vec![b"ada".to_vec(), b"\0ada\0hush".to_vec(), vec![0xff; 100]];
    for entries in [
        vec![],
        vec![("LOGIN", ada)],
        vec![("PASSWORD", hush)],
        vec![("LOGIN", ada), ("PASSWORD", Value::Void)],
        vec![("LOGIN", Value::I32(7)), ("PASSWORD", hush)],
        vec![("LOGIN", ada), ("PASSWORD", Value::Table(good.view()))],
    ] {
        let table = TableBuf::from_entries(entries);
        responses.push(table.view().as_bytes().to_vec());
    }
    let bytes = good.view().as_bytes();
    responses.push(bytes[..bytes.len() - 1].to_vec());
    for response in responses {
        let answer = log_in(address, "AMQPLAIN", &response).await;
        assert_eq!(answer, Answer::Silence, "{response:?}");
    }
    assert_eq!(log_in(address, "AMQPLAIN", bytes).await, Answer::LoggedIn);
}

/// A response such as a long token does not fit into a first frame (TUNE-11).
#[tokio::test]
async fn attack_010_a_response_beyond_the_first_frame_ends_in_silence() {
    let (_broker, address) = broker().await;
    for bytes in [4_096, 8_192, 65_536] {
        let password = "x".repeat(bytes);
        assert_eq!(plain(address, "ada", &password).await, Answer::Silence);
    }
    // What fits is looked at.
    let long = "x".repeat(3_900);
    assert_eq!(plain(address, "ada", &long).await, refused("PLAIN"));
}

#[tokio::test]
async fn attack_010_steps_have_an_end() {
    let (_broker, address) = broker().await;
    let mut client = begin(address, "RABBIT-CR-DEMO", b"ada").await;
    client.expect(connection::Start::ID).await;
    let challenge = b"Please tell me your password".to_vec();
    assert_eq!(answer(&mut client).await, Answer::Challenged(challenge));
    send_secure_ok(&mut client, b"My password is wrong").await;
    assert_eq!(answer(&mut client).await, refused("RABBIT-CR-DEMO"));
    send_secure_ok(&mut client, b"My password is hush").await;
    assert_eq!(answer(&mut client).await, Answer::Silence);

    // An answer that nobody has asked for, behind a login that is being looked at.
    let mut client = begin(address, "PLAIN", b"\0ada\0hush").await;
    for _ in 0..100 {
        send_secure_ok(&mut client, b"My password is hush").await;
    }
    client.expect(connection::Start::ID).await;
    assert_eq!(answer(&mut client).await, Answer::LoggedIn);
    assert_eq!(answer(&mut client).await, Answer::Silence);
}

#[tokio::test]
async fn attack_011_no_refusal_tells_why() {
    let (_broker, address) = broker().await;
    let long = "x".repeat(1_000);
    for (user, password) in [
        ("ada", "hus"),
        ("ada", "hush "),
        ("slow", "wrong"),
        ("eve", "hush"),
        ("", "hush"),
        ("ADA", "hush"),
        ("ada\u{1b}[31m\n", "hush"),
        (&long, "hush"),
        ("ada", &long),
    ] {
        let answer = plain(address, user, password).await;
        assert_eq!(answer, refused("PLAIN"), "{user:?} {password:?}");
    }
    let not_utf_8 = log_in(address, "PLAIN", b"\0\xff\xfe\0hush").await;
    assert_eq!(not_utf_8, refused("PLAIN"));
}

/// Whoever is bound to loopback may come over it, and over the socket of both families.
#[tokio::test]
async fn attack_015_a_loopback_user_comes_in_by_both_families() {
    let (broker, address) = broker().await;
    assert_eq!(plain(address, "guest", "guest").await, Answer::LoggedIn);
    let both = broker.listen("[::]:0".parse().unwrap()).await.unwrap();
    let over_4 = SocketAddr::from(([127, 0, 0, 1], both.port()));
    assert_eq!(plain(over_4, "guest", "guest").await, Answer::LoggedIn);
    let over_6 = format!("[::1]:{}", both.port()).parse().unwrap();
    assert_eq!(plain(over_6, "guest", "guest").await, Answer::LoggedIn);
}

#[test]
fn external_and_anonymous_are_off_unless_configured() {
    let offered = Config::default().auth_mechanisms;
    assert_eq!(offered, [AuthMechanism::Plain, AuthMechanism::AmqPlain]);
}
