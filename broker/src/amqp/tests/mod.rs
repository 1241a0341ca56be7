//! Connections over a pipe to a node whose store commits when the test says so.
//!
//! That something is *not* sent is shown by what comes first: an answer to a later question, or a
//! delivery that another connection has caused.

#![allow(clippy::unwrap_used)]

mod alarm;
mod bare;
mod consumer_timeout;
mod direct_reply;
mod flood;
mod renewed;
mod slow_routes;
mod stored_queue;
#[path = "../../../tests/support/mod.rs"]
pub(crate) mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::framer::FRAME_HEARTBEAT;
use leveret_protocol::method::basic::Method as Basic;
use leveret_protocol::method::{basic, channel, confirm, queue, tx};
use leveret_protocol::{Method, Properties, ReplyCode, ShortStr, Table};
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use crate::amqp::connection::serve;
use crate::config::Config;
use crate::limits::{MESSAGE_OVERHEAD_BYTES, UNCOMMITTED_BYTES_MAX};
use crate::net::peer::Peer;
use crate::node::Node;
use stored_queue::FakeStore;

type Client = support::Client<DuplexStream>;

const FRAME_MAX: u32 = 131_072;
/// A write that makes no progress for this long is not being read.
const HELD_UP: Duration = Duration::from_millis(300);

/// A connection with channels 1 and 2 open.
async fn connect(node: &Arc<Node>) -> Client {
    connect_with_heartbeat(node, 0).await
}

async fn connect_with_heartbeat(node: &Arc<Node>, heartbeat_s: u16) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve(
        Arc::clone(node),
        theirs,
        Peer::default(),
        Instant::now(),
    ));
    let mut client = Client::open_tuned(ours, Table::default(), heartbeat_s).await;
    client
        .expect(leveret_protocol::method::connection::OpenOk::ID)
        .await;
    for number in [1, 2] {
        let open = channel::Open::default();
        client.call(number, open, channel::OpenOk::ID).await;
    }
    client
}

async fn declare(client: &mut Client, name: &'static str) {
    let declare = queue::Declare {
        queue: ShortStr(name.as_bytes()),
        durable: true,
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID).await;
}

async fn consume(client: &mut Client, name: &'static str) {
    let consume = basic::Consume {
        queue: ShortStr(name.as_bytes()),
        ..Default::default()
    };
    client.call(1, consume, basic::ConsumeOk::ID).await;
}

async fn select_confirms(client: &mut Client, channel: u16) {
    let select = confirm::Select::default();
    client.call(channel, select, confirm::SelectOk::ID).await;
}

fn publish(channel: u16, name: &'static str, delivery_mode: u8, body: &[u8], out: &mut BytesMut) {
    let publish = basic::Publish {
        routing_key: ShortStr(name.as_bytes()),
        ..Default::default()
    };
    let properties = Properties {
        delivery_mode: Some(delivery_mode),
        ..Default::default()
    };
    write_publish(channel, publish, &properties, body, FRAME_MAX, out);
}

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Publishes messages of these modes.
async fn send(client: &mut Client, channel: u16, name: &'static str, modes: &[u8]) {
    let mut out = BytesMut::new();
    modes
        .iter()
        .for_each(|mode| publish(channel, name, *mode, b"body", &mut out));
    client.stream.write_all(&out).await.unwrap();
}

async fn ask<'m>(client: &mut Client, channel: u16, method: impl Into<Method<'m>>) {
    let mut out = BytesMut::new();
    write_method(channel, method, &mut out);
    client.stream.write_all(&out).await.unwrap();
}

/// Asks something that is answered at once; the next frame is the answer if nothing came before.
async fn answers_at_once(client: &mut Client) {
    client
        .call(1, basic::Qos::default(), basic::QosOk::ID)
        .await;
}

#[derive(Debug, PartialEq)]
enum Confirm {
    Ack(u64),
    Acks(u64),
    Nack(u64),
    Nacks(u64),
}

async fn next_confirm(client: &mut Client) -> (u16, Confirm) {
    let frame = client.next_frame().await;
    let confirm = match frame.method().unwrap() {
        Method::Basic(Basic::Ack(ack)) if ack.multiple => Confirm::Acks(ack.delivery_tag),
        Method::Basic(Basic::Ack(ack)) => Confirm::Ack(ack.delivery_tag),
        Method::Basic(Basic::Nack(nack)) if nack.multiple => Confirm::Nacks(nack.delivery_tag),
        Method::Basic(Basic::Nack(nack)) => Confirm::Nack(nack.delivery_tag),
        other => panic!("{other:?}"),
    };
    (frame.channel, confirm)
}

/// Reads one delivery: method, header, body. Says whether it was redelivered.
async fn next_delivery(client: &mut Client) -> bool {
    let redelivered = client.next(|method| match method {
        Method::Basic(Basic::Deliver(deliver)) => deliver.redelivered,
        other => panic!("{other:?}"),
    });
    let redelivered = redelivered.await.unwrap();
    skip_content(client).await;
    redelivered
}

async fn skip_content(client: &mut Client) {
    client.next_frame().await;
    client.next_frame().await;
}

#[tokio::test]
async fn confirm_06_a_stored_publish_is_confirmed_by_the_commit_and_without_further_traffic() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "q").await;
    select_confirms(&mut client, 1).await;
    send(&mut client, 1, "q", &[TRANSIENT]).await;
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Ack(1)));
    send(&mut client, 1, "q", &[PERSISTENT, PERSISTENT]).await;
    answers_at_once(&mut client).await;
    store.commit();
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Acks(3)));
}

#[tokio::test]
async fn confirms_of_one_channel_do_not_wait_for_those_of_another() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "stored").await;
    declare(&mut client, "other").await;
    select_confirms(&mut client, 1).await;
    select_confirms(&mut client, 2).await;
    let mut both = BytesMut::new();
    publish(1, "stored", PERSISTENT, b"1", &mut both);
    publish(2, "other", TRANSIENT, b"2", &mut both);
    client.stream.write_all(&both).await.unwrap();
    assert_eq!(next_confirm(&mut client).await, (2, Confirm::Ack(1)));
    send(&mut client, 2, "other", &[PERSISTENT]).await;
    answers_at_once(&mut client).await;
    store.commits.advance(leveret_storage::Epoch(1));
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Ack(1)));
    store.commit();
    assert_eq!(next_confirm(&mut client).await, (2, Confirm::Ack(2)));
}

#[tokio::test]
async fn nothing_waits_for_settlements() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "q").await;
    consume(&mut client, "q").await;
    send(&mut client, 1, "q", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    let ack = basic::Ack {
        delivery_tag: 1,
        multiple: false,
    };
    ask(&mut client, 1, ack).await;
    select_confirms(&mut client, 1).await;
    send(&mut client, 1, "nowhere", &[PERSISTENT]).await;
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Ack(1)));
    send(&mut client, 1, "q", &[TRANSIENT]).await;
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Ack(2)));
}

#[tokio::test]
async fn confirm_21_a_channel_that_is_opened_again_hears_nothing_of_earlier_publishes() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "q").await;
    select_confirms(&mut client, 2).await;
    send(&mut client, 2, "q", &[PERSISTENT; 5]).await;
    let close = channel::Close::default();
    client.call(2, close, channel::CloseOk::ID).await;
    let open = channel::Open::default();
    client.call(2, open, channel::OpenOk::ID).await;
    select_confirms(&mut client, 2).await;
    send(&mut client, 2, "q", &[PERSISTENT]).await;
    answers_at_once(&mut client).await;
    store.commit();
    assert_eq!(next_confirm(&mut client).await, (2, Confirm::Ack(1)));
    answers_at_once(&mut client).await;
}

#[tokio::test]
async fn a_failed_store_nacks_publishes_and_goes_on_without_them() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "q").await;
    select_confirms(&mut client, 1).await;
    send(&mut client, 1, "q", &[PERSISTENT, PERSISTENT]).await;
    answers_at_once(&mut client).await;
    store.commits.fail();
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Nacks(2)));
    send(&mut client, 1, "q", &[PERSISTENT]).await;
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Nack(3)));
    send(&mut client, 1, "q", &[TRANSIENT]).await;
    assert_eq!(next_confirm(&mut client).await, (1, Confirm::Ack(4)));
}

/// A client whose commit is carried out and not answered, and another connection that sees it.
async fn parked_commit(store: &Arc<FakeStore>) -> (Client, Client) {
    parked_commit_on(store.node(), 0).await
}

async fn parked_commit_on(node: Arc<Node>, heartbeat_s: u16) -> (Client, Client) {
    let mut client = connect_with_heartbeat(&node, heartbeat_s).await;
    let mut other = connect(&node).await;
    declare(&mut client, "stored").await;
    declare(&mut client, "quiet").await;
    consume(&mut client, "quiet").await;
    consume(&mut other, "stored").await;
    client.call(1, tx::Select {}, tx::SelectOk::ID).await;
    let mut all = BytesMut::new();
    publish(1, "stored", PERSISTENT, b"1", &mut all);
    write_method(1, tx::Commit {}, &mut all);
    write_method(2, basic::Qos::default(), &mut all);
    client.stream.write_all(&all).await.unwrap();
    next_delivery(&mut other).await;
    (client, other)
}

#[tokio::test]
async fn an_answer_waits_for_its_commit_and_input_for_the_answer_but_deliveries_go_on() {
    let store = Arc::new(FakeStore::default());
    let (mut client, mut other) = parked_commit(&store).await;
    send(&mut other, 1, "quiet", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    // Asked for while the answer is parked, and answered in its turn.
    ask(&mut client, 2, tx::Select {}).await;
    send(&mut other, 1, "quiet", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    store.commit();
    client.expect(tx::CommitOk::ID).await;
    client.expect(basic::QosOk::ID).await;
    client.expect(tx::SelectOk::ID).await;
}

#[tokio::test]
async fn an_answer_that_a_failed_store_cannot_keep_ends_the_connection() {
    let store = Arc::new(FakeStore::default());
    let (mut client, _other) = parked_commit(&store).await;
    store.commits.fail();
    let close = client.expect_close().await;
    assert_eq!(close.code, ReplyCode::InternalError.number());
    assert!(close.text.contains("the store has failed"), "{close:?}");
    assert_eq!(close.culprit, tx::Commit::ID);
}

#[tokio::test]
async fn conn_43_a_peer_that_goes_away_while_its_answer_is_parked_leaves_nothing_behind() {
    let store = Arc::new(FakeStore::default());
    let (mut client, mut other) = parked_commit(&store).await;
    send(&mut other, 1, "quiet", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    consume(&mut other, "quiet").await;
    drop(client);
    assert!(next_delivery(&mut other).await, "unsettled: redelivered");
}

#[tokio::test]
async fn an_answer_goes_with_its_channel() {
    let store = Arc::new(FakeStore::default());
    let config = Config {
        consumer_timeout_ms: 300,
        ..Config::default()
    };
    let (mut client, mut other) = parked_commit_on(store.node_with(config), 0).await;
    send(&mut other, 1, "quiet", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    // It is never settled.
    client.expect(channel::Close::ID).await;
    client.expect(basic::QosOk::ID).await;
    store.commit();
    client
        .call(2, basic::Qos::default(), basic::QosOk::ID)
        .await;
}

/// Far longer than a silent client would be waited for: it is the broker that does not read.
#[tokio::test]
async fn hb_08_input_behind_an_answer_is_bounded_and_the_connection_lives() {
    let store = Arc::new(FakeStore::default());
    let (client, _other) = parked_commit_on(store.node(), 1).await;
    let mut more = BytesMut::new();
    let count = 20_000;
    (0..count).for_each(|_| write_method(2, basic::Qos::default(), &mut more));
    let (mut reader, mut writer) = client.split();
    let writing = tokio::spawn(async move { writer.write_all(&more).await });
    for _ in 0..8 {
        assert_eq!(reader.next_frame().await.kind, FRAME_HEARTBEAT);
    }
    assert!(!writing.is_finished());
    store.commit();
    let mut answers = vec![tx::CommitOk::ID];
    answers.resize(2 + count, basic::QosOk::ID);
    for answer in answers {
        let mut frame = reader.next_frame().await;
        while frame.kind == FRAME_HEARTBEAT {
            frame = reader.next_frame().await;
        }
        assert_eq!(frame.method().unwrap().id(), answer);
    }
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn purge_ok_waits_for_the_commit_and_nowait_for_nothing() {
    let store = Arc::new(FakeStore::default());
    let node = store.node();
    let (mut client, mut other) = (connect(&node).await, connect(&node).await);
    declare(&mut client, "q").await;
    declare(&mut client, "quiet").await;
    consume(&mut client, "quiet").await;
    let mut purge = queue::Purge {
        queue: ShortStr(b"q"),
        nowait: true,
        ..Default::default()
    };
    ask(&mut client, 1, purge).await;
    store.purged.notified().await;
    answers_at_once(&mut client).await;
    purge.nowait = false;
    ask(&mut client, 1, purge).await;
    ask(&mut client, 1, basic::Qos::default()).await;
    store.purged.notified().await;
    send(&mut other, 1, "quiet", &[TRANSIENT]).await;
    next_delivery(&mut client).await;
    store.commit();
    client.expect(queue::PurgeOk::ID).await;
    client.expect(basic::QosOk::ID).await;
}

#[tokio::test]
async fn a_get_waits_for_its_message_and_input_for_the_get() {
    let store = Arc::new(FakeStore::default());
    let mut client = connect(&store.node()).await;
    declare(&mut client, "q").await;
    send(&mut client, 1, "q", &[PERSISTENT]).await;
    store.page_out();
    let get = basic::Get {
        queue: ShortStr(b"q"),
        ..Default::default()
    };
    ask(&mut client, 1, get).await;
    store.asked_to_load.notified().await;
    // A bell that brings nothing only makes it ask again.
    store.ring_getters();
    store.asked_to_load.notified().await;
    ask(&mut client, 1, basic::Qos::default()).await;
    store.load();
    client.expect(basic::GetOk::ID).await;
    skip_content(&mut client).await;
    client.expect(basic::QosOk::ID).await;
}

#[tokio::test]
async fn a_get_from_a_queue_that_goes_meanwhile_is_empty() {
    let store = Arc::new(FakeStore::default());
    let node = store.node();
    let (mut client, mut other) = (connect(&node).await, connect(&node).await);
    declare(&mut client, "q").await;
    store.page_out();
    let get = basic::Get {
        queue: ShortStr(b"q"),
        ..Default::default()
    };
    ask(&mut client, 1, get).await;
    store.asked_to_load.notified().await;
    let delete = queue::Delete {
        queue: ShortStr(b"q"),
        ..Default::default()
    };
    other.call(1, delete, queue::DeleteOk::ID).await;
    client.expect(basic::GetEmpty::ID).await;
}

#[tokio::test]
async fn a_publisher_far_ahead_of_the_store_is_not_read() {
    let store = Arc::new(FakeStore::default());
    let node = store.node();
    let mut client = connect(&node).await;
    declare(&mut client, "q").await;
    let body = vec![7; 100_000];
    let mut sent = BytesMut::new();
    for _ in 0..=UNCOMMITTED_BYTES_MAX / body.len() {
        publish(1, "q", PERSISTENT, &body, &mut sent);
    }
    client.stream.write_all(&sent).await.unwrap();
    // More than the pipe and the buffers hold.
    let mut more = BytesMut::new();
    (0..10).for_each(|_| publish(1, "q", PERSISTENT, &body, &mut more));
    write_method(1, basic::Qos::default(), &mut more);
    let (mut reader, mut writer) = client.split();
    let mut writing = tokio::spawn(async move { writer.write_all(&more).await });
    let held_up = tokio::time::timeout(HELD_UP, &mut writing).await;
    assert!(held_up.is_err(), "{held_up:?}");
    store.commit();
    reader.expect(basic::QosOk::ID).await;
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_asks_for_no_answers_is_held_up_by_a_slow_store_too() {
    let store = Arc::new(FakeStore::default());
    let node = store.node();
    let mut client = connect(&node).await;
    declare(&mut client, "q").await;
    let purge = queue::Purge {
        queue: ShortStr(b"q"),
        nowait: true,
        ..Default::default()
    };
    // Nearly as much as may be uncommitted, and what makes it too much.
    let body = vec![7; 100_000];
    let mut sent = BytesMut::new();
    let counted = body.len() + MESSAGE_OVERHEAD_BYTES as usize;
    (0..UNCOMMITTED_BYTES_MAX / counted)
        .for_each(|_| publish(1, "q", PERSISTENT, &body, &mut sent));
    let left = UNCOMMITTED_BYTES_MAX % counted;
    (0..=left / MESSAGE_OVERHEAD_BYTES as usize).for_each(|_| write_method(1, purge, &mut sent));
    client.stream.write_all(&sent).await.unwrap();
    // More than the pipe and the buffers hold, and nothing of it for the store.
    let mut more = BytesMut::new();
    (0..10).for_each(|_| publish(1, "q", TRANSIENT, &body, &mut more));
    write_method(1, basic::Qos::default(), &mut more);
    let (mut reader, mut writer) = client.split();
    let mut writing = tokio::spawn(async move { writer.write_all(&more).await });
    let held_up = tokio::time::timeout(HELD_UP, &mut writing).await;
    assert!(held_up.is_err(), "{held_up:?}");
    store.commit();
    reader.expect(basic::QosOk::ID).await;
    writing.await.unwrap().unwrap();
}
