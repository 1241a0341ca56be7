//! Dead letters in any graph of queues, with circles, against a naive model: as [`super::graph_tests`],
//! with refusals, times to live of messages' own, routing keys, exchanges that are missing, and
//! deliveries that are settled late or come back (DLX-03, DLX-06, DLX-13, DLX-16, DLX-28, LEN-04).
//!
//! The model knows nothing of messages' bytes, of headers or of routing: a message is a number with its
//! list of deaths, a queue a vector. Both sides do the same steps; after each of them every queue has
//! as many messages, and at the end the same ones, in the same order, with the same deaths.

use std::collections::VecDeque;

use leveret_protocol::{Properties, Table, Value};
use proptest::prelude::*;

use super::DESCENDANTS_MAX;
use super::bench::Bench;
use crate::core::queue::testing::body;
use crate::core::queue::{DeliveryId, Verdict};

/// Where a queue's dead go.
#[derive(Clone, Debug)]
enum Edge {
    Nowhere,
    /// By the default exchange: to this queue, or to one that does not exist.
    Direct(usize),
    /// By the default exchange, with the keys they came with.
    SameKey,
    /// By a fanout exchange.
    Fanout(Vec<usize>),
    /// By an exchange that does not exist.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Overflow {
    DropHead,
    Reject,
    RejectDeadLetter,
}

#[derive(Clone, Debug)]
struct Node {
    edge: Edge,
    ttl_ms: Option<u64>,
    length_max: Option<usize>,
    overflow: Overflow,
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize, Option<u64>),
    /// Gets one and rejects, returns or acknowledges it, at once or after others.
    Get(usize),
    Settle(usize, Verdict),
    Wait(u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Death {
    queue: String,
    reason: String,
    count: i64,
}

#[derive(Clone, Debug, Default)]
struct Sent {
    number: usize,
    key: usize,
    expiration_ms: Option<u64>,
    deaths: Vec<Death>,
    first: Option<(String, String)>,
}

#[derive(Clone, Debug)]
struct Queued {
    sent: Sent,
    position: u64,
    expires_ms: u64,
}

#[derive(Debug, Default)]
struct Queue {
    ready: Vec<Queued>,
    next_position: u64,
}

/// The model. Its dead are worked off as a list, one original death after the other.
struct Model {
    nodes: Vec<Node>,
    queues: Vec<Queue>,
    now_ms: u64,
}

type Dead = (usize, Sent, &'static str);

fn name(queue: usize) -> String {
    format!("q{queue}")
}

impl Model {
    fn expire(&mut self, at: usize, dead: &mut Vec<Dead>) {
        let now_ms = self.now_ms;
        let ready = &mut self.queues[at].ready;
        while ready.first().is_some_and(|head| head.expires_ms <= now_ms) {
            dead.push((at, ready.remove(0).sent, "expired"));
        }
    }

    fn trim(&mut self, at: usize, dead: &mut Vec<Dead>) {
        loop {
            self.expire(at, dead);
            let node = &self.nodes[at];
            let max = node.length_max.unwrap_or(usize::MAX);
            let ready = &mut self.queues[at].ready;
            if ready.len() <= max || node.overflow != Overflow::DropHead {
                return;
            }
            dead.push((at, ready.remove(0).sent, "maxlen"));
        }
    }

    fn offer(&mut self, at: usize, sent: Sent) -> Vec<Dead> {
        let mut dead = Vec::new();
        self.expire(at, &mut dead);
        let node = self.nodes[at].clone();
        let max = node.length_max.unwrap_or(usize::MAX);
        if node.overflow != Overflow::DropHead && self.queues[at].ready.len() + 1 > max {
            if node.overflow == Overflow::RejectDeadLetter {
                dead.push((at, sent, "maxlen"));
            }
            return dead;
        }
        let ttl_ms = [node.ttl_ms, sent.expiration_ms]
            .into_iter()
            .flatten()
            .min();
        let queue = &mut self.queues[at];
        queue.ready.push(Queued {
            sent,
            position: queue.next_position,
            expires_ms: ttl_ms.map_or(u64::MAX, |ttl_ms| self.now_ms + ttl_ms),
        });
        queue.next_position += 1;
        self.trim(at, &mut dead);
        dead
    }

    fn bury(&mut self, dead: Vec<Dead>) {
        for original in dead {
            let mut work = VecDeque::from([original]);
            let mut left = DESCENDANTS_MAX;
            while let Some((from, sent, reason)) = work.pop_front() {
                if left == 0 {
                    break;
                }
                left -= 1;
                for (to, sent) in self.next(from, sent, reason) {
                    work.extend(self.offer(to, sent));
                }
            }
        }
    }

    /// Where a dead message goes, and as what.
    fn next(&self, from: usize, mut sent: Sent, reason: &'static str) -> Vec<(usize, Sent)> {
        let (mut targets, key) = match &self.nodes[from].edge {
            Edge::Nowhere | Edge::Missing => (vec![], sent.key),
            Edge::Direct(to) => (vec![*to], *to),
            Edge::SameKey => (vec![sent.key], sent.key),
            Edge::Fanout(to) => (to.clone(), sent.key),
        };
        let (queue, is_first) = (name(from), sent.deaths.is_empty());
        let same = |death: &Death| death.queue == queue && death.reason == reason;
        let count = match sent.deaths.iter().position(same) {
            Some(at) => sent.deaths.remove(at).count + 1,
            None => 1,
        };
        if is_first {
            sent.first = Some((queue.clone(), reason.to_owned()));
        }
        let reason = reason.to_owned();
        sent.deaths.insert(
            0,
            Death {
                queue,
                reason,
                count,
            },
        );
        (sent.key, sent.expiration_ms) = (key, None);
        let until_rejected = sent.deaths.iter().take_while(|d| d.reason != "rejected");
        let circle: Vec<String> = until_rejected.map(|death| death.queue.clone()).collect();
        targets.retain(|to| *to < self.nodes.len() && !circle.contains(&name(*to)));
        targets.into_iter().map(|to| (to, sent.clone())).collect()
    }

    fn publish(&mut self, at: usize, number: usize, expiration_ms: Option<u64>) {
        let sent = Sent {
            number,
            key: at,
            expiration_ms,
            ..Sent::default()
        };
        let dead = self.offer(at, sent);
        self.bury(dead);
    }

    fn get(&mut self, at: usize) -> Option<Queued> {
        let mut dead = Vec::new();
        self.expire(at, &mut dead);
        let ready = &mut self.queues[at].ready;
        let got = (!ready.is_empty()).then(|| ready.remove(0));
        self.bury(dead);
        got
    }

    fn settle(&mut self, at: usize, queued: Queued, verdict: Verdict) {
        let mut dead = Vec::new();
        match verdict {
            Verdict::Ack => self.expire(at, &mut dead),
            Verdict::Discard => {
                dead.push((at, queued.sent, "rejected"));
                self.expire(at, &mut dead);
            }
            Verdict::Requeue => {
                let ready = &mut self.queues[at].ready;
                let place = ready.partition_point(|q| q.position < queued.position);
                ready.insert(place, queued);
                self.trim(at, &mut dead);
            }
        }
        self.bury(dead);
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            self.tick();
        }
    }

    fn tick(&mut self) {
        for at in 0..self.queues.len() {
            let mut dead = Vec::new();
            self.expire(at, &mut dead);
            self.bury(dead);
        }
    }
}

/// Both sides, and what is out of them.
struct Pair {
    bench: Bench,
    model: Model,
    published: usize,
    out: Vec<Vec<(DeliveryId, Queued)>>,
}

impl Pair {
    fn new(nodes: Vec<Node>) -> Self {
        let bench = Bench::new();
        for (at, node) in nodes.iter().enumerate() {
            declare(&bench, at, node);
        }
        for (at, node) in nodes.iter().enumerate() {
            if let Edge::Fanout(to) = &node.edge {
                let to: Vec<String> = to.iter().map(|to| name(*to)).collect();
                bench.fanout(&format!("x{at}"), &to);
            }
        }
        Self {
            out: nodes.iter().map(|_| Vec::new()).collect(),
            model: Model {
                queues: nodes.iter().map(|_| Queue::default()).collect(),
                nodes,
                now_ms: 0,
            },
            bench,
            published: 0,
        }
    }

    fn step(&mut self, step: Step) {
        let count = self.model.nodes.len();
        match step {
            Step::Publish(at, expiration_ms) => {
                let (at, number) = (at % count, self.published);
                self.published += 1;
                let text = number.to_string();
                self.bench.publish(&name(at), &text, expiration_ms);
                self.model.publish(at, number, expiration_ms);
            }
            Step::Get(at) => drop(self.get(at % count)),
            Step::Settle(at, verdict) => {
                let at = at % count;
                if let Some((id, queued)) = self.out[at].pop() {
                    self.bench.settle(&name(at), id, verdict);
                    self.model.settle(at, queued, verdict);
                }
            }
            Step::Wait(ms) => {
                let until = self.model.now_ms + ms;
                self.bench.advance_to(until);
                self.model.wait(ms);
            }
        }
        self.catch_up();
        for at in 0..count {
            let status = self.bench.queue(&name(at)).body().status();
            let ready = self.model.queues[at].ready.len() as u64;
            assert_eq!(status.ready, ready, "messages in {}", name(at));
        }
    }

    /// Lets both sides bury what lies dead at the head of a queue, so that neither does it within its next get.
    fn catch_up(&mut self) {
        self.bench.advance_to(self.model.now_ms);
        self.model.tick();
    }

    /// Gets one from both sides; says whether there was one.
    fn get(&mut self, at: usize) -> bool {
        let got = self.bench.get(&name(at));
        let expected = self.model.get(at);
        let Some((got, expected)) = got.as_ref().zip(expected.as_ref()) else {
            assert_eq!(
                got.is_some(),
                expected.is_some(),
                "a message in {}",
                name(at)
            );
            return false;
        };
        let sent = &expected.sent;
        assert_eq!(body(&got.message), sent.number.to_string());
        let properties = Properties::parse(got.message.properties()).unwrap();
        let headers = properties.headers.unwrap_or_default();
        assert_eq!(deaths(headers), sent.deaths);
        assert_eq!(first_death(headers), sent.first);
        let expiration = properties.expiration.map(|e| e.to_string());
        assert_eq!(expiration, sent.expiration_ms.map(|ms| ms.to_string()));
        self.out[at].push((got.id, expected.clone()));
        true
    }

    fn drain(mut self) {
        for at in 0..self.model.nodes.len() {
            while self.get(at) {
                self.catch_up();
            }
        }
    }
}

fn declare(bench: &Bench, at: usize, node: &Node) {
    let exchange = format!("x{at}");
    let key = match node.edge {
        Edge::Direct(to) => Some(name(to)),
        _ => None,
    };
    let exchange = match node.edge {
        Edge::Nowhere => None,
        Edge::Direct(_) | Edge::SameKey => Some(""),
        Edge::Fanout(_) | Edge::Missing => Some(&*exchange),
    };
    let overflow = match node.overflow {
        Overflow::DropHead => "drop-head",
        Overflow::Reject => "reject-publish",
        Overflow::RejectDeadLetter => "reject-publish-dlx",
    };
    let text = |text: &'static str, value| (text, Value::LongStr(value));
    let mut arguments = vec![text("x-overflow", overflow.as_bytes())];
    let exchange = exchange.map(str::as_bytes);
    let key = key.as_deref().map(str::as_bytes);
    arguments.extend(exchange.map(|name| text("x-dead-letter-exchange", name)));
    arguments.extend(key.map(|key| text("x-dead-letter-routing-key", key)));
    arguments.extend(
        node.ttl_ms
            .map(|ms| ("x-message-ttl", Value::I64(ms as i64))),
    );
    arguments.extend(
        node.length_max
            .map(|max| ("x-max-length", Value::I64(max as i64))),
    );
    bench.declare(&name(at), &arguments);
}

fn text(table: Table<'_>, key: &str) -> Option<String> {
    let value = table.get(key)?.as_long_str()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn deaths(headers: Table<'_>) -> Vec<Death> {
    let Some(Value::Array(deaths)) = headers.get("x-death") else {
        return Vec::new();
    };
    let death = |death: Value<'_>| {
        let Value::Table(table) = death else {
            panic!("{death:?} is no death");
        };
        Death {
            queue: text(table, "queue").unwrap(),
            reason: text(table, "reason").unwrap(),
            count: table.get("count").unwrap().as_integer().unwrap(),
        }
    };
    deaths.values().map(death).collect()
}

fn first_death(headers: Table<'_>) -> Option<(String, String)> {
    let queue = text(headers, "x-first-death-queue")?;
    Some((queue, text(headers, "x-first-death-reason")?))
}

const QUEUES: usize = 4;

fn any_edge() -> impl Strategy<Value = Edge> {
    prop_oneof![
        1 => Just(Edge::Nowhere),
        5 => (0..QUEUES + 1).prop_map(Edge::Direct),
        1 => Just(Edge::SameKey),
        // In the order of their declaration, which is the order in which they are served.
        4 => prop::sample::subsequence((0..QUEUES).collect::<Vec<_>>(), 0..=3)
            .prop_map(Edge::Fanout),
        1 => Just(Edge::Missing),
    ]
}

fn any_node() -> impl Strategy<Value = Node> {
    let overflow = prop_oneof![
        Just(Overflow::DropHead),
        Just(Overflow::Reject),
        Just(Overflow::RejectDeadLetter),
    ];
    let ttl = prop::option::of(0..6_u64);
    let parts = (any_edge(), ttl, prop::option::of(0..4_usize), overflow);
    parts.prop_map(|(edge, ttl_ms, length_max, overflow)| Node {
        edge,
        ttl_ms,
        length_max,
        overflow,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        2 => Just(Verdict::Discard),
        1 => Just(Verdict::Requeue),
        1 => Just(Verdict::Ack),
    ];
    prop_oneof![
        3 => (0..QUEUES, prop::option::weighted(0.3, 0..8_u64))
            .prop_map(|(at, ms)| Step::Publish(at, ms)),
        3 => (0..QUEUES).prop_map(Step::Get),
        3 => (0..QUEUES, verdict).prop_map(|(at, verdict)| Step::Settle(at, verdict)),
        1 => (1..5_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_message_ends_where_a_naive_model_says(
        nodes in prop::collection::vec(any_node(), QUEUES),
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut pair = Pair::new(nodes);
        steps.into_iter().for_each(|step| pair.step(step));
        pair.drain();
    }
}

#[test]
fn dlx_19_a_retry_topology_counts_each_round() {
    let node = |to, ttl_ms| Node {
        edge: Edge::Direct(to),
        ttl_ms,
        length_max: None,
        overflow: Overflow::DropHead,
    };
    let mut pair = Pair::new(vec![node(1, None), node(0, Some(3))]);
    pair.step(Step::Publish(0, None));
    for _ in 0..1000 {
        pair.step(Step::Get(0));
        pair.step(Step::Settle(0, Verdict::Discard));
        pair.step(Step::Wait(3));
    }
    assert!(pair.get(0));
    let deaths = &pair.out[0][0].1.sent.deaths;
    let counts: Vec<_> = deaths
        .iter()
        .map(|d| (&*d.queue, &*d.reason, d.count))
        .collect();
    assert_eq!(counts, [("q1", "expired", 1000), ("q0", "rejected", 1000)]);
}
