//! Who is at the other end of a stream, as far as the stream itself tells.
//!
//! Invariant: a peer counts as local only if everything that speaks for it is on this machine: its own
//! address, and that of the proxy between. Whoever's address is not known is not local.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::access::is_loopback;
use crate::net::proxy_protocol::Origin;

/// The other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) place: Place,
    /// What TLS says about its name; nothing without TLS.
    pub(crate) certificate_name: Option<CertificateName>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the other end of a pipe inside this process.
    #[default]
    InProcess,
    /// At an address.
    At(SocketAddr),
    /// Behind a proxy that may have told its address.
    Behind {
        proxy: SocketAddr,
        client: Option<SocketAddr>,
    },
}

/// What the certificate that a client has shown says about its name (EXTERNAL).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), expect(dead_code))]
pub(crate) enum CertificateName {
    /// The name to log in with; the certificate was found good.
    Is(String),
    /// The certificate has no name of the kind that is configured.
    Missing,
    /// None was shown.
    NotShown,
}

impl Place {
    /// Where a header of a proxy says that its client is.
    pub(crate) fn told_by(proxy: SocketAddr, origin: Origin) -> Self {
        match origin {
            Origin::Proxy => Self::At(proxy),
            Origin::Unknown => Self::Behind {
                proxy,
                client: None,
            },
            Origin::Client(address) => Self::Behind {
                proxy,
                client: Some(address),
            },
        }
    }

    /// The nearest to the client of the addresses that are known.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::InProcess => None,
            Self::At(address) => Some(address.ip()),
            Self::Behind { proxy, client } => Some(client.as_ref().unwrap_or(proxy).ip()),
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::InProcess => true,
            Self::At(address) => is_loopback(address.ip()),
            Self::Behind { client: None, .. } => false,
            Self::Behind {
                proxy,
                client: Some(client),
            } => is_loopback(proxy.ip()) && is_loopback(client.ip()),
        }
    }
}

impl Peer {
    /// A peer of which only the place is known.
    pub(crate) fn at(place: Place) -> Self {
        Self {
            place,
            certificate_name: None,
        }
    }

    /// Where it comes from, as far as that is known; a pipe inside this process has no address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.place.address()
    }

    /// Whether it speaks TLS: then it has a certificate or lacks one.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.certificate_name.is_some()
    }

    /// Whether it is on this machine, or in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.place.is_local()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => out.write_str("a stream without an address"),
            Self::At(address) => address.fmt(out),
            Self::Behind { proxy, client } => match client {
                Some(client) => write!(out, "{client} behind {proxy}"),
                None => write!(out, "somebody behind {proxy}"),
            },
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HERE: &str = "127.0.0.1:1";
    const THERE: &str = "192.0.2.1:2";

    fn told(proxy: &str, origin: Origin) -> Place {
        Place::told_by(proxy.parse().unwrap(), origin)
    }

    fn client(address: &str) -> Origin {
        Origin::Client(address.parse().unwrap())
    }

    /// Attack number 15: a loopback address that comes from another machine is another machine's.
    #[test]
    fn who_is_behind_a_proxy_is_local_only_if_both_are_here() {
        let cases = [
            (told(HERE, client(HERE)), true),
            (told("[::ffff:127.0.0.1]:3", client("[::1]:4")), true),
            (told(HERE, client(THERE)), false),
            (told(THERE, client(HERE)), false),
            (told(THERE, client(THERE)), false),
            (told(HERE, Origin::Unknown), false),
            (told(HERE, Origin::Proxy), true),
            (told(THERE, Origin::Proxy), false),
            (Place::InProcess, true),
        ];
        for (place, expected) in cases {
            assert_eq!(place.is_local(), expected, "{place}");
        }
    }

    #[test]
    fn a_log_names_both() {
        assert_eq!(
            told(HERE, client(THERE)).to_string(),
            "192.0.2.1:2 behind 127.0.0.1:1"
        );
        assert_eq!(
            told(HERE, Origin::Unknown).to_string(),
            "somebody behind 127.0.0.1:1"
        );
    }
}
