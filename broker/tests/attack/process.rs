//! [`BrokerProcess`]: the built broker as a process of its own, where it matters what it takes of the
//! system: memory, descriptors, files, lines of the log.
//!
//! Invariants: it ends with this value; every wait is bounded; at its end it has never had more memory than it
//! was allowed: for messages, for everything else, and for itself ([`PROCESS_BYTES`]).

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::arena::Healthy;
use crate::support::PATIENCE;

const MIB: u64 = 1 << 20;
/// What a broker has that was not attacked: its code, its threads, and what the allocator keeps for them. A build
/// without optimization has 31 MiB when it starts.
const PROCESS_BYTES: u64 = 64 * MIB;
/// What brokers of attacks may have for messages, unless an attack says otherwise: little, so that it is seen
/// if somebody takes more.
const WATERMARK: (&str, u64) = ("memory_high_watermark_bytes", 64 * MIB);
/// The same for everything else.
const RESERVE: (&str, u64) = ("memory_reserve_bytes", 64 * MIB);

pub(crate) struct BrokerProcess {
    child: Child,
    memory_max_bytes: u64,
    log: Receiver<String>,
    /// What it logged before it listened.
    start: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl BrokerProcess {
    /// A broker that keeps nothing, with these settings.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::start_on("", settings).await
    }

    /// A broker on this directory; on none if that is empty.
    pub(crate) async fn start_on(data_dir: impl AsRef<Path>, settings: &[&str]) -> Self {
        let mut memory_max_bytes = PROCESS_BYTES;
        let mut all: Vec<String> = settings.iter().map(|setting| setting.to_string()).collect();
        for (key, default) in [WATERMARK, RESERVE] {
            let set = all
                .iter()
                .find_map(|setting| setting.strip_prefix(key)?.strip_prefix('='));
            let bytes = set.map_or(default, |bytes| bytes.parse().unwrap());
            memory_max_bytes += bytes;
            all.push(format!("{key}={bytes}"));
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut broker = Self::started(Self::command(data_dir, &all));
        broker.memory_max_bytes = memory_max_bytes;
        broker
    }

    /// The command that starts a broker on a data directory; none if that is empty.
    pub(crate) fn command(data_dir: impl AsRef<Path>, settings: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        command.env_clear();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(data_dir.as_ref());
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    }

    pub(crate) fn started(command: Command) -> Self {
        Self::try_started(command).unwrap_or_else(|log| panic!("the broker does not start: {log}"))
    }

    /// Starts it; the log of one that ends instead.
    pub(crate) fn try_started(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        let mut start = Vec::new();
        while let Ok(line) = log.recv_timeout(PATIENCE) {
            if let Some(address) = listening(&line) {
                return Ok(Self {
                    child,
                    memory_max_bytes: u64::MAX,
                    log,
                    start,
                    address,
                });
            }
            start.push(line);
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(start.join("\n"))
    }

    /// A new client is served.
    pub(crate) async fn serves(&self) {
        Healthy::at(self.address).await.round_trip().await;
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak().unwrap()
    }

    /// None if it has ended.
    fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib = line.split_whitespace().nth(1)?;
        Some(kib.parse::<u64>().ok()? * 1024)
    }

    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Time on CPUs so far, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = self.proc_file("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let of = |at| fields.split_whitespace().nth(at).unwrap().parse::<u64>();
        of(11).unwrap() + of(12).unwrap()
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// The next line of the log that has this in it.
    pub(crate) fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The lines that have been logged and not been read.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// What it has logged and nobody has read, to its end, which this is.
    pub(crate) fn last_lines(mut self) -> Vec<String> {
        self.end();
        let start = std::mem::take(&mut self.start);
        start.into_iter().chain(self.log.iter()).collect()
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let peak = self.memory_peak();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let max = self.memory_max_bytes;
        if let Some(peak) = peak
            && !std::thread::panicking()
        {
            assert!(peak <= max, "{peak} bytes are held where {max} are allowed");
        }
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The address in a line that tells of a listener, in either format of the log.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening")?;
    let start = rest.find("127.0.0.1:")?;
    let address = rest[start..].split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    address.into_iter().next()?.parse().ok()
}
