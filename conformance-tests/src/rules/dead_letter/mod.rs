//! Dead lettering: what leaves a queue for another exchange, in which shape, and what becomes of it.
//!
//! Dead letters are awaited by a consumer on a connection of their own, never by looking again and again.

mod cycles;
mod history;
mod order;
mod properties;
mod routing;
mod triggers;

use leveret_protocol::{Properties, Table, TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::unfinished(
    "DLX",
    &[
        triggers::RULES,
        routing::RULES,
        properties::RULES,
        history::RULES,
        cycles::RULES,
        order::RULES,
    ],
);

/// A queue whose dead letters go through a fanout exchange to another queue, which is consumed.
struct DeadLettering {
    raw: RawConnection,
    dead: RawConnection,
    source: String,
    dlx: String,
    sink: String,
}

impl DeadLettering {
    async fn new(t: &Trial) -> Result<Self, Failure> {
        Self::with(t, &[]).await
    }

    /// The same with further arguments for the queue.
    async fn with(t: &Trial, arguments: &[(&str, Value<'_>)]) -> Result<Self, Failure> {
        let (mut raw, mut dead) = (t.raw().await?, t.raw().await?);
        let (source, dlx, sink) = (t.name("source"), t.name("dlx"), t.name("sink"));
        raw.declare_exchange(1, transient_exchange(&dlx, "fanout"))
            .await?;
        raw.declare_queue(1, &sink).await?;
        raw.bind(1, &sink, &dlx, "").await?;
        let mut all = vec![("x-dead-letter-exchange", Value::LongStr(dlx.as_bytes()))];
        all.extend_from_slice(arguments);
        raw.declare_queue_with(1, &source, &all).await?;
        dead.consume_no_ack(1, &sink).await?;
        Ok(Self {
            raw,
            dead,
            source,
            dlx,
            sink,
        })
    }

    /// The next dead letter.
    async fn next(&mut self) -> Result<Message, Failure> {
        let came = self.dead.expect_delivery(1).await;
        came.map_err(|failure| failure.at("dead letter"))
    }

    /// The next dead letter, which has to have this body.
    async fn next_text(&mut self, text: &str) -> Result<Message, Failure> {
        let message = self.next().await?;
        expect_eq("body of a dead letter", message.text(), text)?;
        Ok(message)
    }

    /// Shows that there is no further dead letter: one that is sent now comes next.
    async fn expect_no_more(&mut self) -> Result<(), Failure> {
        self.raw.publish(1, &self.dlx, "", "sent directly").await?;
        self.next_text("sent directly").await.map(drop)
    }

    /// Publishes through the default exchange, rejects, and returns the dead letter.
    async fn reject(&mut self, properties: Properties<'_>) -> Result<Message, Failure> {
        let address = ("", self.source.as_str());
        let raw = &mut self.raw;
        raw.publish_message(1, address, properties, "m").await?;
        let message = raw.get_text(1, &self.source, "m").await?;
        raw.reject(1, message.delivery_tag, false).await?;
        self.next_text("m").await
    }
}

/// Declares a queue whose dead letters go to another queue, through the default exchange.
async fn declare_leading_to(
    raw: &mut RawConnection,
    queue: &str,
    target: &str,
    arguments: &[(&str, Value<'_>)],
) -> Result<(), Failure> {
    let mut all = vec![
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        (
            "x-dead-letter-routing-key",
            Value::LongStr(target.as_bytes()),
        ),
    ];
    all.extend_from_slice(arguments);
    raw.declare_queue_with(1, queue, &all).await
}

fn expiring(expiration: &str) -> Properties<'_> {
    Properties {
        expiration: Some(expiration.into()),
        ..Default::default()
    }
}

/// The headers of a message; none are an empty table.
fn headers_of(message: &Message) -> Result<TableBuf, Failure> {
    let headers = message.properties()?.headers.unwrap_or_default();
    Ok(headers.to_owned())
}

/// A text among the headers.
fn header_text(message: &Message, key: &str) -> Result<Option<String>, Failure> {
    let headers = headers_of(message)?;
    let value = headers.view().get(key);
    Ok(value.and_then(|value| value.as_long_str().map(text_of)))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An entry of `x-death`, every field in its wire type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Death {
    count: i64,
    reason: String,
    queue: String,
    time_s: u64,
    exchange: String,
    routing_keys: Vec<String>,
    original_expiration: Option<String>,
}

impl Death {
    /// `(reason, queue, count)`, which most tests are about.
    fn summary(&self) -> (&str, &str, i64) {
        (&self.reason, &self.queue, self.count)
    }
}

/// The entries of `x-death`, in their order.
fn deaths(message: &Message) -> Result<Vec<Death>, Failure> {
    let headers = headers_of(message)?;
    let Some(Value::Array(array)) = headers.view().get("x-death") else {
        let came = format!("{headers:?}");
        return Err(Failure::expected(
            "an array x-death among the headers",
            came,
        ));
    };
    array.values().map(death).collect()
}

/// The entry that stands first.
fn last_death(message: &Message) -> Result<Death, Failure> {
    let first = deaths(message)?.into_iter().next();
    first.ok_or_else(|| Failure::expected("an entry of x-death", "an empty array"))
}

fn death(value: Value<'_>) -> Result<Death, Failure> {
    let wrong = || Failure::expected("an entry of x-death", format!("{value:?}"));
    let Value::Table(table) = value else {
        return Err(wrong());
    };
    read_death(table).ok_or_else(wrong)
}

/// None if a field is missing, has another type, or is unknown.
fn read_death(table: Table<'_>) -> Option<Death> {
    let text = |key| match table.get(key) {
        Some(Value::LongStr(bytes)) => Some(text_of(bytes)),
        _ => None,
    };
    let (Value::I64(count), Value::Timestamp(time_s)) = (table.get("count")?, table.get("time")?)
    else {
        return None;
    };
    let Value::Array(keys) = table.get("routing-keys")? else {
        return None;
    };
    let routing_keys = keys.values().map(|key| key.as_long_str().map(text_of));
    let original_expiration = text("original-expiration");
    let fields = 6 + usize::from(original_expiration.is_some());
    if table.entries().count() != fields {
        return None;
    }
    Some(Death {
        count,
        reason: text("reason")?,
        queue: text("queue")?,
        time_s,
        exchange: text("exchange")?,
        routing_keys: routing_keys.collect::<Option<_>>()?,
        original_expiration,
    })
}

/// Checks reason, queue and count of every entry of `x-death`.
fn expect_deaths(message: &Message, expected: &[(&str, &str, i64)]) -> Result<(), Failure> {
    let came = deaths(message)?;
    let came: Vec<_> = came.iter().map(Death::summary).collect();
    expect_eq(
        "reason, queue and count of x-death",
        came,
        expected.to_vec(),
    )
}
