//! Dead-letter graphs, with circles and with ways that fork, against a plain statement of the rules.
//!
//! ```text
//!  real:   Vhost ▸ ClassicQueue ▸ carry_out, ticked when they ask for it
//!  model:  a list of bodies for each queue; die() ▸ next queues ▸ publish() ▸ die() ...
//! ```
//!
//! After every step, both must hold the same messages in the same order, with the same history
//! (DLX-01, DLX-08 to DLX-11, DLX-17 to DLX-20, TTL-01 to TTL-06, LEN-02). That the test ends shows that
//! no graph sends messages round for ever.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Mutex;

use leveret_protocol::{TableBuf, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::testing::{NotedBell, body, getter, message, port};
use crate::core::queue::{
    ClassicOptions, ClassicQueue, DeathReason, DeliveryId, Got, Queue, SlotId, Verdict,
};
use crate::core::queue_handle::QueueSpec;
use crate::core::topology::tests::{allow, queue};
use crate::core::topology::{BindRequest, BindTo, ExchangeDeclare};

/// What a queue of the graph does with its dead and its living.
#[derive(Clone, Debug)]
struct Node {
    /// The queues that its dead go to, by their numbers in rising order; `None` for no exchange.
    dead_go_to: Option<Vec<usize>>,
    ttl_ms: Option<u64>,
    length_max: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        queue: usize,
    },
    /// Gets the head and says this about it.
    Settle {
        queue: usize,
        verdict: Verdict,
    },
    /// Gets the head and keeps it until the end of time.
    Hold {
        queue: usize,
    },
    Wait {
        ms: u64,
    },
}

/// A message as a test sees it: its body, and reason, queue and count of its deaths, the latest first.
type Seen = (String, Vec<(&'static str, usize, i64)>);

// --- the plain statement of the rules ---

#[derive(Clone, Debug)]
struct Mortal {
    body: String,
    deaths: Vec<(DeathReason, usize, i64)>,
    expires_at: u64,
}

#[derive(Debug)]
struct Model {
    nodes: Vec<Node>,
    queues: Vec<VecDeque<Mortal>>,
    now: u64,
    /// Those who died in the present call of a queue: where, why, and what they were.
    dead: VecDeque<(usize, DeathReason, Mortal)>,
}

impl Model {
    fn new(nodes: &[Node]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            queues: vec![VecDeque::new(); nodes.len()],
            now: 0,
            dead: VecDeque::new(),
        }
    }

    fn publish(&mut self, at: usize, body: &str, deaths: Vec<(DeathReason, usize, i64)>) {
        self.expire(at);
        let ttl_ms = self.nodes[at].ttl_ms;
        self.queues[at].push_back(Mortal {
            body: body.to_owned(),
            deaths,
            expires_at: ttl_ms.map_or(u64::MAX, |ttl_ms| self.now + ttl_ms),
        });
        self.trim(at);
    }

    fn expire(&mut self, at: usize) {
        while let Some(head) = self.queues[at].pop_front_if(|head| head.expires_at <= self.now) {
            self.dead.push_back((at, DeathReason::Expired, head));
        }
    }

    fn trim(&mut self, at: usize) {
        self.expire(at);
        while self.nodes[at]
            .length_max
            .is_some_and(|max| self.queues[at].len() as u64 > max)
        {
            if let Some(head) = self.queues[at].pop_front() {
                self.dead.push_back((at, DeathReason::MaxLength, head));
            }
            self.expire(at);
        }
    }

    /// Every one of the dead is buried, with all whom that kills, before the next.
    fn bury(&mut self) {
        for dead in std::mem::take(&mut self.dead) {
            self.dead.push_back(dead);
            while let Some((at, reason, mortal)) = self.dead.pop_front() {
                self.bury_one(at, reason, mortal);
            }
        }
    }

    fn bury_one(&mut self, at: usize, reason: DeathReason, mortal: Mortal) {
        let Some(next) = self.nodes[at].dead_go_to.clone() else {
            return;
        };
        let mut deaths = mortal.deaths;
        let before = deaths
            .iter()
            .position(|death| (death.0, death.1) == (reason, at));
        let times = before.map_or(0, |index| deaths.remove(index).2);
        deaths.insert(0, (reason, at, times + 1));
        for queue in next {
            let since = deaths.iter().position(|death| death.1 == queue);
            let round = since
                .and_then(|index| deaths.get(..=index))
                .unwrap_or_default();
            let is_rejected = |death: &(DeathReason, usize, i64)| death.0 == DeathReason::Rejected;
            if round.is_empty() || round.iter().any(is_rejected) {
                self.publish(queue, &mortal.body, deaths.clone());
            }
        }
    }

    fn get(&mut self, at: usize) -> Option<Mortal> {
        self.expire(at);
        self.queues[at].pop_front()
    }

    /// Whatever expires by then does so at its time, queue after queue.
    fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let heads = self.queues.iter().filter_map(|queue| queue.front());
            let next = heads.map(|head| head.expires_at).min().unwrap_or(u64::MAX);
            if next > end {
                break;
            }
            self.now = next.max(self.now);
            for at in 0..self.queues.len() {
                self.expire(at);
                self.bury();
            }
        }
        self.now = end;
    }

    fn seen(&self, at: usize) -> Vec<Seen> {
        let seen = |mortal: &Mortal| {
            let deaths = mortal.deaths.iter();
            let deaths = deaths.map(|(reason, queue, count)| (reason.as_str(), *queue, *count));
            (mortal.body.clone(), deaths.collect())
        };
        self.queues[at].iter().map(seen).collect()
    }
}

// --- the real thing ---

/// Notes when which queue wants to be ticked.
#[derive(Default)]
struct Ticks(Mutex<Vec<(u64, Arc<str>)>>);

impl Alarms for Ticks {
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        let tick = (at.unix_ms(), Arc::clone(queue.name()));
        self.0.lock().unwrap().push(tick);
    }

    fn tick_at_epoch(&self, _: Epoch, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
    fn load(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
}

struct Real {
    vhost: Arc<Vhost>,
    queues: Vec<Arc<QueueHandle>>,
    getters: Vec<SlotId>,
    ticks: Ticks,
    now: Moment,
}

fn name(number: usize) -> String {
    format!("queue {number}")
}

fn make_queue(spec: &QueueSpec, arguments: &QueueArguments) -> Box<dyn Queue> {
    let options = ClassicOptions::new(spec.auto_delete, arguments);
    Box::new(ClassicQueue::new(options))
}

impl Real {
    fn new(nodes: &[Node]) -> Self {
        let vhost = Arc::new(Vhost::new("/", Arc::new(make_queue)));
        let mut real = Self {
            vhost,
            queues: Vec::new(),
            getters: Vec::new(),
            ticks: Ticks::default(),
            now: Moment::from_unix_ms(0),
        };
        for (number, node) in nodes.iter().enumerate() {
            real.declare(number, node);
        }
        for (number, node) in nodes.iter().enumerate() {
            for next in node.dead_go_to.iter().flatten() {
                real.bind(number, *next);
            }
        }
        real
    }

    /// The queue, and a fanout exchange of the same name for its dead.
    fn declare(&mut self, number: usize, node: &Node) {
        let name = name(number);
        let exchange = ExchangeDeclare {
            name: &name,
            kind: "fanout",
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: Default::default(),
        };
        self.vhost.declare_exchange(&exchange, &mut allow).unwrap();
        let number = |key, number: Option<u64>| number.map(|n| (key, Value::I64(n as i64)));
        let dead = node.dead_go_to.is_some();
        let arguments = [
            dead.then_some(("x-dead-letter-exchange", Value::LongStr(name.as_bytes()))),
            number("x-message-ttl", node.ttl_ms),
            number("x-max-length", node.length_max),
        ];
        let arguments = TableBuf::from_entries(arguments.into_iter().flatten());
        let mut request = queue(&name);
        request.arguments = arguments.view();
        let (declared, _) = self.vhost.declare_queue(&request, &mut allow).unwrap();
        let getter = self.call(&declared, |queue, now, effects| {
            let port = port(&Arc::<NotedBell>::default(), 0);
            queue.attach(getter(false), port, now, effects).unwrap()
        });
        self.queues.push(declared);
        self.getters.push(getter);
    }

    fn bind(&self, from: usize, to: usize) {
        let (source, queue) = (name(from), name(to));
        let request = BindRequest {
            source: &source,
            destination: BindTo::Queue(&queue),
            routing_key: b"",
            arguments: Default::default(),
            connection: crate::core::topology::tests::ME,
        };
        self.vhost.bind(&request, &mut allow).unwrap();
    }

    fn call<T>(
        &self,
        queue: &Arc<QueueHandle>,
        call: impl FnOnce(&dyn Queue, Moment, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::default();
        let answer = call(queue.body(), self.now, &mut effects);
        carry_out(&self.vhost, queue, &mut effects, self.now, &self.ticks);
        answer
    }

    fn publish(&self, at: usize, body: &str) {
        let mut batch = vec![message(body)];
        self.call(&self.queues[at], |queue, now, effects| {
            queue.offer(&mut batch, now, effects)
        });
    }

    fn get(&self, at: usize) -> Option<(Message, DeliveryId)> {
        let getter = self.getters[at];
        let got = self.call(&self.queues[at], |queue, now, effects| {
            queue.get(getter, now, effects)
        });
        match got {
            Got::Message(delivery, _) => Some((delivery.message, delivery.id)),
            Got::Empty => None,
            Got::Loading => panic!("nothing is stored"),
        }
    }

    fn settle(&self, at: usize, verdict: Verdict, id: DeliveryId) {
        let getter = self.getters[at];
        self.call(&self.queues[at], |queue, now, effects| {
            queue.settle(getter, verdict, &[id], now, effects);
        });
    }

    /// Ticks every queue at every moment that any queue has asked for.
    fn wait(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some(at) = self.next_tick(end.unix_ms()) {
            self.now = self.now.max(Moment::from_unix_ms(at));
            for queue in &self.queues {
                self.call(queue, |queue, now, effects| queue.tick(now, effects));
            }
        }
        self.now = end;
    }

    fn next_tick(&self, end: u64) -> Option<u64> {
        let mut ticks = self.ticks.0.lock().unwrap();
        let next = ticks
            .iter()
            .map(|(at, _)| *at)
            .min()
            .filter(|at| *at <= end)?;
        ticks.retain(|(at, _)| *at > next);
        Some(next)
    }

    /// What lies in a queue, found by getting all and giving it back.
    fn drain(&self, at: usize) -> Vec<Seen> {
        let got = std::iter::from_fn(|| self.get(at));
        got.map(|(message, _)| seen(&message)).collect()
    }
}

fn seen(message: &Message) -> Seen {
    let properties = Properties::parse(message.properties()).unwrap();
    let history = properties
        .headers
        .and_then(|headers| headers.get("x-death"));
    let Some(Value::Array(deaths)) = history else {
        return (body(message), Vec::new());
    };
    let deaths = deaths.values().map(|death| {
        let Value::Table(death) = death else {
            panic!("{death:?}");
        };
        let reason = [
            DeathReason::Rejected,
            DeathReason::Expired,
            DeathReason::MaxLength,
        ]
        .map(DeathReason::as_str)
        .into_iter()
        .find(|reason| death.get("reason") == Some(Value::LongStr(reason.as_bytes())));
        let is_queue =
            |number: &usize| death.get("queue") == Some(Value::LongStr(name(*number).as_bytes()));
        let count = death.get("count").and_then(|count| count.as_integer());
        (
            reason.unwrap(),
            (0..9).find(is_queue).unwrap(),
            count.unwrap(),
        )
    });
    (body(message), deaths.collect())
}

// --- what is tried ---

fn graphs() -> impl Strategy<Value = Vec<Node>> {
    (2..5_usize).prop_flat_map(|len| {
        let next = proptest::sample::subsequence((0..len).collect::<Vec<_>>(), 0..=len.min(2));
        let node = (
            proptest::option::weighted(0.85, next),
            proptest::option::of(prop_oneof![Just(0), 1..20_u64]),
            proptest::option::weighted(0.4, 0..4_u64),
        );
        let node = node.prop_map(|(dead_go_to, ttl_ms, length_max)| Node {
            dead_go_to,
            ttl_ms,
            length_max,
        });
        vec(node, len)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let queue = 0..4_usize;
    let verdict = prop_oneof![
        2 => Just(Verdict::Discard),
        1 => Just(Verdict::Ack),
    ];
    let step = prop_oneof![
        4 => queue.clone().prop_map(|queue| Step::Publish { queue }),
        4 => (queue.clone(), verdict).prop_map(|(queue, verdict)| Step::Settle { queue, verdict }),
        1 => queue.prop_map(|queue| Step::Hold { queue }),
        2 => (0..15_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    vec(step, 1..40)
}

proptest! {
    #[test]
    fn dead_letters_go_where_the_rules_say_in_any_graph(nodes in graphs(), steps in steps()) {
        let (mut model, mut real) = (Model::new(&nodes), Real::new(&nodes));
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Publish { queue } => {
                    let (at, body) = (queue % nodes.len(), number.to_string());
                    model.publish(at, &body, Vec::new());
                    model.bury();
                    real.publish(at, &body);
                }
                Step::Settle { queue, verdict } => {
                    let at = queue % nodes.len();
                    let expected = model.get(at);
                    model.bury();
                    let got = real.get(at);
                    prop_assert_eq!(got.is_some(), expected.is_some());
                    let (Some(mortal), Some((_, id))) = (expected, got) else { continue };
                    if verdict == Verdict::Discard {
                        model.dead.push_back((at, DeathReason::Rejected, mortal));
                        model.bury();
                    }
                    real.settle(at, verdict, id);
                }
                Step::Hold { queue } => {
                    let at = queue % nodes.len();
                    let expected = model.get(at).map(|mortal| mortal.body);
                    model.bury();
                    prop_assert_eq!(real.get(at).map(|(message, _)| body(&message)), expected);
                }
                Step::Wait { ms } => {
                    model.wait(ms);
                    real.wait(ms);
                }
            }
            for (at, queue) in real.queues.iter().enumerate() {
                prop_assert_eq!(queue.body().status().ready, model.queues[at].len() as u64, "{}", at);
            }
        }
        for at in 0..nodes.len() {
            model.expire(at);
            let expected = model.seen(at);
            model.dead.clear();
            prop_assert_eq!(real.drain(at), expected, "queue {}", at);
        }
    }
}
