//! [`Network`]: a range of IP addresses, written `192.0.2.0/24` or as one address.
//!
//! What it is not: it asks no system which networks there are.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// All addresses whose first bits are the same. An IPv4 address inside an IPv6 one counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not allowed, expected an IP address such as \"192.0.2.1\" or a network such as \
     \"192.0.2.0/24\" or \"2001:db8::/32\", with nothing behind its prefix"
)]
pub struct NotANetwork {
    text: String,
}

impl Network {
    /// Whether it has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, bits) = number(self.address);
        let (other, other_bits) = number(address.to_canonical());
        let begin = |number| leading(number, bits, self.prefix_bits);
        bits == other_bits && begin(own) == begin(other)
    }

    fn new(address: IpAddr, prefix_bits: Option<u32>) -> Option<Self> {
        let (number, bits) = number(address);
        let prefix_bits = prefix_bits.unwrap_or(bits);
        let behind_bits = bits.checked_sub(prefix_bits)?;
        // A bit behind the prefix is most likely a slip, and would mean nothing.
        (number.trailing_zeros() >= behind_bits).then_some(Self {
            address,
            prefix_bits,
        })
    }
}

/// An address as a number, and how many bits that has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The first bits of a number; zero if there are none of interest.
fn leading(number: u128, bits: u32, count: u32) -> u128 {
    number.checked_shr(bits - count).unwrap_or_default()
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let refused = || NotANetwork {
            text: text.to_owned(),
        };
        let address = address.parse().map_err(|_| refused())?;
        let prefix = prefix.map(|prefix| prefix.parse().map_err(|_| refused()));
        Self::new(address, prefix.transpose()?).ok_or_else(refused)
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, bits) = number(self.address);
        self.address.fmt(out)?;
        match self.prefix_bits == bits {
            true => Ok(()),
            false => write!(out, "/{}", self.prefix_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("192.0.2.0/24", "::1", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ];
        for (network, address, expected) in cases {
            let network: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(network.contains(address), expected, "{network} {address}");
        }
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in [
            "192.0.2.0/24",
            "192.0.2.1",
            "::1",
            "2001:db8::/32",
            "0.0.0.0/0",
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("::1/128".parse::<Network>().unwrap().to_string(), "::1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "::/129",
            "::1/0",
            "192.0.2.0/24/24",
            "localhost",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
