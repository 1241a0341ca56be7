//! Deliveries that are not settled in time, by a clock that the test moves (DELIV-13).

use std::sync::Arc;

use leveret_protocol::method::basic::Method as Basic;
use leveret_protocol::method::channel::Method as Channel;
use leveret_protocol::method::{basic, channel, queue, tx};
use leveret_protocol::{Method, MethodId, Properties, TableBuf, Value};

use super::bare::Bare;
use crate::config::Config;
use crate::limits::CONSUMER_TIMEOUT_CHECK_MS;
use crate::node::Node;

const HALF_AN_HOUR_MS: u64 = 1_800_000;

fn node(consumer_timeout_ms: u64) -> Arc<Node> {
    let config = Config {
        consumer_timeout_ms,
        ..Config::default()
    };
    Arc::new(Node::new(config).unwrap())
}

/// Declares a queue, with a timeout of its own or without.
fn declare(client: &mut Bare, name: &'static str, timeout_ms: Option<i64>) {
    let timeout = timeout_ms.map(|ms| ("x-consumer-timeout", Value::I64(ms)));
    let arguments = TableBuf::from_entries(timeout);
    let declare = queue::Declare {
        queue: name.into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    client.call(1, declare, queue::DeclareOk::ID);
}

fn publish(client: &mut Bare, name: &str) {
    client.publish(2, name, &Properties::default(), b"");
}

fn consume(client: &mut Bare, channel: u16, name: &'static str) {
    let consume = basic::Consume {
        queue: name.into(),
        ..Default::default()
    };
    client.call(channel, consume, basic::ConsumeOk::ID);
}

fn ack(client: &mut Bare, channel: u16, delivery_tag: u64) {
    let multiple = true;
    client.ask(
        channel,
        basic::Ack {
            delivery_tag,
            multiple,
        },
    );
}

/// What came: methods only.
fn came(client: &mut Bare) -> Vec<MethodId> {
    let frames = client.received();
    let methods = frames.iter().filter(|frame| frame.kind == 1);
    methods.map(|frame| frame.method().unwrap().id()).collect()
}

/// The channel that is closed next, and the timeout that it is told.
#[track_caller]
fn closed(client: &mut Bare) -> (u16, u64) {
    let frames = client.received();
    let frame = frames.first().unwrap();
    let Method::Channel(Channel::Close(close)) = frame.method().unwrap() else {
        panic!("{frame:?}");
    };
    let text = close.reply_text.to_text();
    let told = text
        .strip_prefix(&*format!(
            "PRECONDITION_FAILED - delivery acknowledgement on channel {} timed out. Timeout value \
             used: ",
            frame.channel
        ))
        .and_then(|rest| {
            rest.strip_suffix(
                " ms. This timeout value can be configured, see consumers doc guide to learn more",
            )
        });
    assert_eq!(
        (close.reply_code, close.class_id, close.method_id),
        (406, 0, 0)
    );
    (frame.channel, told.unwrap().parse().unwrap())
}

/// A client that was delivered the queue's one message on channel 1.
fn delivered(node: &Arc<Node>, timeout_ms: Option<i64>) -> Bare {
    let mut client = Bare::open(node);
    declare(&mut client, "q", timeout_ms);
    consume(&mut client, 1, "q");
    publish(&mut client, "q");
    client.turn();
    assert_eq!(came(&mut client), [basic::Deliver::ID]);
    client
}

/// When the connection wants to be looked at, in milliseconds from when it was opened.
fn look_at_ms(client: &Bare) -> Option<u64> {
    let opened = client.session.node.clock.moment(client.opened);
    let look_at = client.session.look_at_deliveries_at;
    look_at.map(|at| at.ms_since(opened))
}

#[test]
fn deliv_13_half_an_hour_by_default() {
    let node = node(HALF_AN_HOUR_MS);
    let mut client = delivered(&node, None);
    client.turn_at(HALF_AN_HOUR_MS - 1);
    assert_eq!(came(&mut client), []);
    assert_eq!(look_at_ms(&client), Some(HALF_AN_HOUR_MS));
    client.turn_at(HALF_AN_HOUR_MS);
    assert_eq!(closed(&mut client), (1, HALF_AN_HOUR_MS));
}

#[test]
fn deliv_13_the_delivery_is_its_queues_again_and_the_consumer_has_gone() {
    let node = node(1_000);
    let mut client = delivered(&node, None);
    client.turn_at(1_000);
    closed(&mut client);
    assert_eq!(look_at_ms(&client), None, "nothing is consumed any more");
    let get = basic::Get {
        queue: "q".into(),
        no_ack: true,
        ..Default::default()
    };
    client.ask(2, get);
    let frames = client.received();
    let Method::Basic(Basic::GetOk(got)) = frames[0].method().unwrap() else {
        panic!("{frames:?}");
    };
    assert!(got.redelivered);
    let unused = queue::Delete {
        queue: "q".into(),
        if_unused: true,
        ..Default::default()
    };
    client.call(2, unused, queue::DeleteOk::ID);
}

#[test]
fn autodel_07_a_consumer_that_was_too_slow_counts_as_gone() {
    let node = node(1_000);
    let mut client = Bare::open(&node);
    let auto_delete = queue::Declare {
        queue: "q".into(),
        auto_delete: true,
        ..Default::default()
    };
    client.call(1, auto_delete, queue::DeclareOk::ID);
    consume(&mut client, 1, "q");
    publish(&mut client, "q");
    client.turn_at(1_000);
    assert_eq!(came(&mut client), [basic::Deliver::ID, channel::Close::ID]);
    let passive = queue::Declare {
        queue: "q".into(),
        passive: true,
        ..Default::default()
    };
    client.ask(2, passive);
    assert_eq!(came(&mut client), [channel::Close::ID], "404");
}

#[test]
fn deliv_13_gets_are_timed_as_well() {
    let node = node(1_000);
    let mut client = Bare::open(&node);
    declare(&mut client, "q", None);
    publish(&mut client, "q");
    let get = basic::Get {
        queue: "q".into(),
        ..Default::default()
    };
    client.turn_at(5_000);
    client.ask(2, get);
    assert_eq!(came(&mut client), [basic::GetOk::ID]);
    client.turn_at(5_999);
    assert_eq!(came(&mut client), []);
    client.turn_at(6_000);
    assert_eq!(closed(&mut client), (2, 1_000));
}

#[test]
fn deliv_13_what_is_settled_is_not_overdue_and_what_came_later_is_younger() {
    let node = node(1_000);
    let mut client = delivered(&node, None);
    client.turn_at(900);
    publish(&mut client, "q");
    assert_eq!(came(&mut client), [basic::Deliver::ID]);
    ack(&mut client, 1, 1);
    client.turn_at(1_899);
    assert_eq!(came(&mut client), []);
    assert_eq!(look_at_ms(&client), Some(1_900));
    client.turn_at(1_900);
    assert_eq!(closed(&mut client), (1, 1_000));
}

#[test]
fn deliv_13_a_queues_own_timeout_counts_for_it_alone() {
    let node = node(HALF_AN_HOUR_MS);
    let mut client = delivered(&node, None);
    declare(&mut client, "hasty", Some(500));
    consume(&mut client, 1, "hasty");
    consume(&mut client, 2, "q");
    client.turn_at(700);
    publish(&mut client, "hasty");
    publish(&mut client, "q");
    publish(&mut client, "q");
    let deliveries = [basic::Deliver::ID; 3];
    assert_eq!(came(&mut client), deliveries, "one on channel 2 as well");
    client.turn_at(1_199);
    assert_eq!(came(&mut client), []);
    client.turn_at(1_200);
    assert_eq!(closed(&mut client), (1, 500));
    // Those of its deliveries that were of the other queue went on to channel 2.
    client.turn_at(HALF_AN_HOUR_MS + 699);
    assert_eq!(came(&mut client), []);
    client.turn_at(HALF_AN_HOUR_MS + 700);
    assert_eq!(closed(&mut client), (2, HALF_AN_HOUR_MS));
}

#[test]
fn deliv_13_zero_is_for_ever() {
    for (config_ms, queue_ms) in [(0, None), (1_000, Some(0)), (0, Some(0))] {
        let node = node(config_ms);
        let mut client = delivered(&node, queue_ms);
        client.turn_at(100 * HALF_AN_HOUR_MS);
        assert_eq!(came(&mut client), []);
        assert_eq!(look_at_ms(&client), None);
    }
}

#[test]
fn deliv_13_a_queue_may_have_a_timeout_where_others_have_none() {
    let node = node(0);
    let mut client = delivered(&node, Some(70_000));
    for looked_at in [60_000, 69_999] {
        client.turn_at(looked_at);
        assert_eq!(came(&mut client), []);
    }
    client.turn_at(70_000);
    assert_eq!(closed(&mut client), (1, 70_000));
}

#[test]
fn deliv_13_a_look_is_never_further_away_than_a_minute() {
    let node = node(HALF_AN_HOUR_MS);
    let mut client = delivered(&node, None);
    client.turn_at(HALF_AN_HOUR_MS - 100_000);
    assert_eq!(
        look_at_ms(&client),
        Some(HALF_AN_HOUR_MS - 100_000 + CONSUMER_TIMEOUT_CHECK_MS)
    );
}

#[test]
fn deliv_13_what_a_rollback_gives_back_is_not_as_old_as_time() {
    let node = node(1_000);
    let mut client = delivered(&node, None);
    client.call(1, tx::Select {}, tx::SelectOk::ID);
    ack(&mut client, 1, 1);
    for ms in [500, 800] {
        client.turn_at(ms);
        publish(&mut client, "q");
    }
    assert_eq!(came(&mut client), [basic::Deliver::ID; 2]);
    client.call(1, tx::Rollback {}, tx::RollbackOk::ID);
    client.turn_at(999);
    assert_eq!(came(&mut client), []);
    client.turn_at(1_500);
    assert_eq!(closed(&mut client), (1, 1_000));
}
