//! The command line of the binary.
//!
//! ```text
//!   leveret [serve] [options]        run a broker
//!   leveret config check FILE        is this file allowed?
//!   leveret config print [options]   what would `serve` run with?
//!   leveret perf [CASE] [options]    how fast is a broker, or a disk?
//!   leveret definitions export       what would `serve` begin with, as RabbitMQ's JSON?
//!   leveret definitions check FILE   what would importing this do?
//!   leveret hash-password           what is to be kept of a password?
//!   leveret store verify DIR         is this data directory as it was written?
//!   leveret store dump DIR           what is in it?
//! ```
//!
//! What it is not: a part of the library. It alone reads arguments, the environment and files, and
//! it alone installs a log.
//!
//! Invariant: whatever keeps a command from doing its work is one line on standard error, which
//! starts with `leveret: `, and exit code 1. Only arguments that cannot be parsed end with clap's
//! usage text and exit code 2.

mod arguments;
mod certificates;
mod changes;
mod definitions;
mod environment;
mod hash_password;
mod log;
mod one_line;
mod perf;
mod print;
mod serve;
mod signals;
mod sources;
mod store;
mod terminal;
mod threads;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
#[cfg(feature = "tls")]
use leveret::TlsError;
use leveret::config::ConfigError;
use leveret::definitions::OfflineError;
use leveret::{ListenError, StartError};
use leveret_storage::OpenError;
use leveret_storage::disk::DiskOpenError;
use thiserror::Error;

use arguments::{Arguments, Command, ConfigCommand, DefinitionsCommand, StoreCommand};
use hash_password::HashPasswordError;
use perf::PerfError;
use sources::Sources;

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    match dispatch(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(Fatal::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("leveret: {fatal}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Fatal> {
    let serve = Command::Serve(arguments.options);
    match arguments.command.unwrap_or(serve) {
        Command::Serve(options) => serve::serve(&Sources::of_process(&options)?.config()?),
        Command::Config(ConfigCommand::Check { file }) => print::check(&file),
        Command::Config(ConfigCommand::Print(options)) => {
            print::print(&Sources::of_process(&options)?.config()?)
        }
        Command::Definitions(DefinitionsCommand::Export { output, options }) => {
            let config = Sources::of_process(&options)?.config()?;
            definitions::export(&config, output.as_deref())
        }
        Command::Definitions(DefinitionsCommand::Check { file }) => definitions::check(&file),
        Command::HashPassword(arguments) => hash_password::hash_password(&arguments),
        Command::Perf(arguments) => perf::run(&arguments),
        Command::Store(StoreCommand::Verify { directory }) => store::verify(&directory),
        Command::Store(StoreCommand::Dump { directory }) => store::dump(&directory),
    }
}

/// What keeps a command from doing its work.
#[derive(Debug, Error)]
enum Fatal {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("cannot read {file}: {source}")]
    File { file: String, source: io::Error },
    #[error("environment variable {name}: there is no such key")]
    UnknownVariable { name: String },
    #[error("environment variable {name}: the value is not UTF-8")]
    VariableNotText { name: String },
    #[error("option --set {key}: expected KEY=VALUE")]
    Set { key: String },
    #[error("options --data-dir and --ephemeral: only one of them")]
    KeepAndNot,
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Disk(#[from] DiskOpenError),
    #[error("{0}")]
    Store(#[from] OpenError),
    #[error("{0}")]
    Definitions(#[from] OfflineError),
    #[error("{file}: {count} problems, nothing would be imported")]
    Refused { file: String, count: usize },
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error("{directory} is damaged: {count} found")]
    Damaged { directory: String, count: usize },
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    HashPassword(#[from] HashPasswordError),
    #[error("{0}")]
    Perf(#[from] PerfError),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("cannot write: {0}")]
    Output(io::Error),
    #[error("a second signal came before all connections had ended")]
    SecondSignal,
}
