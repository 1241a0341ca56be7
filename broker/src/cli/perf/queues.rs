//! The queues that a case works on.
//!
//! They are `PREFIX-0`, `PREFIX-1` and so on, declared without arguments.
//!
//! What it is not: `declare` takes over queues of that name that are there already, with what they
//! hold.

use leveret_protocol::method::queue::{self, Method as Queue};
use leveret_protocol::{Method, ShortStr};

use super::PerfError;
use super::link::Link;

/// The names of the queues, in order.
pub(super) fn names(prefix: &str, count: u32) -> Vec<String> {
    (0..count)
        .map(|index| format!("{prefix}-{index}"))
        .collect()
}

/// The share of one consumer: every n-th queue, or with more consumers than queues just one.
pub(super) fn share(names: &[String], consumers: usize, index: usize) -> Vec<String> {
    let first = index % names.len().max(1);
    let names = names.iter().skip(first).step_by(consumers.max(1));
    names.cloned().collect()
}

/// Declares them all, durable.
///
/// # Errors
/// The broker refuses, or is silent.
pub(super) async fn declare(link: &mut Link, names: &[String]) -> Result<(), PerfError> {
    call(link, names, Kind::Durable, |_| ()).await
}

/// How many messages they hold ready in all, without declaring them.
///
/// # Errors
/// One of them is not there, or the broker is silent.
pub(super) async fn message_count(link: &mut Link, names: &[String]) -> Result<u64, PerfError> {
    let mut messages = 0;
    call(link, names, Kind::There, |declared| {
        messages += u64::from(declared.message_count);
    })
    .await?;
    Ok(messages)
}

/// Which queues a declare is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They survive a restart of the broker.
    Durable,
    /// They do not.
    Transient,
    /// They must be there already (a passive declare).
    There,
}

/// Declares them all; `each` sees the answers in order.
///
/// # Errors
/// The broker refuses, or is silent.
pub(super) async fn call(
    link: &mut Link,
    names: &[String],
    kind: Kind,
    mut each: impl FnMut(&queue::DeclareOk<'_>),
) -> Result<(), PerfError> {
    let declares = names.iter().map(|name| queue::Declare {
        queue: ShortStr(name.as_bytes()),
        durable: kind == Kind::Durable,
        passive: kind == Kind::There,
        ..Default::default()
    });
    let awaited = "queue.declare-ok";
    link.call_each(declares, queue::DeclareOk::ID, awaited, |frame| {
        if let Ok(Method::Queue(Queue::DeclareOk(declared))) = frame.method() {
            each(&declared);
        }
    })
    .await
}

/// Deletes them all, with what they hold, or only as long as they are empty.
///
/// # Errors
/// The broker refuses, or is silent.
pub(super) async fn delete(
    link: &mut Link,
    names: &[String],
    if_empty: bool,
) -> Result<(), PerfError> {
    let deletes = names.iter().map(|name| queue::Delete {
        queue: ShortStr(name.as_bytes()),
        if_empty,
        ..Default::default()
    });
    let awaited = "queue.delete-ok";
    link.call_each(deletes, queue::DeleteOk::ID, awaited, |_| ())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_a_consumer_and_every_consumer_a_queue() {
        let shares = |queues, consumers| {
            let names = names("q", queues);
            let share = |index| share(&names, consumers, index).join(" ");
            (0..consumers).map(share).collect::<Vec<_>>()
        };
        assert_eq!(shares(1, 1), ["q-0"]);
        assert_eq!(shares(5, 2), ["q-0 q-2 q-4", "q-1 q-3"]);
        assert_eq!(shares(2, 3), ["q-0", "q-1", "q-0"]);
    }
}
