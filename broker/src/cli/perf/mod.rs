//! `leveret perf`: puts load on a broker over its socket and says what it measured.
//!
//! ```text
//!   arguments ──▶ case (load · ping · publish · fill · drain · wait · disk) ──▶ people or JSON
//!                   │
//!                   └─ Link: one connection; Window: what is unconfirmed; Histogram: latencies
//! ```
//!
//! What it is not: part of the broker. It speaks AMQP 0-9-1 to whatever listens at the address, and
//! knows nothing that only Leveret does.
//!
//! Invariants: no case outlives its deadline, and no wait for the broker lasts longer than the
//! patience; a signal ends any case at once; whatever goes wrong names the address or file.

mod arguments;
mod consumer;
mod disk;
mod drain;
mod error;
mod histogram;
mod link;
mod load;
mod notices;
mod publish;
mod publisher;
mod queues;
mod report;
mod uri;
mod wait;
mod window;

use std::future::Future;
use std::thread;

use tokio::runtime::{Builder, Runtime};

pub(super) use arguments::Perf;
pub(super) use error::PerfError;

use super::signals::Signals;
use super::{Fatal, print};
use arguments::PerfCommand;
use report::Table;

/// More threads than this only take the broker's cores away: a connection's work is small.
const THREADS_MAX: usize = 8;

/// Runs a case and prints its figures.
///
/// # Errors
/// The arguments contradict each other, the broker or the disk refuses, or time is up.
pub(super) fn run(arguments: &Perf) -> Result<(), Fatal> {
    let runtime = runtime().map_err(Fatal::Runtime)?;
    let outcome = runtime.block_on(case(arguments));
    runtime.shutdown_background();
    print::write(&outcome?)
}

/// The figures as they are printed.
async fn case(arguments: &Perf) -> Result<String, Fatal> {
    let signals = Signals::install().map_err(Fatal::Runtime)?;
    let Some(command) = &arguments.case else {
        return Ok(load::load(&arguments.load, signals).await?);
    };
    let table = match command {
        PerfCommand::Ping(ping) => return Ok(load::ping(ping, signals).await?),
        PerfCommand::Publish(publish) => until(signals, publish::publish(publish)).await?,
        PerfCommand::Fill(fill) => until(signals, publish::fill(fill)).await?,
        PerfCommand::Drain(drain) => until(signals, drain::drain(drain)).await?,
        PerfCommand::Wait(wait) => until(signals, wait::wait(wait)).await?,
        PerfCommand::Disk(disk) => until(signals, disk::disk(disk)).await?,
    };
    Ok(table.text(command.format()))
}

/// Runs a case until a signal comes.
async fn until(
    mut signals: Signals,
    case: impl Future<Output = Result<Table, PerfError>>,
) -> Result<Table, PerfError> {
    tokio::select! {
        measured = case => measured,
        signal = signals.next() => Err(PerfError::Interrupted(signal)),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .enable_all()
        .build()
}
