//! The `leveret` binary: arguments → configuration → [`leveret::Broker`] → signals.
//!
//! It holds nothing that an application which embeds a broker could not write itself.

mod cli;

use std::process::ExitCode;

/// Connections free on one thread what another allocated, which this allocator is made for. A
/// library must not choose, so the choice is made here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
