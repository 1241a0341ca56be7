//! The durable queues that a case works on.
//!
//! They are `PREFIX-0`, `PREFIX-1` and so on, declared durable and without arguments.
//!
//! What it is not: `declare` takes over queues of that name that are there already, with what they
//! hold.

use leveret_protocol::method::queue::{self, Method as Queue};
use leveret_protocol::{Method, ShortStr};

use super::PerfError;
use super::link::{CHANNEL, Link};

/// The names of the queues, in order.
pub(super) fn names(prefix: &str, count: u32) -> Vec<String> {
    (0..count)
        .map(|index| format!("{prefix}-{index}"))
        .collect()
}

/// Declares them all.
///
/// # Errors
/// The broker refuses, or is silent.
pub(super) async fn declare(link: &mut Link, names: &[String]) -> Result<(), PerfError> {
    for name in names {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            durable: true,
            ..Default::default()
        };
        let awaited = "queue.declare-ok";
        link.call(CHANNEL, declare, queue::DeclareOk::ID, awaited)
            .await?;
    }
    Ok(())
}

/// How many messages they hold ready in all, without declaring them.
///
/// # Errors
/// One of them is not there, or the broker is silent.
pub(super) async fn message_count(link: &mut Link, names: &[String]) -> Result<u64, PerfError> {
    let mut messages = 0;
    for name in names {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            passive: true,
            ..Default::default()
        };
        let awaited = "queue.declare-ok";
        let frame = link
            .call(CHANNEL, declare, queue::DeclareOk::ID, awaited)
            .await?;
        if let Ok(Method::Queue(Queue::DeclareOk(declared))) = frame.method() {
            messages += u64::from(declared.message_count);
        }
    }
    Ok(messages)
}

/// Deletes them all, with what they hold.
///
/// # Errors
/// The broker refuses, or is silent.
pub(super) async fn delete(link: &mut Link, names: &[String]) -> Result<(), PerfError> {
    for name in names {
        let delete = queue::Delete {
            queue: ShortStr(name.as_bytes()),
            ..Default::default()
        };
        let awaited = "queue.delete-ok";
        link.call(CHANNEL, delete, queue::DeleteOk::ID, awaited)
            .await?;
    }
    Ok(())
}
