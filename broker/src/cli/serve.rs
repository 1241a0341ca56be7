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
use leveret::{Broker, Config, Tls, Workers};
use tokio::runtime::{Builder, Runtime};
use tracing::{error, info};

use super::changes::{Changes, HangUps};
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
    let mut hang_ups = HangUps::install().map_err(Fatal::Runtime)?;
    let tls = tls(config)?;
    let broker = Broker::start(config.clone())?;
    listen(&broker, config, tls.as_ref(), workers).await?;
    let mut changes = Changes::of(tls.iter().flat_map(Tls::files));
    let signal = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            () = hang_ups.next() => reload(tls.as_ref(), "SIGHUP"),
            () = changes.next() => reload(tls.as_ref(), "a file has changed"),
        }
    };
    info!(signal, "shutting down");
    tokio::select! {
        () = broker.shutdown(config.shutdown_timeout()) => Ok(()),
        _ = signals.next() => Err(Fatal::SecondSignal),
    }
}

fn tls(config: &Config) -> Result<Option<Tls>, Fatal> {
    let is_used = !config.tls.listeners.is_empty();
    Ok(is_used.then(|| Tls::load(&config.tls)).transpose()?)
}

async fn listen(
    broker: &Broker,
    config: &Config,
    tls: Option<&Tls>,
    workers: &Workers,
) -> Result<(), Fatal> {
    for address in &config.listeners {
        let address = broker.listen_with(*address, workers).await?;
        info!(%address, "listening");
    }
    for (address, tls) in config.tls.listeners.iter().zip(tls.into_iter().cycle()) {
        let address = broker.listen_tls(*address, tls, workers).await?;
        info!(%address, "listening for TLS");
    }
    Ok(())
}

/// Whoever is connected stays; what cannot be used is told and changes nothing.
fn reload(tls: Option<&Tls>, why: &'static str) {
    match tls.map(Tls::reload) {
        None => info!(why, "there is nothing to read again"),
        Some(Ok(())) => info!(why, "certificates were read again"),
        Some(Err(error)) => error!(why, %error, "certificates stay as they were"),
    }
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
