//! Accepts connections on one address and gives each its own task, on a worker.
//!
//! ```text
//!   accepted ──▶ worker ──▶ TLS handshake, if the listener has TLS ──▶ AMQP
//!       │ too many                  │ refused, or not done in time
//!       └──▶ closed                 └──▶ closed
//! ```
//!
//! An accept that fails for want of file descriptors waits a little instead of spinning. A panic in
//! one connection's task ends that connection and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::amqp::connection::serve;
use crate::limits::ACCEPT_BACKOFF_MS;
use crate::net::peer::{CertificateName, Peer};
use crate::net::workers::Workers;
use crate::node::Node;
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
        tracing::warn!(%peer, "too many connections: refused");
        return;
    };
    // Small messages must not wait for an answer to the last packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot turn off delays");
    }
    let (node, tls) = (Arc::clone(node), tls.cloned());
    let served = workers.serve(stream, move |stream| async move {
        let _place = place;
        match tls {
            Some(tls) => serve_over_tls(node, &tls, stream, peer).await,
            None => serve(node, stream, Peer::at(peer)).await,
        }
    });
    match served {
        Ok(worker) => tracing::debug!(%peer, worker, "accepted"),
        Err(error) => tracing::warn!(%peer, %error, "cannot be handed to a worker: closed"),
    }
}

async fn serve_over_tls(node: Arc<Node>, tls: &Tls, stream: TcpStream, peer: SocketAddr) {
    let handshake = tls.acceptor().accept(stream);
    let handshake = tokio::time::timeout(tls.handshake_timeout(), handshake);
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = node.connections.closing() => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let certificate_name = certificate_name(tls, &stream);
            let peer = Peer {
                address: Some(peer),
                certificate_name,
            };
            serve(node, stream, peer).await;
        }
        Ok(Err(error)) => tracing::warn!(%peer, %error, "TLS handshake refused"),
        Err(_) => tracing::warn!(%peer, "TLS handshake not done in time"),
    }
}

/// The name in the certificate that the client has shown, if it has shown one.
fn certificate_name(tls: &Tls, stream: &TlsStream<TcpStream>) -> Option<CertificateName> {
    let (_, session) = stream.get_ref();
    let own = session.peer_certificates()?.first()?;
    Some(tls.name_in(own))
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
