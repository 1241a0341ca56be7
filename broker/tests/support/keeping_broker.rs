//! A broker that keeps its data, with one lapin client, which tests restart.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]
use std::path::{Path, PathBuf};

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, ConnectionProperties};
use leveret::{Broker, Config};

use crate::support::{PATIENCE, start};

/// A broker on a directory of its own and one connection to it, with a channel in confirm mode.
pub struct KeepingBroker {
    pub directory: PathBuf,
    pub broker: Broker,
    pub connection: Connection,
    pub channel: Channel,
}

impl KeepingBroker {
    /// Starts it on an empty directory of this name.
    pub async fn on_empty_directory(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&directory);
        Self::on(directory).await
    }

    async fn on(directory: PathBuf) -> Self {
        let config = Config {
            data_dir: Some(directory.clone()),
            ..Config::default()
        };
        let (broker, address) = start(config).await;
        let uri = format!("amqp://{address}/%2f");
        let options = ConnectionProperties::default();
        let connection = Connection::connect(&uri, options).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let confirm = ConfirmSelectOptions::default();
        channel.confirm_select(confirm).await.unwrap();
        Self {
            directory,
            broker,
            connection,
            channel,
        }
    }

    /// Stops the broker while its client is still there, and starts one on the same directory.
    pub async fn restart(self) -> Self {
        self.broker.shutdown(PATIENCE).await;
        drop(self.broker);
        Self::on(self.directory).await
    }
}
