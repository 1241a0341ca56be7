//! Permissions that change under a connection, by a clock that the test moves (PERM-16).

use std::sync::Arc;

use leveret_protocol::Method;
use leveret_protocol::Properties;
use leveret_protocol::method::channel::Method as Channel;
use leveret_protocol::method::{basic, queue};

use super::bare::Bare;
use crate::access::AccountChange;
use crate::config::{Config, PermissionConfig};
use crate::node::Node;

const EVERYTHING: &str = ".*";
const NOTHING: &str = "";

fn node() -> Arc<Node> {
    Arc::new(Node::new(Config::default()).unwrap())
}

/// What the client's user may configure, write and read from now on.
fn give(node: &Node, [configure, write, read]: [&str; 3]) {
    let mut guest = node.access.changeable_user("guest").unwrap();
    guest.permissions = vec![PermissionConfig {
        vhost: "/".to_owned(),
        configure: configure.to_owned(),
        write: write.to_owned(),
        read: read.to_owned(),
    }];
    let change = AccountChange::PutUser(guest);
    node.change_accounts().apply(&[change]).unwrap();
}

fn clear(node: &Node) {
    let mut guest = node.access.changeable_user("guest").unwrap();
    guest.permissions.clear();
    let change = AccountChange::PutUser(guest);
    node.change_accounts().apply(&[change]).unwrap();
}

fn declare(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: name.into(),
        ..Default::default()
    }
}

fn consume(tag: &'static str) -> basic::Consume<'static> {
    basic::Consume {
        queue: "q".into(),
        consumer_tag: tag.into(),
        no_ack: true,
        ..Default::default()
    }
}

fn client_with_queue(node: &Arc<Node>) -> Bare {
    let mut client = Bare::open(node);
    client.call(1, declare("q"), queue::DeclareOk::ID);
    client
}

/// The text that a channel was closed with, if one was.
fn refusal(client: &mut Bare) -> Option<String> {
    let frames = client.received();
    frames.iter().find_map(|frame| match frame.method().ok()? {
        Method::Channel(Channel::Close(close)) => Some(close.reply_text.to_text().into_owned()),
        _ => None,
    })
}

fn refused_publish(client: &mut Bare, at_ms: u64) -> Option<String> {
    client.turn_at(at_ms);
    client.publish(2, "q", &Properties::default(), b"m");
    refusal(client)
}

const NO_WRITE: &str =
    "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'guest'";

#[test]
fn perm_16_who_publishes_without_a_rest_goes_on() {
    let node = node();
    let mut client = client_with_queue(&node);
    assert_eq!(refused_publish(&mut client, 0), None);
    give(&node, [EVERYTHING, NOTHING, EVERYTHING]);
    for at_ms in [10, 900, 1_890, 2_880] {
        assert_eq!(refused_publish(&mut client, at_ms), None, "{at_ms}");
    }
    let refused = refused_publish(&mut client, 3_880);
    assert_eq!(refused.as_deref(), Some(NO_WRITE), "after a rest");
}

#[test]
fn perm_16_what_is_asked_a_second_later_is_asked_anew() {
    let node = node();
    let mut client = client_with_queue(&node);
    give(&node, [NOTHING, NOTHING, NOTHING]);
    for at_ms in [500, 999] {
        assert_eq!(refused_publish(&mut client, at_ms), None, "{at_ms}");
    }
    client.turn_at(1_500);
    client.ask(1, declare("other"));
    assert_eq!(
        refusal(&mut client).as_deref(),
        Some("ACCESS_REFUSED - access to queue 'other' in vhost '/' refused for user 'guest'")
    );
    let refused = refused_publish(&mut client, 1_501);
    assert_eq!(
        refused.as_deref(),
        Some(NO_WRITE),
        "nothing is remembered of what was"
    );
}

#[test]
fn perm_16_what_is_given_is_noticed_too() {
    let node = node();
    give(&node, [NOTHING, EVERYTHING, EVERYTHING]);
    let mut client = Bare::open(&node);
    give(&node, [EVERYTHING; 3]);
    client.turn_at(1_000);
    client.call(1, declare("q"), queue::DeclareOk::ID);
}

#[test]
fn attack_43_a_consumer_goes_on_and_cannot_begin_again() {
    let node = node();
    let mut client = client_with_queue(&node);
    client.call(1, consume("first"), basic::ConsumeOk::ID);
    let mut publisher = Bare::open(&node);
    assert_eq!(refused_publish(&mut publisher, 0), None);
    give(&node, [NOTHING; 3]);
    for at_ms in [700, 1_400] {
        assert_eq!(refused_publish(&mut publisher, at_ms), None);
    }
    client.turn_at(1_500);
    let came = client.received();
    let deliveries = came.iter().filter(|frame| {
        let method = frame.method();
        method.is_ok_and(|method| method.id() == basic::Deliver::ID)
    });
    assert_eq!(deliveries.count(), 3);
    client.turn_at(3_000);
    client.ask(1, consume("second"));
    assert_eq!(
        refusal(&mut client).as_deref(),
        Some("ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'guest'")
    );
}

#[test]
fn perm_18_who_has_lost_the_vhost_may_do_nothing_in_it() {
    let node = node();
    let mut client = client_with_queue(&node);
    clear(&node);
    client.turn_at(1_000);
    client.ask(1, consume("c"));
    assert!(refusal(&mut client).is_some());
    assert_eq!(
        refused_publish(&mut client, 1_001).as_deref(),
        Some(NO_WRITE)
    );
}
