//! The arguments as clap reads them.
//!
//! Values of configuration keys stay text here, so that one place judges them wherever they were
//! written.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::hash_password::HashPassword;
use super::perf::Perf;

/// An AMQP 0-9-1 message broker.
#[derive(Debug, Parser)]
#[command(name = "leveret", version, args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a broker (what `leveret` alone does)
    Serve(Options),
    /// Look at configurations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Put load on a broker, Leveret or another, and measure how fast it is; or how fast a disk is
    Perf(Box<Perf>),
    /// Write and try definitions, RabbitMQ's JSON of users, vhosts, queues and so on
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Ask for a password, or read one from standard input, and print what to keep of it
    HashPassword(HashPassword),
    /// Look into data directories, damaged ones too; changes nothing
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read everything and name what is damaged
    Verify {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print exchanges, queues, bindings and the heads of messages
    Dump {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionsCommand {
    /// Write what `serve` would begin with: from the configuration and the data directory, which is not
    /// changed
    Export {
        /// The file to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// Say what importing would do, and what would have no effect
    Check {
        /// The file, or a directory of files
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a configuration file is allowed
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration that `serve` would run with, passwords masked
    Print(Options),
}

/// Where the configuration comes from. An option beats an environment variable (LEVERET_<KEY>),
/// which beats the file, which beats the default.
#[derive(Debug, Default, Args)]
pub(super) struct Options {
    /// Configuration file [default: leveret.toml in the working directory, if it exists]
    #[arg(long, value_name = "FILE", env = "LEVERET_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Address to listen on, such as 127.0.0.1:5672; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<String>,
    /// Directory to keep durable things and persistent messages in [default: ./leveret-data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<String>,
    /// Keep nothing: what is durable lasts as long as the process
    #[arg(long)]
    pub(super) ephemeral: bool,
    /// What to log: a level, or a filter such as info,leveret::net=debug
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// How to log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// Any key of the configuration, such as log.level=debug; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}
