//! What is there after the broker was stopped and started again.
//!
//! What it is not: a search for messages that get lost in a crash at a bad moment. Each test has the
//! broker come to rest before it goes.

mod extensions;
mod messages;
mod objects;

use leveret_protocol::method::{exchange, queue};

use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section =
    Section::complete("DUR", &[objects::RULES, messages::RULES, extensions::RULES]);

/// A connection with channel 1 in confirm mode.
async fn confirming(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    Ok(raw)
}

fn transient_queue_named(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        durable: false,
        ..durable_queue(name)
    }
}

fn durable_exchange<'a>(name: &'a str, kind: &'a str) -> exchange::Declare<'a> {
    exchange::Declare {
        durable: true,
        ..transient_exchange(name, kind)
    }
}

/// Declares a durable queue and has these persistent messages confirmed in it, by a publisher who is
/// gone afterwards.
async fn fill_durably(t: &Trial, queue: &str, texts: &[&str]) -> Result<(), Failure> {
    let mut raw = confirming(t).await?;
    raw.declare_queue(1, queue).await?;
    for text in texts {
        raw.publish_persistent(1, queue, text).await?;
    }
    raw.await_confirms(1, 1, texts.len() as u64).await?;
    raw.close().await
}

/// Expects exactly these messages, each with whether it is marked as redelivered.
async fn expect_all(
    raw: &mut RawConnection,
    queue: &str,
    expected: &[(&str, bool)],
) -> Result<(), Failure> {
    let mut came = Vec::new();
    while let Some(message) = raw.take(1, queue).await? {
        came.push((message.text(), message.redelivered));
    }
    let expected: Vec<_> = expected
        .iter()
        .map(|(text, redelivered)| ((*text).to_owned(), *redelivered))
        .collect();
    expect_eq(format!("what lies in {queue}"), came, expected)
}

async fn expect_unroutable(
    raw: &mut RawConnection,
    exchange: &str,
    key: &str,
) -> Result<(), Failure> {
    raw.publish_mandatory(1, exchange, key, "nowhere").await?;
    let came = raw.expect_return(1).await?;
    raw.expect_text(&came.reply_text, "NO_ROUTE")
}
