//! [`Broker`]: a running broker, to be held by a program, a test, or the `leveret` binary.

mod passwords;
mod policies;
mod users;
mod vhosts;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leveret_protocol::{Fault, ReplyCode};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[cfg(not(feature = "tls"))]
use std::convert::Infallible as Tls;

use crate::access::AccessError;
use crate::alarm::AlarmResource;
use crate::amqp::connection::serve;
use crate::config::{Config, ConfigError};
use crate::definitions::{Definitions, DefinitionsError, Report};
use crate::durable::{Health, KeepError};
use crate::importing::Committed;
use crate::net::listener::accept_all;
use crate::net::peer::Peer;
use crate::net::workers::Workers;
use crate::node::Node;
#[cfg(feature = "tls")]
use crate::tls::Tls;
pub use policies::NoPolicy;
pub use users::UserChange;
pub use vhosts::VhostSettings;

/// A running broker. Clones are handles to the same one.
///
/// It must be used within a tokio runtime with I/O and time. Dropping the last handle stops the
/// listeners; connections end when [`Broker::shutdown`] asks them to, or with the runtime. The data
/// directory, if there is one, is closed by a shutdown, or when handles and connections are gone.
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
    /// The data directory cannot be used.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The definitions cannot be imported; nothing of them was.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
}

/// Definitions that a running broker did not import.
#[derive(Debug, Error)]
pub enum ImportError {
    /// They are not allowed, or contradict what there is. Nothing of them was applied.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// They were applied, and the store has failed: whether they will be there after a restart is not
    /// known.
    #[error("definitions imported, but the store has failed")]
    StoreFailed,
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
    /// Starts a broker that listens nowhere yet. With a data directory, this reads what it has to know
    /// of it, which takes the longer the more there is.
    ///
    /// # Errors
    /// The configuration is not allowed, or the data directory cannot be used.
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

    /// The bytes that are taken of `memory_reserve_bytes` now: what connections, channels, consumers,
    /// incomplete messages, transactions, queues, exchanges and bindings hold, as estimated.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.inside.node.reserve.held_bytes()
    }

    /// Listens on one more address and returns it, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system refuses the address.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        self.listen_with(address, &Workers::default()).await
    }

    /// As [`Broker::listen`], and has the connections served by these workers. They must live until
    /// [`Broker::shutdown`] has returned: a connection ends at once with its worker.
    ///
    /// # Errors
    /// The system refuses the address.
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        workers: &Workers,
    ) -> Result<SocketAddr, ListenError> {
        self.accept_on(address, None, workers).await
    }

    /// As [`Broker::listen_with`], for clients that speak TLS.
    ///
    /// # Errors
    /// The system refuses the address.
    #[cfg(feature = "tls")]
    pub async fn listen_tls(
        &self,
        address: SocketAddr,
        tls: &Tls,
        workers: &Workers,
    ) -> Result<SocketAddr, ListenError> {
        self.accept_on(address, Some(tls.clone()), workers).await
    }

    async fn accept_on(
        &self,
        address: SocketAddr,
        tls: Option<Tls>,
        workers: &Workers,
    ) -> Result<SocketAddr, ListenError> {
        let refused = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        self.start_tasks();
        let node = Arc::clone(&self.inside.node);
        let accepting = tokio::spawn(accept_all(node, listener, tls, workers.clone()));
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
        let node = Arc::clone(&self.inside.node);
        serve(node, stream, Peer::default(), Instant::now()).await;
    }

    /// Adds what definitions say to a running broker, all of it or nothing: users are replaced, with
    /// effect from their next connection on, and their permissions after a second at most of use; vhosts are
    /// made or changed; exchanges, queues and bindings are declared. What is said of users and vhosts of the
    /// configuration has no effect and is reported. When this returns, what is durable is safe.
    ///
    /// # Errors
    /// Everything that stands against it, for instance a queue that exists with other arguments.
    pub async fn import_definitions(
        &self,
        definitions: &Definitions,
    ) -> Result<Report, ImportError> {
        let node = &self.inside.node;
        let definitions = self.with_hashed_passwords(definitions).await;
        let (report, durable_at) = crate::importing::import(node, &definitions)?;
        match (durable_at, node.commits()) {
            (Some(epoch), Some(commits)) if !Committed::new(commits, epoch).await => {
                Err(ImportError::StoreFailed)
            }
            _ => Ok(report),
        }
    }

    /// What there is: users, vhosts, permissions, limits, exchanges, queues and bindings, without those
    /// that belong to a connection. A password in clear text is hashed.
    #[must_use]
    pub fn definitions(&self) -> Definitions {
        crate::importing::export(&self.inside.node)
    }

    /// Whether anything is wrong, and what.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inside.node.health()
    }

    /// How many clients are connected, in their handshakes or after.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.inside.node.connections.count()
    }

    /// Waits until no client is connected and nothing is held for one any more. It waits for as long as
    /// somebody is connected: it asks nobody to go, as [`Broker::shutdown`] does.
    pub async fn all_disconnected(&self) {
        let connections = &self.inside.node.connections;
        poll_fn(|cx| connections.poll_all_ended(cx)).await;
    }

    /// Raises an operator's alarm: whoever publishes is held up, as if this were short, until
    /// [`Broker::clear_alarm`] takes it back (FLOW-01, FLOW-02). For drills, and for whatever watches
    /// the machine from outside. Raising it twice is raising it once.
    pub fn raise_alarm(&self, resource: AlarmResource) {
        self.set_alarm(resource, true);
    }

    /// Takes back what [`Broker::raise_alarm`] raised. Publishers go on once nothing else is short
    /// (FLOW-03); what the broker has measured itself stays.
    pub fn clear_alarm(&self, resource: AlarmResource) {
        self.set_alarm(resource, false);
    }

    fn set_alarm(&self, resource: AlarmResource, raised: bool) {
        let node = &self.inside.node;
        if node
            .alarm
            .set_for(&node.connections, resource.into(), raised)
        {
            tracing::warn!(?resource, raised, "an operator has set an alarm");
        }
    }

    /// Stops listening, closes all connections with 320 and waits until they have ended or `deadline`
    /// has passed (CONN-41); then closes the data directory. When this returns, what was to be kept is
    /// safe, and no thread of the store is left.
    pub async fn shutdown(&self, deadline: Duration) {
        let listeners = self.inside.stop_listening();
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
        // Waited for, so that none of them is left holding the data directory.
        let tasks = listeners.into_iter().chain(self.inside.end_shared_tasks());
        for task in tasks {
            let _ = task.await;
        }
        self.close_store().await;
    }

    /// The disk may take its time, so it gets a thread that may wait for it.
    async fn close_store(&self) {
        let closed = self.off_the_runtime(|node| {
            if let Some(keeping) = node.keeping() {
                keeping.close();
            }
        });
        if closed.await.is_none() {
            tracing::error!("the data directory was not closed in good order");
        }
    }

    /// Works on a thread that may take its time; `None` if the work has panicked.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Option<T> {
        let node = Arc::clone(&self.inside.node);
        let worked = tokio::task::spawn_blocking(move || work(&node));
        worked.await.ok()
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
    fn stop_listening(&self) -> Vec<JoinHandle<()>> {
        let mut tasks = self.lock();
        tasks.stopped = true;
        tasks.listeners.iter().for_each(JoinHandle::abort);
        std::mem::take(&mut tasks.listeners)
    }

    fn end_shared_tasks(&self) -> Option<JoinHandle<()>> {
        let shared = self.lock().shared.take();
        shared.inspect(JoinHandle::abort)
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        // Lists of handles stay whole whatever happens.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop_listening();
        self.end_shared_tasks();
        // Connections that are left go on with the data directory, and the last of them closes it.
        if self.node.connections.count() == 0
            && let Some(keeping) = self.node.keeping()
        {
            keeping.close();
        }
    }
}

#[cfg(test)]
mod account_tests;
