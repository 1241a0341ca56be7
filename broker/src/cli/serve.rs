//! `leveret serve`: a broker from its start to a signal.
//!
//! ```text
//!   start ──▶ listen on every address ──▶ first signal ──▶ shutdown(deadline) ──▶ exit 0
//!                  │ refused                                    │ second signal
//!                  └──▶ exit 1                                  └──▶ exit 1 at once
//! ```
//!
//! Meanwhile the files of TLS are read again on SIGHUP and whenever one of them has changed.

use leveret::config::WorkerScheduling;
use leveret::{Broker, Config, Workers};
use tokio::runtime::{Builder, Runtime};
use tracing::info;

use super::certificates::Certificates;
use super::signals::Signals;
use super::threads::{TURNS_BETWEEN_EVENTS, Threads};
use super::{Fatal, log};

/// Serves until a signal comes.
///
/// # Errors
/// The broker cannot start, or a second signal came before it had ended.
pub(super) fn serve(config: &Config) -> Result<(), Fatal> {
    log::install(&config.log);
    let (runtime, threads) = runtime_and_threads(config).map_err(Fatal::Runtime)?;
    let served = runtime.block_on(serve_until_signal(config, &threads.workers()));
    runtime.shutdown_background();
    // Whoever gave two signals does not wait for anything any more.
    served?;
    threads.end();
    info!("stopped");
    Ok(())
}

async fn serve_until_signal(config: &Config, workers: &Workers) -> Result<(), Fatal> {
    let mut signals = Signals::install().map_err(Fatal::Runtime)?;
    let mut certificates = Certificates::load(config)?;
    let broker = Broker::start(config.clone())?;
    listen(&broker, config, workers).await?;
    certificates.listen(&broker, config, workers).await?;
    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = certificates.keep_current() => return Ok(()),
    };
    info!(signal, "shutting down");
    tokio::select! {
        () = broker.shutdown(config.shutdown_timeout()) => Ok(()),
        _ = signals.next() => Err(Fatal::SecondSignal),
    }
}

async fn listen(broker: &Broker, config: &Config, workers: &Workers) -> Result<(), Fatal> {
    for address in &config.listeners {
        let address = broker.listen_with(*address, workers).await?;
        info!(%address, "listening");
    }
    Ok(())
}

/// What the broker runs on, and the threads that serve its connections if the runtime does not.
fn runtime_and_threads(config: &Config) -> std::io::Result<(Runtime, Threads)> {
    let count = config.worker_threads as usize;
    match config.worker_scheduling {
        WorkerScheduling::Stealing => Ok((stealing(count)?, Threads::none())),
        WorkerScheduling::Pinned => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok((runtime, Threads::start(count, config.worker_affinity)?))
        }
    }
}

fn stealing(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        .event_interval(TURNS_BETWEEN_EVENTS)
        .enable_all()
        .build()
}
