//! Publishers and an alarm, one write at a time.

use leveret_protocol::method::connection;
use leveret_protocol::{TableBuf, Value};

use super::*;
use crate::alarm::Cause;
use crate::net::peer::Peer;

async fn connect_notified(node: &Arc<Node>) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve(
        Arc::clone(node),
        theirs,
        Peer::default(),
        Instant::now(),
    ));
    let capability = TableBuf::new().with("connection.blocked", Value::Bool(true));
    let properties = TableBuf::new().with("capabilities", Value::Table(capability.view()));
    let mut client = Client::open_tuned(ours, properties.view(), 0).await;
    client.expect(connection::OpenOk::ID).await;
    let open = channel::Open::default();
    client.call(1, open, channel::OpenOk::ID).await;
    client
}

fn set_alarm(node: &Node, raised: bool) {
    assert!(node.alarm.set_for(&node.connections, Cause::Disk, raised));
}

#[tokio::test]
async fn flow_06_what_came_with_the_publish_waits_for_the_end_of_the_alarm() {
    let node = Arc::new(FakeStore::default()).node();
    let mut client = connect_notified(&node).await;
    declare(&mut client, "q").await;
    for _ in 0..2 {
        set_alarm(&node, true);
        let mut sent = BytesMut::new();
        publish(1, "q", TRANSIENT, b"m", &mut sent);
        write_method(1, basic::Qos::default(), &mut sent);
        publish(1, "q", TRANSIENT, b"m", &mut sent);
        write_method(1, basic::Qos::default(), &mut sent);
        client.stream.write_all(&sent).await.unwrap();
        client.expect(connection::Blocked::ID).await;
        set_alarm(&node, false);
        client.expect(connection::Unblocked::ID).await;
        client.expect(basic::QosOk::ID).await;
        client.expect(basic::QosOk::ID).await;
    }
}

#[tokio::test]
async fn flow_06_a_publish_that_ends_the_connection_is_not_held_up() {
    let node = Arc::new(FakeStore::default()).node();
    let mut client = connect_notified(&node).await;
    set_alarm(&node, true);
    let mut sent = BytesMut::new();
    let immediate = basic::Publish {
        immediate: true,
        ..Default::default()
    };
    write_publish(
        1,
        immediate,
        &Properties::default(),
        b"m",
        FRAME_MAX,
        &mut sent,
    );
    write_method(0, connection::CloseOk {}, &mut sent);
    client.stream.write_all(&sent).await.unwrap();
    client.expect(connection::Close::ID).await;
    client.expect_end().await;
}
