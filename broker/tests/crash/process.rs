//! [`BrokerProcess`]: the real binary, started on a data directory, killed and started again.
//!
//! It is started on a port of the system's choosing and is ready once its log says where it listens.
//! `LEVERET_CRASH_PROGRAM` names another binary to put in its place, for instance a release build.
//!
//! Invariants: every wait has a bound; only the process that was started here is signalled; it ends
//! with this value.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest start, which includes recovery; also under `strace`, on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Longest end of a process that was killed or asked to end.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Lines of the log that are kept to be shown with a failure.
const LOG_LINES_MAX: usize = 200;

/// How a broker is to be started; every start is on the same directory.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) data_dir: PathBuf,
    /// Settings, each `KEY=VALUE`.
    pub(crate) settings: Vec<String>,
}

/// A broker that serves.
pub(crate) struct BrokerProcess {
    child: Child,
    address: SocketAddr,
    log: Log,
}

/// A broker that ended before it served: how, and its last lines.
#[derive(Debug)]
pub(crate) struct EndedEarly(String);

impl Setup {
    /// A directory of this test's own, empty, and segments so small that a short load fills many.
    pub(crate) fn fresh(test: &str) -> Self {
        let data_dir = scratch(test).join("data");
        Self::at(data_dir)
    }

    pub(crate) fn at(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            settings: vec![format!("storage.segment_bytes={SEGMENT_BYTES}")],
        }
    }

    /// Starts the broker.
    #[track_caller]
    pub(crate) fn start(&self) -> BrokerProcess {
        let started = BrokerProcess::spawn(self.command());
        started.unwrap_or_else(|ended| panic!("the broker does not start: {}", ended.0))
    }

    /// Starts the broker and kills it after this time, be it ready or not.
    pub(crate) fn start_and_kill(&self, after: Duration) {
        let mut command = self.command();
        without_own_variables(&mut command);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let ended = end_within(&mut child, after);
        assert!(ended.is_none(), "the broker ended by itself: {ended:?}");
        let _ = child.kill();
        await_end(&mut child);
    }

    /// Starts the broker under `strace`, as a child of this process all the same.
    pub(crate) fn start_traced(&self, inject: &str) -> Result<BrokerProcess, EndedEarly> {
        let plain = self.command();
        let mut traced = Command::new("strace");
        traced.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", inject]);
        traced.arg(plain.get_program()).args(plain.get_args());
        BrokerProcess::spawn(traced)
    }

    fn command(&self) -> Command {
        let own = env!("CARGO_BIN_EXE_leveret").into();
        let program = std::env::var_os("LEVERET_CRASH_PROGRAM").unwrap_or(own);
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--data-dir").arg(&self.data_dir);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }
}

/// Segments so small that they end all the time, and hold the largest message all the same.
pub(crate) const SEGMENT_BYTES: u64 = 128 << 10;

/// An empty directory for one test.
pub(crate) fn scratch(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{test}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

impl BrokerProcess {
    fn spawn(mut command: Command) -> Result<Self, EndedEarly> {
        without_own_variables(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = Log::of(&mut child);
        match log.await_address() {
            Some(address) => Ok(Self {
                child,
                address,
                log,
            }),
            None => {
                let status = await_end(&mut child);
                Err(EndedEarly(format!("{status}: {}", log.text())))
            }
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of its log.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        await_end(&mut self.child);
    }

    /// Lets it do nothing more; it is there until it is killed.
    pub(crate) fn freeze(&self) {
        let process = self.id().to_string();
        let sent = Command::new("kill").args(["-STOP", &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop as an operator does and waits until it has.
    pub(crate) fn stop(&mut self) {
        let process = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &process]).status();
        assert!(sent.unwrap().success());
        let status = await_end(&mut self.child);
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits until it has ended by itself; false if it is still there after this time.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> bool {
        end_within(&mut self.child, patience).is_some()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the broker's last lines:\n{}", self.log());
        }
    }
}

/// The broker takes every variable that begins like this for a setting, also those of this test.
fn without_own_variables(command: &mut Command) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("LEVERET_")) {
        command.env_remove(name);
    }
}

#[track_caller]
fn await_end(child: &mut Child) -> ExitStatus {
    let ended = end_within(child, END_PATIENCE);
    ended.unwrap_or_else(|| {
        let _ = child.kill();
        panic!("process {} does not end", child.id())
    })
}

/// The standard library offers no wait with a bound, so this looks every few milliseconds.
fn end_within(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the process writes, read by a thread that ends with it.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    addresses: Receiver<SocketAddr>,
}

impl Log {
    fn of(child: &mut Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, addresses) = mpsc::channel();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = listening(&line) {
                    let _ = tell.send(address);
                }
                let mut kept = kept.lock().unwrap();
                kept.push(line);
                let excess = kept.len().saturating_sub(LOG_LINES_MAX);
                kept.drain(..excess);
            }
        });
        Self { lines, addresses }
    }

    /// `None` when the process ends instead.
    fn await_address(&mut self) -> Option<SocketAddr> {
        match self.addresses.recv_timeout(START_PATIENCE) {
            Ok(address) => Some(address),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no start in time: {}", self.text()),
        }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

/// The address in a line of a JSON log that tells of a listener.
fn listening(line: &str) -> Option<SocketAddr> {
    line.contains("\"message\":\"listening\"").then_some(())?;
    let (_, rest) = line.split_once("\"address\":\"")?;
    rest.split('"').next()?.parse().ok()
}
