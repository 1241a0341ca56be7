//! Accepts connections on one address and gives each its own task, on a worker.
//!
//! ```text
//!   accepted ──▶ a place ──▶ worker ──▶ arrival ──▶ AMQP
//!                   │ too many
//!                   └──▶ closed
//! ```
//!
//! An accept that fails for want of file descriptors waits a little instead of spinning. A panic in
//! one connection's task ends that connection and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

#[cfg(not(feature = "tls"))]
use std::convert::Infallible as Tls;

use crate::limits::ACCEPT_BACKOFF_MS;
use crate::net::arrival::Arrival;
use crate::net::workers::Workers;
use crate::node::Node;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Accepts until it is aborted.
pub(crate) async fn accept_all(
    node: Arc<Node>,
    listener: TcpListener,
    tls: Option<Tls>,
    workers: Workers,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => accept(&node, tls.as_ref(), &workers, stream, peer),
            Err(error) => on_accept_error(&error).await,
        }
    }
}

fn accept(
    node: &Arc<Node>,
    tls: Option<&Tls>,
    workers: &Workers,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Some(place) = node.connections.take_place() else {
        if let Some(untold) = node.complaints.admit(Instant::now()) {
            tracing::warn!(%peer, untold, "too many connections: refused");
        }
        return;
    };
    // Small messages must not wait for an answer to the last packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot turn off delays");
    }
    let arrival = Arrival::new(Arc::clone(node), peer, Instant::now());
    let tls = tls.cloned();
    let served = workers.serve(stream, move |stream| async move {
        let _place = place;
        arrival.serve(stream, tls).await;
    });
    match served {
        Ok(worker) => tracing::debug!(%peer, worker, "accepted"),
        Err(error) => tracing::warn!(%peer, %error, "cannot be handed to a worker: closed"),
    }
}

async fn on_accept_error(error: &io::Error) {
    // A client that hung up while it was waiting is no reason to slow down for the others.
    let theirs = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !theirs {
        tracing::warn!(%error, "cannot accept a connection; trying again shortly");
        tokio::time::sleep(Duration::from_millis(ACCEPT_BACKOFF_MS)).await;
    }
}
