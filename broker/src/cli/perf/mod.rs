//! `leveret perf`: puts load on a broker over its socket and says what it measured.
//!
//! ```text
//!   arguments ──▶ case (publish · fill · drain · wait · disk) ──▶ Table ──▶ people or JSON
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

pub(super) use arguments::PerfCommand;
pub(super) use error::PerfError;

use super::signals::Signals;
use super::{Fatal, print};
use report::Table;

/// More threads than this only take the broker's cores away: a connection's work is small.
const THREADS_MAX: usize = 8;

/// Runs a case and prints its figures.
///
/// # Errors
/// The arguments contradict each other, the broker or the disk refuses, or time is up.
pub(super) fn run(command: &PerfCommand) -> Result<(), Fatal> {
    let runtime = runtime().map_err(Fatal::Runtime)?;
    let outcome = runtime.block_on(until_signal(measure(command)));
    runtime.shutdown_background();
    let table = outcome?;
    print::write(&table.text(command.wants_json()))
}

async fn measure(command: &PerfCommand) -> Result<Table, PerfError> {
    match command {
        PerfCommand::Publish(arguments) => publish::publish(arguments).await,
        PerfCommand::Fill(arguments) => publish::fill(arguments).await,
        PerfCommand::Drain(arguments) => drain::drain(arguments).await,
        PerfCommand::Wait(arguments) => wait::wait(arguments).await,
        PerfCommand::Disk(arguments) => disk::disk(arguments).await,
    }
}

async fn until_signal(case: impl Future<Output = Result<Table, PerfError>>) -> Outcome {
    let mut signals = Signals::install().map_err(Fatal::Runtime)?;
    tokio::select! {
        measured = case => Ok(measured?),
        signal = signals.next() => Err(Fatal::Perf(PerfError::Interrupted(signal))),
    }
}

type Outcome = Result<Table, Fatal>;

fn runtime() -> std::io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(THREADS_MAX))
        .enable_all()
        .build()
}
