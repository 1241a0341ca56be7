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
//! Invariants: `waiting_bytes` is what the replies in `waiting` count for, and exceeds
//! [`REPLIES_WAITING_BYTES_MAX`] by no more than one reply; the share of the broker's reserve covers it.

use rustc_hash::FxHashMap;

use crate::core::Message;
use crate::core::direct_reply::ReplyAddress;
use crate::core::reserve::Share;
use crate::limits::{ACCOUNT_STEP_BYTES, MESSAGE_OVERHEAD_BYTES, REPLIES_WAITING_BYTES_MAX};

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
#[derive(Debug)]
pub(crate) struct ReplyBox {
    /// The channels that consume replies, with the secrets of their addresses.
    open: FxHashMap<u16, [u8; 16]>,
    waiting: Vec<Reply>,
    waiting_bytes: usize,
    /// Grows in steps and keeps one, so that small replies that are taken at once cost the account nothing.
    share: Share,
}

impl ReplyBox {
    /// A box that nobody has opened; what waits in it is held by this share.
    pub(crate) fn within(share: Share) -> Self {
        Self {
            open: FxHashMap::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            share,
        }
    }

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
    /// Gives the reply back if nobody waits for it, or if as much waits as may, here or in all.
    pub(crate) fn put(&mut self, reply: Reply) -> Result<(), Reply> {
        if !self.is_open(&reply.to) || self.waiting_bytes >= REPLIES_WAITING_BYTES_MAX {
            return Err(reply);
        }
        let waiting_bytes = self.waiting_bytes + reply.bytes();
        if !self.covers(waiting_bytes as u64) {
            return Err(reply);
        }
        self.waiting_bytes = waiting_bytes;
        self.waiting.push(reply);
        Ok(())
    }

    /// Whether the share is as large, or can grow.
    fn covers(&self, bytes: u64) -> bool {
        let missing = bytes.saturating_sub(self.share.bytes());
        missing == 0 || self.share.take(missing.max(ACCOUNT_STEP_BYTES)).is_ok()
    }

    /// True when [`Self::take`] has something to give.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything that waits, in the order in which it was put.
    pub(crate) fn take(&mut self) -> Vec<Reply> {
        self.waiting_bytes = 0;
        let spare = self.share.bytes().saturating_sub(ACCOUNT_STEP_BYTES);
        if spare > 0 {
            self.share.give_back(spare);
        }
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::MessageParts;
    use crate::core::queue_handle::ConnectionId;
    use crate::core::reserve::Reserve;
    use leveret_protocol::content::Body;

    const FIRST: ReplyAddress = ReplyAddress {
        connection: ConnectionId(1),
        channel: 1,
        secret: [1; 16],
    };

    fn unlimited() -> ReplyBox {
        ReplyBox::within(Reserve::new(0).share())
    }

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
        let mut replies = unlimited();
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
        let mut replies = unlimited();
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
        let mut replies = unlimited();
        replies.open(&FIRST);
        let most = REPLIES_WAITING_BYTES_MAX / MESSAGE_OVERHEAD_BYTES as usize + 1;
        let taken = (0..2 * most).filter(|_| replies.put(reply(FIRST, b"")).is_ok());
        assert!(taken.count() <= most);
    }

    #[test]
    fn what_waits_is_held_of_the_reserve_and_dropped_when_that_is_used_up() {
        let reserve = Reserve::new(20_000);
        let mut replies = ReplyBox::within(reserve.share());
        replies.open(&FIRST);
        let body = [7; 3_000];
        let taken = (0..10).filter(|_| replies.put(reply(FIRST, &body)).is_ok());
        let taken = taken.count();
        assert!((4..=6).contains(&taken), "{taken}");
        assert!(reserve.held_bytes() >= taken as u64 * 3_000);
        assert_eq!(replies.take().len(), taken);
        assert!(reserve.held_bytes() <= ACCOUNT_STEP_BYTES);
        assert!(replies.put(reply(FIRST, &body)).is_ok());
        drop(replies);
        assert_eq!(reserve.held_bytes(), 0);
    }
}
