//! [`Broker`]: a running broker, to be held by a program, a test, or the `leveret` binary.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leveret_protocol::{Fault, ReplyCode};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::access::AccessError;
use crate::amqp::connection::serve;
use crate::config::{Config, ConfigError};
use crate::net::listener::accept_all;
use crate::node::Node;

/// A running broker. Clones are handles to the same one.
///
/// It must be used within a tokio runtime with I/O and time. Dropping the last handle stops the
/// listeners; connections end when [`Broker::shutdown`] asks them to, or with the runtime.
#[derive(Clone, Debug)]
pub struct Broker {
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    node: Arc<Node>,
    tasks: Mutex<Tasks>,
}

/// The tasks that end with the broker.
#[derive(Debug, Default)]
struct Tasks {
    listeners: Vec<JoinHandle<()>>,
    shared: Option<JoinHandle<()>>,
    stopped: bool,
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
        let node = Arc::new(Node::new(config)?);
        Ok(Self {
            inside: Arc::new(Inside {
                node,
                tasks: Mutex::default(),
            }),
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
        self.start_tasks();
        let accepting = tokio::spawn(accept_all(Arc::clone(&self.inside.node), listener));
        let mut tasks = self.inside.lock();
        if tasks.stopped {
            accepting.abort();
        } else {
            tasks.listeners.push(accepting);
        }
        Ok(bound)
    }

    /// Serves one client over any stream of bytes, such as one end of [`tokio::io::duplex`], until
    /// the connection ends. Such a client counts as local.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        self.start_tasks();
        serve(Arc::clone(&self.inside.node), stream, None).await;
    }

    /// Stops listening, closes all connections with 320 and returns when they have ended or
    /// `deadline` has passed (CONN-41).
    pub async fn shutdown(&self, deadline: Duration) {
        self.inside.stop_listening();
        let text = "broker forced connection closure with reason 'shutdown'";
        let fault = Fault::new(ReplyCode::ConnectionForced, text);
        let connections = &self.inside.node.connections;
        connections.close_all(fault);
        let all_ended = poll_fn(|cx| connections.poll_all_ended(cx));
        if tokio::time::timeout(deadline, all_ended).await.is_err() {
            tracing::warn!(
                left = connections.count(),
                "connections left at the deadline"
            );
        }
    }

    /// Starts the tasks that the whole broker shares; they need a runtime, which `start` does not.
    fn start_tasks(&self) {
        let mut tasks = self.inside.lock();
        if tasks.shared.is_some() || tasks.stopped {
            return;
        }
        let node = Arc::clone(&self.inside.node);
        tasks.shared = Some(tokio::spawn(async move {
            let timers = node.timers.run(node.clock);
            tokio::join!(timers, crate::memory::watch(&node));
        }));
    }
}

impl Inside {
    fn stop_listening(&self) {
        let mut tasks = self.lock();
        tasks.stopped = true;
        tasks.listeners.drain(..).for_each(|task| task.abort());
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        // Lists of handles stay whole whatever happens.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop_listening();
        if let Some(shared) = self.lock().shared.take() {
            shared.abort();
        }
    }
}
