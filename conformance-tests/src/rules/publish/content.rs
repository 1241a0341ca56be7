//! Where messages go, what of them arrives, and in which order.

use leveret_protocol::method::basic::{self, Get, Publish};
use leveret_protocol::method::{queue, tx};
use leveret_protocol::{Method, Properties, ShortStr};

use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

rules! {
    "PUB-15" unroutable_is_dropped [raw] "An unroutable message is dropped, and confirmed.";
    "PUB-16" empty_body [raw] "An empty body is delivered as one, without a body frame.";
    "PUB-17" seen_by_get [raw] "A get on the same channel sees the message at once.";
    "PUB-18" in_order "One channel's messages to one queue keep their order.";
    "PUB-19" any_routing_key [raw] "A routing key is up to 255 bytes of anything.";
    "PUB-19" not_even_text [raw] "… even of what no queue can be bound with.";
    "PUB-20" mandatory_in_a_transaction [raw] "In a transaction the return comes at its commit.";
}

async fn unroutable_is_dropped(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.publish(1, "", &t.name("missing"), "dropped").await?;
    raw.publish(1, "amq.topic", &t.name("key"), "dropped")
        .await?;
    raw.barrier(1).await?;
    raw.confirm_select(1).await?;
    raw.publish(1, "", &t.name("missing"), "dropped").await?;
    raw.await_confirms(1, 1, 1).await
}

async fn empty_body(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.publish(1, "", &name, "").await?;
    raw.take_text(1, &name, "").await?;
    raw.consume(1, &name).await?;
    raw.publish(1, "", &name, "").await?;
    let delivered = raw.expect_delivery(1).await?;
    expect_eq("body frames", delivered.body_frames.len(), 0)?;
    // A body frame after the header would come before this answer.
    raw.barrier(1).await
}

async fn seen_by_get(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    for number in 0..50 {
        let text = number.to_string();
        raw.publish(1, "", &name, &text).await?;
        raw.take_text(1, &name, &text).await?;
    }
    Ok(())
}

async fn in_order(t: &Trial) -> Result<(), Failure> {
    const PUBLISHED: usize = 300;
    let channel = t.channel().await?;
    let name = t.name("q");
    client::declare_queue(&channel, &name).await?;
    let mut consumer = client::consume(&t.channel().await?, &name).await?;
    for number in 0..PUBLISHED {
        client::publish(&channel, "", &name, &number.to_string()).await?;
    }
    for number in 0..PUBLISHED {
        let delivery = client::next_delivery(&mut consumer).await?;
        let text = String::from_utf8_lossy(&delivery.data).into_owned();
        expect_eq("body", text, number.to_string())?;
    }
    Ok(())
}

/// Fetches a message and returns its routing key as it came.
async fn take_routing_key(raw: &mut RawConnection, queue: &str) -> Result<Vec<u8>, Failure> {
    let get = Get {
        queue: queue.into(),
        no_ack: true,
        ..Default::default()
    };
    let got = raw.call(1, get, basic::GetOk::ID).await?;
    raw.read_content(1, &got).await?;
    got.read(|method| match method {
        Method::Basic(basic::Method::GetOk(got)) => Some(got.routing_key.0.to_vec()),
        _ => None,
    })
}

async fn any_routing_key(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    let longest = "k".repeat(ShortStr::LEN_MAX);
    for key in [&longest, "", "a b\0c\r\nd", "ünï→", "#*'\""] {
        let bind = queue::Bind {
            queue: name.as_str().into(),
            exchange: "amq.direct".into(),
            routing_key: key.into(),
            ..Default::default()
        };
        raw.call(1, bind, queue::BindOk::ID).await?;
        let publish = Publish {
            exchange: "amq.direct".into(),
            routing_key: key.into(),
            ..Default::default()
        };
        raw.publish_with(1, publish, Properties::default(), b"")
            .await?;
        let came = take_routing_key(&mut raw, &name).await?;
        expect_eq("routing key", came.as_slice(), key.as_bytes())?;
    }
    Ok(())
}

/// Only publishes are free to do so: methods that name or bind something must be UTF-8.
async fn not_even_text(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let key = [0xFE; ShortStr::LEN_MAX];
    let exchange = t.name("x");
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.bind(1, &queue, &exchange, "").await?;
    let publish = Publish {
        exchange: exchange.as_str().into(),
        routing_key: ShortStr(&key),
        ..Default::default()
    };
    raw.publish_with(1, publish, Properties::default(), b"")
        .await?;
    let came = take_routing_key(&mut raw, &queue).await?;
    expect_eq("routing key", came.as_slice(), &key[..])
}

async fn mandatory_in_a_transaction(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.call(1, tx::Select {}, tx::SelectOk::ID).await?;
    raw.publish_mandatory(1, "", &t.name("missing"), "later")
        .await?;
    raw.barrier(1).await?;
    raw.send_method(1, tx::Commit {}).await?;
    let returned = raw.expect_return(1).await?;
    expect_eq("body", returned.text(), "later")?;
    raw.expect(1, tx::CommitOk::ID).await.map(drop)
}
