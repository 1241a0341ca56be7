//! Writes a report that was written before in another form.

use std::process::ExitCode;

use super::arguments::Shown;
use super::compare::read;
use super::{Refusal, output};

pub(super) fn carry_out(shown: &Shown) -> Result<ExitCode, Refusal> {
    let report = read(&shown.report)?;
    let text = shown.outlet.format.write(&report);
    output::write(shown.outlet.output.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}
