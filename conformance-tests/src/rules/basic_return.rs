//! Messages that come back.

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use crate::client;
use crate::failure::{Failure, expect_eq};
use crate::raw::{Message, RawConnection, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("RET", &[RULES]);

rules! {
    "RET-01" unroutable [raw] "A mandatory message without a queue comes back whole.";
    "RET-01" unroutable_for_a_client "A client gets it back with its confirm.";
    "RET-02" return_before_ack [raw] "In confirm mode it comes before its ack.";
    "RET-03" properties_come_back [raw] "The properties are those published, without BCC.";
    "RET-04" routed_is_not_returned [raw] "One queue is enough, whatever that does with it.";
    "RET-05" no_consumer_needed [raw] "A queue without a consumer is enough.";
    "RET-06" in_order_of_publishing [raw] "Returns come in the order of the publishes.";
    "RET-07" names_the_first_exchange [raw] "The exchange named is that of the publish.";
}

fn expect_no_route(
    raw: &RawConnection,
    returned: &Message,
    exchange: &str,
    routing_key: &str,
) -> Result<(), Failure> {
    expect_eq("reply code", returned.reply_code, 312)?;
    raw.expect_text(&returned.reply_text, "NO_ROUTE")?;
    expect_eq("exchange", returned.exchange.as_str(), exchange)?;
    expect_eq("routing key", returned.routing_key.as_str(), routing_key)
}

async fn unroutable(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (exchange, key) = (t.name("x"), t.name("key"));
    raw.declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    for exchange in ["", &exchange] {
        raw.publish_mandatory(1, exchange, &key, "nowhere").await?;
        let returned = raw.expect_return(1).await?;
        expect_no_route(&raw, &returned, exchange, &key)?;
        expect_eq("body", returned.text(), "nowhere")?;
    }
    let large = "large".repeat(100_000);
    raw.publish_mandatory(1, "", &key, &large).await?;
    let returned = raw.expect_return(1).await?;
    expect_eq("large body comes back", returned.text() == large, true)
}

async fn unroutable_for_a_client(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    client::confirm_select(&channel).await?;
    let options = lapin::options::BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let key = t.name("key");
    let properties = lapin::BasicProperties::default().with_message_id("m-1".into());
    let confirm = channel
        .basic_publish("".into(), key.as_str().into(), options, b"back", properties)
        .await?
        .await?;
    let lapin::Confirmation::Ack(Some(returned)) = confirm else {
        let came = format!("{confirm:?}");
        return Err(Failure::expected("an ack with the message", came));
    };
    expect_eq("reply code", returned.reply_code, 312)?;
    expect_eq("body", returned.delivery.data.as_slice(), &b"back"[..])?;
    let properties = &returned.delivery.properties;
    let id = properties.message_id().as_ref().map(|id| id.as_str());
    expect_eq("message id", id, Some("m-1"))
}

async fn return_before_ack(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    let key = t.name("key");
    for sequence in 1..=3 {
        raw.publish_mandatory(1, "", &key, "nowhere").await?;
        let returned = raw.expect_return(1).await?;
        expect_no_route(&raw, &returned, "", &key)?;
        let ack = raw.expect_confirm(1).await?;
        expect_eq("confirmed", ack.delivery_tag, sequence)?;
    }
    Ok(())
}

async fn properties_come_back(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let keys: ArrayBuf = [Value::LongStr(b"nowhere either")].into_iter().collect();
    let kept = TableBuf::new()
        .with("CC", Value::Array(keys.view()))
        .with("number", Value::I64(-5));
    let sent = kept.clone().with("BCC", Value::Array(keys.view()));
    let properties = |headers| Properties {
        headers: Some(headers),
        content_type: Some("text/plain".into()),
        delivery_mode: Some(2),
        priority: Some(7),
        expiration: Some("60000".into()),
        timestamp: Some(1),
        ..Default::default()
    };
    let key = t.name("key");
    let publish = basic::Publish {
        routing_key: key.as_str().into(),
        mandatory: true,
        ..Default::default()
    };
    raw.publish_with(1, publish, properties(sent.view()), b"body")
        .await?;
    let returned = raw.expect_return(1).await?;
    expect_eq("body", returned.text(), "body")?;
    expect_eq(
        "properties",
        returned.properties()?,
        properties(kept.view()),
    )
}

/// A queue that does away with everything in one way or another.
async fn declare_with(
    raw: &mut RawConnection,
    name: &str,
    arguments: &TableBuf,
) -> Result<(), Failure> {
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(name)
    };
    raw.declare(1, declare).await.map(drop)
}

async fn routed_is_not_returned(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.confirm_select(1).await?;
    let drops = TableBuf::new().with("x-max-length", Value::I32(0));
    let rejects = drops
        .clone()
        .with("x-overflow", Value::LongStr(b"reject-publish"));
    let expires = TableBuf::new().with("x-message-ttl", Value::I32(0));
    let settled = [
        (drops, basic::Ack::ID),
        (expires, basic::Ack::ID),
        (rejects, basic::Nack::ID),
    ];
    for (number, (arguments, reply)) in settled.iter().enumerate() {
        let name = t.name(&number.to_string());
        declare_with(&mut raw, &name, arguments).await?;
        raw.publish_mandatory(1, "", &name, "done away with")
            .await?;
        let settled = raw.expect(1, *reply).await;
        settled.map_err(|failure| failure.at(format!("{arguments:?}")))?;
    }
    Ok(())
}

async fn no_consumer_needed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.confirm_select(1).await?;
    raw.publish_mandatory(1, "", &name, "waits").await?;
    raw.expect_confirm(1).await?;
    raw.take_text(1, &name, "waits").await.map(drop)
}

async fn in_order_of_publishing(t: &Trial) -> Result<(), Failure> {
    const PUBLISHED: usize = 20;
    let mut raw = t.raw().await?;
    let (queue, missing) = (t.name("q"), t.name("missing"));
    raw.declare_queue(1, &queue).await?;
    for number in 0..PUBLISHED {
        // Routable ones between them must not disturb the order.
        raw.publish_mandatory(1, "", &queue, "routed").await?;
        let body = number.to_string();
        raw.publish_mandatory(1, "", &missing, &body).await?;
    }
    for number in 0..PUBLISHED {
        let returned = raw.expect_return(1).await?;
        expect_eq("returned body", returned.text(), number.to_string())?;
    }
    raw.barrier(1).await
}

async fn names_the_first_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let [first, alternate, bound] = ["first", "alternate", "bound"].map(|suffix| t.name(suffix));
    for name in [&alternate, &bound] {
        raw.declare_exchange(1, transient_exchange(name, "fanout"))
            .await?;
    }
    let name = Value::LongStr(alternate.as_bytes());
    let arguments = TableBuf::new().with("alternate-exchange", name);
    let declare = leveret_protocol::method::exchange::Declare {
        arguments: arguments.view(),
        ..transient_exchange(&first, "direct")
    };
    raw.declare_exchange(1, declare).await?;
    raw.bind_exchange(1, &bound, &first, "key").await?;
    // The first key leads to the bound exchange, the other one to the alternate; neither has a queue.
    for key in ["key", "other"] {
        raw.publish_mandatory(1, &first, key, "nowhere").await?;
        let returned = raw.expect_return(1).await?;
        expect_no_route(&raw, &returned, &first, key)?;
    }
    Ok(())
}
