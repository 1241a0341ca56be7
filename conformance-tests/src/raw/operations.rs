//! What most tests do on the way to what they are about, one line each.
//!
//! Every operation here expects success. To provoke an error, send the method with
//! [`RawConnection::send_method`] and expect the close.

use bytes::BytesMut;
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, FRAME_BODY};
use leveret_protocol::encode::FRAME_OVERHEAD;
use leveret_protocol::method::{basic, channel, confirm, exchange, queue};
use leveret_protocol::{Method, Properties, ShortStr};

use super::message::Message;
use super::socket::RawConnection;
use crate::failure::{Failure, expect_eq};

/// What declare-ok says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredQueue {
    /// The name, given or made.
    pub name: String,
    /// Ready messages.
    pub message_count: u32,
    /// Consumers.
    pub consumer_count: u32,
}

/// A durable queue without arguments: the starting point of queue declarations, for instance
/// `queue::Declare { auto_delete: true, ..durable_queue(&name) }`.
#[must_use]
pub fn durable_queue(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: name.into(),
        durable: true,
        ..Default::default()
    }
}

/// A transient exchange without arguments: the starting point of exchange declarations.
#[must_use]
pub fn exchange<'a>(name: &'a str, kind: &'a str) -> exchange::Declare<'a> {
    exchange::Declare {
        exchange: name.into(),
        kind: kind.into(),
        ..Default::default()
    }
}

impl RawConnection {
    /// Opens a channel.
    ///
    /// # Errors
    /// Anything but open-ok comes.
    pub async fn open_channel(&mut self, channel: u16) -> Result<(), Failure> {
        let open = channel::Open::default();
        self.call(channel, open, channel::OpenOk::ID)
            .await
            .map(drop)
    }

    /// Closes a channel, with nothing else coming before close-ok.
    ///
    /// # Errors
    /// Anything but close-ok comes.
    pub async fn close_channel(&mut self, channel: u16) -> Result<(), Failure> {
        let close = channel::Close {
            reply_code: 200,
            ..Default::default()
        };
        let reply = channel::CloseOk::ID;
        self.call(channel, close, reply).await.map(drop)
    }

    /// Declares a queue as it is described; see [`durable_queue`].
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn declare(
        &mut self,
        channel: u16,
        queue: queue::Declare<'_>,
    ) -> Result<DeclaredQueue, Failure> {
        let reply = self.call(channel, queue, queue::DeclareOk::ID).await?;
        reply.read(|method| match method {
            Method::Queue(queue::Method::DeclareOk(ok)) => Some(DeclaredQueue {
                name: ok.queue.to_text().into_owned(),
                message_count: ok.message_count,
                consumer_count: ok.consumer_count,
            }),
            _ => None,
        })
    }

    /// Declares a durable queue without arguments.
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn declare_queue(
        &mut self,
        channel: u16,
        name: &str,
    ) -> Result<DeclaredQueue, Failure> {
        self.declare(channel, durable_queue(name)).await
    }

    /// Asks for a queue's counts with a passive declare.
    ///
    /// # Errors
    /// The queue is missing.
    pub async fn inspect_queue(
        &mut self,
        channel: u16,
        name: &str,
    ) -> Result<DeclaredQueue, Failure> {
        let passive = queue::Declare {
            passive: true,
            ..durable_queue(name)
        };
        self.declare(channel, passive).await
    }

    /// Declares an exchange as it is described; see [`exchange`].
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn declare_exchange(
        &mut self,
        channel: u16,
        exchange: exchange::Declare<'_>,
    ) -> Result<(), Failure> {
        let reply = exchange::DeclareOk::ID;
        self.call(channel, exchange, reply).await.map(drop)
    }

    /// Deletes a queue and returns how many messages went with it.
    ///
    /// # Errors
    /// Anything but delete-ok comes.
    pub async fn delete_queue(&mut self, channel: u16, name: &str) -> Result<u32, Failure> {
        let delete = queue::Delete {
            queue: name.into(),
            ..Default::default()
        };
        let reply = self.call(channel, delete, queue::DeleteOk::ID).await?;
        reply.read(|method| match method {
            Method::Queue(queue::Method::DeleteOk(ok)) => Some(ok.message_count),
            _ => None,
        })
    }

    /// Deletes an exchange.
    ///
    /// # Errors
    /// Anything but delete-ok comes.
    pub async fn delete_exchange(&mut self, channel: u16, name: &str) -> Result<(), Failure> {
        let delete = exchange::Delete {
            exchange: name.into(),
            ..Default::default()
        };
        let reply = exchange::DeleteOk::ID;
        self.call(channel, delete, reply).await.map(drop)
    }

    /// Purges a queue and returns how many messages went.
    ///
    /// # Errors
    /// Anything but purge-ok comes.
    pub async fn purge(&mut self, channel: u16, name: &str) -> Result<u32, Failure> {
        let purge = queue::Purge {
            queue: name.into(),
            ..Default::default()
        };
        let reply = self.call(channel, purge, queue::PurgeOk::ID).await?;
        reply.read(|method| match method {
            Method::Queue(queue::Method::PurgeOk(ok)) => Some(ok.message_count),
            _ => None,
        })
    }

    /// Binds a queue to an exchange.
    ///
    /// # Errors
    /// Anything but bind-ok comes.
    pub async fn bind(
        &mut self,
        channel: u16,
        queue: &str,
        exchange: &str,
        routing_key: &str,
    ) -> Result<(), Failure> {
        let bind = queue::Bind {
            queue: queue.into(),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..Default::default()
        };
        let reply = queue::BindOk::ID;
        self.call(channel, bind, reply).await.map(drop)
    }

    /// Removes a binding between a queue and an exchange.
    ///
    /// # Errors
    /// Anything but unbind-ok comes.
    pub async fn unbind(
        &mut self,
        channel: u16,
        queue: &str,
        exchange: &str,
        routing_key: &str,
    ) -> Result<(), Failure> {
        let unbind = queue::Unbind {
            queue: queue.into(),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..Default::default()
        };
        let reply = queue::UnbindOk::ID;
        self.call(channel, unbind, reply).await.map(drop)
    }

    /// Binds one exchange to another: what `source` routes goes to `destination`.
    ///
    /// # Errors
    /// Anything but bind-ok comes.
    pub async fn bind_exchange(
        &mut self,
        channel: u16,
        destination: &str,
        source: &str,
        routing_key: &str,
    ) -> Result<(), Failure> {
        let bind = exchange::Bind {
            destination: destination.into(),
            source: source.into(),
            routing_key: routing_key.into(),
            ..Default::default()
        };
        let reply = exchange::BindOk::ID;
        self.call(channel, bind, reply).await.map(drop)
    }

    /// Publishes a text without properties; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish(
        &mut self,
        channel: u16,
        exchange: &str,
        routing_key: &str,
        body: &str,
    ) -> Result<(), Failure> {
        let publish = basic::Publish {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..Default::default()
        };
        let properties = Properties::default();
        self.publish_with(channel, publish, properties, body.as_bytes())
            .await
    }

    /// Publishes a mandatory text without properties.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish_mandatory(
        &mut self,
        channel: u16,
        exchange: &str,
        routing_key: &str,
        body: &str,
    ) -> Result<(), Failure> {
        let publish = basic::Publish {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            mandatory: true,
            ..Default::default()
        };
        let properties = Properties::default();
        self.publish_with(channel, publish, properties, body.as_bytes())
            .await
    }

    /// Publishes with every choice, in as many body frames as the agreed size asks for.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish_with(
        &mut self,
        channel: u16,
        publish: basic::Publish<'_>,
        properties: Properties<'_>,
        body: &[u8],
    ) -> Result<(), Failure> {
        self.send_method(channel, publish).await?;
        self.send_content(channel, &properties.to_bytes(), body)
            .await
    }

    /// Sends a content header and the body after it.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_content(
        &mut self,
        channel: u16,
        properties: &[u8],
        body: &[u8],
    ) -> Result<(), Failure> {
        self.send_content_header(channel, properties, body.len() as u64)
            .await?;
        let piece_max = (self.frame_max as usize).saturating_sub(FRAME_OVERHEAD);
        for piece in body.chunks(piece_max.max(1)) {
            self.send_body(channel, piece).await?;
        }
        Ok(())
    }

    /// Sends a content header that announces a body of this size.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_content_header(
        &mut self,
        channel: u16,
        properties: &[u8],
        body_size: u64,
    ) -> Result<(), Failure> {
        let header = ContentHeader {
            class_id: BASIC_CLASS_ID,
            weight: 0,
            body_size,
            properties,
        };
        let mut frame = BytesMut::new();
        header.write_frame(channel, &mut frame);
        self.send_bytes(&frame).await
    }

    /// Sends one body frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_body(&mut self, channel: u16, piece: &[u8]) -> Result<(), Failure> {
        self.send_frame(FRAME_BODY, channel, piece).await
    }

    /// Fetches one message that has to be acked; `None` when the queue is empty.
    ///
    /// # Errors
    /// Anything but get-ok or get-empty comes.
    pub async fn get(&mut self, channel: u16, queue: &str) -> Result<Option<Message>, Failure> {
        self.get_with(channel, queue, false).await
    }

    /// Fetches one message that counts as acked.
    ///
    /// # Errors
    /// Anything but get-ok or get-empty comes.
    pub async fn take(&mut self, channel: u16, queue: &str) -> Result<Option<Message>, Failure> {
        self.get_with(channel, queue, true).await
    }

    /// Takes one message and checks its body.
    ///
    /// # Errors
    /// The queue is empty, or another message comes.
    pub async fn take_text(
        &mut self,
        channel: u16,
        queue: &str,
        text: &str,
    ) -> Result<Message, Failure> {
        let Some(message) = self.take(channel, queue).await? else {
            let failure = Failure::expected(format!("the message {text:?}"), "get-empty");
            return Err(self.explain(failure));
        };
        expect_eq("body", message.text(), text)?;
        Ok(message)
    }

    /// Checks that a get finds nothing.
    ///
    /// # Errors
    /// There is a message.
    pub async fn expect_empty(&mut self, channel: u16, queue: &str) -> Result<(), Failure> {
        match self.take(channel, queue).await? {
            None => Ok(()),
            Some(message) => {
                let came = format!("{message:?}");
                Err(self.explain(Failure::expected("an empty queue", came)))
            }
        }
    }

    async fn get_with(
        &mut self,
        channel: u16,
        queue: &str,
        no_ack: bool,
    ) -> Result<Option<Message>, Failure> {
        let get = basic::Get {
            queue: queue.into(),
            no_ack,
            ..Default::default()
        };
        self.send_method(channel, get).await?;
        let reply = self.expect_method(channel).await?;
        match reply.id() {
            basic::GetEmpty::ID => Ok(None),
            basic::GetOk::ID => self.read_content(channel, &reply).await.map(Some),
            _ => Err(self.explain(Failure::expected("get-ok or get-empty", &reply))),
        }
    }

    /// Starts a consumer that acks, and returns its tag.
    ///
    /// # Errors
    /// Anything but consume-ok comes.
    pub async fn consume(&mut self, channel: u16, queue: &str) -> Result<String, Failure> {
        let consume = basic::Consume {
            queue: queue.into(),
            ..Default::default()
        };
        self.consume_with(channel, consume).await
    }

    /// Starts a consumer with every choice, and returns its tag.
    ///
    /// # Errors
    /// Anything but consume-ok comes.
    pub async fn consume_with(
        &mut self,
        channel: u16,
        consume: basic::Consume<'_>,
    ) -> Result<String, Failure> {
        let reply = self.call(channel, consume, basic::ConsumeOk::ID).await?;
        reply.read(|method| match method {
            Method::Basic(basic::Method::ConsumeOk(ok)) => {
                Some(ok.consumer_tag.to_text().into_owned())
            }
            _ => None,
        })
    }

    /// Ends a consumer, with nothing else coming before cancel-ok.
    ///
    /// # Errors
    /// Anything but cancel-ok comes.
    pub async fn cancel(&mut self, channel: u16, consumer_tag: &str) -> Result<(), Failure> {
        let cancel = basic::Cancel {
            consumer_tag: consumer_tag.into(),
            nowait: false,
        };
        let reply = basic::CancelOk::ID;
        self.call(channel, cancel, reply).await.map(drop)
    }

    /// Sets the prefetch count.
    ///
    /// # Errors
    /// Anything but qos-ok comes.
    pub async fn prefetch(
        &mut self,
        channel: u16,
        prefetch_count: u16,
        global: bool,
    ) -> Result<(), Failure> {
        let qos = basic::Qos {
            prefetch_size: 0,
            prefetch_count,
            global,
        };
        self.call(channel, qos, basic::QosOk::ID).await.map(drop)
    }

    /// Acks one delivery; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn ack(&mut self, channel: u16, delivery_tag: u64) -> Result<(), Failure> {
        let ack = basic::Ack {
            delivery_tag,
            multiple: false,
        };
        self.send_method(channel, ack).await
    }

    /// Nacks one delivery; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn nack(
        &mut self,
        channel: u16,
        delivery_tag: u64,
        requeue: bool,
    ) -> Result<(), Failure> {
        let nack = basic::Nack {
            delivery_tag,
            multiple: false,
            requeue,
        };
        self.send_method(channel, nack).await
    }

    /// Puts the channel into confirm mode.
    ///
    /// # Errors
    /// Anything but select-ok comes.
    pub async fn confirm_select(&mut self, channel: u16) -> Result<(), Failure> {
        let select = confirm::Select { nowait: false };
        let reply = confirm::SelectOk::ID;
        self.call(channel, select, reply).await.map(drop)
    }

    /// Reads acks until every tag from `first` to `last` is confirmed, in any order and grouping.
    ///
    /// # Errors
    /// A nack or anything else comes, or a tag that is not awaited.
    pub async fn await_confirms(
        &mut self,
        channel: u16,
        first: u64,
        last: u64,
    ) -> Result<(), Failure> {
        let mut awaited: Vec<u64> = (first..=last).collect();
        while !awaited.is_empty() {
            let ack = self.expect_confirm(channel).await?;
            let before = awaited.len();
            awaited.retain(|tag| match ack.multiple {
                true => *tag > ack.delivery_tag,
                false => *tag != ack.delivery_tag,
            });
            if awaited.len() == before {
                let failure = Failure::expected(format!("an ack for {awaited:?}"), "another tag");
                return Err(self.explain(failure));
            }
        }
        Ok(())
    }

    /// An ack from the broker, next.
    ///
    /// # Errors
    /// Anything else comes.
    pub async fn expect_confirm(&mut self, channel: u16) -> Result<basic::Ack, Failure> {
        let method = self.expect(channel, basic::Ack::ID).await?;
        method.read(|method| match method {
            Method::Basic(basic::Method::Ack(ack)) => Some(ack),
            _ => None,
        })
    }

    /// Checks that an exchange exists (passive declare).
    ///
    /// # Errors
    /// Anything but declare-ok comes.
    pub async fn expect_exchange(&mut self, channel: u16, name: &str) -> Result<(), Failure> {
        let passive = exchange::Declare {
            passive: true,
            exchange: ShortStr::from(name),
            ..Default::default()
        };
        self.declare_exchange(channel, passive).await
    }
}
