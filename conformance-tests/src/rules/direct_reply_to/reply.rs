//! Where replies go, and what their publisher is told.

use std::time::Duration;

use leveret_protocol::content::{FRAME_BODY, FRAME_HEADER};
use leveret_protocol::method::{basic, connection, tx};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::{expect_reply, of_replies, start};
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Event, Expected, RawConnection};
use crate::trial::Trial;

variants! { REPLY_TAGS: "RPC-07" {
    USES_UP_NONE "uses-up-none" "Replies use up no delivery tags.";
    USES_UP_TAGS "uses-them-up" "Replies have delivery tags as any delivery.";
} }

variants! { MANDATORY_REPLIES: "RPC-08" {
    COMES_BACK "comes-back" "A mandatory reply is returned, although it was delivered.";
    IS_ROUTED "is-routed" "A mandatory reply counts as routed.";
} }

variants! { REPLIES_IN_TRANSACTIONS: "RPC-18" {
    AT_ONCE "at-once" "A reply does not wait for the commit of its transaction.";
    AT_COMMIT "at-commit" "A reply waits for the commit of its transaction.";
} }

rules! {
    "RPC-06" to_the_requester [raw] "A reply is delivered to the channel that asked.";
    "RPC-06" large_reply [raw] "… whatever its size.";
    "RPC-07" tag_does_not_advance [raw, variants(&[REPLY_TAGS])]
        "Whether replies use up delivery tags.";
    "RPC-08" mandatory_is_returned [raw, variants(&[MANDATORY_REPLIES])]
        "Whether a mandatory reply comes back.";
    "RPC-09" nobody_is_there [raw] "A reply to who has gone is dropped, and confirmed.";
    "RPC-17" bare_name_is_unroutable [raw] "Nothing is routed to the pseudo-queue itself.";
    "RPC-18" from_any_connection [raw] "Anybody may reply, by the default exchange only.";
    "RPC-18" in_copy [raw] "… also to several at once, in CC and BCC.";
    "RPC-18" other_vhost [raw, fixtures] "… also from another vhost.";
    "RPC-18" in_a_transaction [raw, variants(&[REPLIES_IN_TRANSACTIONS, MANDATORY_REPLIES])]
        "… in a transaction, too.";
    "RPC-19" dead_letter [raw] "A dead letter may be a reply.";
}

async fn to_the_requester(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut replier = t.raw().await?;
    let publish = basic::Publish {
        routing_key: address.as_str().into(),
        ..Default::default()
    };
    let properties = Properties {
        correlation_id: Some("c-1".into()),
        ..Default::default()
    };
    for body in ["one", "two"] {
        replier
            .publish_with(1, publish, properties, body.as_bytes())
            .await?;
        let reply = expect_reply(&mut raw, 1, &address, body).await?;
        expect_eq("tag", reply.consumer_tag.as_str(), "replies")?;
        expect_eq("properties", reply.properties()?, properties)?;
    }
    Ok(())
}

async fn large_reply(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let body = "large".repeat(100_000);
    raw.publish(1, "", &address, &body).await?;
    expect_reply(&mut raw, 1, &address, &body).await.map(drop)
}

async fn tag_does_not_advance(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.consume_with(1, of_replies("replies")).await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["one", "two"]).await?;
    raw.get_text(1, &queue, "one").await?;
    let address = super::address(t, &mut raw, 1).await?;
    // The request was a delivery as well.
    let mut tags = Vec::new();
    for body in ["three", "four"] {
        raw.publish(1, "", &address, body).await?;
        let reply = expect_reply(&mut raw, 1, &address, body).await?;
        tags.push(reply.delivery_tag);
    }
    let got = raw.get_text(1, &queue, "two").await?;
    tags.push(got.delivery_tag);
    let alternatives = [(USES_UP_NONE, [3, 3, 3]), (USES_UP_TAGS, [3, 4, 5])];
    t.expect_variant_of("delivery tags", tags, &alternatives)
        .map(drop)
}

async fn expect_returned(raw: &mut RawConnection, key: &str, sequence: u64) -> Result<(), Failure> {
    let returned = raw.expect_return(1).await?;
    raw.expect_text(&returned.reply_text, "NO_ROUTE")?;
    expect_eq("routing key", returned.routing_key.as_str(), key)?;
    let ack = raw.expect_confirm(1).await?;
    expect_eq("confirmed", ack.delivery_tag, sequence)
}

async fn mandatory_is_returned(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut replier = t.raw().await?;
    replier.confirm_select(1).await?;
    replier.publish_mandatory(1, "", &address, "answer").await?;
    let returned = Expected::method(1, basic::Return::ID);
    let confirmed = Expected::method(1, basic::Ack::ID);
    let answers = [(COMES_BACK, returned), (IS_ROUTED, confirmed)];
    if replier.expect_variant(t, &answers).await? == COMES_BACK {
        // Its content comes first.
        replier.await_method(1, basic::Ack::ID).await?;
    }
    expect_reply(&mut raw, 1, &address, "answer")
        .await
        .map(drop)
}

async fn nobody_is_there(t: &Trial) -> Result<(), Failure> {
    let mut replier = t.raw().await?;
    replier.confirm_select(1).await?;
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let cancelled = start(t, &mut raw, 1).await?;
    raw.cancel(1, "replies").await?;
    let closed = start(t, &mut raw, 2).await?;
    raw.close_channel(2).await?;
    let mut other = t.raw().await?;
    let gone = start(t, &mut other, 1).await?;
    let close = connection::Close::default();
    other.call(0, close, connection::CloseOk::ID).await?;
    for (sequence, address) in (1..).zip([&cancelled, &closed, &gone]) {
        replier.publish(1, "", address, "too late").await?;
        let ack = replier.expect_confirm(1).await?;
        expect_eq("confirmed", ack.delivery_tag, sequence)?;
    }
    raw.barrier(1).await
}

async fn bare_name_is_unroutable(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.consume_with(1, of_replies("replies")).await?;
    raw.confirm_select(1).await?;
    raw.publish_mandatory(1, "", super::REPLY_QUEUE, "nowhere")
        .await?;
    expect_returned(&mut raw, super::REPLY_QUEUE, 1).await
}

async fn from_any_connection(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let address = start(t, &mut raw, 1).await?;
    raw.publish(2, "", &address, "another channel").await?;
    expect_reply(&mut raw, 1, &address, "another channel").await?;
    let mut replier = t.raw().await?;
    replier
        .publish_mandatory(1, "amq.direct", &address, "another exchange")
        .await?;
    let returned = replier.expect_return(1).await?;
    expect_eq("body", returned.text().as_str(), "another exchange")?;
    replier
        .publish(1, "", &address, "another connection")
        .await?;
    expect_reply(&mut raw, 1, &address, "another connection")
        .await
        .map(drop)
}

async fn in_copy(t: &Trial) -> Result<(), Failure> {
    let (mut one, mut two) = (t.raw().await?, t.raw().await?);
    let address_of_one = start(t, &mut one, 1).await?;
    let address_of_two = start(t, &mut two, 1).await?;
    let queue = t.name("q");
    let mut replier = t.raw().await?;
    replier.declare_queue(1, &queue).await?;
    let list = |key: &str| -> ArrayBuf { [Value::LongStr(key.as_bytes())].into_iter().collect() };
    let (cc, bcc) = (list(&address_of_one), list(&address_of_two));
    let headers = TableBuf::from_entries([
        ("CC", Value::Array(cc.view())),
        ("BCC", Value::Array(bcc.view())),
    ]);
    let publish = basic::Publish {
        routing_key: queue.as_str().into(),
        mandatory: true,
        ..Default::default()
    };
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    replier.publish_with(1, publish, properties, b"all").await?;
    // A queue has it: it is not returned.
    replier.barrier(1).await?;
    replier.take_text(1, &queue, "all").await?;
    for requester in [&mut one, &mut two] {
        let reply = expect_reply(requester, 1, &queue, "all").await?;
        let headers = reply.properties()?.headers.unwrap_or_default();
        ensure(headers.get("BCC").is_none(), format!("headers {headers:?}"))?;
    }
    Ok(())
}

async fn other_vhost(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut handshake = t.handshake();
    handshake.vhost = "leveret-second".to_owned();
    let mut replier = t.raw_with(&handshake).await?;
    replier.open_channel(1).await?;
    replier.publish(1, "", &address, "answer").await?;
    expect_reply(&mut raw, 1, &address, "answer")
        .await
        .map(drop)
}

/// How long a reply may take where only its absence could show that it waits for something.
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

/// Whether a reply stays away that was published in a transaction; reads it if it does not.
async fn waits_for_commit(t: &Trial, raw: &mut RawConnection) -> Result<bool, Failure> {
    let patience = match t.accepts(AT_COMMIT) {
        true => REPLY_PATIENCE,
        false => raw.patience(),
    };
    let event = raw.next_event_within(patience).await?;
    if event == Event::Nothing && t.accepts(AT_COMMIT) {
        t.saw(AT_COMMIT);
        return Ok(true);
    }
    let delivery = Expected::method(1, basic::Deliver::ID);
    raw.check_variant(t, &[(AT_ONCE, delivery)], event).await?;
    raw.expect_frame(FRAME_HEADER, 1).await?;
    raw.expect_frame(FRAME_BODY, 1).await?;
    Ok(false)
}

async fn in_a_transaction(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut replier = t.raw().await?;
    replier.call(1, tx::Select {}, tx::SelectOk::ID).await?;
    replier.publish(1, "", &address, "answer").await?;
    replier.barrier(1).await?;
    if waits_for_commit(t, &mut raw).await? {
        replier.call(1, tx::Commit {}, tx::CommitOk::ID).await?;
        return expect_reply(&mut raw, 1, &address, "answer")
            .await
            .map(drop);
    }
    replier
        .publish_mandatory(1, "", &address, "and another")
        .await?;
    expect_reply(&mut raw, 1, &address, "and another").await?;
    replier.send_method(1, tx::Commit {}).await?;
    if t.accepts(COMES_BACK) {
        let returned = replier.expect_return(1).await?;
        expect_eq("body", returned.text().as_str(), "and another")?;
    }
    replier.expect(1, tx::CommitOk::ID).await?;
    raw.barrier(1).await
}

async fn dead_letter(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let queue = t.name("q");
    let arguments = [
        ("x-message-ttl", Value::I32(0)),
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        (
            "x-dead-letter-routing-key",
            Value::LongStr(address.as_bytes()),
        ),
    ];
    let mut replier = t.raw().await?;
    replier.declare_queue_with(1, &queue, &arguments).await?;
    replier.publish(1, "", &queue, "answer").await?;
    let reply = expect_reply(&mut raw, 1, &address, "answer").await?;
    let headers = reply.properties()?.headers.unwrap_or_default();
    ensure(
        headers.get("x-death").is_some(),
        format!("headers {headers:?}"),
    )
}
