//! Routing: what a publish costs whose way is not remembered, and one whose way is.

use std::hint::black_box;
use std::sync::Arc;

use leveret_protocol::{Fault, Table};

use leveret::core::exchange::Routing;
use leveret::core::permission::{self, Resource};
use leveret::core::queue::{ClassicOptions, ClassicQueue};
use leveret::core::queue_handle::ConnectionId;
use leveret::core::route_cache::RouteCache;
use leveret::core::topology::{BindRequest, BindTo, QueueDeclare};
use leveret::core::vhost::Vhost;

use super::{MESSAGES, Part};

/// Keys that a round goes through in turn; fewer than a connection remembers.
const KEYS: usize = 250;

/// Routes by the bindings for every message.
struct Anew {
    vhost: Vhost,
    exchange: &'static str,
    keys: Vec<String>,
    /// How many queues each message must reach.
    queues: usize,
}

impl Part for Anew {
    fn round(&mut self) {
        for key in self.keys.iter().cycle().take(MESSAGES) {
            let routing = Routing {
                routing_keys: &[key.as_bytes()],
                headers: None,
                ..Routing::default()
            };
            let targets = self
                .vhost
                .route_publish(self.exchange.as_bytes(), &routing)
                .expect("an exchange");
            assert_eq!(black_box(targets).queues().len(), self.queues);
        }
    }
}

/// Remembers.
struct Cached {
    cache: RouteCache,
    addresses: Vec<Vec<u8>>,
}

impl Part for Cached {
    fn round(&mut self) {
        for address in self.addresses.iter().cycle().take(MESSAGES) {
            let found = self.cache.find(black_box(address));
            assert_eq!(found.expect("remembered").len(), 1);
        }
    }
}

pub(super) fn direct() -> Box<dyn Part> {
    Box::new(direct_by_keys())
}

fn direct_by_keys() -> Anew {
    let vhost = vhost();
    let keys: Vec<_> = (0..KEYS).map(|key| format!("key.{key}")).collect();
    for (queue, key) in keys.iter().enumerate() {
        bind(&vhost, "amq.direct", &format!("q{queue}"), key);
    }
    Anew {
        vhost,
        exchange: "amq.direct",
        keys,
        queues: 1,
    }
}

pub(super) fn cached() -> Box<dyn Part> {
    let routed = direct_by_keys();
    let mut cache = RouteCache::new();
    let mut addresses = Vec::new();
    for key in &routed.keys {
        let routing = Routing {
            routing_keys: &[key.as_bytes()],
            headers: None,
            ..Routing::default()
        };
        let targets = routed.vhost.route_publish(b"amq.direct", &routing);
        let address = address("amq.direct", key);
        cache.keep(&address, targets.expect("an exchange"));
        addresses.push(address);
    }
    Box::new(Cached { cache, addresses })
}

pub(super) fn fanout_10() -> Box<dyn Part> {
    let vhost = vhost();
    for queue in 0..10 {
        bind(&vhost, "amq.fanout", &format!("q{queue}"), "");
    }
    Box::new(Anew {
        vhost,
        exchange: "amq.fanout",
        keys: vec![String::new()],
        queues: 10,
    })
}

pub(super) fn topic_1_000() -> Box<dyn Part> {
    topic(1_000)
}

pub(super) fn topic_10_000() -> Box<dyn Part> {
    topic(10_000)
}

/// Patterns of three words, one in ten with a `*` in the middle and one in a hundred ending in `#`; each
/// key fits a plain pattern and one with a `*`.
fn topic(bindings: usize) -> Box<dyn Part> {
    let vhost = vhost();
    for number in 0..bindings {
        let pattern = match number % 100 {
            99 => format!("none.{number}.#"),
            last if last % 10 == 8 => format!("r{}.*.k{}", number / 10, number / 10),
            _ => format!("r{}.s{number}.k{}", number / 10, number / 10),
        };
        bind(
            &vhost,
            "amq.topic",
            &format!("q{}", number % KEYS),
            &pattern,
        );
    }
    let key = |number: usize| format!("r{}.s{}.k{}", number, number * 10, number);
    let step = bindings / 10 / 100;
    Box::new(Anew {
        vhost,
        exchange: "amq.topic",
        keys: (0..100).map(|number| key(number * step)).collect(),
        queues: 2,
    })
}

fn vhost() -> Vhost {
    let make_queue =
        |_: &_, _: &_| Box::new(ClassicQueue::new(ClassicOptions::default())) as Box<_>;
    Vhost::new("/", Arc::new(make_queue))
}

/// Binds a queue, which it declares if it is not there.
fn bind(vhost: &Vhost, exchange: &str, queue: &str, key: &str) {
    let declare = QueueDeclare {
        name: queue,
        generated_name: "",
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Table::default(),
        connection: ConnectionId(1),
        queues_max: None,
    };
    let declared = vhost.declare_queue(&declare, &mut allow);
    declared.expect("a queue");
    let request = BindRequest {
        source: exchange,
        destination: BindTo::Queue(queue),
        routing_key: key.as_bytes(),
        arguments: Table::default(),
        connection: ConnectionId(1),
    };
    vhost.bind(&request, &mut allow).expect("a binding");
}

fn allow(_: permission::Part, _: Resource<'_>) -> Result<(), Fault> {
    Ok(())
}

/// Exchange and routing key as two short strings.
fn address(exchange: &str, key: &str) -> Vec<u8> {
    let mut address = Vec::new();
    for part in [exchange, key] {
        address.push(part.len() as u8);
        address.extend_from_slice(part.as_bytes());
    }
    address
}
