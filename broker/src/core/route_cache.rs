//! [`RouteCache`]: one connection's memory of where its exchange and routing key pairs lead.
//!
//! A pair is known by its *address*: exchange and routing key as two short strings, just as they stand
//! in a publish and in [`Message::address`](super::Message::address), so that a pair is compared in one
//! go.
//!
//! A publisher mostly publishes to the same place as last time, so that place is tried first by
//! comparing bytes; then a map. An entry is looked at again each time it is used
//! ([`Targets::is_valid`]), so declaring or deleting queues elsewhere invalidates nothing.
//!
//! A publisher with more pairs than there is room for would only push out what it needs next; so once
//! the cache is full, only one answer in sixteen takes the place of the oldest.
//!
//! What it is not: shared. One task owns it, no lock guards it.
//!
//! Invariants: at most [`ENTRIES_MAX`] entries, which weigh at most [`BYTES_MAX`] together; the index
//! leads to an entry of the hash it was asked for; an entry without targets is stale and holds no queue
//! in memory. Of two pairs with one hash only the later is found, so an entry is compared by its bytes
//! before it is believed.

use std::hash::Hasher;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::queue_handle::QueueHandle;
use super::route::Targets;

/// The most pairs remembered: enough for a publisher whose keys are the names of ten thousand things.
/// Neighbours that lead to the same queues share one answer.
pub const ENTRIES_MAX: usize = 16_384;
/// The most that the entries weigh: as many as there may be, if an address has 64 bytes and leads to one
/// queue. Longer addresses and answers that name many queues fill the cache earlier, so that a connection
/// never holds more than this, whatever it publishes to.
pub const BYTES_MAX: usize = 2 * 1024 * 1024;
/// What an entry weighs beside its address and its answer: itself, and its place in the index, of which
/// up to half is empty.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * size_of::<(u64, usize)>();
/// Of so many answers that find the cache full, one is remembered: a pair that comes often gets its
/// place soon, and one that does not is not worth moving the others.
const ADMITTED_WHEN_FULL: u32 = 16;
/// More than one, so that the search overtakes the growth.
const SWEPT_PER_ADDED: usize = 4;

/// Where the last pairs led.
#[derive(Debug, Default)]
pub struct RouteCache {
    entries: Vec<Entry>,
    // The hashes are of a publisher's own bytes, the map is bounded and nobody else's: whoever aims
    // collisions hits himself.
    index: FxHashMap<u64, usize>,
    last: usize,
    /// The entry to be overwritten next once the cache is full.
    oldest: usize,
    /// Answers that found the cache full since one was remembered.
    passed_over: u32,
    /// What the entries weigh.
    bytes: usize,
    /// Where the search for stale entries goes on.
    swept: usize,
    /// The answer that was added last; the next is often the same.
    latest_answer: Option<Arc<Targets>>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    address: Box<[u8]>,
    targets: Option<Arc<Targets>>,
    /// What it is counted for; an answer that went stale meanwhile is counted on.
    bytes: u32,
}

impl Entry {
    fn new(address: &[u8], targets: &Arc<Targets>) -> Self {
        Self {
            hash: hash(address),
            address: Box::from(address),
            targets: Some(Arc::clone(targets)),
            bytes: weight(address, targets),
        }
    }

    fn forget_if_stale(&mut self) -> bool {
        let is_stale = |targets: &mut Arc<Targets>| !targets.is_valid();
        self.targets.take_if(is_stale).is_some()
    }
}

impl RouteCache {
    /// An empty cache; it grows as it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the pair leads, if that is known and still true. Allocates nothing.
    #[inline]
    pub fn find(&mut self, address: &[u8]) -> Option<&[Arc<QueueHandle>]> {
        let last = self.entries.get(self.last);
        if last.is_none_or(|last| *last.address != *address) {
            self.last = self.search(address)?;
        }
        let entry = self.entries.get_mut(self.last)?;
        if entry.forget_if_stale() {
            self.latest_answer = None;
        }
        entry.targets.as_deref().map(Targets::queues)
    }

    /// What [`Self::find`] found last, if that was anything.
    #[inline]
    pub fn latest(&self) -> &[Arc<QueueHandle>] {
        let entry = self.entries.get(self.last);
        let targets = entry.and_then(|entry| entry.targets.as_deref());
        targets.map_or(&[], Targets::queues)
    }

    /// Remembers where the pair leads, if that may be remembered. Gives the answer back, shared.
    pub fn keep(&mut self, address: &[u8], targets: Targets) -> Arc<Targets> {
        let targets = self.shared(targets);
        if targets.may_be_kept() {
            self.remember(address, &targets);
        }
        targets
    }

    /// The answer that was added last, if this is the same.
    fn shared(&self, targets: Targets) -> Arc<Targets> {
        match &self.latest_answer {
            Some(latest) if **latest == targets => Arc::clone(latest),
            _ => Arc::new(targets),
        }
    }

    fn remember(&mut self, address: &[u8], targets: &Arc<Targets>) {
        let entry = Entry::new(address, targets);
        if let Some(known) = self.search(address) {
            self.last = self.put(known, entry);
            return;
        }
        let mut place = self.entries.len();
        if place >= ENTRIES_MAX || self.bytes + entry.bytes as usize > BYTES_MAX {
            if !self.is_admitted() {
                return;
            }
            place = self.oldest;
            self.oldest = (self.oldest + 1) % self.entries.len().max(1);
        }
        self.latest_answer = Some(Arc::clone(targets));
        self.sweep();
        self.last = self.put(place, entry);
    }

    /// Looks at the next few entries, so that queues that are gone do not stay in memory for as long as
    /// nobody asks for them: whoever answers to a new queue each time never asks again.
    fn sweep(&mut self) {
        for _ in 0..SWEPT_PER_ADDED {
            self.swept = (self.swept + 1) % self.entries.len().max(1);
            if let Some(entry) = self.entries.get_mut(self.swept) {
                entry.forget_if_stale();
            }
        }
    }

    fn is_admitted(&mut self) -> bool {
        self.passed_over = (self.passed_over + 1) % ADMITTED_WHEN_FULL;
        self.passed_over == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn search(&self, address: &[u8]) -> Option<usize> {
        let at = *self.index.get(&hash(address))?;
        let entry = self.entries.get(at)?;
        (*entry.address == *address).then_some(at)
    }

    /// Puts an entry in the place of another, or of none, and says where it is. If it weighs too much
    /// there, it stays alone.
    fn put(&mut self, place: usize, entry: Entry) -> usize {
        if let Some(evicted) = self.entries.get(place) {
            self.bytes -= evicted.bytes as usize;
            // The index may have moved on to a later pair of the same hash.
            if self.index.get(&evicted.hash) == Some(&place) {
                self.index.remove(&evicted.hash);
            }
        }
        self.bytes += entry.bytes as usize;
        if self.bytes > BYTES_MAX {
            *self = Self {
                bytes: entry.bytes as usize,
                ..Self::default()
            };
        }
        let place = place.min(self.entries.len());
        self.index.insert(entry.hash, place);
        match self.entries.get_mut(place) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        place
    }
}

/// What an entry is counted for. An answer that neighbours share is counted for each.
fn weight(address: &[u8], targets: &Targets) -> u32 {
    let bytes = ENTRY_BYTES + address.len() + size_of_val(targets.queues());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn hash(address: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(address);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::exchange::Routing;
    use crate::core::topology::Topology;
    use crate::core::topology::tests::{exchange, queue, to_queue, topology};

    fn address(exchange: &[u8], key: &[u8]) -> Vec<u8> {
        [&[exchange.len() as u8], exchange, &[key.len() as u8], key].concat()
    }

    /// Routes through the cache, as a publisher does; says whether it knew.
    fn publish(
        cache: &mut RouteCache,
        topology: &Topology,
        exchange: &str,
        key: &str,
    ) -> (bool, Vec<String>) {
        let (exchange, key) = (exchange.as_bytes(), key.as_bytes());
        let names =
            |queues: &[Arc<QueueHandle>]| queues.iter().map(|q| q.name().to_string()).collect();
        if let Some(queues) = cache.find(&address(exchange, key)) {
            return (true, names(queues));
        }
        let routing = Routing {
            routing_keys: &[key],
            headers: None,
            ..Routing::default()
        };
        let targets = topology
            .route(exchange, &routing)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = names(targets.queues());
        let _ = cache.keep(&address(exchange, key), targets);
        (false, found)
    }

    fn small() -> Topology {
        let mut topology = topology();
        topology.add_exchange(exchange("d", "direct"));
        topology.add_queue(queue("q"));
        topology.add_binding(to_queue("d", "q", "k"));
        topology
    }

    #[test]
    fn what_was_routed_is_known_until_it_changes() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        let found =
            |known, names: &[&str]| (known, names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(false, &["q"])
        );
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(true, &["q"])
        );
        assert_eq!(
            publish(&mut cache, &topology, "", "q"),
            found(false, &["q"])
        );
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(true, &["q"])
        );
        topology.add_queue(queue("r"));
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(true, &["q"])
        );
        topology.add_binding(to_queue("d", "r", "k"));
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(false, &["q", "r"])
        );
        assert_eq!(
            publish(&mut cache, &topology, "d", "k"),
            found(true, &["q", "r"])
        );
        topology.drop_queue("q");
        assert_eq!(publish(&mut cache, &topology, "", "q"), found(false, &[]));
        assert_eq!(publish(&mut cache, &topology, "", "q"), found(false, &[]));
        topology.add_queue(queue("q"));
        assert_eq!(
            publish(&mut cache, &topology, "", "q"),
            found(false, &["q"])
        );
        assert_eq!(cache.entries.len(), 2);
    }

    #[test]
    fn stale_entries_hold_no_queue() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        publish(&mut cache, &topology, "", "q");
        let queue = Arc::clone(topology.queue(b"q").unwrap_or_else(|| panic!("q")));
        topology.drop_queue("q");
        assert!(cache.find(&address(b"", b"q")).is_none());
        assert_eq!(Arc::strong_count(&queue), 1);
    }

    #[test]
    fn queues_that_nobody_asks_for_again_are_let_go() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        let mut gone = Vec::new();
        for n in 0..1000 {
            let name = format!("q{n}");
            topology.add_queue(queue(&name));
            publish(&mut cache, &topology, "", &name);
            gone.push(Arc::downgrade(
                topology.queue(name.as_bytes()).unwrap_or_else(|| panic!()),
            ));
            topology.drop_queue(&name);
        }
        let held = gone.iter().filter(|queue| queue.strong_count() > 0);
        assert!(held.count() < 1000 / 2);
    }

    #[test]
    fn pairs_are_told_apart_by_where_they_split() {
        let mut topology = small();
        topology.add_exchange(exchange("dk", "direct"));
        topology.add_queue(queue("other"));
        topology.add_binding(to_queue("dk", "other", ""));
        let mut cache = RouteCache::new();
        for _ in 0..2 {
            assert_eq!(publish(&mut cache, &topology, "d", "k").1, ["q"]);
            assert_eq!(publish(&mut cache, &topology, "dk", "").1, ["other"]);
        }
        assert!(cache.find(&address(b"", b"dk")).is_none());
    }

    #[test]
    fn pairs_of_one_hash_are_not_taken_for_each_other() {
        let topology = small();
        let mut cache = RouteCache::new();
        publish(&mut cache, &topology, "d", "k");
        publish(&mut cache, &topology, "", "q");
        let other = hash(&address(b"", b"q"));
        cache.index.insert(other, 0);
        cache.last = 0;
        assert!(cache.find(&address(b"", b"q")).is_none());
        assert_eq!(publish(&mut cache, &topology, "", "q").1, ["q"]);
        assert!(cache.find(&address(b"", b"q")).is_some());
    }

    #[test]
    fn the_cache_is_bounded_and_drops_the_oldest() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        let admitted = ADMITTED_WHEN_FULL as usize;
        let names: Vec<_> = (0..ENTRIES_MAX + 3 * admitted)
            .map(|n| format!("q{n}"))
            .collect();
        for name in &names {
            topology.add_queue(queue(name));
            publish(&mut cache, &topology, "", name);
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert_eq!(cache.index.len(), ENTRIES_MAX);
        let known = |cache: &mut RouteCache, at: usize| {
            cache.find(&address(b"", names[at].as_bytes())).is_some()
        };
        assert!((0..3).all(|at| !known(&mut cache, at)), "the oldest went");
        assert!((3..ENTRIES_MAX).all(|at| known(&mut cache, at)));
        let late = (ENTRIES_MAX..names.len()).filter(|at| known(&mut cache, *at));
        assert_eq!(late.count(), 3, "one in so many was remembered");
        cache.clear();
        assert!(!known(&mut cache, 20));
    }

    #[test]
    fn answers_with_many_queues_do_not_add_up_without_end() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        topology.add_exchange(exchange("t", "topic"));
        for n in 0..1000 {
            topology.add_queue(queue(&format!("q{n}")));
            topology.add_binding(to_queue("t", &format!("q{n}"), "#"));
        }
        for n in 0..2 * BYTES_MAX / 8000 {
            // A change in between, so that no two answers are one.
            publish(&mut cache, &topology, "d", "k");
            publish(&mut cache, &topology, "t", &n.to_string());
            let named = cache.entries.iter().flat_map(|entry| &entry.targets);
            let named: usize = named.map(|targets| targets.queues().len()).sum();
            assert!(8 * named <= cache.bytes && cache.bytes <= BYTES_MAX);
        }
    }

    #[test]
    fn long_addresses_fill_it_earlier_and_an_answer_that_fills_it_stays_alone() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        topology.add_exchange(exchange("t", "topic"));
        topology.add_binding(to_queue("t", "q", "#"));
        let key = |n: usize| format!("{n:0>250}");
        for n in 0..ENTRIES_MAX {
            let before = cache.entries.len();
            publish(&mut cache, &topology, "t", &key(n));
            assert!(cache.bytes <= BYTES_MAX && cache.entries.len() >= before);
        }
        let weights = cache.entries.iter().map(|entry| entry.bytes as usize);
        assert_eq!(weights.sum::<usize>(), cache.bytes);
        assert!((1000..ENTRIES_MAX / 2).contains(&cache.entries.len()));
        assert_eq!(cache.index.len(), cache.entries.len());
        assert!(publish(&mut cache, &topology, "t", &key(ENTRIES_MAX / 2 - 1)).1 == ["q"]);

        let mut heavy = Entry::new(b"heavy", cache.latest_answer.as_ref().unwrap());
        heavy.bytes = BYTES_MAX as u32 - 1;
        cache.put(7, heavy);
        assert_eq!((cache.entries.len(), cache.index.len()), (1, 1));
        assert_eq!(cache.search(b"heavy"), Some(0));
    }

    #[test]
    fn keys_that_lead_to_the_same_queues_share_the_answer() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        topology.add_exchange(exchange("t", "topic"));
        topology.add_binding(to_queue("t", "q", "#"));
        for key in ["a", "b", "c"] {
            assert_eq!(publish(&mut cache, &topology, "t", key).1, ["q"]);
        }
        let answers: Vec<_> = cache.entries.iter().flat_map(|e| &e.targets).collect();
        assert!(answers.len() == 3 && answers.iter().all(|a| Arc::ptr_eq(a, answers[0])));
        topology.drop_queue("q");
        assert_eq!(
            publish(&mut cache, &topology, "t", "a").1,
            Vec::<String>::new()
        );
    }
}
