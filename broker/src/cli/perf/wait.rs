//! `leveret perf wait`: until a broker serves and its queues are there.
//!
//! It is for measuring a restart: it asks again every millisecond while nobody listens, and ends as
//! soon as a connection is open and every queue has answered a passive declare.
//!
//! What it is not: patient with a refusal. A broker that listens and says no is an error at once,
//! except that the socket may end while the broker is still starting.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

use super::PerfError;
use super::arguments::Wait;
use super::link::Link;
use super::queues;
use super::report::{Cell, Table};
use super::uri::Uri;

/// The pause between two attempts; it bounds the error of the time that is measured.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits and says how long it took and what the queues hold.
///
/// # Errors
/// Time is up, or the broker refuses.
pub(super) async fn wait(arguments: &Wait) -> Result<Table, PerfError> {
    let uri = Uri::parse(&arguments.broker.uri)?;
    let names = queues::names(&arguments.prefix, arguments.queues);
    let start = Instant::now();
    let deadline = start + Duration::from_secs(arguments.seconds);
    let mut last = "it has not answered".to_owned();
    let serving = timeout_at(deadline.into(), serving(arguments, &uri, &names, &mut last)).await;
    let messages = serving.unwrap_or_else(|_| {
        Err(PerfError::Deadline {
            address: uri.address.clone(),
            seconds: arguments.seconds,
            progress: last,
        })
    })?;
    let mut table = Table::new("wait", &uri.address);
    table.row([
        ("queues", Cell::from(u64::from(arguments.queues))),
        ("messages", Cell::from(messages)),
        ("seconds", Cell::Number(start.elapsed().as_secs_f64(), 3)),
    ]);
    Ok(table)
}

async fn serving(
    arguments: &Wait,
    uri: &Uri,
    names: &[String],
    last: &mut String,
) -> Result<u64, PerfError> {
    loop {
        match attempt(arguments, uri, names).await {
            Err(error) if comes_from_starting(&error) => *last = error.to_string(),
            ended => return ended,
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(arguments: &Wait, uri: &Uri, names: &[String]) -> Result<u64, PerfError> {
    let mut link = Link::open(uri, arguments.broker.patience()).await?;
    queues::message_count(&mut link, names).await
}

fn comes_from_starting(error: &PerfError) -> bool {
    matches!(
        error,
        PerfError::Connect { .. } | PerfError::Socket { .. } | PerfError::Ended { .. }
    )
}
