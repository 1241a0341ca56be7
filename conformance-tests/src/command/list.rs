//! Lists the tests that the options select, without a broker.

use std::process::ExitCode;

use leveret_conformance::report::Listing;

use super::arguments::Arguments;
use super::{Refusal, output};

pub(super) fn carry_out(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let listing = Listing::of(&arguments.options())?;
    let text = listing.write(arguments.outlet.format)?;
    output::write(arguments.outlet.output.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}
