//! One handshake: from a socket to a stream, and to the name of who is at its other end.
//!
//! ```text
//!   silent ──first byte──▶ waits for a permit ──▶ shakes hands ──▶ stream and name
//! ```
//!
//! What it is not: it keeps no time; whoever calls it does, and drops it.

use std::io;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Tls, certificate_name};
use crate::net::peer::CertificateName;

/// How many handshakes may be under way.
#[derive(Debug)]
pub(super) struct Handshakes(Semaphore);

impl Handshakes {
    pub(super) fn new(max: u32) -> Self {
        Self(Semaphore::new(max as usize))
    }
}

impl Tls {
    /// Shakes hands with a client.
    ///
    /// # Errors
    /// It went away, does not speak TLS, or has shown a certificate that is not good.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, CertificateName)> {
        // Who says nothing must not keep others from being heard.
        stream.peek(&mut [0]).await?;
        let permit = self.inside.handshakes.0.acquire().await;
        let _permit = permit.map_err(io::Error::other)?;
        let stream = TlsAcceptor::from(self.current()).accept(stream).await?;
        let name = self.name_of(&stream);
        Ok((stream, name))
    }

    /// The name in the certificate that the client has shown, which was found good.
    fn name_of(&self, stream: &TlsStream<TcpStream>) -> CertificateName {
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        shown.map_or(CertificateName::NotShown, |shown| {
            certificate_name::name_in(shown, &self.inside.config)
        })
    }
}
