//! Dead letters that have to arrive, over real queues and exchanges.

use leveret_protocol::Value;

use super::bench::Bench;
use crate::core::queue::testing::body;
use crate::core::queue::{DeleteConditions, RETRY_INTERVAL_MS, Verdict};
use crate::core::queue_handle::ConnectionId;
use crate::core::topology::tests::{allow, to_queue};

const REJECTS: (&str, Value<'_>) = ("x-overflow", Value::LongStr(b"reject-publish"));
const AT_LEAST_ONCE: (&str, Value<'_>) =
    ("x-dead-letter-strategy", Value::LongStr(b"at-least-once"));
const TO_X: (&str, Value<'_>) = ("x-dead-letter-exchange", Value::LongStr(b"x"));

fn bench() -> Bench {
    let bench = Bench::new();
    bench.declare("from", &[REJECTS, AT_LEAST_ONCE, TO_X]);
    bench
}

fn reject(bench: &mut Bench, text: &str) {
    bench.publish("from", text, None);
    let delivery = bench.get("from").unwrap();
    bench.settle("from", delivery.id, Verdict::Discard);
}

fn held(bench: &Bench) -> u64 {
    let status = bench.queue("from").body().status();
    assert_eq!((status.ready, status.unsettled), (0, 0));
    status.dead_letters
}

fn ready(bench: &Bench, name: &str) -> u64 {
    bench.queue(name).body().status().ready
}

fn pass_interval(bench: &mut Bench) {
    let next = bench.now_ms + RETRY_INTERVAL_MS;
    bench.advance_to(next);
}

#[test]
fn a_letter_waits_for_its_exchange_and_then_for_a_route() {
    let mut bench = bench();
    reject(&mut bench, "a");
    assert_eq!(held(&bench), 1);
    bench.fanout("x", &[]);
    pass_interval(&mut bench);
    assert_eq!(held(&bench), 1, "no queue is bound");
    bench.declare("to", &[]);
    let bind = to_queue("x", "to", "");
    bench.vhost.bind(&bind, &mut allow).unwrap();
    assert_eq!(ready(&bench, "to"), 0, "nobody has tried again yet");
    pass_interval(&mut bench);
    assert_eq!((held(&bench), ready(&bench, "to")), (0, 1));
    let arrived = bench.get("to").unwrap();
    assert_eq!(body(&arrived.message), "a");
    assert!(!arrived.redelivered);
}

#[test]
fn a_queue_that_has_a_letter_does_not_get_it_again_while_another_refuses_it() {
    let mut bench = bench();
    let full = ("x-max-length", Value::I32(1));
    bench.declare("full", &[REJECTS, full]);
    bench.declare("open", &[]);
    bench.fanout("x", &["full".to_owned(), "open".to_owned()]);
    reject(&mut bench, "a");
    assert_eq!(held(&bench), 0);
    reject(&mut bench, "b");
    for _ in 0..3 {
        assert_eq!((held(&bench), ready(&bench, "open")), (1, 2));
        pass_interval(&mut bench);
    }
    let first = bench.get("full").unwrap();
    bench.settle("full", first.id, Verdict::Ack);
    pass_interval(&mut bench);
    assert_eq!((held(&bench), ready(&bench, "open")), (0, 2));
    assert_eq!(body(&bench.get("full").unwrap().message), "b");
}

#[test]
fn a_queue_that_refused_and_is_gone_is_no_target_any_more() {
    let mut bench = bench();
    let full = ("x-max-length", Value::I32(0));
    bench.declare("full", &[REJECTS, full]);
    bench.declare("open", &[]);
    bench.fanout("x", &["full".to_owned(), "open".to_owned()]);
    reject(&mut bench, "a");
    assert_eq!(held(&bench), 1);
    let (owner, always) = (ConnectionId(1), DeleteConditions::default());
    let deleted = bench.vhost.delete_queue("full", owner, always, &mut allow);
    deleted.unwrap();
    pass_interval(&mut bench);
    assert_eq!((held(&bench), ready(&bench, "open")), (0, 1));
}

#[test]
fn dlx_17_a_letter_that_would_run_in_a_circle_is_held_and_not_sent() {
    let mut bench = Bench::new();
    let ttl = ("x-message-ttl", Value::I32(5));
    bench.declare("from", &[REJECTS, AT_LEAST_ONCE, TO_X, ttl]);
    bench.fanout("x", &["from".to_owned()]);
    bench.publish("from", "a", None);
    bench.advance_to(5);
    assert_eq!(held(&bench), 1);
    bench.declare("to", &[]);
    let bind = to_queue("x", "to", "");
    bench.vhost.bind(&bind, &mut allow).unwrap();
    pass_interval(&mut bench);
    assert_eq!((held(&bench), ready(&bench, "to")), (0, 1));
}

#[test]
fn without_reject_publish_or_an_exchange_letters_are_sent_at_most_once() {
    for arguments in [
        &[AT_LEAST_ONCE, TO_X][..],
        &[AT_LEAST_ONCE, REJECTS],
        &[TO_X, REJECTS],
    ] {
        let mut bench = Bench::new();
        bench.declare("from", arguments);
        reject(&mut bench, "a");
        assert_eq!(held(&bench), 0, "{arguments:?}");
    }
}

#[test]
fn letters_that_breed_only_letters_are_held_when_the_limit_is_reached() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..8).map(|n| format!("q{n}")).collect();
    let nothing = ("x-message-ttl", Value::I32(0));
    for name in &names {
        bench.declare(name, &[REJECTS, AT_LEAST_ONCE, TO_X, nothing]);
    }
    bench.fanout("x", &names);
    bench.publish("q0", "a", None);
    let status = |name: &String| bench.queue(name).body().status();
    let held: u64 = names.iter().map(|name| status(name).dead_letters).sum();
    assert!(held > 0);
    assert!(names.iter().all(|name| status(name).ready == 0));
}
