//! What the commands of the binary print, and what they say when something is wrong.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::canary::assert_none;

/// A directory of its own, with the planted files.
pub fn bench(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-{test}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.args(arguments).env_clear().current_dir(directory);
    command
}

/// Runs a command and looks at both of its outputs.
#[track_caller]
fn shows_none(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let what = format!("{command:?}");
    assert_none(&format!("the output of {what}"), &output.stdout);
    assert_none(&format!("the error of {what}"), &output.stderr);
    output
}

#[test]
fn no_command_shows_a_secret() {
    let directory = bench("commands");
    let config = "default_pass = 'CANARY-default'
                  load_definitions = 'definitions.json'
                  [[users]]
                  name = 'ada'
                  password = 'CANARY-config'";
    fs::write(directory.join("leveret.toml"), config).unwrap();
    let definitions = r#"{"users":[{"name":"bob","password":"CANARY-definitions","tags":[]}]}"#;
    fs::write(directory.join("definitions.json"), definitions).unwrap();
    for arguments in [
        &["config", "print"][..],
        &["config", "check", "leveret.toml"],
        &["definitions", "export", "--ephemeral"],
        &["definitions", "check", "definitions.json"],
        &["hash-password"],
        &["hash-password", "--algorithm", "argon2id"],
    ] {
        let output = shows_none(command(&directory, arguments), b"CANARY-typed\n");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn no_error_shows_a_secret() {
    let directory = bench("errors");
    let broken = "default_pass = CANARY";
    fs::write(directory.join("broken.toml"), broken).unwrap();
    fs::write(directory.join("broken.json"), r#"{"users":["CANARY"]"#).unwrap();
    for (arguments, input) in [
        (&["config", "check", "broken.toml"][..], ""),
        (&["definitions", "check", "broken.json"], ""),
        (&["--ephemeral", "--set", "users=CANARY"], ""),
        (&["--ephemeral", "--set", "default_pass: CANARY"], ""),
        (&["--ephemeral", "--set", "default_pass CANARY"], ""),
        (&["hash-password", "CANARY"], ""),
        (&["hash-password", "--algorithm", "sha256", "CANARY"], ""),
        (&["hash-password"], "CANARY\nCANARY\n"),
        (&["hash-password"], "CANARY\0"),
        (&["perf", "--uri", "amqps://ada:CANARY@127.0.0.1:1/"], ""),
        (&["perf", "--uri", "amqp://ada:CANARY@127.0.0.1:port/"], ""),
        (&["perf", "--uri", "amqp://ada:CANARY@127.0.0.1:1/"], ""),
    ] {
        let output = shows_none(command(&directory, arguments), input.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    }
    for (variable, value) in [
        ("LEVERET_USERS", "[{ name = 'ada', password = 'CANARY'"),
        ("LEVERET_USERS", "CANARY"),
        (
            "LEVERET_USERS",
            "[{ name = 'ada', password_hash = 'CANARY' }]",
        ),
        ("LEVERET_USER_PASSWORD", "CANARY"),
    ] {
        let mut command = command(&directory, &["--ephemeral"]);
        command.env(variable, value);
        let output = shows_none(command, b"");
        assert_eq!(output.status.code(), Some(1), "{variable} {output:?}");
    }
}

#[test]
fn no_error_about_a_key_shows_it() {
    let directory = bench("key");
    for key in [
        "CANARY",
        "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n",
    ] {
        fs::write(directory.join("key.pem"), key).unwrap();
        fs::write(directory.join("certificate.pem"), key).unwrap();
        let config = "data_dir = ''\n[tls]\nlisteners = ['127.0.0.1:0']\ncertfile = 'certificate.pem'\n\
                      keyfile = 'key.pem'";
        fs::write(directory.join("leveret.toml"), config).unwrap();
        let output = shows_none(command(&directory, &["--log-level", "trace"]), b"");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}
