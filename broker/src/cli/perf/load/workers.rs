//! The threads of a run, one per connection.
//!
//! ```text
//!   consumers start ──▶ each says Ready ──▶ publishers start ──▶ each says Ended
//! ```
//!
//! Invariant: every thread says Ended exactly once, and the channel has room for all that is ever said.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use leveret_protocol::method::{basic, confirm};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::PerfError;
use super::super::link::{CHANNEL, Link};
use super::super::publish::{body, share};
use super::arguments::Load;
use super::batch::{Batch, Message};
use super::clock::STAMP_LEN;
use super::consumer::{self, Consumer};
use super::meter::{Kind, Meter};
use super::pinger::Pinger;
use super::publisher::{self, Publisher};
use super::schedule::Schedule;
use super::shared::Shared;
use super::socket::Socket;
use super::topology::Topology;

/// Enough for the few calls that a thread makes; a thousand of them take little memory.
const STACK_LEN: usize = 256 << 10;
/// How much a consumer reads at once: small messages stay in the processor's cache, large ones come in
/// few reads.
const ROOM: usize = 256 << 10;
const ROOM_LARGE: usize = 1 << 20;
/// From this size on messages are large.
const LARGE: u64 = 16 << 10;

/// What a thread says.
#[derive(Debug)]
pub(super) enum Said {
    /// All consumers of a connection are confirmed.
    Ready,
    /// A publisher has done its part, or anybody has stopped because of the error.
    Ended(Result<(), PerfError>),
}

/// The threads of a run.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    meters: Vec<Arc<Meter>>,
    sender: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    /// Threads that have not ended.
    running: usize,
    /// Publishers that have not ended, or will be started.
    publishing: usize,
}

impl Workers {
    /// No thread yet; there will be at most so many.
    pub(super) fn new(shared: &Arc<Shared>, threads: usize) -> Self {
        // Everybody says two things at most.
        let (sender, said) = mpsc::channel(2 * threads.max(1));
        Self {
            shared: Arc::clone(shared),
            meters: Vec::new(),
            sender,
            said,
            running: 0,
            publishing: 0,
        }
    }

    /// What all threads share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What each thread counts.
    pub(super) fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter().map(AsRef::as_ref)
    }

    /// Whether publishers are still at work.
    pub(super) fn is_publishing(&self) -> bool {
        self.publishing > 0
    }

    /// What a thread says next.
    ///
    /// # Errors
    /// It stopped because of the error.
    pub(super) async fn next(&mut self) -> Result<(), PerfError> {
        match self.said.recv().await {
            Some(Said::Ended(ended)) => {
                self.running -= 1;
                self.publishing = self.publishing.saturating_sub(1);
                ended
            }
            // A sender is kept here, so the channel never ends.
            Some(Said::Ready) | None => Ok(()),
        }
    }

    /// Starts a consumer.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) async fn consumer(
        &mut self,
        mut link: Link,
        arguments: &Load,
        topology: &Topology,
        index: usize,
    ) -> Result<(), PerfError> {
        let qos = basic::Qos {
            prefetch_count: arguments.prefetch(),
            ..Default::default()
        };
        link.call(CHANNEL, qos, basic::QosOk::ID, "basic.qos-ok")
            .await?;
        let order = consumer::Order {
            queues: topology.share(arguments.consumers, index),
            acknowledge: arguments.ack,
            stamps: arguments.measures_latency(),
        };
        let room = match arguments.size >= LARGE {
            true => ROOM_LARGE,
            false => ROOM,
        };
        let socket = Socket::new(link.into_parts()?, room);
        let meter = self.meter(Kind::EndToEnd);
        let consumer = Consumer::new(socket, order, meter, Arc::clone(&self.shared));
        let sender = self.sender.clone();
        self.spawn("consumer", move || {
            consumer.run(|| {
                // Room for it was made at the beginning.
                let _ = sender.try_send(Said::Ready);
            })
        })
    }

    /// Waits until all consumers are confirmed.
    ///
    /// # Errors
    /// One of them is refused, or the broker is silent.
    pub(super) async fn consumers_ready(
        &mut self,
        count: u32,
        patience: Duration,
        address: &str,
    ) -> Result<(), PerfError> {
        for _ in 0..count {
            let ready = timeout(patience, self.next()).await;
            ready.unwrap_or_else(|_| {
                Err(PerfError::Silent {
                    address: address.to_owned(),
                    seconds: patience.as_secs(),
                    awaited: "basic.consume-ok".to_owned(),
                    blocked: String::new(),
                })
            })?;
        }
        Ok(())
    }

    /// A publisher that is ready to run.
    ///
    /// # Errors
    /// The broker refuses confirms, or is silent.
    pub(super) async fn publisher(
        &mut self,
        mut link: Link,
        arguments: &Load,
        topology: &Arc<Topology>,
        index: usize,
    ) -> Result<Publisher, PerfError> {
        if arguments.confirm > 0 {
            let select = confirm::Select::default();
            let awaited = "confirm.select-ok";
            link.call(CHANNEL, select, confirm::SelectOk::ID, awaited)
                .await?;
        }
        let order = order(arguments, topology, index, link.frame_max());
        let socket = Socket::new(link.into_parts()?, 0);
        let meter = self.meter(Kind::Confirm);
        self.publishing += 1;
        Ok(Publisher::new(
            socket,
            order,
            meter,
            Arc::clone(&self.shared),
        ))
    }

    /// Starts a publisher; its schedule begins at `start`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn run_publisher(
        &mut self,
        publisher: Publisher,
        start: Instant,
    ) -> Result<(), PerfError> {
        self.spawn("publisher", move || publisher.run(start))
    }

    /// Starts a pinger.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn pinger(&mut self, pinger: Pinger) -> Result<(), PerfError> {
        self.meters.push(pinger.meter());
        self.spawn("pinger", move || pinger.run())
    }

    fn meter(&mut self, kind: Kind) -> Arc<Meter> {
        let meter = Arc::new(Meter::new(kind));
        self.meters.push(Arc::clone(&meter));
        meter
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(), PerfError> + Send + 'static,
    ) -> Result<(), PerfError> {
        let sender = self.sender.clone();
        let run = move || {
            let ended = work();
            // Room for it was made at the beginning.
            let _ = sender.try_send(Said::Ended(ended));
        };
        let builder = thread::Builder::new().name(name.to_owned());
        builder
            .stack_size(STACK_LEN)
            .spawn(run)
            .map_err(PerfError::Thread)?;
        self.running += 1;
        Ok(())
    }

    /// Tells all threads to stop and waits until they have closed their connections; their errors do
    /// not matter any more.
    pub(super) async fn stop(&mut self, longest: Duration) {
        self.shared.stop();
        let ended = async {
            while self.running > 0 {
                let _ = self.next().await;
            }
        };
        // Threads that still run end with the process.
        let _ = timeout(longest, ended).await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

fn order(
    arguments: &Load,
    topology: &Arc<Topology>,
    index: usize,
    frame_max: u32,
) -> publisher::Order {
    let stamps = arguments.measures_latency();
    let mut body = body(arguments.size);
    if stamps {
        body.iter_mut().take(STAMP_LEN).for_each(|byte| *byte = 0);
    }
    let message = Message {
        persistent: arguments.persistent,
        properties: arguments.properties,
        body: body.into(),
        frame_max,
    };
    let schedule = |rate| Schedule::new(rate, index, arguments.publishers);
    publisher::Order {
        batch: Batch::new(message, Arc::clone(topology), index, arguments.publishers),
        messages: share(arguments.messages, arguments.publishers, index),
        window: arguments.confirm as usize,
        schedule: arguments.rate.map(schedule),
        stamps,
    }
}
