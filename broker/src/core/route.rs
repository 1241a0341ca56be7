//! The path of a message through a vhost: from the exchange it was published to, along bindings
//! between exchanges and over alternates, to a set of queues.
//!
//! ```text
//!  exchange "" ─────────────────────▶ the queue named by each routing key (EXCH-32)
//!
//!  any other:  pending ◀── the exchange
//!              take one ──▶ its bindings match? ── queues ────▶ found
//!                 ▲              │       └─ exchanges not seen ──▶ pending
//!                 └──────────────┴─ nothing at all: its alternate, not seen ──▶ pending (AE-05)
//!
//! An exchange may keep a message to itself, because it had the same one before or because it is not
//! time yet: nothing more comes of the message there, and nobody is told that it was unroutable. If it is
//! to be routed later, the exchange's own queue is what was found.
//! ```
//!
//! Every exchange is visited once (BIND-14, AE-04), every queue found once (ROUTE-03). The order of
//! the queues is that in which they were declared.
//!
//! What it is not: judging the publish (see [`Topology::exchange_for_publish`]) or offering to queues.
//!
//! Invariant: [`Targets::is_valid`] stays true only as long as routing the same key again would find
//! the same queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leveret_protocol::{Fault, ReplyCode};
use rustc_hash::FxHashSet;

use super::binding::Destination;
use super::exchange::{Destinations, ExchangeId, Routing};
use super::queue::QueueId;
use super::queue_handle::QueueHandle;
use super::topology::{ExchangeState, Topology};

/// Answers with more queues than this are not kept: a cache of [`super::route_cache::ENTRIES_MAX`]
/// of them would cost a connection megabytes to save a small part of what offering to them costs.
const KEPT_QUEUES_MAX: usize = 1024;
/// Answers that passed more exchanges than this are not kept: looking at all their generations would
/// cost as much as routing.
const KEPT_EXCHANGES_MAX: usize = 64;

/// The exchange does not exist; a publish fails (PUB-01), a dead letter is dropped (DLX-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoExchange;

impl std::fmt::Display for NoExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the exchange does not exist")
    }
}

impl std::error::Error for NoExchange {}

/// The queues that a message goes to.
#[derive(Debug)]
pub struct Targets {
    queues: Vec<Arc<QueueHandle>>,
    /// An exchange on the way keeps the message to itself.
    is_taken: bool,
    watch: Watch,
}

impl PartialEq for Targets {
    /// True when both name the same queues and become stale by the same events.
    fn eq(&self, other: &Self) -> bool {
        let is_same =
            |(one, another): (&Arc<QueueHandle>, &Arc<QueueHandle>)| Arc::ptr_eq(one, another);
        self.queues.len() == other.queues.len()
            && self.queues.iter().zip(&other.queues).all(is_same)
            && self.watch == other.watch
    }
}

/// What makes an answer stale.
#[derive(Debug)]
enum Watch {
    /// The answer holds for this one message.
    OneMessage,
    /// One of these exchanges moving on from the generation seen.
    Exchanges(Vec<Seen>),
    /// The queues going; found by name, they can only change by that.
    Queues,
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneMessage, Self::OneMessage) | (Self::Queues, Self::Queues) => true,
            (Self::Exchanges(one), Self::Exchanges(another)) => {
                let is_same = |((at, seen), (other_at, other_seen)): (&Seen, &Seen)| {
                    Arc::ptr_eq(at, other_at) && seen == other_seen
                };
                one.len() == another.len() && one.iter().zip(another).all(is_same)
            }
            _ => false,
        }
    }
}

/// An exchange's generation counter, and what it said.
type Seen = (Arc<AtomicU64>, u64);

impl Targets {
    /// The queues, each once, in the order in which they were declared.
    pub fn queues(&self) -> &[Arc<QueueHandle>] {
        &self.queues
    }

    /// The queues, to be owned.
    pub fn into_queues(self) -> Vec<Arc<QueueHandle>> {
        self.queues
    }

    /// True when no queue was found: dropped, or returned if mandatory and not taken.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// True when an exchange on the way keeps the message to itself: finding no queue is no reason to
    /// return it then.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// True when the answer holds for every message with this exchange and key until it is no longer
    /// valid. Answers without a queue are never kept: nothing tells when a name appears.
    pub fn may_be_kept(&self) -> bool {
        let queues = self.queues.len();
        let watchable = match &self.watch {
            Watch::OneMessage => false,
            Watch::Exchanges(seen) => seen.len() <= KEPT_EXCHANGES_MAX,
            Watch::Queues => true,
        };
        (1..=KEPT_QUEUES_MAX).contains(&queues) && watchable
    }

    /// True while routing again would find the same queues. Looks at one counter per exchange passed.
    pub fn is_valid(&self) -> bool {
        match &self.watch {
            Watch::OneMessage => false,
            Watch::Exchanges(seen) => seen
                .iter()
                .all(|(generation, seen)| generation.load(Ordering::Acquire) == *seen),
            Watch::Queues => !self.queues.iter().any(|queue| queue.is_gone()),
        }
    }
}

impl Topology {
    /// Finds the queues for a message; internal exchanges are followed like any other (EXCH-28).
    ///
    /// # Errors
    /// When there is no exchange of that name.
    pub fn route(&self, exchange: &[u8], routing: &Routing<'_>) -> Result<Targets, NoExchange> {
        if exchange.is_empty() {
            return Ok(self.route_by_name(routing));
        }
        let first = self.exchange(exchange).ok_or(NoExchange)?;
        let walk = Walk::new(first, routing);
        Ok(walk.go(self, routing, Destinations::default()))
    }

    /// Finds the queues for a message that this exchange has held until now.
    ///
    /// # Errors
    /// When the exchange is gone.
    pub fn route_held(
        &self,
        exchange: ExchangeId,
        routing: &Routing<'_>,
    ) -> Result<Targets, NoExchange> {
        let first = self.exchange_by_id(exchange).ok_or(NoExchange)?;
        let mut walk = Walk::new(first, routing);
        walk.pending.clear();
        let mut found = Destinations::default();
        first.rules().route_held(routing, &mut found);
        walk.pass(self, first, &mut found);
        Ok(walk.go(self, routing, found))
    }

    /// Finds the queues for what a client publishes.
    ///
    /// # Errors
    /// As [`Self::exchange_for_publish`].
    pub fn route_publish(&self, exchange: &[u8], routing: &Routing<'_>) -> Result<Targets, Fault> {
        self.exchange_for_publish(exchange)?;
        self.route(exchange, routing)
            .map_err(|NoExchange| Fault::new(ReplyCode::InternalError, ""))
    }

    fn route_by_name(&self, routing: &Routing<'_>) -> Targets {
        let keys = routing.routing_keys.iter();
        let mut queues: Vec<_> = keys.filter_map(|key| self.queue(key).cloned()).collect();
        queues.sort_unstable_by_key(|queue| queue.id());
        queues.dedup_by_key(|queue| queue.id());
        let watch = match routing.routing_keys.len() {
            1 => Watch::Queues,
            _ => Watch::OneMessage,
        };
        Targets {
            queues,
            is_taken: false,
            watch,
        }
    }
}

struct Walk {
    first: ExchangeId,
    pending: Vec<ExchangeId>,
    /// The exchanges visited after the first; most walks end there.
    seen: FxHashSet<ExchangeId>,
    queues: Vec<QueueId>,
    /// The own queues of exchanges that hold the message.
    own_queues: Vec<Arc<QueueHandle>>,
    generations: Vec<Seen>,
    may_be_kept: bool,
    is_taken: bool,
}

impl Walk {
    fn new(first: &ExchangeState, routing: &Routing<'_>) -> Self {
        let first = first.spec().id;
        Self {
            first,
            pending: vec![first],
            seen: FxHashSet::default(),
            queues: Vec::new(),
            own_queues: Vec::new(),
            generations: Vec::new(),
            may_be_kept: routing.routing_keys.len() == 1,
            is_taken: false,
        }
    }

    /// Follows all that is pending to its end.
    #[inline]
    fn go(
        mut self,
        topology: &Topology,
        routing: &Routing<'_>,
        mut found: Destinations,
    ) -> Targets {
        while let Some(id) = self.pending.pop() {
            if let Some(exchange) = topology.exchange_by_id(id) {
                exchange.rules().route(routing, &mut found);
                self.pass(topology, exchange, &mut found);
            }
        }
        self.finish(topology)
    }

    fn visit(&mut self, exchange: ExchangeId) {
        if exchange != self.first && self.seen.insert(exchange) {
            self.pending.push(exchange);
        }
    }

    /// Goes on from an exchange to what it found, or to its alternate if it found nothing. A
    /// destination seen before is a destination: the alternate's turn does not come.
    #[inline]
    fn pass(&mut self, topology: &Topology, exchange: &ExchangeState, found: &mut Destinations) {
        self.may_be_kept &= exchange.routes_by_key();
        if self.may_be_kept {
            // Not for an answer that holds for one message: all publishers of an exchange would count
            // up and down in one place.
            let generation = exchange.generation();
            let seen = generation.load(Ordering::Acquire);
            self.generations.push((Arc::clone(generation), seen));
        }
        self.is_taken |= found.is_taken();
        if found.is_held() {
            let own = topology.own_queue(exchange.spec().id);
            self.own_queues.extend(own.cloned());
        }
        let is_unroutable = found.is_empty() && !found.is_taken();
        match (is_unroutable, exchange.alternate()) {
            (true, Some(alternate)) => match topology.exchange(alternate.as_bytes()) {
                Some(alternate) => self.visit(alternate.spec().id),
                // No generation tells when it will be declared.
                None => self.may_be_kept = false,
            },
            _ => self.add(found),
        }
        found.clear();
    }

    fn add(&mut self, found: &Destinations) {
        for destination in found.iter() {
            match destination {
                Destination::Queue(queue) => self.queues.push(queue),
                Destination::Exchange(exchange) => self.visit(exchange),
            }
        }
    }

    fn finish(mut self, topology: &Topology) -> Targets {
        self.queues.sort_unstable();
        self.queues.dedup();
        let queues = self.queues.iter();
        let queues = queues.filter_map(|id| topology.queue_by_id(*id).cloned());
        let mut queues: Vec<_> = queues.collect();
        queues.append(&mut self.own_queues);
        Targets {
            queues,
            is_taken: self.is_taken,
            watch: match self.may_be_kept {
                true => Watch::Exchanges(self.generations),
                false => Watch::OneMessage,
            },
        }
    }
}

#[cfg(test)]
mod tests;
