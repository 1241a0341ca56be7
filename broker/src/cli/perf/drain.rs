//! `leveret perf drain`: consumes what durable queues hold until they are empty.
//!
//! Passive declares say how much there is; consuming ends when so much has arrived. The time runs
//! from the first consume to the last delivery.
//!
//! What it is not: alone on the queues. Whoever else consumes takes messages away, and then it ends
//! with the error that nothing comes any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::PerfError;
use super::arguments::Drain;
use super::consumer::{Backlog, Consumer, Received, Settling};
use super::link::Link;
use super::queues;
use super::report::{Cell, Table, per_second};
use super::uri::Uri;

/// Drains and says at what rate.
///
/// # Errors
/// See [`PerfError`].
pub(super) async fn drain(arguments: &Drain) -> Result<Table, PerfError> {
    arguments.check()?;
    let uri = Uri::parse(&arguments.broker.uri)?;
    let names = queues::names(&arguments.prefix, arguments.queues);
    let mut control = Link::open(&uri, arguments.broker.patience()).await?;
    let messages = queues::message_count(&mut control, &names).await?;
    let backlog = Arc::new(Backlog::new(messages));
    let consumers = consumers(arguments, &uri, &names, &backlog).await?;
    let (received, elapsed) = consume(arguments, &uri, &backlog, messages, consumers).await?;
    if arguments.delete {
        queues::delete(&mut control, &names, false).await?;
    }
    control.finish().await?;
    Ok(table(arguments, &uri, received, elapsed))
}

async fn consumers(
    arguments: &Drain,
    uri: &Uri,
    names: &[String],
    backlog: &Arc<Backlog>,
) -> Result<Vec<Consumer>, PerfError> {
    let settling = Settling {
        ack_every: arguments.ack_every,
        prefetch: arguments.prefetch,
    };
    let mut consumers = Vec::new();
    for index in 0..arguments.consumers as usize {
        let link = Link::open(uri, arguments.broker.patience()).await?;
        let queues = queues::share(names, arguments.consumers as usize, index);
        consumers.push(Consumer::ready(link, queues, settling, Arc::clone(backlog)).await?);
    }
    Ok(consumers)
}

async fn consume(
    arguments: &Drain,
    uri: &Uri,
    backlog: &Backlog,
    messages: u64,
    consumers: Vec<Consumer>,
) -> Result<(Received, Duration), PerfError> {
    let start = Instant::now();
    let deadline = start + Duration::from_secs(arguments.seconds);
    let mut running = JoinSet::new();
    for consumer in consumers {
        running.spawn(consumer.run());
    }
    let gathered = timeout_at(deadline.into(), gather(running, start)).await;
    gathered.unwrap_or_else(|_| {
        Err(PerfError::Deadline {
            address: uri.address.clone(),
            seconds: arguments.seconds,
            progress: format!("{} of {messages} messages arrived", backlog.received()),
        })
    })
}

/// Waits for all; the first that fails ends the others.
async fn gather(mut running: Running, start: Instant) -> Result<(Received, Duration), PerfError> {
    let mut all = Received::default();
    let mut links = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (link, one) = ended??;
        all.messages += one.messages;
        all.redelivered += one.redelivered;
        all.bytes += one.bytes;
        links.push(link);
    }
    let elapsed = start.elapsed();
    for link in links {
        link.finish().await?;
    }
    Ok((all, elapsed))
}

type Running = JoinSet<Result<(Link, Received), PerfError>>;

fn table(arguments: &Drain, uri: &Uri, received: Received, elapsed: Duration) -> Table {
    let megabytes = received.bytes as f64 / 1e6;
    let mut table = Table::new("drain", &uri.address);
    table.row([
        ("consumers", Cell::from(u64::from(arguments.consumers))),
        ("queues", Cell::from(u64::from(arguments.queues))),
        ("ack_every", Cell::from(u64::from(arguments.ack_every))),
        ("prefetch", Cell::from(u64::from(arguments.prefetch))),
        ("messages", Cell::from(received.messages)),
        ("redelivered", Cell::from(received.redelivered)),
        ("megabytes", Cell::Number(megabytes, 1)),
        ("seconds", Cell::Number(elapsed.as_secs_f64(), 3)),
        ("messages_per_s", per_second(received.messages, elapsed)),
    ]);
    table
}
