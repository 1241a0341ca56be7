//! The broker that the tutorials are run against: the one at `AMQP_URL` if that is set, otherwise
//! a Leveret in this process, a fresh one for each test.

use std::env;
use std::time::Duration;

use leveret::{Broker, Config};
use leveret_examples::Result;
use tokio::time::timeout;

/// Runs `tutorial` with a broker's URI; a tutorial that does not end in time is an error.
pub(crate) async fn with_broker<T>(tutorial: impl AsyncFnOnce(&str) -> Result<T>) -> Result<T> {
    match env::var("AMQP_URL") {
        Ok(uri) => timeout(TIME_LIMIT, tutorial(&uri)).await?,
        Err(_) => with_leveret(tutorial).await,
    }
}

async fn with_leveret<T>(tutorial: impl AsyncFnOnce(&str) -> Result<T>) -> Result<T> {
    let broker = Broker::start(Config::default())?;
    let address = broker.listen("127.0.0.1:0".parse()?).await?;
    let uri = format!("amqp://guest:guest@{address}/%2f");
    let outcome = timeout(TIME_LIMIT, tutorial(&uri)).await;
    broker.shutdown(SHUTDOWN_LIMIT).await;
    outcome?
}

/// Each tutorial takes about a second; this is for a slow machine with other things to do.
const TIME_LIMIT: Duration = Duration::from_secs(60);

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
