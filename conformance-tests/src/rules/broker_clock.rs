//! Waiting by the broker's own clock: a message that expires in a queue and is then delivered from another.
//!
//! Where a test has to show that something stays, or that nobody asked for what happens, it lets the broker
//! measure the time. What was due earlier on the same broker has then been due for a while.
//!
//! What it is not: a way to show that something is fast.

use leveret_protocol::{Properties, Value};

use crate::failure::Failure;
use crate::raw::RawConnection;
use crate::trial::Trial;

pub(super) struct BrokerClock {
    raw: RawConnection,
    waiting: String,
}

impl BrokerClock {
    pub(super) async fn new(t: &Trial) -> Result<Self, Failure> {
        let mut raw = t.raw().await?;
        let (waiting, over) = (t.name("clock-waiting"), t.name("clock-over"));
        raw.declare_queue(1, &over).await?;
        let arguments = [
            ("x-dead-letter-exchange", Value::LongStr(b"")),
            ("x-dead-letter-routing-key", Value::LongStr(over.as_bytes())),
        ];
        raw.declare_queue_with(1, &waiting, &arguments).await?;
        raw.consume_no_ack(1, &over).await?;
        Ok(Self { raw, waiting })
    }

    /// Waits until the broker finds that so much time has passed.
    pub(super) async fn wait(&mut self, wait_ms: u32) -> Result<(), Failure> {
        let expiration = wait_ms.to_string();
        let properties = Properties {
            expiration: Some(expiration.as_str().into()),
            ..Default::default()
        };
        let address = ("", self.waiting.as_str());
        self.raw
            .publish_message(1, address, properties, "time")
            .await?;
        let over = self.raw.expect_delivery(1).await;
        over.map(drop)
            .map_err(|failure| failure.at(format!("{wait_ms} ms of the broker's clock")))
    }
}
