//! Where texts go: a file, the standard output, the standard error.
//!
//! Invariants: what is told on the standard error is one line without anything that a terminal obeys. A
//! reader who has left, as `head` does, is no error.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use leveret_conformance::report::one_line;

use super::Refusal;

/// Says something about the run beside its report.
pub(super) fn tell(text: &str) {
    // There is nobody left to tell that it cannot be told.
    let _ = writeln!(io::stderr(), "{}", one_line(text));
}

/// Makes sure, before a run, that its report can be written afterwards. What the file holds stays.
pub(super) fn expect_writable(file: Option<&Path>) -> Result<(), Refusal> {
    let Some(file) = file else { return Ok(()) };
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| refusal(file, &error))
}

/// Writes a text, which is safe to print, to the file or else to the standard output.
pub(super) fn write(file: Option<&Path>, text: &str) -> Result<(), Refusal> {
    match file {
        Some(file) => fs::write(file, text).map_err(|error| refusal(file, &error)),
        None => print(text),
    }
}

fn print(text: &str) -> Result<(), Refusal> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Refusal(format!(
            "the standard output takes no report: {error}"
        ))),
        _ => Ok(()),
    }
}

fn refusal(file: &Path, error: &io::Error) -> Refusal {
    Refusal(format!("{} cannot be written: {error}", file.display()))
}
