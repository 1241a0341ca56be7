//! [`RouteCache`]: one connection's memory of where its exchange and routing key pairs lead.
//!
//! A publisher mostly publishes to the same place as last time, so that place is tried first by
//! comparing bytes; then a map. An entry is looked at again each time it is used
//! ([`Targets::is_valid`]), so declaring or deleting queues elsewhere invalidates nothing.
//!
//! What it is not: shared. One task owns it, no lock guards it.
//!
//! Invariants: at most [`ENTRIES_MAX`] entries; the map's values are indexes of entries, one each; an
//! entry without targets is stale and holds no queue in memory.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::queue_handle::QueueHandle;
use super::route::Targets;

/// The most pairs remembered: enough for a publisher that deals to some hundred queues by name; with
/// small answers the cache of a busy connection stays below 100 KiB.
pub const ENTRIES_MAX: usize = 512;

/// Where the last pairs led.
#[derive(Debug, Default)]
pub struct RouteCache {
    entries: Vec<Entry>,
    // Keyed by a publisher's own bytes, bounded, and nobody else's: aimed collisions only slow down
    // whoever aims them.
    index: FxHashMap<Box<[u8]>, usize>,
    last: usize,
    /// The entry to be overwritten next once the cache is full.
    oldest: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    /// The exchange's length in one byte, the exchange, the routing key.
    pair: Box<[u8]>,
    targets: Option<Targets>,
}

impl Entry {
    fn is_for(&self, exchange: &[u8], routing_key: &[u8]) -> bool {
        match self.pair.split_first() {
            Some((len, names)) => {
                usize::from(*len) == exchange.len()
                    && names.len() == exchange.len() + routing_key.len()
                    && names.starts_with(exchange)
                    && names.ends_with(routing_key)
            }
            None => false,
        }
    }
}

impl RouteCache {
    /// An empty cache; it grows as it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the pair leads, if that is known and still true. Allocates nothing.
    pub fn find(&mut self, exchange: &[u8], routing_key: &[u8]) -> Option<&[Arc<QueueHandle>]> {
        let at = self.position(exchange, routing_key)?;
        self.last = at;
        let entry = &mut self.entries[at];
        if !entry.targets.as_ref().is_some_and(Targets::is_valid) {
            entry.targets = None;
        }
        self.entries[at].targets.as_ref().map(Targets::queues)
    }

    /// Remembers where the pair leads, if that may be remembered.
    pub fn keep(&mut self, exchange: &[u8], routing_key: &[u8], targets: Targets) {
        if !targets.may_be_kept() || exchange.len() > usize::from(u8::MAX) {
            return;
        }
        self.last = match self.position(exchange, routing_key) {
            Some(known) => known,
            None => self.make_room(),
        };
        self.entries[self.last].targets = Some(targets);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where the pair's entry lies. When it is not the last one used, `scratch` holds the pair after.
    fn position(&mut self, exchange: &[u8], routing_key: &[u8]) -> Option<usize> {
        let last = self.entries.get(self.last);
        if last.is_some_and(|last| last.is_for(exchange, routing_key)) {
            return Some(self.last);
        }
        let exchange_len = u8::try_from(exchange.len()).ok()?;
        self.scratch.clear();
        self.scratch.push(exchange_len);
        self.scratch.extend_from_slice(exchange);
        self.scratch.extend_from_slice(routing_key);
        self.index.get(&self.scratch[..]).copied()
    }

    /// A place for the pair in `scratch`: a new one, or the oldest.
    fn make_room(&mut self) -> usize {
        let pair: Box<[u8]> = Box::from(&self.scratch[..]);
        let at = match self.entries.len() {
            ENTRIES_MAX => self.evict_oldest(),
            len => {
                self.entries.push(Entry {
                    pair: Box::default(),
                    targets: None,
                });
                len
            }
        };
        self.entries[at].pair = pair.clone();
        self.index.insert(pair, at);
        at
    }

    fn evict_oldest(&mut self) -> usize {
        let at = self.oldest;
        self.oldest = (at + 1) % ENTRIES_MAX;
        self.index.remove(&self.entries[at].pair);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::Routing;
    use crate::core::topology::Topology;
    use crate::core::topology::tests::{exchange, queue, to_queue, topology};

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
        if let Some(queues) = cache.find(exchange, key) {
            return (true, names(queues));
        }
        let routing = Routing {
            routing_keys: &[key],
            headers: None,
        };
        let targets = topology
            .route(exchange, &routing)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = names(targets.queues());
        cache.keep(exchange, key, targets);
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
        assert!(cache.find(b"", b"q").is_none());
        assert_eq!(Arc::strong_count(&queue), 1);
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
        assert!(cache.find(b"", b"dk").is_none());
    }

    #[test]
    fn the_cache_is_bounded_and_drops_the_oldest() {
        let (mut topology, mut cache) = (small(), RouteCache::new());
        let names: Vec<_> = (0..ENTRIES_MAX + 10).map(|n| format!("q{n}")).collect();
        for name in &names {
            topology.add_queue(queue(name));
            publish(&mut cache, &topology, "", name);
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert_eq!(cache.index.len(), ENTRIES_MAX);
        let known =
            |cache: &mut RouteCache, at: usize| cache.find(b"", names[at].as_bytes()).is_some();
        assert!(!known(&mut cache, 0) && !known(&mut cache, 9));
        assert!((10..names.len()).all(|at| known(&mut cache, at)));
        cache.clear();
        assert!(!known(&mut cache, 20));
    }
}
