//! The binary with each way to share connections among threads: they exchange messages wherever they
//! are served, and a shutdown leaves none of them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/process.rs"]
mod process;
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use bytes::BytesMut;
use leveret_protocol::client::write_publish;
use leveret_protocol::content::{FRAME_BODY, Properties};
use leveret_protocol::method::{basic, channel, queue};
use leveret_protocol::{MethodId, ShortStr};
use process::signal;
use support::{Client, Close, PATIENCE};
use tokio::io::AsyncWriteExt as _;

/// A serving process, which ends with the test, and its log.
struct Serving {
    child: Child,
    log: Receiver<String>,
}

impl Serving {
    fn start(settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        command.env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
        let line = "--listen 127.0.0.1:0 --ephemeral --log-format json --log-level leveret=debug";
        command.args(line.split(' '));
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        Self { child, log }
    }

    /// The next line of the log that tells of this.
    fn line(&self, message: &str) -> String {
        let message = format!("\"message\":\"{message}\"");
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(&message) {
                return line;
            }
        }
    }

    fn address(&self) -> SocketAddr {
        let line = self.line("listening");
        let (_, rest) = line.split_once("\"address\":\"").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    /// The worker of the connection that was accepted next.
    fn next_worker(&self) -> Option<String> {
        let line = self.line("accepted");
        let (_, rest) = line.split_once("\"worker\":")?;
        let digits = rest
            .trim_start_matches('"')
            .split(|c: char| !c.is_ascii_digit());
        digits.map(str::to_owned).next()
    }

    fn terminate(&self) {
        signal(&self.child, "TERM");
    }

    /// What was still logged, and how the process ended.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        let mut lines = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the process does not end"),
            }
        }
        (lines, self.child.wait().unwrap().code())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that consumes from a queue of its own.
async fn consumer(address: SocketAddr, name: &str) -> Client {
    let mut client = Client::open(address).await;
    let name = ShortStr(name.as_bytes());
    client
        .call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    let declare = queue::Declare {
        queue: name,
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
    let consume = basic::Consume {
        queue: name,
        no_ack: true,
        ..Default::default()
    };
    client.call(1, consume, basic::ConsumeOk::ID).await;
    client
}

async fn publish(client: &mut Client, queue: &str, body: &[u8]) {
    let publish = basic::Publish {
        routing_key: ShortStr(queue.as_bytes()),
        ..Default::default()
    };
    let mut out = BytesMut::new();
    write_publish(1, publish, &Properties::default(), body, 131_072, &mut out);
    client.stream.write_all(&out).await.unwrap();
}

async fn receive(client: &mut Client) -> Vec<u8> {
    loop {
        let frame = client.next_frame().await;
        if frame.kind == FRAME_BODY {
            return frame.payload.to_vec();
        }
    }
}

/// Every one of six connections sends to every other; returns which workers served them.
async fn exchange(settings: &[&str]) -> Vec<Option<String>> {
    const CLIENTS: usize = 6;
    let serving = Serving::start(settings);
    let address = serving.address();
    let (mut clients, mut workers) = (Vec::new(), Vec::new());
    for index in 0..CLIENTS {
        clients.push(consumer(address, &format!("q{index}")).await);
        workers.push(serving.next_worker());
    }
    for from in 0..CLIENTS {
        for to in 0..CLIENTS {
            let body = format!("from {from} to {to}");
            publish(&mut clients[from], &format!("q{to}"), body.as_bytes()).await;
            assert_eq!(receive(&mut clients[to]).await, body.as_bytes());
        }
    }
    serving.terminate();
    for mut client in clients {
        let Close { code, culprit, .. } = client.expect_close().await;
        assert_eq!((code, culprit), (320, MethodId::NONE));
        client.expect_end().await;
    }
    let (log, code) = serving.end();
    assert_eq!(code, Some(0));
    let says = |text: &str| log.iter().any(|line| line.contains(text));
    assert!(
        says("stopped") && !says("WARN") && !says("ERROR"),
        "{log:#?}"
    );
    workers
}

fn names(numbers: [usize; 6]) -> [Option<String>; 6] {
    numbers.map(|number| Some(number.to_string()))
}

#[tokio::test]
async fn stealing_threads_share_every_connection() {
    let stealing = ["worker_scheduling=stealing", "worker_threads=2"];
    assert_eq!(exchange(&stealing).await, [const { None }; 6]);
}

#[tokio::test]
async fn pinned_threads_are_dealt_the_connections() {
    let pinned = ["worker_scheduling=pinned", "worker_threads=3"];
    assert_eq!(exchange(&pinned).await, names([0, 1, 2, 0, 1, 2]));
}

#[tokio::test]
async fn threads_that_are_bound_to_cpus_serve_all_the_same() {
    let bound = [
        "worker_scheduling=pinned",
        "worker_affinity=true",
        "worker_threads=2",
    ];
    assert_eq!(exchange(&bound).await, names([0, 1, 0, 1, 0, 1]));
}

/// The mask of CPUs of every thread whose name begins so.
#[cfg(target_os = "linux")]
fn cpus_of_threads(process: u32, name: &str) -> Vec<String> {
    let mut masks = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |key: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(key).map(|value| value.trim().to_owned()))
        };
        if field("Name:").unwrap().starts_with(name) {
            masks.push(field("Cpus_allowed_list:").unwrap());
        }
    }
    masks
}

/// Binding happens before a thread serves, so one served connection for each tells that it is done.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_bound_thread_has_one_of_the_cpus_that_the_process_may_use() {
    let bound = [
        "worker_scheduling=pinned",
        "worker_affinity=true",
        "worker_threads=3",
    ];
    let serving = Serving::start(&bound);
    let address = serving.address();
    let mut clients = Vec::new();
    for name in ["a", "b", "c"] {
        clients.push(consumer(address, name).await);
    }
    let masks = cpus_of_threads(serving.child.id(), "worker-");
    assert_eq!(masks.len(), 3);
    let single = masks.iter().all(|mask| mask.parse::<usize>().is_ok());
    assert!(single, "{masks:?}");
}

#[test]
fn a_scheduling_that_does_not_exist_stops_the_start() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command
        .env_clear()
        .env("LEVERET_WORKER_SCHEDULING", "greedy");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "leveret: environment variable LEVERET_WORKER_SCHEDULING: worker_scheduling: `greedy` is \
         not allowed, expected `stealing` or `pinned`\n"
    );
}
