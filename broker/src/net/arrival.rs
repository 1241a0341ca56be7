//! What a connection passes from being accepted until it speaks AMQP.
//!
//! ```text
//!   accepted ──▶ PROXY header, from a trusted network ──▶ TLS handshake, on a TLS listener ──▶ AMQP
//!                     │ broken, or missing                     │ refused
//!                     └────────────▶ closed ◀──────────────────┘ ... or not done in time, or shutdown
//! ```
//!
//! What it is not: it knows nothing of AMQP, which begins with nothing but a stream and who is there.
//!
//! Invariants: all times count from the moment when the connection was accepted, so that nobody gets more
//! of it by being slow in each step. What a step needs has a place of its own in memory and gives it back at
//! its end: a future is as large as its largest step, and an idle connection would hold that for ever.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

#[cfg(not(feature = "tls"))]
use std::convert::Infallible as Tls;

use crate::amqp::connection::serve;
use crate::net::peer::{Peer, Place};
use crate::net::proxy_protocol::{Origin, Progress, ProxyError, may_begin_with, progress};
use crate::node::Node;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// One connection that was accepted.
pub(crate) struct Arrival {
    node: Arc<Node>,
    address: SocketAddr,
    accepted_at: Instant,
}

/// Why a connection ends before it speaks AMQP.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Lost(#[from] io::Error),
    #[error(transparent)]
    Header(#[from] ProxyError),
}

impl Arrival {
    pub(crate) fn new(node: Arc<Node>, address: SocketAddr, accepted_at: Instant) -> Self {
        Self {
            node,
            address,
            accepted_at,
        }
    }

    /// Serves it to its end.
    pub(crate) async fn serve(self, mut stream: TcpStream, tls: Option<Tls>) {
        let proxies = &self.node.config.proxy_protocol;
        let mut place = Place::At(self.address);
        if proxies.trusts(self.address.ip()) {
            let origin = Box::pin(origin(&mut stream, proxies.required));
            let time = self.node.config.handshake_timeout();
            let told = self.in_time("PROXY header", &place, time, origin).await;
            let Some(told) = told else { return };
            place = told.map_or(place, |origin| Place::told_by(self.address, origin));
        }
        match tls {
            None => Box::pin(serve(self.node, stream, Peer::at(place), self.accepted_at)).await,
            Some(tls) => self.serve_over_tls(stream, tls, place).await,
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn serve_over_tls(self, _: TcpStream, never: Tls, _: Place) {
        match never {}
    }

    #[cfg(feature = "tls")]
    async fn serve_over_tls(self, stream: TcpStream, tls: Tls, place: Place) {
        let handshake = Box::pin(self.shake_hands(stream, tls, place));
        let Some((stream, peer)) = handshake.await else {
            return;
        };
        Box::pin(serve(self.node, stream, peer, self.accepted_at)).await;
    }

    #[cfg(feature = "tls")]
    async fn shake_hands(
        &self,
        stream: TcpStream,
        tls: Tls,
        place: Place,
    ) -> Option<(TlsStream<TcpStream>, Peer)> {
        let handshake = tls.shake_hands(stream);
        let time = tls.handshake_timeout();
        let shaken = self.in_time("TLS handshake", &place, time, handshake).await;
        let (stream, certificate_name) = shaken?;
        let peer = Peer {
            place,
            certificate_name: Some(certificate_name),
        };
        Some((stream, peer))
    }

    /// What a step comes to; nothing if the connection has to end.
    async fn in_time<T, E: fmt::Display>(
        &self,
        step: &'static str,
        place: &Place,
        time: Duration,
        doing: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let deadline = self.accepted_at + time;
        let done = tokio::select! {
            done = tokio::time::timeout_at(deadline.into(), doing) => done,
            () = self.node.connections.closing() => return None,
        };
        let refused = match done {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let untold = self.node.complaints.admit(Instant::now())?;
        match refused {
            Some(error) => tracing::warn!(peer = %place, %error, untold, "{step} refused"),
            None => tracing::warn!(peer = %place, untold, "{step} not done in time"),
        }
        None
    }
}

/// Reads a header, and nothing behind it. Without one, where that is allowed, nothing is read.
async fn origin(stream: &mut TcpStream, is_required: bool) -> Result<Option<Origin>, Refused> {
    if !is_required && !begins_like_a_header(stream).await? {
        return Ok(None);
    }
    let mut received = Vec::new();
    loop {
        match progress(&received)? {
            Progress::Complete { origin, .. } => return Ok(Some(origin)),
            Progress::Wants(wanted) => {
                let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
                if stream.take(wanted).read_buf(&mut received).await? == 0 {
                    return Err(Refused::Lost(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}

async fn begins_like_a_header(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let peeked = stream.peek(&mut first).await?;
    Ok(peeked > 0 && first.first().is_some_and(|byte| may_begin_with(*byte)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Cursor;
    use std::mem::size_of_val;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Config;

    /// Of what an idle connection takes, the smaller part.
    const ARRIVAL_BYTES_MAX: usize = 1024;
    /// What AMQP is spoken with: the session and its clock, beside the stream.
    const SERVE_BYTES_MAX: usize = 1536;

    #[tokio::test]
    async fn a_connection_does_not_hold_the_memory_of_its_handshake() {
        let node = Arc::new(Node::new(Config::default()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let arrival = Arrival::new(node, address, Instant::now());
        let bytes = size_of_val(&arrival.serve(stream, None));
        assert!(bytes <= ARRIVAL_BYTES_MAX, "{bytes} B");
    }

    /// A stream over TLS is more than a kilobyte.
    #[tokio::test]
    async fn a_stream_is_held_once() {
        let node = Arc::new(Node::new(Config::default()).unwrap());
        let large = tokio::io::join(Cursor::new([0_u8; 4096]), tokio::io::sink());
        let large_bytes = size_of_val(&large);
        let bytes = size_of_val(&serve(node, large, Peer::default(), Instant::now()));
        assert!(bytes - large_bytes <= SERVE_BYTES_MAX, "{bytes} B");
    }
}
