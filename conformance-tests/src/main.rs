//! The command `leveret-conformance`: holds a broker against the rules and says where it differs.

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::carry_out(command::Arguments::parse())
}
