//! One consuming connection, on a thread of its own.
//!
//! ```text
//!   consume every queue ──▶ all answered: ready ──▶ wait ──▶ read ──▶ count, acknowledge ──▶ wait ...
//!                                                     │ stopped
//!                                                     ▼
//!                                           acknowledge the rest, close
//! ```
//!
//! A delivery counts as arrived when the read that completed it returned.
//!
//! Invariants: what is acknowledged has arrived whole; acknowledgements that the broker does not take stop
//! the reading before they need more than [`UNSENT_MAX`] bytes and those of one read.

use std::sync::Arc;
use std::time::Instant;

use leveret_protocol::ShortStr;
use leveret_protocol::method::basic;

use super::super::PerfError;
use super::arguments::Acknowledge;
use super::inbox::{Arrival, Delivery};
use super::meter::{Meter, count};
use super::shared::Shared;
use super::socket::{Socket, TICK};

/// Bytes of acknowledgements that may wait for the broker.
const UNSENT_MAX: usize = 1 << 20;

/// What a consumer is to do.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) queues: Vec<String>,
    pub(super) acknowledge: Acknowledge,
    /// Whether bodies begin with stamps of this process.
    pub(super) stamps: bool,
}

/// A consuming connection.
#[derive(Debug)]
pub(super) struct Consumer {
    socket: Socket,
    order: Order,
    /// The last delivery, and how many up to it are not acknowledged.
    delivery_tag: u64,
    unacknowledged: u16,
    /// Consumers that the broker has not yet confirmed.
    awaited: usize,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl Consumer {
    /// A consumer that consumes nothing yet.
    pub(super) fn new(
        socket: Socket,
        order: Order,
        meter: Arc<Meter>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            socket,
            awaited: order.queues.len(),
            order,
            delivery_tag: 0,
            unacknowledged: 0,
            meter,
            shared,
        }
    }

    /// Consumes until the run is stopped; says so once all its consumers are confirmed.
    ///
    /// # Errors
    /// The broker closes, or cancels a consumer.
    pub(super) fn run(mut self, ready: impl FnOnce()) -> Result<(), PerfError> {
        self.consume();
        let mut ready = Some(ready);
        while !self.shared.is_stopped() {
            self.turn()?;
            if self.awaited == 0
                && let Some(ready) = ready.take()
            {
                ready();
            }
        }
        self.acknowledge();
        self.socket.leave(&[]);
        Ok(())
    }

    /// The queue's name is the consumer tag.
    fn consume(&mut self) {
        for queue in &self.order.queues {
            self.socket.send(basic::Consume {
                queue: ShortStr(queue.as_bytes()),
                consumer_tag: ShortStr(queue.as_bytes()),
                no_ack: self.order.acknowledge == Acknowledge::Auto,
                ..Default::default()
            });
        }
    }

    fn turn(&mut self) -> Result<(), PerfError> {
        let ready = match self.socket.unsent() < UNSENT_MAX {
            true => self.socket.wait(false, TICK)?,
            false => self.socket.wait_writable()?,
        };
        if ready.readable && self.socket.unsent() < UNSENT_MAX {
            self.socket.read()?;
            self.take_arrivals()?;
        }
        // What was just appended goes out at once.
        if self.socket.unsent() > 0 {
            self.socket.flush()?;
        }
        Ok(())
    }

    fn take_arrivals(&mut self) -> Result<(), PerfError> {
        let now = Instant::now();
        let meter = Arc::clone(&self.meter);
        let mut latencies = meter.latencies();
        let (mut received, mut redelivered) = (0, 0);
        while let Some(arrival) = self.socket.next()? {
            match arrival {
                Arrival::Delivery(delivery) => {
                    received += 1;
                    redelivered += u64::from(delivery.redelivered);
                    if let Some(latency) = self.latency(&delivery, now) {
                        latencies.record(latency);
                    }
                    self.settle(&delivery);
                }
                Arrival::ConsumeOk => self.awaited = self.awaited.saturating_sub(1),
                Arrival::Cancel(queue) => return Err(self.cancelled(queue)),
                Arrival::Confirm { .. } | Arrival::CloseOk => {}
            }
        }
        count(&meter.received, received);
        count(&meter.redelivered, redelivered);
        self.shared.receive(received);
        Ok(())
    }

    #[inline]
    fn latency(&self, delivery: &Delivery, now: Instant) -> Option<std::time::Duration> {
        match self.order.stamps && delivery.stamp != 0 {
            true => self.shared.clock.age(delivery.stamp, now),
            false => None,
        }
    }

    #[inline]
    fn settle(&mut self, delivery: &Delivery) {
        self.delivery_tag = delivery.delivery_tag;
        match self.order.acknowledge {
            Acknowledge::Auto => {}
            Acknowledge::Each => self.socket.send(basic::Ack {
                delivery_tag: delivery.delivery_tag,
                multiple: false,
            }),
            Acknowledge::Every(count) => {
                self.unacknowledged += 1;
                if self.unacknowledged >= count {
                    self.acknowledge();
                }
            }
        }
    }

    /// Acknowledges all that came.
    fn acknowledge(&mut self) {
        if self.unacknowledged > 0 {
            self.socket.send(basic::Ack {
                delivery_tag: self.delivery_tag,
                multiple: true,
            });
            self.unacknowledged = 0;
        }
    }

    fn cancelled(&self, queue: String) -> PerfError {
        PerfError::Cancelled {
            address: self.socket.notices().address().to_owned(),
            queue,
        }
    }
}
