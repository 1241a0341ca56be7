//! The handle to a running broker.
//!
//! This file holds the listening sockets and nothing that speaks AMQP: it stands where the broker
//! goes, with the interface that the binary is written against.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;

use crate::access::{Access, AccessError};
use crate::config::{Config, ConfigError};

/// A running broker. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Broker {
    listeners: Arc<Mutex<Vec<TcpListener>>>,
}

/// A broker that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is not allowed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The users cannot be served.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub source: std::io::Error,
}

impl Broker {
    /// Starts a broker that listens nowhere yet.
    ///
    /// # Errors
    /// The configuration is not allowed.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        Access::new(&config)?;
        Ok(Self {
            listeners: Arc::default(),
        })
    }

    /// Listens on one more address and returns it, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system refuses the address.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        let refused = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
        Ok(bound)
    }

    /// Stops listening, closes all connections and returns when they have ended or `deadline` has
    /// passed.
    pub async fn shutdown(&self, deadline: Duration) {
        let _ = deadline;
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.clear();
    }
}
