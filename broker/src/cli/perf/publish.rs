//! `leveret perf publish` and `leveret perf fill`: messages with confirms into durable queues.
//!
//! ```text
//!   declare queues ──▶ connect all publishers ──▶ all run at once ──▶ (delete queues) ──▶ figures
//! ```
//!
//! The time runs from the first publish to the last confirm; connecting and declaring do not count.
//!
//! Invariant: a backlog that is not complete is an error, not a figure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::PerfError;
use super::arguments::{BrokerArguments, Fill, LoadArguments, Publish};
use super::link::Link;
use super::publisher::{Order, Publisher, Tally};
use super::queues;
use super::report::{Cell, Table, micros, per_second};
use super::uri::Uri;

/// Publishes and says at what rate and with what latency.
///
/// # Errors
/// See [`PerfError`].
pub(super) async fn publish(arguments: &Publish) -> Result<Table, PerfError> {
    arguments.check()?;
    let load = Load {
        case: "publish",
        broker: &arguments.broker,
        shape: &arguments.load,
        uri: Uri::parse(&arguments.broker.uri)?,
        names: queues::names(&arguments.prefix, arguments.load.queues).into(),
        messages: arguments.messages,
        duration: arguments.duration(),
        persistent: arguments.persistent,
    };
    let mut control = load.control().await?;
    let outcome = load.run().await?;
    if !arguments.keep {
        queues::delete(&mut control, &load.names, false).await?;
    }
    control.finish().await?;
    Ok(load.table(&outcome))
}

/// Makes a backlog and says at what rate.
///
/// # Errors
/// See [`PerfError`]; also if time is up before the backlog is complete, or a message was refused.
pub(super) async fn fill(arguments: &Fill) -> Result<Table, PerfError> {
    arguments.check()?;
    let load = Load {
        case: "fill",
        broker: &arguments.broker,
        shape: &arguments.load,
        uri: Uri::parse(&arguments.broker.uri)?,
        names: queues::names(&arguments.prefix, arguments.load.queues).into(),
        messages: Some(arguments.messages),
        duration: Duration::from_secs(arguments.seconds),
        persistent: true,
    };
    let control = load.control().await?;
    let outcome = load.run().await?;
    control.finish().await?;
    load.check_complete(&outcome, arguments)?;
    Ok(load.table(&outcome))
}

/// What is to be published.
struct Load<'a> {
    case: &'static str,
    broker: &'a BrokerArguments,
    shape: &'a LoadArguments,
    uri: Uri,
    names: Arc<[String]>,
    messages: Option<u64>,
    duration: Duration,
    persistent: bool,
}

struct Outcome {
    tally: Tally,
    elapsed: Duration,
}

impl Load<'_> {
    /// A connection for the queues, which are declared.
    async fn control(&self) -> Result<Link, PerfError> {
        let mut control = Link::open(&self.uri, self.broker.patience()).await?;
        queues::declare(&mut control, &self.names).await?;
        Ok(control)
    }

    async fn run(&self) -> Result<Outcome, PerfError> {
        let links = self.links().await?;
        let body: Arc<[u8]> = body(self.shape.size).into();
        let mut publishers = Vec::with_capacity(links.len());
        // Nobody publishes before all are connected, so the end is set when that is so.
        for (index, link) in links.into_iter().enumerate() {
            publishers.push(Publisher::ready(link, self.order(index, &body)).await?);
        }
        let start = Instant::now();
        let until = start + self.duration;
        let mut running = JoinSet::new();
        for publisher in publishers {
            running.spawn(publisher.run(until));
        }
        self.gather(running, start).await
    }

    async fn links(&self) -> Result<Vec<Link>, PerfError> {
        let mut links = Vec::new();
        for _ in 0..self.shape.publishers {
            links.push(Link::open(&self.uri, self.broker.patience()).await?);
        }
        Ok(links)
    }

    fn order(&self, index: usize, body: &Arc<[u8]>) -> Order {
        Order {
            queues: Arc::clone(&self.names),
            first_queue: index,
            messages: share(self.messages, self.shape.publishers, index),
            in_flight: self.shape.in_flight as usize,
            persistent: self.persistent,
            body: Arc::clone(body),
        }
    }

    /// Waits for all; the first that fails ends the others.
    async fn gather(&self, mut running: Running, start: Instant) -> Result<Outcome, PerfError> {
        let mut tally = Tally::default();
        let mut links = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (link, one) = ended??;
            tally.merge(&one);
            links.push(link);
        }
        let elapsed = start.elapsed();
        for link in links {
            link.finish().await?;
        }
        Ok(Outcome { tally, elapsed })
    }

    fn check_complete(&self, outcome: &Outcome, wanted: &Fill) -> Result<(), PerfError> {
        let Tally {
            confirmed, nacked, ..
        } = outcome.tally;
        let address = self.uri.address.clone();
        if nacked > 0 {
            let messages = wanted.messages;
            return Err(PerfError::Refused {
                address,
                nacked,
                messages,
            });
        }
        if confirmed < wanted.messages {
            let seconds = wanted.seconds;
            let progress = format!("{confirmed} of {} messages confirmed", wanted.messages);
            return Err(PerfError::Deadline {
                address,
                seconds,
                progress,
            });
        }
        Ok(())
    }

    fn table(&self, outcome: &Outcome) -> Table {
        let Outcome { tally, elapsed } = outcome;
        let percentile = |share| micros(tally.latency.percentile(share));
        let shape = self.shape;
        let mut table = Table::new(self.case, &self.uri.address);
        table.row([
            ("publishers", Cell::from(u64::from(shape.publishers))),
            ("queues", Cell::from(u64::from(shape.queues))),
            ("in_flight", Cell::from(u64::from(shape.in_flight))),
            ("size", Cell::from(shape.size)),
            ("persistent", Cell::from(self.persistent)),
            ("confirmed", Cell::from(tally.confirmed)),
            ("nacked", Cell::from(tally.nacked)),
            ("seconds", Cell::Number(elapsed.as_secs_f64(), 3)),
            ("messages_per_s", per_second(tally.confirmed, *elapsed)),
            ("p50_us", percentile(0.5)),
            ("p99_us", percentile(0.99)),
            ("p999_us", percentile(0.999)),
            ("max_us", micros(tally.latency.max())),
        ]);
        table
    }
}

type Running = JoinSet<Result<(Link, Tally), PerfError>>;

/// How many of all messages fall to one publisher.
pub(super) fn share(messages: Option<u64>, publishers: u32, index: usize) -> u64 {
    let Some(messages) = messages else {
        return u64::MAX;
    };
    let publishers = u64::from(publishers.max(1));
    let one_more = (index as u64) < messages % publishers;
    messages / publishers + u64::from(one_more)
}

/// Bytes that do not compress, so that no disk or file system gets them for less: xorshift64.
pub(super) fn body(size: u64) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    (0..size).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_share_all_messages() {
        let shares: Vec<_> = (0..3).map(|index| share(Some(8), 3, index)).collect();
        assert_eq!(shares, [3, 3, 2]);
        assert_eq!(share(Some(1), 3, 1), 0);
        assert_eq!(share(None, 3, 1), u64::MAX);
    }

    #[test]
    fn a_body_has_its_size_and_does_not_repeat() {
        assert_eq!(body(0).len(), 0);
        let bytes = body(4096);
        assert_eq!(bytes.len(), 4096);
        assert_ne!(bytes.get(..1024), bytes.get(1024..2048));
    }
}
