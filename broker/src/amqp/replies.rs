//! Direct reply-to: requests that name the pseudo-queue, and replies that go straight to a channel.
//!
//! ```text
//!   requester's channel                                        replier's channel
//!   consume from amq.rabbitmq.reply-to ─▶ ReplyConsumer
//!   publish, reply-to = the pseudo-queue
//!      └─ rewritten to the consumer's address ──▶ some queue ──▶ delivered
//!                                                                publish to "", key = the address
//!   basic.deliver ◀── outbox ◀── ReplyBox ◀── Connections ◀── staged with the turn's other replies
//! ```
//!
//! A reply passes no queue and is never kept: whoever is not there, or does not read, has lost it
//! (RPC-09). For the publisher it goes nowhere: it is confirmed, and returned if it is mandatory (RPC-08).
//! It is sent when it is published, also within a transaction, as the reference does.
//!
//! What it is not: the names (see [`crate::core::direct_reply`]), nor the waiting (see
//! [`super::reply_box`]).
//!
//! Invariant: a channel has a [`ReplyConsumer`] exactly while the connection's mailbox is open for its
//! address.

use std::sync::Arc;

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{Fault, Properties, ReplyCode, ShortStr};

use crate::amqp::deliver::write_delivery;
use crate::amqp::reply_box::Reply;
use crate::amqp::session::Session;
use crate::core::Message;
use crate::core::argument_checks::precondition_failed;
use crate::core::direct_reply::{REPLY_QUEUE, ReplyAddress, may_be_reply};
use crate::limits::{OUTBOX_HIGH_BYTES, STAGE_BYTES_MAX, STAGE_MESSAGES_MAX};
use crate::names;

/// A channel's consumer of direct replies. It is in no queue, and its tag is not among those of the
/// other consumers (RPC-15).
#[derive(Debug)]
pub(crate) struct ReplyConsumer {
    tag: Box<[u8]>,
    address: ReplyAddress,
    /// The address as requests are given it.
    name: Arc<str>,
}

/// Replies that were published and are not yet handed over.
#[derive(Debug, Default)]
pub(crate) struct StagedReplies {
    replies: Vec<Reply>,
    bytes: usize,
}

impl StagedReplies {
    fn push(&mut self, reply: Reply) {
        self.bytes += reply.message.total_len();
        self.replies.push(reply);
    }

    fn is_full(&self) -> bool {
        self.replies.len() >= STAGE_MESSAGES_MAX || self.bytes >= STAGE_BYTES_MAX
    }
}

/// The requesting side.
impl Session {
    /// `basic.consume` from the pseudo-queue (RPC-01). Anybody may (RPC-16).
    pub(super) fn consume_replies(
        &mut self,
        number: u16,
        tag: &[u8],
        consume: &basic::Consume<'_>,
    ) -> Result<(), Fault> {
        if !consume.no_ack {
            return Err(refused("reply consumer cannot acknowledge"));
        }
        let connection = self.id;
        let channel = self.channel(number)?;
        if channel.reply_consumer.is_some() {
            return Err(refused("reply consumer already set"));
        }
        let address = ReplyAddress {
            connection,
            channel: number,
            secret: names::secret(),
        };
        channel.reply_consumer = Some(Box::new(ReplyConsumer {
            tag: Box::from(tag),
            address,
            name: Arc::from(address.name()),
        }));
        self.mailbox.expect_replies(&address, self.share.sibling());
        if !consume.nowait {
            let consumer_tag = ShortStr(tag);
            self.reply(number, basic::ConsumeOk { consumer_tag });
        }
        Ok(())
    }

    /// Ends the channel's consumer of replies if this is its tag (RPC-14).
    pub(super) fn cancel_replies(&mut self, number: u16, tag: &[u8]) -> bool {
        let Some(channel) = self.channels.get_mut(&number) else {
            return false;
        };
        let consumer = &mut channel.reply_consumer;
        let cancelled = consumer.take_if(|consumer| *consumer.tag == *tag).is_some();
        if cancelled {
            self.mailbox.end_replies(number);
        }
        cancelled
    }

    /// The address that the reply-to of a request becomes (RPC-05); nothing for a message that is no
    /// request.
    ///
    /// # Errors
    /// 406 when the channel has no consumer of replies (RPC-04).
    pub(super) fn reply_to(
        &self,
        number: u16,
        properties: &Properties<'_>,
    ) -> Result<Option<Arc<str>>, Fault> {
        if properties.reply_to.map(|name| name.0) != Some(REPLY_QUEUE.as_bytes()) {
            return Ok(None);
        }
        let channel = self.channels.get(&number);
        match channel.and_then(|channel| channel.reply_consumer.as_ref()) {
            Some(consumer) => Ok(Some(Arc::clone(&consumer.name))),
            None => Err(refused("fast reply consumer does not exist")),
        }
    }

    /// Delivers the replies that wait, as long as the client takes what it is sent. The tag is the one
    /// that the next delivery of a queue will have (RPC-07).
    pub(crate) fn deliver_replies(&mut self) {
        if !self.replies_wait || self.outbox.len() >= OUTBOX_HIGH_BYTES {
            return;
        }
        self.replies_wait = false;
        for Reply { to, message } in self.mailbox.take_replies() {
            let addressee = self.addressee(to.channel);
            let Some(channel) = self.channels.get(&to.channel) else {
                continue;
            };
            let consumer = channel.reply_consumer.as_ref();
            // It may have been cancelled while the reply was waiting.
            let consumer = consumer.filter(|consumer| consumer.address == to);
            if let Some(ReplyConsumer { tag, .. }) = consumer.map(|consumer| &**consumer) {
                let delivery_tag = channel.unacked.next_tag();
                let out = &mut self.outbox;
                write_delivery(out, addressee, tag, delivery_tag, false, &message);
            }
        }
    }
}

/// The replying side.
impl Session {
    /// Stages a message for those of these keys that are reply addresses; the default exchange only
    /// (RPC-18).
    pub(super) fn stage_replies(&mut self, routing_keys: &[&[u8]], message: &Message) {
        let keys = routing_keys.iter().filter(|key| may_be_reply(key));
        for to in keys.filter_map(|key| ReplyAddress::parse(key)) {
            let message = message.clone();
            self.staged_replies.push(Reply { to, message });
        }
        if self.staged_replies.is_full() {
            self.hand_over_replies();
        }
    }

    /// Leaves the staged replies with the connections that wait for them.
    pub(super) fn hand_over_replies(&mut self) {
        let StagedReplies { replies, bytes } = &mut self.staged_replies;
        if !replies.is_empty() {
            self.node.connections.leave_replies(replies);
            *bytes = 0;
        }
    }

    /// `queue.declare` of a name that belongs to direct reply-to, whatever else is asked: such a queue
    /// has one consumer if it exists (RPC-10, RPC-11). False for any other name.
    pub(super) fn declare_reply_queue(
        &mut self,
        number: u16,
        declare: &queue::Declare<'_>,
    ) -> Result<bool, Fault> {
        if !declare.queue.0.starts_with(REPLY_QUEUE.as_bytes()) {
            return Ok(false);
        }
        let name = declare.queue.to_text().replace(['\r', '\n'], "");
        let address = ReplyAddress::parse(name.as_bytes());
        let exists = name == REPLY_QUEUE
            || address.is_some_and(|address| self.node.connections.await_reply(&address));
        if !exists {
            let vhost = self.vhost()?.name();
            let text = format!("no queue '{name}' in vhost '{vhost}'");
            return Err(Fault::new(ReplyCode::NotFound, text));
        }
        if !declare.nowait {
            let declared = queue::DeclareOk {
                queue: ShortStr::from(&*name),
                message_count: 0,
                consumer_count: 1,
            };
            self.reply(number, declared);
        }
        self.channel(number)?.last_queue = Some(Arc::from(name));
        Ok(true)
    }
}

fn refused(text: &str) -> Fault {
    precondition_failed(text.to_owned())
}
