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

    fn position(&mut self, exchange: &[u8], routing_key: &[u8]) -> Option<usize> {
        let last = self.entries.get(self.last)?;
        if last.is_for(exchange, routing_key) {
            return Some(self.last);
        }
        self.scratch.clear();
        // A longer exchange name than 255 bytes cannot exist, and its cut length misses or finds a
        // pair of the same bytes.
        self.scratch.push(exchange.len() as u8);
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
