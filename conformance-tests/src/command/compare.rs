//! Compares brokers by reports that were written before.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use leveret_conformance::{Report, compatibility_page};

use super::arguments::Compared;
use super::{Refusal, output};

pub(super) fn carry_out(compared: &Compared) -> Result<ExitCode, Refusal> {
    let reports: Result<Vec<Report>, Refusal> =
        compared.reports.iter().map(|file| read(file)).collect();
    output::write(compared.output.as_deref(), &compatibility_page(&reports?))?;
    Ok(ExitCode::SUCCESS)
}

/// A report that was written before.
pub(super) fn read(file: &Path) -> Result<Report, Refusal> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Refusal(format!("{shown} cannot be read: {error}")))?;
    Report::from_json(&text).map_err(|error| Refusal(format!("{shown}: {error}")))
}
