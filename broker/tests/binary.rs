//! The `leveret` binary from outside: commands, errors, precedence and signals.
//!
//! Each test has a directory of its own as the working directory and an empty environment.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/process.rs"]
mod process;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Longest wait for a line of the log. It is there so that a broken binary fails a test instead of
/// holding it up; a working one needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    directory: PathBuf,
}

impl Bench {
    fn new(test: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.join(name), text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
        command.args(arguments);
        command.env_clear().current_dir(&self.directory);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Exit code 1, nothing printed, one line of error, which is returned.
    #[track_caller]
    fn refused(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr.trim_end()
    }
}

/// A serving process, which ends with the test.
struct Serving {
    child: Child,
    log: Receiver<String>,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
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

    /// The address in the next line of a JSON log that tells of a listener.
    #[track_caller]
    fn address(&self) -> SocketAddr {
        let line = self.line_with("\"message\":\"listening\"");
        let (_, rest) = line.split_once("\"address\":\"").unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        process::signal(&self.child, name);
    }

    /// Waits for the end of the log, which is the end of the process.
    #[track_caller]
    fn exit_code(mut self) -> Option<i32> {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the process does not end"),
            }
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn version_names_the_program() {
    let ended = Bench::new("version").run(&["--version"]);
    assert_eq!(ended.code, Some(0));
    let expected = concat!("leveret ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(ended.stdout, expected);
}

#[test]
fn config_check_says_that_a_file_is_ok() {
    let example = include_str!("../docs/leveret.toml");
    let bench = Bench::new("check_ok").file("a.toml", example);
    let ended = bench.run(&["config", "check", "a.toml"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, "a.toml: ok\n");
}

#[test]
fn config_check_names_a_bad_value_with_file_and_line() {
    let bench = Bench::new("check_bad").file("a.toml", "heartbeat_s = 5\nframe_max = 12\n");
    let ended = bench.run(&["config", "check", "a.toml"]);
    assert_eq!(
        ended.refused(),
        "leveret: a.toml:2: frame_max: 12 is not allowed, \
         expected a whole number from 4096 to 16777216"
    );
}

#[test]
fn config_check_judges_the_file_alone() {
    let bench = Bench::new("check_alone")
        .file("a.toml", "")
        .file("leveret.toml", "nonsense = 1");
    let mut command = bench.command(&["config", "check", "a.toml"]);
    command.env("LEVERET_CONFIG", "missing.toml");
    command.env("LEVERET_NONSENSE", "1");
    assert_eq!(Ended::of(command.output().unwrap()).code, Some(0));
}

#[test]
fn an_unknown_key_stops_the_start() {
    let bench = Bench::new("unknown_key").file("leveret.toml", "\n\nframe_mex = 8192");
    for arguments in [&[][..], &["serve"], &["config", "print"]] {
        let ended = bench.run(arguments);
        let text = ended.refused();
        let expected = "leveret: leveret.toml:3: frame_mex: there is no such key, expected one of";
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn an_unknown_variable_stops_the_start() {
    let mut command = Bench::new("unknown_variable").command(&[]);
    command.env("LEVERET_FRAME_MEX", "8192");
    assert_eq!(
        Ended::of(command.output().unwrap()).refused(),
        "leveret: environment variable LEVERET_FRAME_MEX: there is no such key"
    );
}

#[test]
fn bad_options_stop_the_start_with_one_line() {
    let bench = Bench::new("bad_options");
    for (arguments, expected) in [
        (
            ["--listen", "localhost"],
            "option --listen: listeners: \"localhost\" is not allowed, expected an IP address",
        ),
        (
            ["--log-format", "xml"],
            "option --log-format: log.format: `xml` is not allowed, expected `text` or `json`",
        ),
        (
            ["--log-level", "loud"],
            "option --log-level: log.level: \"loud\" is not allowed, expected off, error",
        ),
        (
            ["--set", "frame_mex=1"],
            "option --set: frame_mex: there is no such key",
        ),
        (
            ["--set", "frame_max"],
            "option --set frame_max: expected KEY=VALUE",
        ),
        (
            ["--data-dir=a", "--ephemeral"],
            "options --data-dir and --ephemeral: only one of them",
        ),
        (
            ["--config", "none.toml"],
            "cannot read none.toml: No such file",
        ),
    ] {
        let ended = bench.run(&arguments);
        let text = ended.refused();
        assert!(text.starts_with(&format!("leveret: {expected}")), "{text}");
    }
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let file = "channel_max = 1\nframe_max = 5001\nheartbeat_s = 1\n[log]\nlevel = 'error'";
    let bench = Bench::new("precedence").file("a.toml", file);
    let options = [
        "--config",
        "a.toml",
        "--set",
        "channel_max=3",
        "--log-level",
        "debug",
    ];
    let mut command = bench.command(&[&["config", "print"][..], &options].concat());
    command.env("LEVERET_CHANNEL_MAX", "2");
    command.env("LEVERET_FRAME_MAX", "5002");
    command.env("LEVERET_LOG__LEVEL", "warn");
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.stderr, "");
    for line in [
        "channel_max = 3",
        "frame_max = 5002",
        "heartbeat_s = 1",
        "level = \"debug\"",
        "consumer_timeout_ms = 1800000",
    ] {
        let is_there = ended.stdout.lines().any(|printed| printed == line);
        assert!(is_there, "{line}\n{}", ended.stdout);
    }
}

#[test]
fn a_named_file_takes_the_place_of_the_default_file() {
    let bench = Bench::new("named_file")
        .file("leveret.toml", "heartbeat_s = 1")
        .file("b.toml", "channel_max = 7");
    let mut command = bench.command(&["config", "print"]);
    command.env("LEVERET_CONFIG", "b.toml");
    let ended = Ended::of(command.output().unwrap());
    assert!(ended.stdout.contains("channel_max = 7"), "{ended:?}");
    assert!(ended.stdout.contains("heartbeat_s = 60"), "{ended:?}");
    let ended = bench.run(&["config", "print"]);
    assert!(ended.stdout.contains("heartbeat_s = 1\n"), "{ended:?}");
}

#[test]
fn what_config_print_prints_is_allowed_and_shows_no_password() {
    let users = "users = [{ name = 'ada', password = 'hush' }]";
    let bench = Bench::new("print").file("leveret.toml", users);
    let ended = bench.run(&["config", "print"]);
    assert!(!ended.stdout.contains("hush"));
    assert!(ended.stdout.contains("password = \"***\""), "{ended:?}");
    let bench = bench.file("printed.toml", &ended.stdout);
    let ended = bench.run(&["config", "check", "printed.toml"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_port_in_use_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let options = ["--listen", &address, "--log-level", "error", "--ephemeral"];
    let ended = Bench::new("port").run(&options);
    let text = ended.refused();
    let expected = format!("leveret: cannot listen on {address}: Address already in use");
    assert!(text.starts_with(&expected), "{text}");
}

#[cfg(unix)]
#[test]
fn serves_on_every_address_until_a_signal() {
    for signal in ["TERM", "INT"] {
        let options = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
        let options = [&options[..], &["--log-format", "json", "--ephemeral"]].concat();
        let serving = Serving::start(Bench::new(&format!("serve_{signal}")).command(&options));
        let addresses = [serving.address(), serving.address()];
        assert_ne!(addresses[0], addresses[1]);
        for address in addresses {
            TcpStream::connect(address).unwrap();
        }
        serving.signal(signal);
        serving.line_with(&format!("\"signal\":\"SIG{signal}\""));
        assert_eq!(serving.exit_code(), Some(0));
    }
}

#[test]
fn the_log_is_text_unless_told_otherwise() {
    let options = ["serve", "--listen", "127.0.0.1:0", "--ephemeral"];
    let serving = Serving::start(Bench::new("text").command(&options));
    let line = serving.line_with("listening");
    assert!(line.contains(" INFO "), "{line}");
    assert!(line.contains("address=127.0.0.1:"), "{line}");
}

/// A port that the system chooses, and a log that can be read.
const SERVE: [&str; 4] = ["--listen", "127.0.0.1:0", "--log-format", "json"];

#[cfg(unix)]
#[test]
fn without_arguments_it_keeps_its_data_where_it_runs() {
    let bench = Bench::new("keeps");
    for _ in 0..2 {
        let serving = Serving::start(bench.command(&SERVE));
        serving.address();
        let second = bench.run(&["--listen", "127.0.0.1:0", "--log-level", "error"]);
        let text = second.refused();
        let expected = "leveret: data directory ./leveret-data is in use by ";
        assert!(text.starts_with(expected), "{text}");
        serving.signal("TERM");
        assert_eq!(serving.exit_code(), Some(0));
    }
    let verified = bench.run(&["store", "verify", "leveret-data"]);
    assert_eq!((verified.code, verified.stderr.as_str()), (Some(0), ""));
    assert!(
        verified.stdout.contains("closed in good order"),
        "{verified:?}"
    );
    let dumped = bench.run(&["store", "dump", "leveret-data"]);
    assert_eq!((dumped.code, dumped.stderr.as_str()), (Some(0), ""));
    let expected = "exchange 4 \"amq.topic\" in vhost \"/\": topic, arguments {}\n";
    assert!(dumped.stdout.contains(expected), "{dumped:?}");
}

#[cfg(unix)]
#[test]
fn told_to_keep_nothing_it_leaves_nothing() {
    let bench = Bench::new("ephemeral");
    let mut command = bench.command(&[&SERVE[..], &["--ephemeral"]].concat());
    command.env("LEVERET_DATA_DIR", "elsewhere");
    let serving = Serving::start(command);
    serving.address();
    serving.signal("TERM");
    assert_eq!(serving.exit_code(), Some(0));
    assert_eq!(fs::read_dir(&bench.directory).unwrap().count(), 0);
}

#[test]
fn the_data_directory_is_chosen_like_every_other_key() {
    let bench = Bench::new("data_dir").file("leveret.toml", "data_dir = 'of_file'");
    for (options, expected) in [
        (&[][..], "data_dir = \"of_file\"\n"),
        (&["--data-dir", "mine"], "data_dir = \"mine\"\n"),
        (&["--ephemeral"], "data_dir = \"\"\n"),
    ] {
        let ended = bench.run(&[&["config", "print"], options].concat());
        assert!(ended.stdout.contains(expected), "{expected}\n{ended:?}");
    }
    let ended = Bench::new("data_dir_default").run(&["config", "print"]);
    let expected = "data_dir = \"./leveret-data\"\n";
    assert!(ended.stdout.contains(expected), "{ended:?}");
}

#[test]
fn a_data_directory_that_cannot_be_used_stops_the_start_and_is_not_touched() {
    let bench = Bench::new("unusable").file("plain", "text");
    let options = [
        "--listen",
        "127.0.0.1:0",
        "--log-level",
        "error",
        "--data-dir",
    ];
    let ended = bench.run(&[&options[..], &["plain"]].concat());
    assert_eq!(
        ended.refused(),
        "leveret: data directory plain is not a directory"
    );
    assert_eq!(
        fs::read_to_string(bench.directory.join("plain")).unwrap(),
        "text"
    );
    for command in ["verify", "dump"] {
        let ended = bench.run(&["store", command, "missing"]);
        let text = "leveret: data directory missing does not exist";
        assert_eq!(ended.refused(), text);
        assert!(!bench.directory.join("missing").exists());
    }
}

#[test]
fn a_data_directory_of_a_later_version_is_refused_and_not_touched() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/golden/newer");
    let bench = Bench::new("newer");
    let copy = bench.directory.join("data");
    fs::create_dir(&copy).unwrap();
    let contents = |directory: &Path| -> Vec<(OsString, Vec<u8>)> {
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap());
        let files = files.filter(|file| file.file_name() != "LOCK");
        let mut files: Vec<_> = files
            .map(|file| (file.file_name(), fs::read(file.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    for (name, bytes) in contents(&golden) {
        fs::write(copy.join(name), bytes).unwrap();
    }
    for command in [
        &["serve", "--data-dir", "data"][..],
        &["store", "verify", "data"],
    ] {
        let ended = bench.run(command);
        let expected = "leveret: data has format version 2, and this program knows up to 1";
        assert_eq!(ended.refused(), expected);
    }
    assert_eq!(contents(&copy), contents(&golden));
}

#[cfg(unix)]
#[test]
fn not_waiting_for_the_disk_is_warned_of() {
    let options = [&SERVE[..], &["--set", "storage.sync=never"]].concat();
    let serving = Serving::start(Bench::new("never").command(&options));
    let line = serving.line_with("storage.sync");
    assert!(line.contains("\"level\":\"WARN\""), "{line}");
}

/// An idle broker needs a little memory of many sizes, which lie apart: in huge pages that is 2 MiB for
/// each of a handful of places, more than all the rest of the process.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_not_asked_for_in_huge_pages() {
    let serving = Serving::start(Bench::new("huge_pages").command(&SERVE));
    serving.address();
    let maps = fs::read_to_string(format!("/proc/{}/smaps", serving.child.id())).unwrap();
    let flags = maps.lines().filter(|line| line.starts_with("VmFlags:"));
    let (advised, others): (Vec<&str>, Vec<&str>) =
        flags.partition(|line| line.split(' ').any(|flag| flag == "hg"));
    assert!(!others.is_empty(), "no flags in {maps}");
    assert!(advised.is_empty(), "{} mappings", advised.len());
}
