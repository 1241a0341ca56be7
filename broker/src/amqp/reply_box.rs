//! [`ReplyBox`]: the direct replies that wait for a connection to take them.
//!
//! ```text
//!   publishers' connections, dead letters ──put──▶ [reply reply ...] ──take──▶ the connection's outbox
//!                                            │
//!                                            └──▶ dropped: nobody waits for it, or too much waits
//! ```
//!
//! It knows which channels of the connection consume replies, and under which secret, so that what
//! nobody waits for takes no memory, and others can ask whether the consumer is there (RPC-10).
//!
//! What it is not: a queue. What is dropped is gone, and nobody is told: replies are delivered at most
//! once (RPC-09).
//!
//! Invariant: `waiting_bytes` is what the replies in `waiting` count for, and exceeds
//! [`REPLIES_WAITING_BYTES_MAX`] by no more than one reply.

use rustc_hash::FxHashMap;

use crate::core::Message;
use crate::core::direct_reply::ReplyAddress;
use crate::limits::{MESSAGE_OVERHEAD_BYTES, REPLIES_WAITING_BYTES_MAX};

/// A message on its way to a consumer of direct replies.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) to: ReplyAddress,
    pub(crate) message: Message,
}

impl Reply {
    /// What it counts for while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let message = &self.message;
        MESSAGE_OVERHEAD_BYTES as usize + message.properties().len() + message.body_len()
    }
}

/// One connection's replies.
#[derive(Debug, Default)]
pub(crate) struct ReplyBox {
    /// The channels that consume replies, with the secrets of their addresses.
    open: FxHashMap<u16, [u8; 16]>,
    waiting: Vec<Reply>,
    waiting_bytes: usize,
}

impl ReplyBox {
    /// Takes replies to this address from now on.
    pub(crate) fn open(&mut self, at: &ReplyAddress) {
        self.open.insert(at.channel, at.secret);
    }

    /// Takes no more replies for this channel; true if there are others that consume.
    pub(crate) fn close(&mut self, channel: u16) -> bool {
        self.open.remove(&channel);
        !self.open.is_empty()
    }

    /// True while replies to this address are taken.
    pub(crate) fn is_open(&self, at: &ReplyAddress) -> bool {
        self.open.get(&at.channel) == Some(&at.secret)
    }

    /// Puts a reply behind the others.
    ///
    /// # Errors
    /// Gives the reply back if nobody waits for it, or if as much waits as may.
    pub(crate) fn put(&mut self, reply: Reply) -> Result<(), Reply> {
        if !self.is_open(&reply.to) || self.waiting_bytes >= REPLIES_WAITING_BYTES_MAX {
            return Err(reply);
        }
        self.waiting_bytes += reply.bytes();
        self.waiting.push(reply);
        Ok(())
    }

    /// True when [`Self::take`] has something to give.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything that waits, in the order in which it was put.
    pub(crate) fn take(&mut self) -> Vec<Reply> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::MessageParts;
    use crate::core::queue_handle::ConnectionId;
    use leveret_protocol::content::Body;

    const FIRST: ReplyAddress = ReplyAddress {
        connection: ConnectionId(1),
        channel: 1,
        secret: [1; 16],
    };

    fn reply(to: ReplyAddress, body: &[u8]) -> Reply {
        let parts = MessageParts {
            exchange: b"",
            routing_key: b"key",
            properties: &[0, 0],
            body: Body::Whole(body),
            persistent: false,
            priority: 0,
            expiration_ms: None,
        };
        let message = Message::new(parts, &mut Vec::new());
        Reply { to, message }
    }

    #[test]
    fn rpc_09_only_a_consumer_of_this_very_address_gets_replies() {
        let mut replies = ReplyBox::default();
        assert!(replies.put(reply(FIRST, b"")).is_err());
        replies.open(&FIRST);
        let guessed = ReplyAddress {
            secret: [2; 16],
            ..FIRST
        };
        assert!(replies.put(reply(guessed, b"")).is_err());
        assert!(replies.put(reply(FIRST, b"")).is_ok());
        let second = ReplyAddress {
            channel: 2,
            ..FIRST
        };
        replies.open(&second);
        assert!(replies.close(1), "another channel consumes");
        assert!(!replies.is_open(&FIRST) && replies.is_open(&second));
        assert!(!replies.close(2));
    }

    #[test]
    fn what_waits_is_bounded_and_taking_it_makes_room() {
        let mut replies = ReplyBox::default();
        replies.open(&FIRST);
        let body = vec![7; 100_000];
        let fitting = REPLIES_WAITING_BYTES_MAX / reply(FIRST, &body).bytes() + 1;
        for _ in 0..fitting {
            assert!(replies.put(reply(FIRST, &body)).is_ok());
        }
        assert!(replies.put(reply(FIRST, b"one too many")).is_err());
        assert_eq!(replies.take().len(), fitting);
        assert!(!replies.has_waiting());
        assert!(replies.put(reply(FIRST, b"")).is_ok());
    }

    #[test]
    fn replies_without_a_body_count_too() {
        let mut replies = ReplyBox::default();
        replies.open(&FIRST);
        let most = REPLIES_WAITING_BYTES_MAX / MESSAGE_OVERHEAD_BYTES as usize + 1;
        let taken = (0..2 * most).filter(|_| replies.put(reply(FIRST, b"")).is_ok());
        assert!(taken.count() <= most);
    }
}
