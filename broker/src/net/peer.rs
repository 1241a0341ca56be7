//! Who is at the other end of a stream, as far as the stream itself tells.

use std::fmt;
use std::net::SocketAddr;

use crate::access::is_loopback;

/// The other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address; a pipe inside this process has none.
    pub(crate) address: Option<SocketAddr>,
    /// The name that a certificate gives it, which was found good.
    pub(crate) certificate_name: Option<CertificateName>,
}

/// What the certificate that a client has shown says about its name (EXTERNAL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateName {
    /// The name to log in with.
    Is(String),
    /// The certificate has no name of the kind that is configured.
    Missing,
}

impl Peer {
    /// A peer of which only the address is known.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            address: Some(address),
            certificate_name: None,
        }
    }

    /// Whether it is on this machine, or in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.address.is_none_or(|address| is_loopback(address.ip()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(out),
            None => out.write_str("a stream without an address"),
        }
    }
}
