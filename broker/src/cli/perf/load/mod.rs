//! `leveret perf` and `leveret perf ping`: publishers and consumers at once, measured while they run.
//!
//! ```text
//!   Load ──▶ Topology: queues, exchange, bindings          declared before, deleted after
//!     │
//!     ├──▶ Publisher ─── thread each ──▶ Meter ──┐
//!     │      Schedule · Batch · Window           ├──▶ Monitor ──▶ progress lines ──▶ Summary
//!     └──▶ Consumer  ─── thread each ──▶ Meter ──┘       │
//!            Inbox                                       └─ stops all: time, count, signal, error
//! ```
//!
//! Each connection has a thread and a socket of its own, because a timer of tokio is a millisecond
//! coarse and a latency of a few microseconds should not contain the wake-up of another thread.
//!
//! Invariants: every run ends, by its time, its count, a signal, an error, or because nothing moved for
//! as long as the patience lasts; what was declared is deleted however it ends, unless `--keep`.

mod arguments;
mod batch;
mod clock;
mod consumer;
mod inbox;
mod meter;
mod monitor;
mod pinger;
mod progress;
mod publisher;
mod schedule;
mod shared;
mod socket;
mod summary;
mod topology;
mod workers;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

pub(super) use arguments::{Load, Ping};

use self::clock::Clock;
use self::monitor::{Figures, Limits, Monitor};
use self::pinger::Pinger;
use self::shared::Shared;
use self::topology::Topology;
use self::workers::Workers;
use super::link::Link;
use super::uri::Uri;
use super::{PerfError, Signals};

/// Which of the queues and the exchange may be deleted in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// None: they were there before, or nobody knows.
    Nothing,
    /// Queues that are empty: some were just declared, and others of that name may be somebody else's.
    Empty,
    /// All of them.
    All,
}

/// Puts load on a broker and returns the summary as text or JSON.
///
/// # Errors
/// See [`PerfError`].
pub(super) async fn load(arguments: &Load, mut signals: Signals) -> Result<String, PerfError> {
    arguments.check()?;
    let uri = Uri::parse(&arguments.broker.uri)?;
    let topology = Arc::new(Topology::of(arguments));
    let run = Run {
        arguments,
        uri: &uri,
        topology: &topology,
        claim: Cell::new(Claim::Nothing),
    };
    let figures = run.measure(&mut signals).await;
    let cleaned = tokio::select! {
        cleaned = run.clean() => cleaned,
        signal = signals.next() => Err(PerfError::Interrupted(signal)),
    };
    let figures = figures?;
    cleaned?;
    Ok(summary::of_load(arguments, &uri.address, &figures).print(arguments.broker.format))
}

/// A load from its first connection to its last.
struct Run<'a> {
    arguments: &'a Load,
    uri: &'a Uri,
    topology: &'a Arc<Topology>,
    claim: Cell<Claim>,
}

impl Run<'_> {
    /// Sets everything up and lets it run. A signal ends it at any point.
    async fn measure(&self, signals: &mut Signals) -> Result<Figures, PerfError> {
        let prepared = tokio::select! {
            prepared = self.prepare() => prepared?,
            signal = signals.next() => return Err(PerfError::Interrupted(signal)),
        };
        prepared.run(signals).await
    }

    async fn prepare(&self) -> Result<Monitor, PerfError> {
        self.declare().await?;
        let Self {
            arguments,
            topology,
            ..
        } = self;
        let deliveries = arguments.deliveries(topology);
        let shared = Arc::new(Shared::new(Clock::start(), deliveries));
        let mut workers = Workers::new(&shared, arguments.connections());
        // Without publishers the queues are full already: everything counts from the first consume.
        let mut start = Instant::now();
        for index in 0..arguments.consumers as usize {
            let link = self.link().await?;
            workers.consumer(link, arguments, topology, index).await?;
        }
        let mut publishers = Vec::new();
        for index in 0..arguments.publishers as usize {
            let link = self.link().await?;
            publishers.push(workers.publisher(link, arguments, topology, index).await?);
        }
        let patience = arguments.broker.patience();
        workers
            .consumers_ready(arguments.consumers, patience, &self.uri.address)
            .await?;
        if arguments.publishers > 0 {
            start = Instant::now();
        }
        for publisher in publishers {
            workers.run_publisher(publisher, start)?;
        }
        let limits = Limits::of_load(arguments, self.uri);
        Ok(Monitor::new(workers, limits, start))
    }

    async fn link(&self) -> Result<Link, PerfError> {
        Link::open(self.uri, self.arguments.broker.patience()).await
    }

    async fn declare(&self) -> Result<(), PerfError> {
        let mut control = self.link().await?;
        if self.arguments.publishers == 0 {
            self.topology.check_there(&mut control).await?;
            return control.finish().await;
        }
        self.claim.set(Claim::Empty);
        let declared = self.topology.declare(&mut control, self.arguments).await;
        self.claim.set(match (&declared, self.arguments.keep) {
            (Ok(()), false) => Claim::All,
            _ => Claim::Nothing,
        });
        declared?;
        self.topology
            .bind(&mut control, self.arguments.persistent)
            .await?;
        control.finish().await
    }

    /// Deletes what was declared, over a connection of its own: the run may have ended in any state.
    async fn clean(&self) -> Result<(), PerfError> {
        let claim = self.claim.get();
        if claim == Claim::Nothing {
            return Ok(());
        }
        let mut control = self.link().await?;
        match claim {
            Claim::All => self.topology.delete(&mut control).await?,
            _ => self.topology.delete_empty(&mut control).await?,
        }
        control.finish().await
    }
}

/// Measures the round trip of one quiet connection and returns the summary as text or JSON.
///
/// # Errors
/// See [`PerfError`].
pub(super) async fn ping(arguments: &Ping, mut signals: Signals) -> Result<String, PerfError> {
    let uri = Uri::parse(&arguments.broker.uri)?;
    let prepared = tokio::select! {
        prepared = prepare_ping(arguments, &uri) => prepared?,
        signal = signals.next() => return Err(PerfError::Interrupted(signal)),
    };
    let figures = prepared.run(&mut signals).await?;
    Ok(summary::of_ping(arguments, &uri.address, &figures).print(arguments.broker.format))
}

async fn prepare_ping(arguments: &Ping, uri: &Uri) -> Result<Monitor, PerfError> {
    let link = Link::open(uri, arguments.broker.patience()).await?;
    let shared = Arc::new(Shared::new(Clock::start(), None));
    let mut workers = Workers::new(&shared, 1);
    let start = Instant::now();
    let pinger = Pinger::ready(link, arguments, &shared, start).await?;
    workers.pinger(pinger)?;
    Ok(Monitor::new(
        workers,
        Limits::of_ping(arguments, uri),
        start,
    ))
}
