//! The built binary with certificates: what it says at the start, and what it reads again.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::authority::{Authority, Files, Signed};
use crate::bench::{Dialler, NAME};
use crate::support::PATIENCE;

#[path = "../support/process.rs"]
mod signals;

/// A serving process, which ends with the test.
struct Serving {
    child: Child,
    log: Receiver<String>,
}

impl Serving {
    fn start(files: &Files, shown: &Signed) -> Self {
        let certfile = files.write("server.pem", &shown.certificate);
        let keyfile = files.write("server.key", &shown.key);
        let set = |key: &str, path: &Path| format!("--set=tls.{key}={}", path.display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["--ephemeral", "--listen=127.0.0.1:0", "--log-format=json"])
            .arg("--set=tls.listeners=127.0.0.1:0")
            .args([set("certfile", &certfile), set("keyfile", &keyfile)])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        Self { child, log }
    }

    #[track_caller]
    fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }

    #[track_caller]
    fn address(&self) -> SocketAddr {
        let line = self.line_with("listening for TLS");
        let (_, rest) = line.split_once("\"address\":\"").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn files_are_read_again_on_sighup() {
    let files = Files::new("hang-up");
    let (first, next) = (Authority::new("first"), Authority::new("next"));
    let serving = Serving::start(&files, &first.sign(NAME));
    let address = serving.address();
    let mut staying = Dialler::trusting(&first).open(address, NAME).await;
    let shown = next.sign(NAME);
    // Until the certificate is there too, they do not belong together.
    files.write("server.key", &shown.key);
    signals::signal(&serving.child, "HUP");
    let line = serving.line_with("certificates stay as they were");
    let reason = "server.key: this key does not belong";
    assert!(line.contains(reason), "{line}");
    Dialler::trusting(&first).open(address, NAME).await;
    files.write("server.pem", &shown.certificate);
    signals::signal(&serving.child, "HUP");
    serving.line_with("certificates were read again");
    Dialler::trusting(&next).open(address, NAME).await;
    let error = Dialler::trusting(&first).dial(address, NAME).await;
    assert!(error.is_err());
    let open = leveret_protocol::method::channel::Open::default();
    let opened = leveret_protocol::method::channel::OpenOk::ID;
    staying.call(1, open, opened).await;
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let files = Files::new("change");
    let (first, next) = (Authority::new("first"), Authority::new("next"));
    let serving = Serving::start(&files, &first.sign(NAME));
    let address = serving.address();
    let shown = next.sign(NAME);
    files.write("server.key", &shown.key);
    files.write("server.pem", &shown.certificate);
    let line = serving.line_with("certificates were read again");
    assert!(line.contains("a file has changed"), "{line}");
    Dialler::trusting(&next).open(address, NAME).await;
}

#[tokio::test]
async fn an_expired_certificate_is_named_and_still_shown() {
    let (files, authority) = (Files::new("expired"), Authority::new("authority"));
    let serving = Serving::start(&files, &authority.sign_expired(NAME));
    let line = serving.line_with("the certificate has expired");
    assert!(
        line.contains("expired/server.pem") || line.contains("server.pem"),
        "{line}"
    );
    assert!(
        line.contains("CN=broker.test") && line.contains("2021"),
        "{line}"
    );
    let error = Dialler::trusting(&authority)
        .dial(serving.address(), NAME)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_key_that_cannot_be_used_stops_the_start() {
    let (files, authority) = (Files::new("bad-key"), Authority::new("authority"));
    let shown = authority.sign(NAME);
    let other = Signed {
        key: authority.sign(NAME).key,
        certificate: shown.certificate,
    };
    let mut serving = Serving::start(&files, &other);
    let line = serving.line_with("leveret:");
    assert!(
        line.contains("server.key: this key does not belong"),
        "{line}"
    );
    assert_eq!(serving.child.wait().unwrap().code(), Some(1));
}
