//! A vhost and its queues: deletions, exclusive and auto-delete queues.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::core::queue::{Bell, Effects, Offered, Port, SlotId, SlotKind, SlotSpec, Unsettled};
use crate::core::topology::tests::{
    ME, OTHER, allow, counting, exchange, queue, refusal, to_queue,
};
use crate::core::{Message, MessageParts, Moment};
use leveret_protocol::content::Body;

struct Deaf;

impl Bell for Deaf {
    fn ring(&self, _: u64) {}
}

fn consume(queue: &QueueHandle) -> SlotId {
    let spec = SlotSpec {
        kind: SlotKind::Getter,
        no_ack: true,
    };
    let port = Port {
        bell: Arc::new(Deaf),
        token: 0,
    };
    queue
        .body()
        .attach(spec, port, Moment::default(), &mut Effects::default())
        .unwrap()
}

fn cancel(queue: &QueueHandle, slot: SlotId) {
    let mut effects = Effects::default();
    queue
        .body()
        .detach(slot, Unsettled::Requeue, Moment::default(), &mut effects);
}

fn publish(queue: &QueueHandle) -> Offered {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0, 0],
        body: Body::Whole(b"x"),
        persistent: false,
        priority: 0,
        expiration_ms: None,
    };
    let mut batch = vec![Message::new(parts, &mut Vec::new())];
    let mut effects = Effects::default();
    queue
        .body()
        .offer(&mut batch, Moment::default(), &mut effects)
}

fn vhost() -> Vhost {
    Vhost::new("/", counting())
}

fn declared(vhost: &Vhost, request: QueueDeclare<'_>) -> Arc<QueueHandle> {
    vhost.declare_queue(&request, &mut allow).unwrap().0
}

fn delete(vhost: &Vhost, if_unused: bool, if_empty: bool) -> Result<Deleted, Fault> {
    let conditions = DeleteConditions {
        if_unused,
        if_empty,
    };
    vhost.delete_queue("q", ME, conditions, &mut allow)
}

fn routed(vhost: &Vhost, exchange: &str, key: &str) -> usize {
    let routing = Routing {
        routing_keys: &[key.as_bytes()],
        headers: None,
        ..Routing::default()
    };
    let targets = vhost.route_publish(exchange.as_bytes(), &routing);
    targets.unwrap().queues().len()
}

#[test]
fn queue_01_and_exch_09_declaring_twice_changes_once() {
    let vhost = vhost();
    let (first, applied) = vhost.declare_queue(&queue("q"), &mut allow).unwrap();
    assert_eq!(applied.changes.len(), 1);
    let (second, applied) = vhost.declare_queue(&queue("q"), &mut allow).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && applied.changes.is_empty());
    let changes = |request| {
        vhost
            .declare_exchange(&request, &mut allow)
            .unwrap()
            .changes
    };
    assert_eq!(changes(exchange("e", "fanout")).len(), 1);
    assert_eq!(changes(exchange("e", "fanout")).len(), 0);
}

#[test]
fn bind_21_a_publish_after_a_bind_is_routed_by_it() {
    let vhost = vhost();
    vhost
        .declare_exchange(&exchange("e", "direct"), &mut allow)
        .unwrap();
    declared(&vhost, queue("q"));
    assert_eq!(routed(&vhost, "e", "k"), 0);
    vhost.bind(&to_queue("e", "q", "k"), &mut allow).unwrap();
    assert_eq!(routed(&vhost, "e", "k"), 1);
    vhost.unbind(&to_queue("e", "q", "k"), &mut allow).unwrap();
    assert_eq!(routed(&vhost, "e", "k"), 0);
    let request = ExchangeDelete {
        name: "e",
        if_unused: true,
    };
    vhost.delete_exchange(&request, &mut allow).unwrap();
    assert!(vhost.check_exchange("e").is_err() && vhost.check_publish(b"e").is_err());
}

#[test]
fn queue_19_and_20_deleting_counts_the_ready_messages() {
    let vhost = vhost();
    let q = declared(&vhost, queue("q"));
    assert_eq!(publish(&q), Offered::Taken);
    let deleted = delete(&vhost, false, false).unwrap();
    assert_eq!((deleted.ready, deleted.applied.changes.len()), (1, 1));
    assert_eq!(publish(&q), Offered::Gone);
    assert!(q.is_gone());
    let again = delete(&vhost, true, true).unwrap();
    assert_eq!((again.ready, again.applied.changes.len()), (0, 0));
}

#[test]
fn queue_21_22_and_23_a_refused_deletion_changes_nothing() {
    let vhost = vhost();
    let q = declared(&vhost, queue("q"));
    let slot = consume(&q);
    let in_use = "PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
    let not_empty = "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
    assert_eq!(refusal(delete(&vhost, true, true)), in_use);
    publish(&q);
    assert_eq!(refusal(delete(&vhost, true, true)), not_empty);
    assert_eq!(refusal(delete(&vhost, true, false)), in_use);
    assert_eq!(refusal(delete(&vhost, false, true)), not_empty);
    assert!(!q.is_gone() && routed(&vhost, "", "q") == 1);
    q.body().purge(&mut Effects::default());
    cancel(&q, slot);
    assert!(delete(&vhost, true, true).is_ok());
}

#[test]
fn excl_06_the_lock_comes_before_the_conditions() {
    let vhost = vhost();
    let mine = QueueDeclare {
        exclusive: true,
        ..queue("q")
    };
    publish(&declared(&vhost, mine));
    let conditions = DeleteConditions {
        if_unused: true,
        if_empty: true,
    };
    let refused = vhost.delete_queue("q", OTHER, conditions, &mut allow);
    assert!(refusal(refused).starts_with("RESOURCE_LOCKED"));
}

#[test]
fn excl_02_a_connection_takes_its_queues_with_it() {
    let vhost = vhost();
    let exclusive = |name: &'static str, connection| QueueDeclare {
        exclusive: true,
        connection,
        ..queue(name)
    };
    let q = declared(&vhost, exclusive("q", ME));
    consume(&q);
    declared(&vhost, exclusive("r", ME));
    declared(&vhost, exclusive("theirs", OTHER));
    declared(&vhost, queue("shared"));
    vhost
        .bind(&to_queue("amq.fanout", "q", ""), &mut allow)
        .unwrap();
    let applied = vhost.delete_exclusive_queues(ME);
    assert_eq!(applied.changes.len(), 3, "two queues and a binding");
    assert_eq!(publish(&q), Offered::Gone);
    assert_eq!(vhost.topology().queues().len(), 2);
    assert!(vhost.delete_exclusive_queues(ME).changes.is_empty());
}

#[test]
fn autodel_01_and_04_a_queue_with_a_consumer_is_kept() {
    let vhost = vhost();
    let q = declared(&vhost, queue("q"));
    let slot = consume(&q);
    assert!(vhost.auto_delete_queue(&q).changes.is_empty());
    assert!(vhost.check_queue("q", ME).is_ok());
    cancel(&q, slot);
    publish(&q);
    assert_eq!(vhost.auto_delete_queue(&q).changes.len(), 1);
    assert!(
        vhost.check_queue("q", ME).is_err(),
        "gone at once (AUTODEL-03)"
    );
}

/// Somebody has retired the queue and not yet taken it out: whoever deletes it as well must not be
/// answered while it can still be found.
#[test]
fn a_second_deletion_finishes_the_first() {
    let vhost = vhost();
    let q = declared(&vhost, queue("q"));
    q.body().retire(DeleteConditions::default()).unwrap();
    assert_eq!(delete(&vhost, true, true).unwrap().ready, 0);
    assert!(vhost.check_queue("q", ME).is_err());
    let new = declared(&vhost, queue("q"));
    assert!(!Arc::ptr_eq(&q, &new));
    let late = vhost.remove_queue(&q, DeleteConditions::default()).unwrap();
    assert!(late.applied.changes.is_empty(), "the new queue is spared");
    assert!(vhost.check_queue("q", ME).is_ok());
}

/// Declaring, deleting and publishing at once: a declared queue that nobody deletes afterwards is
/// there, and every queue found by a publisher is alive or gone, never half.
#[test]
fn declares_and_deletes_race_without_harm() {
    const ROUNDS: usize = 300;
    let vhost = vhost();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    declared(&vhost, queue("q"));
                    let bound = vhost.bind(&to_queue("amq.fanout", "q", ""), &mut allow);
                    assert!(bound.is_ok() || refusal(bound).contains("no queue"));
                    delete(&vhost, false, false).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                assert!(routed(&vhost, "amq.fanout", "") <= 1);
            }
        });
    });
    assert!(vhost.check_queue("q", ME).is_err());
    assert_eq!(vhost.topology().bindings().iter().count(), 0);
    declared(&vhost, queue("q"));
    assert_eq!(routed(&vhost, "", "q"), 1);
}
