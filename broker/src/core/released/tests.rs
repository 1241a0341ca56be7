//! What an exchange of type `x-delayed-message` does from the publish to the queues, in virtual time and
//! in memory.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use leveret_protocol::content::Body;
use leveret_protocol::{TableBuf, Value};
use leveret_storage::Epoch;

use super::*;
use crate::core::MessageParts;
use crate::core::effects::{Alarms, carry_out};
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::testing::{NotedBell, body, getter, port};
use crate::core::queue::{
    ClassicOptions, ClassicQueue, DelayQueue, Effects, Got, Load, Queue, QueueStatus,
};
use crate::core::queue_handle::QueueSpec;
use crate::core::topology::tests::{allow, exchange, queue, to_exchange, to_queue};
use crate::core::topology::{BindRequest, ExchangeDeclare, ExchangeDelete};

const X: &str = "later";

/// The ticks that queues have asked for.
#[derive(Default)]
struct Ticks(Mutex<Vec<(Moment, Arc<QueueHandle>)>>);

impl Alarms for Ticks {
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        self.0.lock().unwrap().push((at, Arc::clone(queue)));
    }

    fn tick_at_epoch(&self, _: Epoch, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        unreachable!("nothing is stored");
    }

    fn load(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        unreachable!("nothing is stored");
    }
}

struct Bench {
    vhost: Arc<Vhost>,
    ticks: Ticks,
    now: Moment,
}

impl Bench {
    /// A vhost with queues a and b and an exchange that delays and routes by this type.
    fn new(kind: &str) -> Self {
        let make_queue = |spec: &QueueSpec, _: &QueueArguments| -> Box<dyn Queue> {
            match spec.of_exchange {
                Some(_) => Box::new(DelayQueue::new()),
                None => Box::new(ClassicQueue::new(ClassicOptions::default())),
            }
        };
        let bench = Self {
            vhost: Arc::new(Vhost::new("/", Arc::new(make_queue))),
            ticks: Ticks::default(),
            now: Moment::from_unix_ms(1_000),
        };
        bench.declare(X, kind, &TableBuf::new());
        for name in ["a", "b"] {
            bench.vhost.declare_queue(&queue(name), &mut allow).unwrap();
        }
        bench
    }

    fn declare(&self, name: &str, kind: &str, arguments: &TableBuf) {
        let kind = Value::LongStr(kind.as_bytes());
        let arguments = arguments.clone().with("x-delayed-type", kind);
        let request = ExchangeDeclare {
            arguments: arguments.view(),
            ..exchange(name, "x-delayed-message")
        };
        self.vhost.declare_exchange(&request, &mut allow).unwrap();
    }

    fn bind(&self, queue: &str, key: &str, arguments: &TableBuf) {
        let request = BindRequest {
            arguments: arguments.view(),
            ..to_queue(X, queue, key)
        };
        self.vhost.bind(&request, &mut allow).unwrap();
    }

    /// Publishes, and says how many queues got it now and whether it counts as taken.
    fn publish(&self, text: &str, key: &str, headers: &TableBuf) -> (usize, bool) {
        let properties = Properties {
            headers: Some(headers.view()),
            ..Properties::default()
        };
        let parts = MessageParts {
            exchange: X.as_bytes(),
            routing_key: key.as_bytes(),
            properties: &properties.to_bytes(),
            body: Body::Whole(text.as_bytes()),
            persistent: false,
            priority: 0,
            expiration_ms: None,
        };
        let message = Message::new(parts, &mut Vec::new());
        let keys = distinct_routing_keys(&message, Some(headers.view()));
        let routing = Routing {
            routing_keys: &keys,
            headers: Some(headers.view()),
            message: Some(&message),
            now: self.now,
        };
        let targets = self.vhost.route_publish(X.as_bytes(), &routing).unwrap();
        assert!(!targets.may_be_kept(), "each message is looked at");
        for queue in targets.queues() {
            let mut effects = Effects::default();
            let mut batch = vec![message.clone()];
            queue.body().offer(&mut batch, self.now, &mut effects);
            self.carry_out(queue, &mut effects);
        }
        (targets.queues().len(), targets.is_taken())
    }

    fn carry_out(&self, queue: &Arc<QueueHandle>, effects: &mut Effects) {
        carry_out(&self.vhost, queue, effects, self.now, &self.ticks);
    }

    fn advance(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        let asked = std::mem::take(&mut *self.ticks.0.lock().unwrap());
        for (at, queue) in asked {
            if at <= self.now {
                let mut effects = Effects::default();
                queue.body().tick(self.now, &mut effects);
                self.carry_out(&queue, &mut effects);
            } else {
                self.ticks.0.lock().unwrap().push((at, queue));
            }
        }
    }

    /// The bodies in a queue and the `x-delay` that they came with; empties it.
    fn take(&self, queue: &str) -> Vec<(String, Option<i64>)> {
        let queue = Arc::clone(self.vhost.topology().queue(queue.as_bytes()).unwrap());
        let (bell, mut effects) = (Arc::<NotedBell>::default(), Effects::default());
        let body_of_queue = queue.body();
        let attached = body_of_queue.attach(getter(true), port(&bell, 0), self.now, &mut effects);
        let slot = attached.unwrap();
        let mut taken = Vec::new();
        while let Got::Message(delivery, _) = body_of_queue.get(slot, self.now, &mut effects) {
            let properties = Properties::parse(delivery.message.properties()).unwrap();
            let headers = properties.headers.unwrap_or_default();
            let delay = headers.get("x-delay").and_then(|delay| delay.as_integer());
            taken.push((body(&delivery.message), delay));
        }
        taken
    }

    fn bodies(&self, queue: &str) -> Vec<String> {
        let taken = self.take(queue).into_iter();
        taken.map(|(text, _)| text).collect()
    }

    fn held(&self) -> u64 {
        let topology = self.vhost.topology();
        let own: Vec<_> = topology.own_queues().cloned().collect();
        drop(topology);
        own.iter().map(|own| own.body().status().ready).sum()
    }
}

fn delay(ms: i32) -> TableBuf {
    TableBuf::new().with("x-delay", Value::I32(ms))
}

#[test]
fn a_message_comes_when_its_delay_is_over_with_its_header_negated() {
    let mut bench = Bench::new("direct");
    bench.bind("a", "k", &TableBuf::new());
    assert_eq!(bench.publish("m", "k", &delay(500)), (1, true));
    assert_eq!((bench.take("a"), bench.held()), (vec![], 1));
    bench.advance(499);
    assert_eq!(bench.take("a"), []);
    bench.advance(1);
    assert_eq!(bench.take("a"), [("m".to_owned(), Some(-500))]);
    assert_eq!(bench.held(), 0);
}

#[test]
fn without_a_delay_it_is_an_exchange_like_any_other() {
    let bench = Bench::new("direct");
    bench.bind("a", "k", &TableBuf::new());
    for (text, headers) in [
        ("none", TableBuf::new()),
        ("zero", delay(0)),
        ("negative", delay(-5)),
    ] {
        assert_eq!(bench.publish(text, "k", &headers), (1, false));
    }
    assert_eq!(bench.publish("unroutable", "z", &delay(0)), (0, false));
    let taken = bench.take("a");
    let expected = [("none", None), ("zero", Some(0)), ("negative", Some(-5))];
    let taken: Vec<_> = taken.iter().map(|(text, at)| (&**text, *at)).collect();
    assert_eq!(taken, expected);
}

#[test]
fn each_type_routes_what_was_held() {
    let number = |n| TableBuf::new().with("n", Value::I32(n));
    let cases = [
        ("direct", vec!["a"]),
        ("fanout", vec!["a", "b"]),
        ("topic", vec!["a", "b"]),
        ("headers", vec!["b"]),
        ("x-recent-history", vec!["a", "b"]),
    ];
    for (kind, expected) in cases {
        let mut bench = Bench::new(kind);
        bench.bind("a", "x.y", &number(1));
        bench.bind("b", "x.*", &number(2));
        bench.publish("m", "x.y", &delay(9).with("n", Value::I32(2)));
        bench.advance(9);
        let got = ["a", "b"].into_iter();
        let got: Vec<_> = got.filter(|queue| !bench.take(queue).is_empty()).collect();
        assert_eq!(got, expected, "{kind}");
    }
}

#[test]
fn one_deadline_keeps_the_order_and_earlier_ones_come_first() {
    let mut bench = Bench::new("fanout");
    bench.bind("a", "", &TableBuf::new());
    for (text, ms) in [("late", 30), ("1", 20), ("2", 20), ("first", 10), ("3", 20)] {
        bench.publish(text, "", &delay(ms));
    }
    bench.advance(1_000);
    assert_eq!(bench.bodies("a"), ["first", "1", "2", "3", "late"]);
}

#[test]
fn the_bindings_of_the_time_of_release_count() {
    let mut bench = Bench::new("direct");
    bench.bind("a", "k", &TableBuf::new());
    bench.publish("m", "k", &delay(10));
    bench.bind("b", "k", &TableBuf::new());
    let unbound = to_queue(X, "a", "k");
    bench.vhost.unbind(&unbound, &mut allow).unwrap();
    bench.advance(10);
    assert_eq!((bench.bodies("a").len(), bench.bodies("b").len()), (0, 1));
}

#[test]
fn copies_are_routed_too() {
    let mut bench = Bench::new("direct");
    bench.bind("a", "k", &TableBuf::new());
    bench.bind("b", "copy", &TableBuf::new());
    let keys: leveret_protocol::ArrayBuf = [Value::LongStr(b"copy")].into_iter().collect();
    let headers = delay(10).with("CC", Value::Array(keys.view()));
    bench.publish("m", "k", &headers);
    bench.advance(10);
    assert_eq!((bench.bodies("a").len(), bench.bodies("b").len()), (1, 1));
}

#[test]
fn an_alternate_gets_what_leads_nowhere_at_the_time_of_release() {
    let mut bench = Bench::new("direct");
    let other = exchange("other", "fanout");
    bench.vhost.declare_exchange(&other, &mut allow).unwrap();
    bench
        .vhost
        .bind(&to_queue("other", "b", ""), &mut allow)
        .unwrap();
    let delete = ExchangeDelete {
        name: X,
        if_unused: false,
    };
    bench.vhost.delete_exchange(&delete, &mut allow).unwrap();
    let alternate = TableBuf::new().with("alternate-exchange", Value::LongStr(b"other"));
    bench.declare(X, "direct", &alternate);
    assert_eq!(bench.publish("m", "nowhere", &delay(10)), (1, true));
    assert_eq!(bench.bodies("b"), [""; 0], "not before its time");
    bench.advance(10);
    assert_eq!(bench.bodies("b"), ["m"]);
}

#[test]
fn one_after_another_holds_a_message_once() {
    let mut bench = Bench::new("fanout");
    bench.declare("second", "fanout", &TableBuf::new());
    bench
        .vhost
        .bind(&to_exchange(X, "second", ""), &mut allow)
        .unwrap();
    bench
        .vhost
        .bind(&to_queue("second", "a", ""), &mut allow)
        .unwrap();
    bench.publish("m", "", &delay(10));
    bench.advance(10);
    assert_eq!(bench.take("a"), [("m".to_owned(), Some(-10))]);
}

#[test]
fn nobody_finds_the_queue_in_which_messages_wait() {
    let bench = Bench::new("fanout");
    bench.publish("m", "", &delay(10));
    let topology = bench.vhost.topology();
    let own = Arc::clone(topology.own_queues().next().unwrap());
    let names: Vec<_> = topology
        .queues()
        .iter()
        .map(|q| q.name().to_string())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(topology.queue(own.name().as_bytes()).is_none());
    assert!(topology.queue_by_id(own.id()).is_none());
    let routing = Routing {
        routing_keys: &[own.name().as_bytes()],
        ..Routing::default()
    };
    assert!(topology.route(b"", &routing).unwrap().is_empty());
}

#[test]
fn what_an_exchange_holds_goes_with_it() {
    let mut bench = Bench::new("fanout");
    bench.bind("a", "", &TableBuf::new());
    bench.publish("m", "", &delay(10));
    let own = Arc::clone(bench.vhost.topology().own_queues().next().unwrap());
    let delete = ExchangeDelete {
        name: X,
        if_unused: false,
    };
    bench.vhost.delete_exchange(&delete, &mut allow).unwrap();
    assert!(own.is_gone());
    assert_eq!(own.body().status(), QueueStatus::default());
    assert_eq!(bench.held(), 0);
    bench.declare(X, "fanout", &TableBuf::new());
    bench.bind("a", "", &TableBuf::new());
    bench.advance(10);
    assert_eq!(bench.bodies("a"), [""; 0]);
}

#[test]
fn an_exchange_that_goes_with_its_last_binding_drops_what_it_holds() {
    let mut bench = Bench::new("fanout");
    let arguments = TableBuf::new().with("x-delayed-type", Value::LongStr(b"fanout"));
    let request = ExchangeDeclare {
        auto_delete: true,
        arguments: arguments.view(),
        ..exchange("short", "x-delayed-message")
    };
    bench.vhost.declare_exchange(&request, &mut allow).unwrap();
    bench
        .vhost
        .bind(&to_queue("short", "a", ""), &mut allow)
        .unwrap();
    let topology = bench.vhost.topology();
    let short = topology.exchange(b"short").unwrap().spec().id;
    let own = Arc::clone(topology.own_queue(short).unwrap());
    drop(topology);
    let a = Arc::clone(bench.vhost.topology().queue(b"a").unwrap());
    bench.vhost.remove_queue(&a, Default::default()).unwrap();
    assert!(own.is_gone());
    let mut batch = vec![crate::core::queue::testing::message("m")];
    let offered = own
        .body()
        .offer(&mut batch, bench.now, &mut Effects::default());
    assert_eq!(offered, crate::core::queue::Offered::Gone);
    bench.advance(1);
}
