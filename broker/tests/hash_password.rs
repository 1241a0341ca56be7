//! `leveret hash-password` from outside: what it takes, prints and refuses, in a pipe and on a terminal.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use leveret::Config;
use leveret::config::{HashingAlgorithm, Password, PasswordHash};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.arg("hash-password").args(arguments).env_clear();
    command
}

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The one line that is printed.
#[track_caller]
fn hash(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""));
    let line = out.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'));
    line.to_owned()
}

#[track_caller]
fn refused(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(1), "")
    );
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    error.trim_end().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn is_right(hash: &str, password: &str) -> bool {
    let hash = PasswordHash::from_text(hash, None).unwrap();
    Password::hashed(hash).matches(password.as_bytes())
}

#[test]
fn each_algorithm_makes_hashes_that_a_configuration_takes() {
    for (name, algorithm, head) in [
        ("sha256", HashingAlgorithm::Sha256, ""),
        ("sha512", HashingAlgorithm::Sha512, ""),
        (
            "argon2id",
            HashingAlgorithm::Argon2id,
            "$argon2id$v=19$m=19456,t=2,p=1$",
        ),
    ] {
        let hash = hash(&["--algorithm", name], b"hush");
        assert!(hash.starts_with(head), "{hash}");
        let read = PasswordHash::from_text(&hash, Some(algorithm)).unwrap();
        assert_eq!(read.algorithm(), algorithm);
        assert!(is_right(&hash, "hush") && !is_right(&hash, "hush\n"));
        let text = format!(
            "users = [{{ name = 'ada', password_hash = '{hash}', hashing_algorithm = '{name}' }}]"
        );
        let config = Config::from_toml(&text).unwrap();
        assert!(config.users[0].password.matches(b"hush"));
    }
}

#[test]
fn the_default_is_rabbitmqs_and_the_salt_is_another_one_each_time() {
    let (one, other) = (hash(&[], b"hush"), hash(&[], b"hush"));
    let read = PasswordHash::from_base64(&one, None).unwrap();
    assert_eq!(read.algorithm(), HashingAlgorithm::Sha256);
    assert_ne!(one, other);
    assert!(is_right(&other, "hush"));
}

#[test]
fn one_end_of_a_line_is_no_part_of_the_password() {
    for input in ["hush", "hush\n", "hush\r\n"] {
        assert!(is_right(&hash(&[], input.as_bytes()), "hush"), "{input:?}");
    }
    assert!(is_right(&hash(&[], b" hu sh \n"), " hu sh "));
    assert!(is_right(
        &hash(&[], "hüsh\u{1f511}\n".as_bytes()),
        "hüsh\u{1f511}"
    ));
}

#[test]
fn what_no_login_could_present_is_refused_in_a_line_that_does_not_show_it() {
    let long = "h".repeat(2_049);
    for (input, error) in [
        (
            &b""[..],
            "the password is empty, and an empty one is never right",
        ),
        (
            b"\n",
            "the password is empty, and an empty one is never right",
        ),
        (b"hush\nhush\n", "the password has more than one line"),
        (
            b"hush\0",
            "the password has a NUL, which no login can present",
        ),
        (b"hush\xff", "the password is not UTF-8"),
        (long.as_bytes(), "the password has more than 2048 bytes"),
    ] {
        assert_eq!(refused(&[], input), format!("leveret: {error}"));
    }
    assert!(is_right(&hash(&[], &long.as_bytes()[1..]), &long[1..]));
}

#[test]
fn a_password_in_the_arguments_is_refused_and_not_echoed() {
    for arguments in [
        &["hush"][..],
        &["--algorithm", "sha512", "hush"],
        &["hu", "sh"],
    ] {
        let error = refused(arguments, b"");
        assert!(error.starts_with("leveret: hash-password takes no password as an argument"));
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn an_algorithm_that_is_not_known_is_refused_with_those_that_are() {
    let output = run(&["--algorithm", "md5"], b"hush");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("sha256, sha512, argon2id"), "{error}");
}

#[cfg(unix)]
mod terminal {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::process::Child;

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// A process on a terminal of its own, of which this is the other side.
    struct Typist {
        child: Child,
        keyboard: File,
        /// What stands on the terminal.
        seen: String,
        side: OwnedFd,
    }

    impl Typist {
        fn start() -> Self {
            let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&ours).unwrap();
            unlockpt(&ours).unwrap();
            let name = ptsname(&ours, Vec::new()).unwrap();
            let side = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
            let child = command(&[])
                .stdin(side.try_clone().unwrap())
                .stderr(side.try_clone().unwrap())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            Self {
                child,
                keyboard: File::from(ours),
                seen: String::new(),
                side,
            }
        }

        /// Reads until the terminal shows this behind what it has shown before.
        fn wait_for(&mut self, text: &str) {
            while !self.seen.ends_with(text) {
                let mut buffer = [0; 256];
                let read = self.keyboard.read(&mut buffer).unwrap();
                assert!(read > 0);
                self.seen.push_str(str::from_utf8(&buffer[..read]).unwrap());
            }
        }

        fn answer(&mut self, prompt: &str, line: &str) {
            self.wait_for(prompt);
            self.keyboard
                .write_all(format!("{line}\n").as_bytes())
                .unwrap();
        }

        fn echoes(&self) -> bool {
            let modes = tcgetattr(&self.side).unwrap();
            modes.local_modes.contains(LocalModes::ECHO)
        }
    }

    #[test]
    fn a_terminal_is_asked_twice_and_shows_nothing() {
        let mut typist = Typist::start();
        typist.wait_for("Password: ");
        assert!(!typist.echoes());
        typist.answer("Password: ", "hush");
        typist.answer("\r\nOnce more: ", "hush");
        typist.wait_for("\r\n");
        let mut hash = String::new();
        typist
            .child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut hash)
            .unwrap();
        assert!(typist.child.wait().unwrap().success());
        assert!(is_right(hash.trim_end(), "hush"));
        assert_eq!(typist.seen, "Password: \r\nOnce more: \r\n");
        assert!(typist.echoes());
    }

    #[test]
    fn two_that_differ_are_refused() {
        let mut typist = Typist::start();
        typist.answer("Password: ", "hush");
        typist.answer("Once more: ", "push");
        typist.wait_for("\r\nleveret: the two passwords differ\r\n");
        assert_eq!(typist.child.wait().unwrap().code(), Some(1));
        assert!(typist.echoes());
    }
}
