//! One quiet connection: a message to its own queue, and back, one at a time.
//!
//! ```text
//!   wait until due ──▶ publish ──▶ wait for the delivery ──▶ record ──▶ wait until due ...
//! ```
//!
//! The queue is exclusive and named by the broker. A ping that could not be sent in time because the one
//! before it had not come back counts from when it was due: a broker that stands still for a second costs
//! a whole second's pings, as it would cost a client that wants to send one every few milliseconds.
//!
//! Invariant: at most one message is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leveret_protocol::method::basic;
use leveret_protocol::method::queue::{self, Method as Queue};
use leveret_protocol::{Method, ShortStr};

use super::super::PerfError;
use super::super::link::{CHANNEL, Link};
use super::super::publish::body;
use super::arguments::Ping;
use super::batch::{Batch, Message};
use super::inbox::Arrival;
use super::meter::{Kind, Meter, count};
use super::schedule::Schedule;
use super::shared::Shared;
use super::socket::{Socket, TICK};
use super::topology::Topology;

/// A quiet connection.
#[derive(Debug)]
pub(super) struct Pinger {
    socket: Socket,
    batch: Batch,
    schedule: Schedule,
    start: Instant,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl Pinger {
    /// Declares the queue and consumes from it.
    ///
    /// # Errors
    /// The broker refuses, or is silent.
    pub(super) async fn ready(
        mut link: Link,
        arguments: &Ping,
        shared: &Arc<Shared>,
        start: Instant,
    ) -> Result<Self, PerfError> {
        let queue = own_queue(&mut link).await?;
        let consume = basic::Consume {
            queue: ShortStr(queue.as_bytes()),
            no_ack: true,
            ..Default::default()
        };
        let awaited = "basic.consume-ok";
        link.call(CHANNEL, consume, basic::ConsumeOk::ID, awaited)
            .await?;
        let message = Message {
            persistent: false,
            properties: false,
            body: body(arguments.size).into(),
            frame_max: link.frame_max(),
        };
        let topology = Arc::new(Topology::default_exchange(vec![queue]));
        Ok(Self {
            socket: Socket::new(link.into_parts()?, 0),
            batch: Batch::new(message, topology, 0, 1),
            schedule: Schedule::new(arguments.rate, 0, 1),
            start,
            meter: Arc::new(Meter::new(Kind::EndToEnd)),
            shared: Arc::clone(shared),
        })
    }

    /// What it counts.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Sends and waits until the run is stopped.
    ///
    /// # Errors
    /// The broker closes, or cancels the consumer.
    pub(super) fn run(mut self) -> Result<(), PerfError> {
        let mut index = 0;
        while !self.shared.is_stopped() {
            let elapsed = self.start.elapsed();
            let early = self.schedule.moment(index).saturating_sub(elapsed);
            if !early.is_zero() {
                self.listen(early)?;
                continue;
            }
            self.ping(self.start + self.schedule.moment_of(index, elapsed))?;
            index += 1;
        }
        self.socket.leave(&[]);
        Ok(())
    }

    fn ping(&mut self, at: Instant) -> Result<(), PerfError> {
        let message = self.batch.take(1, 0);
        let mut span = self.batch.span(&message);
        count(&self.meter.published, 1);
        let mut came = false;
        while !came && !self.shared.is_stopped() {
            span.start += self.socket.write(self.batch.bytes(&span))?;
            let ready = self.socket.wait(!span.is_empty(), TICK)?;
            if ready.readable {
                came = self.read()?;
            }
        }
        if came {
            self.meter.latencies().record(at.elapsed());
            count(&self.meter.received, 1);
        }
        Ok(())
    }

    fn listen(&mut self, longest: Duration) -> Result<(), PerfError> {
        if self.socket.wait(false, longest)?.readable {
            self.read()?;
        }
        Ok(())
    }

    /// Reads once and says whether the message has come back.
    fn read(&mut self) -> Result<bool, PerfError> {
        self.socket.read()?;
        let mut came = false;
        while let Some(arrival) = self.socket.next()? {
            match arrival {
                Arrival::Delivery(_) => came = true,
                Arrival::Cancel(queue) => {
                    let address = self.socket.notices().address().to_owned();
                    return Err(PerfError::Cancelled { address, queue });
                }
                _ => {}
            }
        }
        self.shared.note_blocked(self.socket.notices().blocked());
        Ok(came)
    }
}

async fn own_queue(link: &mut Link) -> Result<String, PerfError> {
    let declare = queue::Declare {
        exclusive: true,
        ..Default::default()
    };
    let awaited = "queue.declare-ok";
    let frame = link
        .call(CHANNEL, declare, queue::DeclareOk::ID, awaited)
        .await?;
    match frame.method() {
        Ok(Method::Queue(Queue::DeclareOk(declared))) => Ok(declared.queue.to_text().into_owned()),
        _ => Err(link.protocol("a queue.declare-ok that cannot be read")),
    }
}
