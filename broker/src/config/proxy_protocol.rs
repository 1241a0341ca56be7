//! The keys about proxies that tell whom they speak for.
//!
//! What it is not: it reads no header; [`crate::proxy_protocol`] does.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Network;

/// The table `[proxy_protocol]`. Without `trusted_networks` no header is understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocolConfig {
    /// Where connections come from that begin with a header of the PROXY protocol, on every listener.
    /// From anywhere else a header is as good as any other garbage.
    pub trusted_networks: Vec<Network>,
    /// Whether a connection from there is refused if it begins without a header.
    pub required: bool,
}

impl ProxyProtocolConfig {
    /// Whether a header from this address is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted_networks.iter();
        trusted.any(|network| network.contains(address))
    }
}

impl Default for ProxyProtocolConfig {
    fn default() -> Self {
        Self {
            trusted_networks: Vec::new(),
            // Whoever can reach a proxy's machine must not be able to leave the header out.
            required: true,
        }
    }
}
