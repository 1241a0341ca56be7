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
//! What it is not: shared. One task owns it, no lock guards it.
//!
//! Invariants: at most [`ENTRIES_MAX`] entries; the index leads to an entry of the hash it was asked
//! for; an entry without targets is stale and holds no queue in memory. Of two pairs with one hash
//! only the later is found, so an entry is compared by its bytes before it is believed.

use std::hash::Hasher;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::queue_handle::QueueHandle;
use super::route::Targets;

/// The most pairs remembered: enough for a publisher that deals to some hundred queues by name; with
/// small answers the cache of a busy connection stays below 100 KiB.
pub const ENTRIES_MAX: usize = 512;

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
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    address: Box<[u8]>,
    targets: Option<Targets>,
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
        if entry
            .targets
            .as_ref()
            .is_some_and(|found| !found.is_valid())
        {
            entry.targets = None;
        }
        entry.targets.as_ref().map(Targets::queues)
    }

    /// Remembers where the pair leads, if that may be remembered.
    pub fn keep(&mut self, address: &[u8], targets: Targets) {
        if !targets.may_be_kept() {
            return;
        }
        if let Some(known) = self.search(address) {
            self.entries[known].targets = Some(targets);
            self.last = known;
            return;
        }
        let entry = Entry {
            hash: hash(address),
            address: Box::from(address),
            targets: Some(targets),
        };
        self.last = self.add(entry);
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

    /// Adds an entry, in place of the oldest if the cache is full.
    fn add(&mut self, entry: Entry) -> usize {
        let at = match self.entries.len() {
            ENTRIES_MAX => self.oldest,
            len => len,
        };
        if let Some(evicted) = self.entries.get_mut(at) {
            // The index may have moved on to a later pair of the same hash.
            if self.index.get(&evicted.hash) == Some(&at) {
                self.index.remove(&evicted.hash);
            }
            self.index.insert(entry.hash, at);
            *evicted = entry;
            self.oldest = (at + 1) % ENTRIES_MAX;
        } else {
            self.index.insert(entry.hash, at);
            self.entries.push(entry);
        }
        at
    }
}

fn hash(address: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(address);
    hasher.finish()
}

#[cfg(test)]
mod tests {
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
        };
        let targets = topology
            .route(exchange, &routing)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = names(targets.queues());
        cache.keep(&address(exchange, key), targets);
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
        let names: Vec<_> = (0..ENTRIES_MAX + 10).map(|n| format!("q{n}")).collect();
        for name in &names {
            topology.add_queue(queue(name));
            publish(&mut cache, &topology, "", name);
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert_eq!(cache.index.len(), ENTRIES_MAX);
        let known = |cache: &mut RouteCache, at: usize| {
            cache.find(&address(b"", names[at].as_bytes())).is_some()
        };
        assert!(!known(&mut cache, 0) && !known(&mut cache, 9));
        assert!((10..names.len()).all(|at| known(&mut cache, at)));
        cache.clear();
        assert!(!known(&mut cache, 20));
    }
}
