//! How long a run is and which one it is, from the environment; and what the machine allows.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// Rounds of the kill loop: 20 take less than a minute; a long run has 200.
const ROUNDS: usize = 20;

/// Up to which n the n-th system call is struck.
const FAULTS: usize = 8;

pub(crate) fn rounds() -> usize {
    number("LEVERET_CRASH_ROUNDS").unwrap_or(ROUNDS as u64) as usize
}

pub(crate) fn faults() -> usize {
    number("LEVERET_CRASH_FAULTS").unwrap_or(FAULTS as u64) as usize
}

/// `LEVERET_CRASH_SEED` repeats a run as far as a run can be repeated; without it each is another.
pub(crate) fn seed() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    number("LEVERET_CRASH_SEED").unwrap_or(since.as_nanos() as u64)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}: {text:?} is not a number")))
}

/// True if a command can be run here and succeeds; otherwise says that a test is skipped.
pub(crate) fn allows(test: &str, command: &str, arguments: &[&str]) -> bool {
    let outcome = Command::new(command)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let why = match outcome {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("SKIPPED {test}: this machine does not allow `{command}`: {why}");
    false
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn run(command: &str, arguments: &[&str]) {
    let output = Command::new(command).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {output:?}"
    );
}

/// A filesystem that is mounted for one test. It is unmounted when this value goes, and what a test
/// that was killed left mounted goes when the next one begins.
pub(crate) struct Mounted<'p> {
    place: &'p Path,
}

impl<'p> Mounted<'p> {
    /// `None`, with a message, where mounting is not allowed.
    pub(crate) fn new(test: &str, arguments: &[&str], place: &'p Path) -> Option<Self> {
        let mounted = Self { place };
        let place = place.to_str().unwrap();
        let is_mounted = allows(test, "mount", &[arguments, &[place]].concat());
        if !is_mounted {
            std::mem::forget(mounted);
            return None;
        }
        Some(mounted)
    }

    /// Unmounts what an earlier run may have left.
    pub(crate) fn clear(place: &Path) {
        let mut umount = Command::new("umount");
        let _ = umount.arg(place).stderr(Stdio::null()).status();
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.place).status();
        let is_gone = status.is_ok_and(|status| status.success());
        if !is_gone && !std::thread::panicking() {
            panic!("cannot unmount {}", self.place.display());
        }
    }
}
