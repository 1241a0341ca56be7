//! Messages whose way is long to find: patterns that are made for it cost whoever publishes, in its own turns, and
//! nobody beside it more than the rest of one turn (attack 45).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use leveret_protocol::client::write_method;
use leveret_protocol::method::basic;

use super::bare::Bare;
use crate::config::Config;
use crate::limits::ROUTING_PER_TURN_MS_MAX;
use crate::node::Node;

const JUST_BELOW: Duration = Duration::from_millis(ROUTING_PER_TURN_MS_MAX - 1);

#[test]
fn what_was_received_waits_for_the_next_turn_once_routing_has_taken_its_time() {
    let mut client = Bare::open(&Arc::new(Node::new(Config::default()).unwrap()));
    let mut out = BytesMut::new();
    write_method(1, basic::Qos::default(), &mut out);
    let qos = out.freeze();
    let handled = |client: &mut Bare| client.session.on_bytes(&qos, qos.len()).0;
    client.session.note_routing(JUST_BELOW);
    assert_eq!(handled(&mut client), qos.len());
    client.session.note_routing(Duration::from_millis(1));
    assert_eq!(handled(&mut client), 0);
    let now = client.session.now;
    client.session.set_time(now);
    client.session.note_routing(JUST_BELOW);
    assert_eq!(handled(&mut client), qos.len(), "the next turn begins anew");
}
