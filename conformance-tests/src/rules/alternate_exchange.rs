//! Alternate exchanges: where messages go that an exchange routes nowhere.

use leveret_protocol::method::{basic, exchange};
use leveret_protocol::{Properties, TableBuf, Value};

use super::access::{ACCESS_REFUSED, access_refused};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, Text, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::unfinished("AE", &[RULES]);

rules! {
    "AE-01" takes_what_is_unroutable [raw] "What is unroutable goes there, with exchange and key …";
    "AE-01" leaves_what_is_routed [raw] "… and nothing else does.";
    "AE-02" counts_as_routed [raw] "A message that got on this way is not returned …";
    "AE-02" returned_if_all_fails [raw] "… but one that did not is.";
    "AE-03" missing_one [raw] "A missing one routes nowhere.";
    "AE-04" chain [raw] "The alternate may have an alternate …";
    "AE-04" cycle [raw] "… and cycles end, each exchange being visited once.";
    "AE-05" at_every_hop [raw] "An exchange that is bound to another uses its own …";
    "AE-05" bound_exchange_is_a_destination [raw] "… and keeps its source's from being used.";
    "AE-06" default_exchange [raw] "The default exchange as alternate routes nowhere.";
    "AE-08" permissions [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Declaring it needs read here and write there.";
    "AE-09" publisher_needs_none [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Publishing needs no permission on the alternate.";
    "AE-09" internal_one [raw] "An internal exchange can be the alternate.";
}

async fn declare(
    raw: &mut RawConnection,
    name: &str,
    kind: &str,
    alternate: &str,
) -> Result<(), Failure> {
    let arguments = alternate_is(alternate);
    let declare = exchange::Declare {
        arguments: arguments.view(),
        ..transient_exchange(name, kind)
    };
    raw.declare_exchange(1, declare).await
}

fn alternate_is(name: &str) -> TableBuf {
    TableBuf::new().with("alternate-exchange", Value::LongStr(name.as_bytes()))
}

/// A direct exchange, its alternate, which is a fanout exchange, and a queue bound to that.
struct Pair {
    raw: RawConnection,
    exchange: String,
    alternate: String,
    queue: String,
}

impl Pair {
    async fn new(t: &Trial) -> Result<Self, Failure> {
        let mut raw = t.raw().await?;
        let (exchange, alternate, queue) = (t.name("x"), t.name("alternate"), t.name("q"));
        raw.declare_exchange(1, transient_exchange(&alternate, "fanout"))
            .await?;
        declare(&mut raw, &exchange, "direct", &alternate).await?;
        raw.declare_queue(1, &queue).await?;
        raw.bind(1, &queue, &alternate, "").await?;
        Ok(Self {
            raw,
            exchange,
            alternate,
            queue,
        })
    }

    /// Publishes a mandatory message that is not returned and is then in the queue, once.
    async fn expect_routed(&mut self, exchange: &str, key: &str) -> Result<(), Failure> {
        let raw = &mut self.raw;
        raw.publish_mandatory(1, exchange, key, "got on").await?;
        raw.barrier(1).await?;
        raw.take_text(1, &self.queue, "got on").await?;
        raw.expect_empty(1, &self.queue).await
    }
}

async fn expect_returned(
    raw: &mut RawConnection,
    exchange: &str,
    key: &str,
) -> Result<(), Failure> {
    raw.publish_mandatory(1, exchange, key, "returned").await?;
    let came = raw.expect_return(1).await?;
    let origin = (
        came.reply_code,
        came.exchange.as_str(),
        came.routing_key.as_str(),
    );
    expect_eq(
        "code, exchange and key of a return",
        origin,
        (312, exchange, key),
    )?;
    raw.barrier(1).await
}

async fn takes_what_is_unroutable(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let raw = &mut pair.raw;
    raw.consume(1, &pair.queue).await?;
    let headers = TableBuf::new().with("h", Value::LongStr(b"kept"));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    let sent = properties.to_bytes();
    let address = (pair.exchange.as_str(), "nobody");
    raw.publish_message(1, address, properties, "m").await?;
    let came = raw.expect_delivery(1).await?;
    let origin = (came.exchange.as_str(), came.routing_key.as_str());
    expect_eq("exchange and key of the delivery", origin, address)?;
    expect_eq("properties", came.property_bytes, sent)
}

async fn leaves_what_is_routed(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let bound = t.name("bound");
    pair.raw.declare_queue(1, &bound).await?;
    pair.raw.bind(1, &bound, &pair.exchange, "k").await?;
    pair.raw.publish(1, &pair.exchange, "k", "routed").await?;
    pair.raw.take_text(1, &bound, "routed").await?;
    pair.raw.expect_empty(1, &pair.queue).await
}

async fn counts_as_routed(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let exchange = pair.exchange.clone();
    pair.expect_routed(&exchange, "nobody").await
}

async fn returned_if_all_fails(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let raw = &mut pair.raw;
    raw.unbind(1, &pair.queue, &pair.alternate, "").await?;
    expect_returned(raw, &pair.exchange, "nobody").await
}

async fn missing_one(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let exchange = t.name("x");
    declare(&mut raw, &exchange, "direct", &t.name("missing")).await?;
    expect_returned(&mut raw, &exchange, "nobody").await?;
    raw.confirm_select(1).await?;
    raw.publish(1, &exchange, "nobody", "m").await?;
    raw.await_confirms(1, 1, 1).await
}

async fn chain(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let (first, second) = (t.name("first"), t.name("second"));
    let exchange = pair.exchange.clone();
    declare(&mut pair.raw, &second, "topic", &exchange).await?;
    declare(&mut pair.raw, &first, "headers", &second).await?;
    pair.expect_routed(&first, "nobody").await
}

/// Three exchanges in a circle, of which the last knows one key.
async fn cycle(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (names, queue) = ([t.name("a"), t.name("b"), t.name("c")], t.name("q"));
    for (name, alternate) in names.iter().zip(names.iter().cycle().skip(1)) {
        declare(&mut raw, name, "direct", alternate).await?;
    }
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &names[2], "known").await?;
    for name in &names {
        expect_returned(&mut raw, name, "nobody").await?;
        raw.publish_mandatory(1, name, "known", "once").await?;
        raw.barrier(1).await?;
        raw.take_text(1, &queue, "once").await?;
        raw.expect_empty(1, &queue).await?;
    }
    Ok(())
}

async fn at_every_hop(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let (source, exchange) = (t.name("source"), pair.exchange.clone());
    let raw = &mut pair.raw;
    raw.declare_exchange(1, transient_exchange(&source, "fanout"))
        .await?;
    raw.bind_exchange(1, &exchange, &source, "").await?;
    pair.expect_routed(&source, "nobody").await
}

async fn bound_exchange_is_a_destination(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let (nowhere, exchange) = (t.name("nowhere"), pair.exchange.clone());
    let raw = &mut pair.raw;
    raw.declare_exchange(1, transient_exchange(&nowhere, "direct"))
        .await?;
    raw.bind_exchange(1, &nowhere, &exchange, "k").await?;
    expect_returned(raw, &exchange, "k").await?;
    raw.expect_empty(1, &pair.queue).await?;
    pair.expect_routed(&exchange, "another key").await
}

async fn default_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (exchange, queue) = (t.name("x"), t.name("q"));
    raw.declare_queue(1, &queue).await?;
    declare(&mut raw, &exchange, "direct", "").await?;
    expect_returned(&mut raw, &exchange, &queue).await?;
    raw.expect_empty(1, &queue).await
}

/// The refusal of an exchange to the fixtures' user.
fn refused(t: &Trial, exchange: &str, permission: &str) -> Text {
    let exchange = format!("exchange '{exchange}' in vhost '{}'", t.vhost());
    access_refused(t, permission, &exchange, "restricted")
}

async fn permissions(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("restricted")).await?;
    raw.open_channel(1).await?;
    let (open, closed) = (t.name("x-readable"), t.name("x"));
    let (writable, other) = (t.name("a-writable"), t.name("a"));
    declare(&mut raw, &open, "direct", &writable).await?;
    for (name, alternate, culprit, permission) in [
        (&closed, &writable, &closed, "read"),
        (&t.name("y-readable"), &other, &other, "write"),
    ] {
        let arguments = alternate_is(alternate);
        let declare = exchange::Declare {
            arguments: arguments.view(),
            ..transient_exchange(name, "direct")
        };
        raw.send_method(1, declare).await?;
        let text = refused(t, culprit, permission);
        raw.expect_channel_close(1, 403, text, exchange::Declare::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    // What exists already is not asked about.
    declare(&mut raw, &open, "direct", &writable).await
}

async fn publisher_needs_none(t: &Trial) -> Result<(), Failure> {
    let mut pair = Pair::new(t).await?;
    let entrance = t.name("entrance-writable");
    declare(&mut pair.raw, &entrance, "direct", &pair.alternate).await?;
    let mut publisher = t.raw_with(&t.login("restricted")).await?;
    publisher.open_channel(1).await?;
    publisher
        .publish_mandatory(1, &entrance, "nobody", "m")
        .await?;
    publisher.barrier(1).await?;
    pair.raw.take_text(1, &pair.queue, "m").await?;
    publisher.publish(1, &pair.alternate, "", "m").await?;
    let text = refused(t, &pair.alternate, "write");
    publisher
        .expect_channel_close(1, 403, text, basic::Publish::ID)
        .await
}

async fn internal_one(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (exchange, inside, queue) = (t.name("x"), t.name("inside"), t.name("q"));
    let internal = exchange::Declare {
        internal: true,
        ..transient_exchange(&inside, "fanout")
    };
    raw.declare_exchange(1, internal).await?;
    declare(&mut raw, &exchange, "direct", &inside).await?;
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &inside, "").await?;
    raw.publish_mandatory(1, &exchange, "nobody", "m").await?;
    raw.barrier(1).await?;
    raw.take_text(1, &queue, "m").await.map(drop)
}
