//! Direct replies between connections whose turns the test gives. What clients see of direct reply-to
//! in general is shown by the conformance suite (RPC).

use std::sync::Arc;

use bytes::BytesMut;
use leveret_protocol::client::{OwnedFrame, write_method, write_publish};
use leveret_protocol::method::basic::Method as Basic;
use leveret_protocol::method::{basic, channel, queue, tx};
use leveret_protocol::{Method, Properties, ShortStr};

use super::FRAME_MAX;
use super::bare::{Bare, Woken};
use crate::config::Config;
use crate::core::direct_reply::{REPLY_QUEUE, ReplyAddress};
use crate::limits::{OUTBOX_HIGH_BYTES, REPLIES_WAITING_BYTES_MAX};
use crate::node::Node;

fn node() -> Arc<Node> {
    Arc::new(Node::new(Config::default()).unwrap())
}

fn consume_replies(requester: &mut Bare, tag: &'static str) {
    consume_replies_on(requester, 1, tag);
}

fn consume_replies_on(requester: &mut Bare, channel: u16, tag: &'static str) {
    let consume = basic::Consume {
        queue: REPLY_QUEUE.into(),
        consumer_tag: tag.into(),
        no_ack: true,
        ..Default::default()
    };
    requester.call(channel, consume, basic::ConsumeOk::ID);
}

/// Sends a request to itself; the reply-to that it arrives with.
fn address_of(requester: &mut Bare) -> String {
    let requests = queue::Declare {
        queue: "requests".into(),
        ..Default::default()
    };
    requester.call(1, requests, queue::DeclareOk::ID);
    let request = Properties {
        reply_to: Some(REPLY_QUEUE.into()),
        correlation_id: Some("7".into()),
        ..Default::default()
    };
    requester.publish(1, "requests", &request, b"question");
    let get = basic::Get {
        queue: "requests".into(),
        no_ack: true,
        ..Default::default()
    };
    requester.ask(1, get);
    let frames = requester.received();
    let header = frames[1].header().unwrap();
    let properties = Properties::parse(header.properties).unwrap();
    assert_eq!(properties.correlation_id, Some("7".into()));
    properties.reply_to.unwrap().to_text().into_owned()
}

fn requester(node: &Arc<Node>) -> (Bare, String) {
    let mut requester = Bare::open(node);
    consume_replies(&mut requester, "replies");
    let address = address_of(&mut requester);
    assert!(ReplyAddress::parse(address.as_bytes()).is_some());
    (requester, address)
}

fn reply(replier: &mut Bare, to: &str, body: &[u8]) {
    replier.publish(1, to, &Properties::default(), body);
}

/// The bodies of deliveries.
fn bodies(frames: &[OwnedFrame]) -> Vec<Vec<u8>> {
    let bodies = frames.iter().filter(|frame| frame.kind == 3);
    bodies.map(|frame| frame.payload.to_vec()).collect()
}

#[test]
fn rpc_07_replies_use_up_no_delivery_tags() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let mut replier = Bare::open(&node);
    for body in [b"1", b"2"] {
        reply(&mut replier, &address, body);
        requester.turn();
        let frames = requester.received();
        // The request that it got from its queue had the first.
        let Method::Basic(Basic::Deliver(deliver)) = frames[0].method().unwrap() else {
            panic!("{frames:?}");
        };
        assert_eq!((deliver.delivery_tag, deliver.redelivered), (2, false));
        assert_eq!(deliver.consumer_tag, ShortStr(b"replies"));
        assert_eq!(deliver.routing_key, ShortStr::from(&*address));
        assert_eq!(bodies(&frames), [body]);
    }
}

#[test]
fn a_batch_of_replies_wakes_the_requester_once() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let (mut replier, woken) = (Bare::open(&node), Arc::<Woken>::default());
    requester.turn_for(&Arc::clone(&woken).into());
    let mut batch = BytesMut::new();
    for body in 0..100_u8 {
        let publish = basic::Publish {
            routing_key: ShortStr::from(&*address),
            ..Default::default()
        };
        write_publish(
            1,
            publish,
            &Properties::default(),
            &[body],
            FRAME_MAX,
            &mut batch,
        );
    }
    replier.send(batch);
    assert_eq!(woken.times(), 1);
    requester.turn();
    let expected: Vec<_> = (0..100_u8).map(|body| vec![body]).collect();
    assert_eq!(bodies(&requester.received()), expected);
}

#[test]
fn rpc_09_replies_to_who_has_gone_wake_nobody() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let (mut replier, woken) = (Bare::open(&node), Arc::<Woken>::default());
    let cancel = basic::Cancel {
        consumer_tag: "replies".into(),
        nowait: false,
    };
    requester.call(1, cancel, basic::CancelOk::ID);
    consume_replies(&mut requester, "replies");
    requester.turn_for(&Arc::clone(&woken).into());
    reply(&mut replier, &address, b"to the consumer before");
    assert_eq!(woken.times(), 0);
    let again = address_of(&mut requester);
    assert_ne!(again, address);
    reply(&mut replier, &again, b"to this one");
    requester.turn();
    assert_eq!(bodies(&requester.received()), [b"to this one"]);
    drop(requester);
    reply(&mut replier, &again, b"to nobody");
    assert_eq!(node.connections.count(), 1);
}

#[test]
fn rpc_14_a_reply_that_waits_is_not_for_the_next_consumer() {
    let node = node();
    let (mut requester, address) = requester(&node);
    // There is somebody for whom replies go on waiting.
    consume_replies_on(&mut requester, 2, "other");
    let mut replier = Bare::open(&node);
    reply(&mut replier, &address, b"to the consumer before");
    let mut out = BytesMut::new();
    let cancel = basic::Cancel {
        consumer_tag: "replies".into(),
        nowait: true,
    };
    write_method(1, cancel, &mut out);
    let consume = basic::Consume {
        queue: REPLY_QUEUE.into(),
        no_ack: true,
        ..Default::default()
    };
    write_method(1, consume, &mut out);
    requester.send(out);
    let frames = requester.received();
    let ids: Vec<_> = frames
        .iter()
        .map(|frame| frame.method().unwrap().id())
        .collect();
    assert_eq!(ids, [basic::ConsumeOk::ID]);
}

#[test]
fn a_reply_that_waits_goes_with_its_channel() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let mut replier = Bare::open(&node);
    reply(&mut replier, &address, b"late");
    requester.ask(1, channel::Close::default());
    let frames = requester.received();
    let ids: Vec<_> = frames
        .iter()
        .map(|frame| frame.method().unwrap().id())
        .collect();
    assert_eq!(ids, [channel::CloseOk::ID]);
}

#[test]
fn replies_wait_while_the_requester_does_not_read_and_only_so_many() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let mut replier = Bare::open(&node);
    let body = vec![7; 100_000];
    // As much as goes out before the mark is reached, and more than may wait behind it.
    for _ in 0..=OUTBOX_HIGH_BYTES / body.len() {
        reply(&mut replier, &address, &body);
        requester.turn();
    }
    let unread = requester.session.outbox.len();
    for _ in 0..2 * REPLIES_WAITING_BYTES_MAX / body.len() {
        reply(&mut replier, &address, &body);
        requester.turn();
    }
    assert_eq!(requester.session.outbox.len(), unread);
    assert!(requester.session.replies_wait);
    requester.received();
    requester.turn();
    let waited = bodies(&requester.received()).len();
    assert_eq!(waited, REPLIES_WAITING_BYTES_MAX / (body.len() + 130) + 1);
    assert!(!requester.session.replies_wait);
    reply(&mut replier, &address, b"there is room again");
    requester.turn();
    assert_eq!(bodies(&requester.received()), [b"there is room again"]);
}

#[test]
fn a_reply_does_not_wait_for_the_commit() {
    let node = node();
    let (mut requester, address) = requester(&node);
    let mut replier = Bare::open(&node);
    replier.call(1, tx::Select {}, tx::SelectOk::ID);
    reply(&mut replier, &address, b"at once");
    requester.turn();
    assert_eq!(bodies(&requester.received()), [b"at once"]);
    replier.call(1, tx::Commit {}, tx::CommitOk::ID);
    requester.turn();
    assert!(requester.received().is_empty());
}

#[test]
fn who_asks_itself_is_answered_in_the_same_turn() {
    let node = node();
    let (mut requester, address) = requester(&node);
    reply(&mut requester, &address, b"from channel 1");
    assert_eq!(bodies(&requester.received()), [b"from channel 1"]);
}
