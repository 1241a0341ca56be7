//! Messages out and in, one line each: publish, get, consume, settle and confirm.
//!
//! Like [`super::operations`], every operation here expects success.

use bytes::BytesMut;
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, FRAME_BODY};
use leveret_protocol::encode::FRAME_OVERHEAD;
use leveret_protocol::method::{basic, confirm};
use leveret_protocol::{Method, Properties};

use super::message::Message;
use super::socket::RawConnection;
use crate::failure::{Failure, expect_eq};

impl RawConnection {
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

    /// Publishes a text with properties; there is no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish_message(
        &mut self,
        channel: u16,
        (exchange, routing_key): (&str, &str),
        properties: Properties<'_>,
        body: &str,
    ) -> Result<(), Failure> {
        let publish = basic::Publish {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..Default::default()
        };
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

    /// Starts a consumer whose deliveries count as acked, and returns its tag.
    ///
    /// # Errors
    /// Anything but consume-ok comes.
    pub async fn consume_no_ack(&mut self, channel: u16, queue: &str) -> Result<String, Failure> {
        let consume = basic::Consume {
            queue: queue.into(),
            no_ack: true,
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

    /// A nack from the broker, next.
    ///
    /// # Errors
    /// Anything else comes.
    pub async fn expect_refusal(&mut self, channel: u16) -> Result<basic::Nack, Failure> {
        let method = self.expect(channel, basic::Nack::ID).await?;
        method.read(|method| match method {
            Method::Basic(basic::Method::Nack(nack)) => Some(nack),
            _ => None,
        })
    }
}
