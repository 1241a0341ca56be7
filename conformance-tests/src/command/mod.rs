//! The command line over the library.
//!
//! ```text
//!   arguments ─┬─▶ list      the tests, without a broker
//!              ├─▶ hold      one run: target ─▶ progress, signals ─▶ report ─▶ output
//!              ├─▶ compare   reports that were written before ─▶ output
//!              └─▶ show      one of them in another form ─▶ output
//! ```
//!
//! What it is not: it knows no rule and no form of a report.
//!
//! Invariant: whatever it prints, to whichever stream, went through the library's forms or [`output`]; no
//! byte of a broker's reaches a terminal raw.

mod arguments;
mod compare;
mod hold;
mod list;
mod output;
mod progress;
mod show;
mod signals;

use std::process::ExitCode;

pub(crate) use arguments::Arguments;
use arguments::Command;

/// A test failed, or the run ended early, or nothing ran.
const NOT_CONFORMANT: u8 = 1;
/// What was asked for cannot be done: a word that means nothing, no broker, a file that cannot be written.
const NOT_DONE: u8 = 2;

/// Why nothing could be done, in one line.
#[derive(Debug)]
struct Refusal(String);

impl<T: std::fmt::Display> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// Does what the arguments ask for and says how that went.
pub(crate) fn carry_out(arguments: Arguments) -> ExitCode {
    let done = match &arguments.command {
        Some(Command::Compare(compared)) => compare::carry_out(compared),
        Some(Command::Show(shown)) => show::carry_out(shown),
        None if arguments.list => list::carry_out(&arguments),
        None => hold::carry_out(&arguments),
    };
    done.unwrap_or_else(|Refusal(reason)| {
        output::tell(&format!("error: {reason}"));
        ExitCode::from(NOT_DONE)
    })
}
