//! A Leveret in this process, on a port of the system's choice, with the fixtures.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use leveret::{Broker, Config};

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Starts the broker and returns its URI.
pub(crate) async fn start() -> Result<(String, Broker), Box<dyn Error>> {
    let config = Config::from_toml(include_str!("fixtures.toml"))?;
    let broker = Broker::start(config)?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = broker.listen(any_port).await?;
    Ok((format!("amqp://guest:guest@{address}/%2f"), broker))
}

/// Ends the broker.
pub(crate) async fn stop(broker: Broker) {
    broker.shutdown(SHUTDOWN_DEADLINE).await;
}
