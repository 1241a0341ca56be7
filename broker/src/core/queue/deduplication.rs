//! [`QueueDeduplication`]: which messages a queue does not take in, because it has the same or had it.
//!
//! ```text
//!   without a size or a time: for as long as the first is in the queue   (the RabbitMQ plugin's way)
//!      taken in ──▶ known by key and position ──▶ settled, expired, dropped, purged ──▶ forgotten
//!   with one of them: until the cache forgets it                         (LavinMQ's way)
//!      taken in ──▶ cache ──▶ its time is over, or others need its room
//! ```
//!
//! What it is not: it survives no restart. Messages that a queue brings back from the store are not known
//! here, and duplicates of them are taken in; the plugin forgets them as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use leveret_protocol::Properties;

use crate::core::deduplication::{CACHE_BYTES_MAX, Cache, Deduplication};
use crate::core::{Message, Moment};

/// What a key needs beside its bytes: its places in both maps, and its allocation's head.
const ENTRY_BYTES: usize = 128;

/// A queue's memory of what it has taken in.
#[derive(Debug)]
pub(super) struct QueueDeduplication {
    asked: Deduplication,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    WhileQueued(Queued),
    Cache(Cache),
}

impl QueueDeduplication {
    pub(super) fn new(asked: Deduplication) -> Self {
        let memory = match (asked.size_max, asked.ttl_ms) {
            (None, None) => Memory::WhileQueued(Queued::default()),
            _ => Memory::Cache(asked.cache()),
        };
        Self { asked, memory }
    }

    /// True if the message is not to be taken in. If it is, it gets this position.
    pub(super) fn is_duplicate(&mut self, message: &Message, position: u64, now: Moment) -> bool {
        let properties = Properties::parse(message.properties()).unwrap_or_default();
        let Some(sighting) = self.asked.sighting(properties.headers) else {
            return false;
        };
        match &mut self.memory {
            Memory::WhileQueued(queued) => !queued.is_first(sighting.key, position),
            Memory::Cache(cache) => !cache.is_first(sighting, now),
        }
    }

    /// The bytes of what it remembers.
    pub(super) fn held_bytes(&self) -> u64 {
        match &self.memory {
            Memory::WhileQueued(queued) => queued.bytes as u64,
            Memory::Cache(cache) => cache.held_bytes(),
        }
    }

    /// The message of this position is no longer in the queue.
    pub(super) fn left(&mut self, position: u64) {
        if let Memory::WhileQueued(queued) = &mut self.memory {
            queued.left(position);
        }
    }

    /// All ready messages have left. As in the plugin unsettled ones are forgotten with them.
    pub(super) fn purged(&mut self) {
        if let Memory::WhileQueued(queued) = &mut self.memory {
            *queued = Queued::default();
        }
    }
}

/// The keys of the messages in a queue.
///
/// Invariant: both maps say the same, and need at most [`CACHE_BYTES_MAX`]; of a queue that has more, the
/// oldest messages are not known.
#[derive(Debug, Default)]
struct Queued {
    positions: HashMap<Arc<[u8]>, u64>,
    keys: BTreeMap<u64, Arc<[u8]>>,
    bytes: usize,
}

impl Queued {
    fn is_first(&mut self, key: Box<[u8]>, position: u64) -> bool {
        if self.positions.contains_key(&*key) {
            return false;
        }
        self.bytes += key.len() + ENTRY_BYTES;
        let key: Arc<[u8]> = Arc::from(key);
        self.positions.insert(Arc::clone(&key), position);
        self.keys.insert(position, key);
        while self.bytes > CACHE_BYTES_MAX
            && let Some(oldest) = self.keys.first_key_value().map(|(position, _)| *position)
        {
            self.left(oldest);
        }
        true
    }

    fn left(&mut self, position: u64) {
        if let Some(key) = self.keys.remove(&position) {
            self.positions.remove(&key);
            self.bytes -= key.len() + ENTRY_BYTES;
        }
    }
}
