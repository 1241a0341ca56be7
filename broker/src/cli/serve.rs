//! `leveret serve`: a broker from its start to a signal.
//!
//! ```text
//!   start ──▶ listen on every address ──▶ first signal ──▶ shutdown(deadline) ──▶ exit 0
//!                  │ refused                                    │ second signal
//!                  └──▶ exit 1                                  └──▶ exit 1 at once
//! ```

use leveret::{Broker, Config};
use tokio::runtime::{Builder, Runtime};
use tracing::info;

use super::signals::Signals;
use super::{Fatal, log};

/// Serves until a signal comes.
///
/// # Errors
/// The broker cannot start, or a second signal came before it had ended.
pub(super) fn serve(config: &Config) -> Result<(), Fatal> {
    log::install(&config.log);
    let runtime = runtime(config.worker_threads).map_err(Fatal::Runtime)?;
    let outcome = runtime.block_on(serve_until_signal(config));
    runtime.shutdown_background();
    outcome
}

async fn serve_until_signal(config: &Config) -> Result<(), Fatal> {
    let mut signals = Signals::install().map_err(Fatal::Runtime)?;
    let broker = Broker::start(config.clone())?;
    listen(&broker, config).await?;
    let signal = signals.next().await;
    info!(signal, "shutting down");
    tokio::select! {
        () = broker.shutdown(config.shutdown_timeout()) => {}
        _ = signals.next() => return Err(Fatal::SecondSignal),
    }
    info!("stopped");
    Ok(())
}

async fn listen(broker: &Broker, config: &Config) -> Result<(), Fatal> {
    for address in &config.listeners {
        let address = broker.listen(*address).await?;
        info!(%address, "listening");
    }
    Ok(())
}

fn runtime(worker_threads: u32) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Ok(threads @ 1..) = usize::try_from(worker_threads) {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}
