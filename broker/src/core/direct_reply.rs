//! [`ReplyAddress`]: whom a direct reply goes to, and the name that it has on the wire.
//!
//! ```text
//! amq.rabbitmq.reply-to            the pseudo-queue: a channel consumes from it, requests name it
//! amq.rabbitmq.reply-to.P.S        the address of one consumer of it, in standard base64:
//!                                  P = connection id u64, channel u16      (16 characters)
//!                                  S = 128 random bits of this consumer    (24 characters)
//! ```
//!
//! P leads to the consumer without a search. S makes the address impossible to guess, and that of an
//! earlier consumer of the same channel a different one.
//!
//! What it is not: a queue. Nothing is kept under such a name, and nothing can be declared under it.
//!
//! Invariant: [`ReplyAddress::parse`] accepts exactly what [`ReplyAddress::name`] writes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::queue_handle::ConnectionId;

/// The pseudo-queue from which direct replies are consumed (RPC-01), and which requests name (RPC-04).
pub use leveret_protocol::DIRECT_REPLY_QUEUE as REPLY_QUEUE;
/// What every reply address begins with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";
/// Connection and channel.
const PLACE_LEN: usize = 10;
const PLACE_TEXT_LEN: usize = 16;
const SECRET_LEN: usize = 16;
const SECRET_TEXT_LEN: usize = 24;

/// One consumer of direct replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyAddress {
    /// The connection that waits for replies.
    pub connection: ConnectionId,
    /// Its channel.
    pub channel: u16,
    /// What only those know who were sent a request of this consumer.
    pub secret: [u8; SECRET_LEN],
}

impl ReplyAddress {
    /// The address as a routing key (RPC-05).
    pub fn name(&self) -> String {
        let mut place = [0; PLACE_LEN];
        place[..8].copy_from_slice(&self.connection.0.to_be_bytes());
        place[8..].copy_from_slice(&self.channel.to_be_bytes());
        format!(
            "{PREFIX}{}.{}",
            STANDARD.encode(place),
            STANDARD.encode(self.secret)
        )
    }

    /// The address that a routing key is, if it is one (RPC-12). Allocates nothing.
    pub fn parse(routing_key: &[u8]) -> Option<Self> {
        let opaque = routing_key.strip_prefix(PREFIX.as_bytes())?;
        let (place, rest) = opaque.split_at_checked(PLACE_TEXT_LEN)?;
        let secret = rest.strip_prefix(b".")?;
        let (place, secret) = (decoded::<PLACE_LEN>(place)?, decoded::<SECRET_LEN>(secret)?);
        let (connection, channel) = place.split_first_chunk::<8>()?;
        Some(Self {
            connection: ConnectionId(u64::from_be_bytes(*connection)),
            channel: u16::from_be_bytes(channel.try_into().ok()?),
            secret,
        })
    }
}

/// True for every routing key that may be a reply address: a look at its beginning.
#[inline]
pub fn may_be_reply(routing_key: &[u8]) -> bool {
    routing_key.starts_with(PREFIX.as_bytes())
}

/// Exactly `N` bytes of padded base64.
fn decoded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    // As much as the longer of the two texts can hold.
    let mut bytes = [0; SECRET_TEXT_LEN / 4 * 3];
    let len = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes.get(..len)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const ONE: ReplyAddress = ReplyAddress {
        connection: ConnectionId(258),
        channel: 3,
        secret: [0xfb; SECRET_LEN],
    };

    #[test]
    fn rpc_05_the_name_is_base64_with_padding_and_a_dot() {
        assert_eq!(
            ONE.name(),
            "amq.rabbitmq.reply-to.AAAAAAAAAQIAAw==.+/v7+/v7+/v7+/v7+/v7+w=="
        );
    }

    #[test]
    fn rpc_12_what_is_no_address() {
        let name = ONE.name();
        for cut in 0..name.len() {
            assert_eq!(ReplyAddress::parse(&name.as_bytes()[..cut]), None, "{cut}");
        }
        for wrong in [
            format!("{name}="),
            format!("x{name}"),
            name.replace(".+", "-+"),
            name.replace("w==", "w=a"),
            name.replace("w==", "x=="),
            name.replace("AAw==", "AAwAA"),
            "amq.rabbitmq.reply-to.nobody".to_owned(),
        ] {
            assert_eq!(ReplyAddress::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_address_comes_back_from_its_name(
            connection: u64,
            channel: u16,
            secret: [u8; SECRET_LEN],
        ) {
            let address = ReplyAddress { connection: ConnectionId(connection), channel, secret };
            let name = address.name();
            prop_assert!(may_be_reply(name.as_bytes()));
            prop_assert_eq!(ReplyAddress::parse(name.as_bytes()), Some(address));
        }

        #[test]
        fn what_is_parsed_is_what_would_be_written(opaque in "[A-Za-z0-9+/=.]{0,44}") {
            let name = format!("{PREFIX}{opaque}");
            if let Some(address) = ReplyAddress::parse(name.as_bytes()) {
                prop_assert_eq!(address.name(), name);
            }
        }
    }
}
