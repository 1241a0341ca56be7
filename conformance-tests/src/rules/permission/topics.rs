//! Which keys a user may use on a topic exchange.
//!
//! The user `topical` may do everything, but with `amq.topic` it may publish only with keys that begin
//! with its name and the vhost's, and bind only with keys that begin with the two the other way round.

use leveret_protocol::method::{basic, exchange as exchanges, queue as queues};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::{Asking, Need, exchange};
use crate::failure::Failure;
use crate::raw::{Handshake, RawConnection, transient_exchange};
use crate::registry::Follows;
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-13" publish_needs_its_key [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "The key is written.";
    "PERM-13" bind_needs_its_key [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "The key of a binding is read.";
    "PERM-13" exchange_binding_needs_its_key [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also between exchanges.";
    "PERM-13" unbind_needs_its_key [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "… also to take it away, even where there is none.";
    "PERM-13" exchange_comes_before_its_keys [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "The exchange is asked about first.";
    "PERM-13" only_topic_exchanges_have_topics [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Keys of other exchanges are free.";
    "PERM-13" only_what_is_published_to_is_asked [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "So is what comes from an exchange.";
    "PERM-14" no_record_allows_everything [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Without a record every key may be used.";
    "PERM-14" names_in_patterns [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "{username} and {vhost} stand for the names.";
    "PERM-15" copies_are_not_asked_about [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V3)]
        "Keys of CC and BCC are free.";
    "PERM-15" copies_are_asked_about [raw, fixtures, variants(&[ACCESS_REFUSED]), follows(Follows::V4)]
        "In 4.x each of them is written.";
}

const TOPICAL: &str = "topical";
const SECOND: &str = "leveret-second";
const TOPIC: &str = "amq.topic";

/// The resource as refusals call it.
fn topic(key: &str) -> String {
    format!("topic '{key}' in exchange '{TOPIC}'")
}

/// A key that the user may publish with.
fn own_key(t: &Trial, word: &str) -> String {
    format!("{TOPICAL}.{}.{word}", t.vhost())
}

/// A key that the user may bind with.
fn own_binding_key(t: &Trial, word: &str) -> String {
    format!("{}.{TOPICAL}.{word}", t.vhost())
}

/// A queue bound by somebody who may use any key.
async fn bound_queue(t: &Trial, key: &str) -> Result<(RawConnection, String), Failure> {
    let (mut raw, name) = (t.raw().await?, t.name("q"));
    raw.declare_queue(1, &name).await?;
    raw.bind(1, &name, TOPIC, key).await?;
    Ok((raw, name))
}

fn bind<'a>(queue: &'a str, key: &'a str) -> queues::Bind<'a> {
    queues::Bind {
        queue: queue.into(),
        exchange: TOPIC.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

async fn publish_needs_its_key(t: &Trial) -> Result<(), Failure> {
    let word = t.name("word");
    let (mut raw, queue) = bound_queue(t, &format!("#.{word}")).await?;
    let mut asking = Asking::of(t, TOPICAL).await?;
    let readable = own_binding_key(t, &word);
    for key in [
        word.as_str(),
        &readable,
        &format!("not.{}", own_key(t, &word)),
    ] {
        asking
            .expect_publish_refused((TOPIC, key), topic(key))
            .await?;
    }
    raw.expect_empty(1, &queue).await?;
    asking
        .raw
        .publish(1, TOPIC, &own_key(t, &word), "m")
        .await?;
    asking.raw.barrier(1).await?;
    raw.take_text(1, &queue, "m").await?;
    // That one key may be used does not stick.
    asking
        .expect_publish_refused((TOPIC, &word), topic(&word))
        .await
}

async fn bind_needs_its_key(t: &Trial) -> Result<(), Failure> {
    let (word, queue) = (t.name("word"), t.name("q"));
    let mut asking = Asking::of(t, TOPICAL).await?;
    asking.raw.declare_queue(1, &queue).await?;
    let writable = own_key(t, &word);
    for key in [word.as_str(), &writable, "#", ""] {
        // With an empty name the queue's would be the key.
        asking
            .expect_refused(bind(&queue, key), Need::Read, topic(key))
            .await?;
    }
    let key = own_binding_key(t, &word);
    asking
        .raw
        .bind(1, &queue, TOPIC, &format!("{key}.*"))
        .await?;
    let mut raw = t.raw().await?;
    raw.publish(1, TOPIC, &format!("{key}.k"), "m").await?;
    raw.take_text(1, &queue, "m").await.map(drop)
}

async fn exchange_binding_needs_its_key(t: &Trial) -> Result<(), Failure> {
    let (word, to) = (t.name("word"), t.name("x"));
    let mut asking = Asking::of(t, TOPICAL).await?;
    asking
        .raw
        .declare_exchange(1, transient_exchange(&to, "fanout"))
        .await?;
    let bind = exchanges::Bind {
        destination: to.as_str().into(),
        source: TOPIC.into(),
        routing_key: word.as_str().into(),
        ..Default::default()
    };
    asking
        .expect_refused(bind, Need::Read, topic(&word))
        .await?;
    let key = own_binding_key(t, &word);
    asking.raw.bind_exchange(1, &to, TOPIC, &key).await?;
    // As a destination it is no more than an exchange.
    asking.raw.bind_exchange(1, TOPIC, &to, &word).await?;
    let unbind = exchanges::Unbind {
        destination: to.as_str().into(),
        source: TOPIC.into(),
        routing_key: word.as_str().into(),
        ..Default::default()
    };
    asking
        .expect_refused(unbind, Need::Read, topic(&word))
        .await
}

async fn unbind_needs_its_key(t: &Trial) -> Result<(), Failure> {
    let word = t.name("word");
    let (mut raw, queue) = bound_queue(t, &word).await?;
    let key = own_binding_key(t, &word);
    raw.bind(1, &queue, TOPIC, &key).await?;
    let mut asking = Asking::of(t, TOPICAL).await?;
    for key in [word.as_str(), "no.such.binding"] {
        let unbind = queues::Unbind {
            queue: queue.as_str().into(),
            exchange: TOPIC.into(),
            routing_key: key.into(),
            ..Default::default()
        };
        asking
            .expect_refused(unbind, Need::Read, topic(key))
            .await?;
    }
    asking.raw.unbind(1, &queue, TOPIC, &key).await?;
    raw.publish(1, TOPIC, &key, "gone").await?;
    raw.publish(1, TOPIC, &word, "still bound").await?;
    raw.take_text(1, &queue, "still bound").await.map(drop)
}

/// There the user may write nothing but what is called writable.
fn second_vhost(t: &Trial) -> Handshake {
    Handshake {
        vhost: SECOND.to_owned(),
        ..t.login(TOPICAL)
    }
}

async fn exchange_comes_before_its_keys(t: &Trial) -> Result<(), Failure> {
    let mut asking = Asking::logged_in(t, &second_vhost(t)).await?;
    asking
        .expect_publish_refused((TOPIC, "k"), exchange(TOPIC))
        .await?;
    let key = format!("{SECOND}.k");
    asking
        .expect_publish_refused((TOPIC, &key), exchange(TOPIC))
        .await
}

async fn only_topic_exchanges_have_topics(t: &Trial) -> Result<(), Failure> {
    let (queue, key) = (t.name("q"), t.name("key"));
    let mut raw = Asking::of(t, TOPICAL).await?.raw;
    raw.declare_queue(1, &queue).await?;
    // There is a record for it, which allows no key but the empty one.
    raw.bind(1, &queue, "amq.direct", &key).await?;
    raw.publish(1, "amq.direct", &key, "m").await?;
    raw.take_text(1, &queue, "m").await?;
    raw.unbind(1, &queue, "amq.direct", &key).await
}

async fn only_what_is_published_to_is_asked(t: &Trial) -> Result<(), Failure> {
    let (word, from) = (t.name("word"), t.name("x"));
    let (mut raw, queue) = bound_queue(t, &word).await?;
    raw.declare_exchange(1, transient_exchange(&from, "fanout"))
        .await?;
    raw.bind_exchange(1, TOPIC, &from, "").await?;
    let mut asking = Asking::of(t, TOPICAL).await?;
    asking.raw.publish(1, &from, &word, "m").await?;
    asking.raw.barrier(1).await?;
    raw.take_text(1, &queue, "m").await.map(drop)
}

async fn no_record_allows_everything(t: &Trial) -> Result<(), Failure> {
    let (own, queue) = (t.name("x"), t.name("q"));
    let mut raw = Asking::of(t, TOPICAL).await?.raw;
    raw.declare_queue(1, &queue).await?;
    raw.declare_exchange(1, transient_exchange(&own, "topic"))
        .await?;
    raw.bind(1, &queue, &own, "#").await?;
    raw.publish(1, &own, "any.key", "m").await?;
    raw.take_text(1, &queue, "m").await?;
    // Others have no record for this exchange either.
    let word = t.name("word");
    let (mut raw, queue) = bound_queue(t, &word).await?;
    raw.publish(1, TOPIC, &word, "m").await?;
    raw.take_text(1, &queue, "m").await.map(drop)
}

async fn names_in_patterns(t: &Trial) -> Result<(), Failure> {
    let queue = t.name_in(SECOND, "q-writable");
    let mut asking = Asking::logged_in(t, &second_vhost(t)).await?;
    asking.raw.declare_queue(1, &queue).await?;
    for other in [own_binding_key(t, "k"), "{vhost}.k".to_owned()] {
        asking
            .expect_refused(bind(&queue, &other), Need::Read, topic(&other))
            .await?;
    }
    asking
        .raw
        .bind(1, &queue, TOPIC, &format!("{SECOND}.k"))
        .await
}

/// A message whose copies go where the user may not publish.
async fn publish_with_copy(
    asking: &mut Asking,
    key: &str,
    header: &str,
    copy: &str,
) -> Result<(), Failure> {
    let copies: ArrayBuf = [Value::LongStr(copy.as_bytes())].into_iter().collect();
    let headers = TableBuf::new().with(header, Value::Array(copies.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    asking
        .raw
        .publish_message(1, (TOPIC, key), properties, "m")
        .await
}

async fn copies_are_not_asked_about(t: &Trial) -> Result<(), Failure> {
    let word = t.name("word");
    let (mut raw, queue) = bound_queue(t, &word).await?;
    let mut asking = Asking::of(t, TOPICAL).await?;
    for header in ["CC", "BCC"] {
        publish_with_copy(&mut asking, &own_key(t, "k"), header, &word).await?;
        asking.raw.barrier(1).await?;
        raw.take_text(1, &queue, "m").await?;
    }
    Ok(())
}

async fn copies_are_asked_about(t: &Trial) -> Result<(), Failure> {
    let word = t.name("word");
    let (mut raw, queue) = bound_queue(t, &word).await?;
    let mut asking = Asking::of(t, TOPICAL).await?;
    for header in ["CC", "BCC"] {
        publish_with_copy(&mut asking, &own_key(t, "k"), header, &word).await?;
        let text = asking.refusal(Need::Write, topic(&word));
        let id = basic::Publish::ID;
        asking.raw.expect_channel_close(1, 403, text, id).await?;
        asking.raw.open_channel(1).await?;
    }
    raw.expect_empty(1, &queue).await
}
