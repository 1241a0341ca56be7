//! A message that the broker sent: a delivery, the answer to a get, or a return, with its content.

use bytes::{Bytes, BytesMut};
use leveret_protocol::content::{BASIC_CLASS_ID, ContentHeader, FRAME_BODY, FRAME_HEADER};
use leveret_protocol::method::basic;
use leveret_protocol::{Method, MethodId, Properties};

use super::socket::{OwnedMethod, RawConnection};
use crate::failure::{Failure, expect_eq, show_bytes};

/// A message with the fields of the method that brought it; fields that the method does not have
/// are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Of a delivery.
    pub consumer_tag: String,
    /// Of a delivery or get.
    pub delivery_tag: u64,
    /// Of a delivery or get.
    pub redelivered: bool,
    /// Where it was published.
    pub exchange: String,
    /// The key it was published with.
    pub routing_key: String,
    /// Of a get: how many are ready behind it.
    pub message_count: u32,
    /// Of a return.
    pub reply_code: u16,
    /// Of a return.
    pub reply_text: String,
    /// The property flags and fields as they came.
    pub property_bytes: Bytes,
    /// The whole body.
    pub body: Bytes,
    /// The payload sizes of the body frames.
    pub body_frames: Vec<usize>,
}

impl Message {
    /// The properties.
    ///
    /// # Errors
    /// They cannot be parsed.
    pub fn properties(&self) -> Result<Properties<'_>, Failure> {
        Properties::parse(&self.property_bytes).map_err(|problem| {
            let bytes = show_bytes(&self.property_bytes);
            Failure::new(format!("unreadable properties came ({problem}): {bytes}"))
        })
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn of(method: Method<'_>) -> Option<Self> {
        let Method::Basic(method) = method else {
            return None;
        };
        match method {
            basic::Method::Deliver(deliver) => Some(Self {
                consumer_tag: deliver.consumer_tag.to_text().into_owned(),
                delivery_tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                exchange: deliver.exchange.to_text().into_owned(),
                routing_key: deliver.routing_key.to_text().into_owned(),
                ..Self::default()
            }),
            basic::Method::GetOk(got) => Some(Self {
                delivery_tag: got.delivery_tag,
                redelivered: got.redelivered,
                exchange: got.exchange.to_text().into_owned(),
                routing_key: got.routing_key.to_text().into_owned(),
                message_count: got.message_count,
                ..Self::default()
            }),
            basic::Method::Return(returned) => Some(Self {
                reply_code: returned.reply_code,
                reply_text: returned.reply_text.to_text().into_owned(),
                exchange: returned.exchange.to_text().into_owned(),
                routing_key: returned.routing_key.to_text().into_owned(),
                ..Self::default()
            }),
            _ => None,
        }
    }
}

impl RawConnection {
    /// A delivery, next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_delivery(&mut self, channel: u16) -> Result<Message, Failure> {
        self.expect_message(channel, basic::Deliver::ID).await
    }

    /// A returned message, next.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_return(&mut self, channel: u16) -> Result<Message, Failure> {
        self.expect_message(channel, basic::Return::ID).await
    }

    async fn expect_message(&mut self, channel: u16, id: MethodId) -> Result<Message, Failure> {
        let method = self.expect(channel, id).await?;
        self.read_content(channel, &method).await
    }

    /// Reads the header and body that belong to a method already read.
    ///
    /// # Errors
    /// Other frames come, or the body has another size than announced.
    pub async fn read_content(
        &mut self,
        channel: u16,
        method: &OwnedMethod,
    ) -> Result<Message, Failure> {
        let mut message = method.read(Message::of)?;
        let frame = self.expect_frame(FRAME_HEADER, channel).await?;
        let header = ContentHeader::parse(&frame.payload)
            .map_err(|problem| Failure::expected("a content header", problem))?;
        expect_eq("content header class", header.class_id, BASIC_CLASS_ID)?;
        message.property_bytes = frame.payload.slice_ref(header.properties);
        let mut body = BytesMut::new();
        while (body.len() as u64) < header.body_size {
            let piece = self.expect_frame(FRAME_BODY, channel).await?.payload;
            message.body_frames.push(piece.len());
            body.extend_from_slice(&piece);
        }
        expect_eq("body size", body.len() as u64, header.body_size)?;
        message.body = body.freeze();
        Ok(message)
    }
}
