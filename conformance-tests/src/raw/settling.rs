//! Many messages at once, what settles them, and transactions.
//!
//! Like [`super::operations`], every operation here expects success.

use leveret_protocol::method::{basic, queue, tx};
use leveret_protocol::{MethodId, Properties, TableBuf, Value};

use super::message::Message;
use super::operations::durable_queue;
use super::socket::RawConnection;
use crate::failure::{Failure, expect_eq};

/// The delivery mode of a message that survives a restart.
const PERSISTENT: u8 = 2;

impl RawConnection {
    /// Declares a durable queue with arguments.
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn declare_queue_with(
        &mut self,
        channel: u16,
        name: &str,
        arguments: &[(&str, Value<'_>)],
    ) -> Result<(), Failure> {
        let arguments = TableBuf::from_entries(arguments.iter().copied());
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(name)
        };
        self.declare(channel, declare).await.map(drop)
    }

    /// Publishes these texts to a queue, through the default exchange.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish_all(
        &mut self,
        channel: u16,
        queue: &str,
        texts: &[&str],
    ) -> Result<(), Failure> {
        for text in texts {
            self.publish(channel, "", queue, text).await?;
        }
        Ok(())
    }

    /// Publishes a persistent text to a queue, through the default exchange.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish_persistent(
        &mut self,
        channel: u16,
        queue: &str,
        body: &str,
    ) -> Result<(), Failure> {
        let publish = basic::Publish {
            routing_key: queue.into(),
            ..Default::default()
        };
        let properties = Properties {
            delivery_mode: Some(PERSISTENT),
            ..Default::default()
        };
        self.publish_with(channel, publish, properties, body.as_bytes())
            .await
    }

    /// Declares a durable queue and publishes these texts to it.
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn fill_queue(
        &mut self,
        channel: u16,
        name: &str,
        texts: &[&str],
    ) -> Result<(), Failure> {
        self.declare_queue(channel, name).await?;
        self.publish_all(channel, name, texts).await
    }

    /// Reads a delivery for each of these texts, next and in this order.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_texts(
        &mut self,
        channel: u16,
        texts: &[&str],
    ) -> Result<Vec<Message>, Failure> {
        let mut messages = Vec::new();
        for text in texts {
            let message = self.expect_delivery(channel).await?;
            let right = expect_eq("body of a delivery", message.text(), *text);
            right.map_err(|failure| self.explain(failure))?;
            messages.push(message);
        }
        Ok(messages)
    }

    /// Fetches one message that has to be acked, and checks its body.
    ///
    /// # Errors
    /// The queue is empty, or another message comes.
    pub async fn get_text(
        &mut self,
        channel: u16,
        queue: &str,
        text: &str,
    ) -> Result<Message, Failure> {
        let Some(message) = self.get(channel, queue).await? else {
            let failure = Failure::expected(format!("the message {text:?}"), "get-empty");
            return Err(self.explain(failure));
        };
        let right = expect_eq("body", message.text(), text);
        right.map_err(|failure| self.explain(failure))?;
        Ok(message)
    }

    /// Shows that nothing is delivered now on the channel. The queue is asked first, so whatever it
    /// had to deliver is on its way before the second round trip.
    ///
    /// # Errors
    /// A delivery comes, or anything else.
    pub async fn expect_no_delivery(&mut self, channel: u16, queue: &str) -> Result<(), Failure> {
        self.inspect_queue(channel, queue).await?;
        self.barrier(channel).await
    }

    /// Checks how many messages are ready in a queue.
    ///
    /// # Errors
    /// It is another number.
    pub async fn expect_ready(
        &mut self,
        channel: u16,
        queue: &str,
        ready: u32,
    ) -> Result<(), Failure> {
        let came = self.inspect_queue(channel, queue).await?.message_count;
        let right = expect_eq(format!("ready messages in {queue}"), came, ready);
        right.map_err(|failure| self.explain(failure))
    }

    /// Acks everything up to this tag; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn ack_up_to(&mut self, channel: u16, delivery_tag: u64) -> Result<(), Failure> {
        let ack = basic::Ack {
            delivery_tag,
            multiple: true,
        };
        self.send_method(channel, ack).await
    }

    /// Nacks everything up to this tag; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn nack_up_to(
        &mut self,
        channel: u16,
        delivery_tag: u64,
        requeue: bool,
    ) -> Result<(), Failure> {
        let nack = basic::Nack {
            delivery_tag,
            multiple: true,
            requeue,
        };
        self.send_method(channel, nack).await
    }

    /// Rejects one delivery; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn reject(
        &mut self,
        channel: u16,
        delivery_tag: u64,
        requeue: bool,
    ) -> Result<(), Failure> {
        let reject = basic::Reject {
            delivery_tag,
            requeue,
        };
        self.send_method(channel, reject).await
    }

    /// Has everything unsettled on the channel requeued, with nothing coming before recover-ok.
    ///
    /// # Errors
    /// Anything but recover-ok comes.
    pub async fn recover(&mut self, channel: u16) -> Result<(), Failure> {
        let recover = basic::Recover { requeue: true };
        let reply = basic::RecoverOk::ID;
        self.call(channel, recover, reply).await.map(drop)
    }

    /// Puts the channel into transaction mode.
    ///
    /// # Errors
    /// Anything but select-ok comes.
    pub async fn tx_select(&mut self, channel: u16) -> Result<(), Failure> {
        let reply = tx::SelectOk::ID;
        self.call(channel, tx::Select {}, reply).await.map(drop)
    }

    /// Commits, with nothing coming before commit-ok.
    ///
    /// # Errors
    /// Anything but commit-ok comes.
    pub async fn commit(&mut self, channel: u16) -> Result<(), Failure> {
        let reply = tx::CommitOk::ID;
        self.call(channel, tx::Commit {}, reply).await.map(drop)
    }

    /// Rolls back, with nothing coming before rollback-ok.
    ///
    /// # Errors
    /// Anything but rollback-ok comes.
    pub async fn rollback(&mut self, channel: u16) -> Result<(), Failure> {
        let reply = tx::RollbackOk::ID;
        self.call(channel, tx::Rollback {}, reply).await.map(drop)
    }

    /// The refusal of a delivery tag that is not outstanding, next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_unknown_tag(
        &mut self,
        channel: u16,
        delivery_tag: u64,
        culprit: MethodId,
    ) -> Result<(), Failure> {
        let text = format!("PRECONDITION_FAILED - unknown delivery tag {delivery_tag}");
        self.expect_channel_close(channel, 406, text, culprit).await
    }
}
