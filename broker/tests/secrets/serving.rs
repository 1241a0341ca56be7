//! What a broker says while it serves: to its log, to its clients, and to its data directory.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use leveret_protocol::client::write_method;
use leveret_protocol::method::{channel, connection, queue};
use leveret_protocol::{LongStr, ShortStr, TableBuf, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::canary::{assert_none, assert_none_in_files};
use crate::commands::{bench, command};
use crate::dialogue::{Answer, answer, begin, send_secure_ok};
use crate::process::signal;
use crate::support::Client;

/// Longest wait for a line of the log or for the end of a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker in a process of its own, whose log is read while it is written.
struct Serving {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    log: String,
}

impl Serving {
    fn start(directory: &Path, level: &str, format: &str) -> Self {
        let listen = ["--listen", "127.0.0.1:0"];
        let log = ["--log-level", level, "--log-format", format];
        let mut child = command(directory, &[listen.as_slice(), &log].concat())
            .env("LEVERET_DEFAULT_PASS", "CANARY-environment")
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut serving = Self {
            lines: lines_of(child.stderr.take().unwrap()),
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: String::new(),
        };
        let port = serving.port();
        serving.address.set_port(port);
        serving
    }

    /// The port in the line that tells of the listener.
    fn port(&mut self) -> u16 {
        loop {
            let line = self.next_line().unwrap();
            let (_, rest) = line.split_once("127.0.0.1:").unwrap_or_default();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if line.contains("listening") && !digits.is_empty() {
                return digits.parse().unwrap();
            }
        }
    }

    /// The next line of the log; nothing at its end.
    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.log.push_str(&line);
                self.log.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{}", self.log),
        }
    }

    /// Ends the broker in good order, and brings all of its log.
    fn end(mut self) -> String {
        signal(&self.child, "TERM");
        while self.next_line().is_some() {}
        assert!(self.child.wait().unwrap().success());
        std::mem::take(&mut self.log)
    }

    #[cfg(target_os = "linux")]
    fn arguments(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(log: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        lines.for_each(|line| drop(send.send(line)));
    });
    receive
}

/// A user whose name may be in the log.
const USER: &str = "ada-is-in-the-log";

const CONFIG: &str = "failed_login_delay_ms = 1
    auth_mechanisms = ['PLAIN', 'AMQPLAIN', 'RABBIT-CR-DEMO']
    load_definitions = 'definitions.json'
    password_hashing = 'argon2id'
    [[users]]
    name = 'ada-is-in-the-log'
    password = 'CANARY-config'
    tags = ['administrator']
    permissions = [{ vhost = '/', configure = '.*', write = '.*', read = '.*' }]";

const DEFINITIONS: &str = r#"{
    "vhosts": [{"name": "/"}],
    "users": [{"name": "bob", "password": "CANARY-definitions", "tags": []}],
    "permissions": [{"user": "bob", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}]
}"#;

/// Everything that is sent until the end of a connection.
async fn rest(mut client: Client) -> Vec<u8> {
    let mut sent = client.decoder.buffer_mut().to_vec();
    // Who is logged in would be kept.
    let _ = client.stream.shutdown().await;
    let read = client.stream.read_to_end(&mut sent);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    sent
}

#[track_caller]
fn assert_answer(is: &Answer, expected: &Answer, what: &str) {
    if let Answer::Refused(text) = is {
        assert_none(what, text.as_bytes());
    }
    assert_eq!(
        std::mem::discriminant(is),
        std::mem::discriminant(expected),
        "{what}"
    );
}

async fn log_in(address: SocketAddr, mechanism: &str, response: &[u8], expected: &Answer) {
    let mut client = begin(address, mechanism, response).await;
    client.expect(connection::Start::ID).await;
    let is = answer(&mut client).await;
    assert_answer(&is, expected, &format!("{mechanism} {response:?}"));
    assert_none("the rest", &rest(client).await);
}

async fn every_login(serving: &Serving) {
    let (address, user) = (serving.address, USER);
    let refused = Answer::Refused(String::new());
    let plain = |user: &str, password: &str| format!("\0{user}\0{password}").into_bytes();
    let table = |password: Value<'_>| {
        let entries = [
            ("LOGIN", Value::LongStr(user.as_bytes())),
            ("PASSWORD", password),
        ];
        TableBuf::from_entries(entries).view().as_bytes().to_vec()
    };
    let nested = TableBuf::from_entries([("CANARY", Value::LongStr(b"CANARY-nested"))]);
    for (mechanism, response, expected) in [
        ("PLAIN", plain(user, "CANARY-config"), Answer::LoggedIn),
        (
            "PLAIN",
            plain("bob", "CANARY-definitions"),
            Answer::LoggedIn,
        ),
        ("PLAIN", plain(user, "CANARY-wrong"), refused.clone()),
        ("PLAIN", plain("nobody", "CANARY-wrong"), refused.clone()),
        ("PLAIN", b"CANARY-without-nul".to_vec(), Answer::Silence),
        ("PLAIN", plain(user, "CANARY-more\0CANARY"), Answer::Silence),
        (
            "AMQPLAIN",
            table(Value::LongStr(b"CANARY-config")),
            Answer::LoggedIn,
        ),
        (
            "AMQPLAIN",
            table(Value::LongStr(b"CANARY-wrong")),
            refused.clone(),
        ),
        (
            "AMQPLAIN",
            table(Value::Table(nested.view())),
            Answer::Silence,
        ),
        ("AMQPLAIN", b"CANARY-no-table".to_vec(), Answer::Silence),
        ("CANARY", b"CANARY-mechanism".to_vec(), Answer::Silence),
    ] {
        // The name of a mechanism is no secret, but nobody needs to see it either.
        log_in(address, mechanism, &response, &expected).await;
    }
    for (answer_of, expected) in [
        ("My password is CANARY-config", Answer::LoggedIn),
        ("My password is CANARY-wrong", refused),
        ("CANARY-other-words", Answer::Silence),
    ] {
        let mut client = begin(address, "RABBIT-CR-DEMO", user.as_bytes()).await;
        client.expect(connection::Start::ID).await;
        answer(&mut client).await;
        send_secure_ok(&mut client, answer_of.as_bytes()).await;
        assert_answer(&answer(&mut client).await, &expected, answer_of);
        assert_none("the rest", &rest(client).await);
    }
}

/// A client that renews its secret, says it where it does not belong, and declares something that is kept.
async fn a_session(serving: &Serving) {
    let response = format!("\0{}\0CANARY-config", USER);
    let mut client = begin(serving.address, "PLAIN", response.as_bytes()).await;
    let mut out = BytesMut::new();
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(b"/"),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    let update = connection::UpdateSecret {
        new_secret: LongStr(b"CANARY-update"),
        reason: ShortStr(b"a reason"),
    };
    write_method(0, update, &mut out);
    write_method(1, channel::Open::default(), &mut out);
    let declare = queue::Declare {
        queue: ShortStr(b"kept"),
        durable: true,
        ..Default::default()
    };
    write_method(1, declare, &mut out);
    let response = LongStr(b"\0ada\0CANARY-again");
    write_method(0, connection::SecureOk { response }, &mut out);
    client.stream.write_all(&out).await.unwrap();
    for id in [
        connection::Start::ID,
        connection::Tune::ID,
        connection::OpenOk::ID,
        connection::UpdateSecretOk::ID,
        channel::OpenOk::ID,
        queue::DeclareOk::ID,
    ] {
        client.expect(id).await;
    }
    let close = client.expect_close().await;
    assert_none("a close", close.text.as_bytes());
    assert_none("the rest", &rest(client).await);
}

/// An answer to a challenge on a channel, where the answer to it has the octets of what was sent (CONN-30).
async fn a_stray_frame(serving: &Serving) {
    let response = format!("\0{}\0CANARY-config", USER);
    let mut client = begin(serving.address, "PLAIN", response.as_bytes()).await;
    let mut out = BytesMut::new();
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let response = LongStr(b"CANARY");
    write_method(1, connection::SecureOk { response }, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client.expect(connection::Start::ID).await;
    client.expect(connection::Tune::ID).await;
    assert!(client.expect_close().await.text.contains("octets"));
}

#[tokio::test]
async fn a_broker_shows_no_secret_while_it_serves() {
    for format in ["text", "json"] {
        let directory = bench(format);
        fs::write(directory.join("leveret.toml"), CONFIG).unwrap();
        fs::write(directory.join("definitions.json"), DEFINITIONS).unwrap();
        let serving = Serving::start(&directory, "trace", format);
        every_login(&serving).await;
        a_session(&serving).await;
        a_stray_frame(&serving).await;
        #[cfg(target_os = "linux")]
        assert_none("argv", &serving.arguments());
        let log = serving.end();
        assert!(
            log.contains(USER) && log.contains("wrong password"),
            "{log}"
        );
        assert_none("the log", log.as_bytes());
        let data = directory.join("leveret-data");
        assert!(assert_none_in_files(&data) > 0);
        for arguments in [
            &["store", "dump", "leveret-data"][..],
            &["store", "verify", "leveret-data"],
            &["definitions", "export", "--data-dir", "leveret-data"],
        ] {
            let output = command(&directory, arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(!output.stdout.is_empty());
            assert_none(&format!("{arguments:?}"), &output.stdout);
            assert_none(&format!("{arguments:?}"), &output.stderr);
        }
    }
}

/// Attack number 21: names that try to look like lines of the log, or to paint over others.
#[tokio::test]
async fn no_name_gets_out_of_its_line_of_the_log() {
    const NAME: &str = "eve\n2020-01-01T00:00:00Z  INFO forged\r\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m";
    for format in ["text", "json"] {
        let directory = bench(&format!("names-{format}"));
        fs::write(directory.join("leveret.toml"), CONFIG).unwrap();
        fs::write(directory.join("definitions.json"), DEFINITIONS).unwrap();
        let serving = Serving::start(&directory, "trace", format);
        let response = format!("\0{NAME}\0guess");
        let refused = Answer::Refused(String::new());
        log_in(serving.address, "PLAIN", response.as_bytes(), &refused).await;
        log_in(serving.address, NAME, b"", &Answer::Silence).await;
        ask_for_vhost(&serving, NAME).await;
        let log = serving.end();
        assert!(log.matches("forged").count() >= 2, "{log}");
        for line in log.lines() {
            assert!(!line.starts_with("2020"), "{log}");
            assert!(!line.contains(|one: char| one.is_control()), "{line:?}");
        }
    }
}

async fn ask_for_vhost(serving: &Serving, vhost: &str) {
    let response = format!("\0{}\0CANARY-config", USER);
    let mut client = begin(serving.address, "PLAIN", response.as_bytes()).await;
    let mut out = BytesMut::new();
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(vhost.as_bytes()),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client.expect(connection::Start::ID).await;
    client.expect(connection::Tune::ID).await;
    client.expect_close().await;
}

/// Attack number 21: a thousand refusals are not a thousand warnings.
#[tokio::test]
async fn refused_logins_do_not_fill_the_log() {
    let directory = bench("flood");
    fs::write(
        directory.join("leveret.toml"),
        "failed_login_delay_ms = 0\ndata_dir = ''",
    )
    .unwrap();
    let serving = Serving::start(&directory, "info", "text");
    let start = Instant::now();
    for _ in 0..500 {
        let mut client = begin(serving.address, "PLAIN", b"\0eve\0guess").await;
        client.expect(connection::Start::ID).await;
        answer(&mut client).await;
    }
    let seconds = start.elapsed().as_secs() as usize + 1;
    let warnings = serving.end().matches("login refused").count();
    assert!(
        (10..=10 + 10 * seconds).contains(&warnings),
        "{warnings} in {seconds} s"
    );
}
