//! What most tests do on the way to what they are about, one line each.
//!
//! Every operation here expects success. To provoke an error, send the method with
//! [`RawConnection::send_method`] and expect the close.

use leveret_protocol::method::{channel, exchange, queue};
use leveret_protocol::{Method, ShortStr};

use super::socket::RawConnection;
use crate::failure::Failure;

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
pub fn transient_exchange<'a>(name: &'a str, kind: &'a str) -> exchange::Declare<'a> {
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

    /// Declares an exchange as it is described; see [`transient_exchange`].
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
