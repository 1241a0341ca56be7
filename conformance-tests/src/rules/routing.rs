//! One exchange and one queue, for the tests of who gets which message.
//!
//! A message is published mandatory and followed by a round trip: if the broker returns it, it was
//! routed nowhere, and if it answers the round trip only, the queue has it. So one queue is enough to
//! try any number of bindings and messages, and nothing has to be fetched.

use leveret_protocol::method::{basic, channel, queue};
use leveret_protocol::{Properties, Table, TableBuf};

use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

/// A connection on which an exchange and a queue were declared.
pub(super) struct Routing {
    pub(super) raw: RawConnection,
    pub(super) exchange: String,
    pub(super) queue: String,
}

impl Routing {
    /// Declares both, not yet bound.
    pub(super) async fn of_type(t: &Trial, kind: &str) -> Result<Self, Failure> {
        let mut raw = t.raw().await?;
        let (exchange, queue) = (t.name("x"), t.name("q"));
        raw.declare_exchange(1, transient_exchange(&exchange, kind))
            .await?;
        raw.declare_queue(1, &queue).await?;
        Ok(Self {
            raw,
            exchange,
            queue,
        })
    }

    pub(super) async fn bind(&mut self, key: &str) -> Result<(), Failure> {
        self.bind_with(key, Table::default()).await
    }

    pub(super) async fn unbind(&mut self, key: &str) -> Result<(), Failure> {
        self.unbind_with(key, Table::default()).await
    }

    pub(super) async fn bind_with(&mut self, key: &str, with: Table<'_>) -> Result<(), Failure> {
        let bind = queue::Bind {
            queue: self.queue.as_str().into(),
            exchange: self.exchange.as_str().into(),
            routing_key: key.into(),
            arguments: with,
            ..Default::default()
        };
        self.raw.call(1, bind, queue::BindOk::ID).await.map(drop)
    }

    pub(super) async fn unbind_with(&mut self, key: &str, with: Table<'_>) -> Result<(), Failure> {
        let unbind = queue::Unbind {
            queue: self.queue.as_str().into(),
            exchange: self.exchange.as_str().into(),
            routing_key: key.into(),
            arguments: with,
            ..Default::default()
        };
        let reply = queue::UnbindOk::ID;
        self.raw.call(1, unbind, reply).await.map(drop)
    }

    /// Checks whether a message with this key and no properties is routed.
    pub(super) async fn expect_routed(&mut self, key: &str, routed: bool) -> Result<(), Failure> {
        let came = self.is_routed(key, Properties::default()).await?;
        expect_eq(format!("whether the key {key:?} is routed"), came, routed)
    }

    /// Checks whether a message with these headers is routed.
    pub(super) async fn expect_headers_routed(
        &mut self,
        headers: &TableBuf,
        routed: bool,
    ) -> Result<(), Failure> {
        let properties = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        let came = self.is_routed("any", properties).await?;
        expect_eq(format!("whether {headers:?} is routed"), came, routed)
    }

    /// Publishes and says whether the message was routed.
    pub(super) async fn is_routed(
        &mut self,
        key: &str,
        properties: Properties<'_>,
    ) -> Result<bool, Failure> {
        let publish = basic::Publish {
            exchange: self.exchange.as_str().into(),
            routing_key: key.into(),
            mandatory: true,
            ..Default::default()
        };
        let raw = &mut self.raw;
        raw.publish_with(1, publish, properties, b"routed?").await?;
        raw.send_method(1, channel::Flow { active: true }).await?;
        let reply = raw.expect_method(1).await?;
        if reply.id() != basic::Return::ID {
            expect_eq("reply", reply.id(), channel::FlowOk::ID)?;
            return Ok(true);
        }
        let returned = raw.read_content(1, &reply).await?;
        expect_eq("reply code", returned.reply_code, 312)?;
        raw.expect(1, channel::FlowOk::ID).await?;
        Ok(false)
    }

    /// How many messages the queue holds; they are gone afterwards.
    pub(super) async fn purge(&mut self) -> Result<u32, Failure> {
        self.raw.purge(1, &self.queue).await
    }
}
