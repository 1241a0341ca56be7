//! [`Cache`]: which keys were seen, bounded by number, by time and by memory.
//!
//! ```text
//!   order      oldest ─▶ a b c d e ◀─ latest      a key that comes again while it is here is a
//!   entries    a b c d e by key                   duplicate, and stays where it is
//! ```
//!
//! The oldest make room; one whose time is over goes when it is the oldest, or when it comes again.
//!
//! What it is not: it has no clock and no lock.
//!
//! Invariants: at most `size_max` keys, which need at most [`CACHE_BYTES_MAX`]; the order names every
//! key once with its latest number, and at most as many that are no more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Sighting;
use crate::core::Moment;

/// The most memory that one cache needs, whatever its size: a million keys of the usual length. Caches
/// are not counted by the memory alarm, and hold up nobody.
pub const CACHE_BYTES_MAX: usize = 128 << 20;

/// What a key needs beside its bytes: its places in the map and in the order, and its allocation's head.
const ENTRY_BYTES: usize = 96;

/// So few keys that are no more are not worth looking for.
const STALE_MIN: usize = 64;

/// What was seen.
#[derive(Debug)]
pub struct Cache {
    size_max: u64,
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Arc<[u8]>, Entry>,
    order: VecDeque<(u64, Arc<[u8]>)>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    expires_at: Option<Moment>,
}

impl Entry {
    fn has_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl Cache {
    /// An empty cache of at most `size_max` keys; it grows as it is used.
    pub fn new(size_max: u64) -> Self {
        Self {
            size_max,
            bytes_max: CACHE_BYTES_MAX,
            bytes: 0,
            entries: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
        }
    }

    /// Notes a sighting; says whether it is the first that is remembered.
    pub fn is_first(&mut self, sighting: Sighting, now: Moment) -> bool {
        self.forget_expired(now);
        let known = self.entries.get(&*sighting.key);
        if known.is_some_and(|known| !known.has_expired(now)) {
            return false;
        }
        self.forget(&sighting.key);
        self.add(sighting, now);
        true
    }

    /// Forgets a key; what is not known is forgotten already.
    pub fn forget(&mut self, key: &[u8]) {
        if self.entries.remove(key).is_some() {
            self.bytes -= bytes_of(key);
        }
        self.forget_stale();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
    }

    /// The bytes of the keys and of what is needed beside them.
    pub fn held_bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A key that alone needs too much memory is not remembered.
    fn add(&mut self, sighting: Sighting, now: Moment) {
        let bytes = bytes_of(&sighting.key);
        if self.size_max == 0 || bytes > self.bytes_max {
            return;
        }
        while self.len() as u64 >= self.size_max || self.bytes + bytes > self.bytes_max {
            self.forget_oldest();
        }
        let key: Arc<[u8]> = Arc::from(sighting.key);
        let entry = Entry {
            number: self.next,
            expires_at: sighting.ttl_ms.map(|ttl_ms| now.after_ms(ttl_ms)),
        };
        self.order.push_back((self.next, Arc::clone(&key)));
        self.entries.insert(key, entry);
        self.bytes += bytes;
        self.next += 1;
    }

    fn forget_oldest(&mut self) {
        if let Some((number, key)) = self.order.pop_front()
            && self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.number == number)
        {
            self.entries.remove(&key);
            self.bytes -= bytes_of(&key);
        }
    }

    fn forget_expired(&mut self, now: Moment) {
        while let Some((number, key)) = self.order.front() {
            let entry = self.entries.get(key);
            let is_live = |entry: &Entry| entry.number == *number && !entry.has_expired(now);
            if entry.is_some_and(is_live) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Keeps the order from growing with what is no more.
    fn forget_stale(&mut self) {
        if self.order.len() > 2 * self.entries.len() + STALE_MIN {
            let entries = &self.entries;
            let is_live = |(number, key): &(u64, Arc<[u8]>)| {
                entries
                    .get(key)
                    .is_some_and(|entry| entry.number == *number)
            };
            self.order.retain(is_live);
        }
    }
}

fn bytes_of(key: &[u8]) -> usize {
    key.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sighting(key: u8, ttl_ms: Option<u64>) -> Sighting {
        let key = Box::from([key]);
        Sighting { key, ttl_ms }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_unix_ms(ms)
    }

    fn is_first(cache: &mut Cache, key: u8, ms: u64) -> bool {
        cache.is_first(sighting(key, Some(10)), at(ms))
    }

    #[test]
    fn a_key_is_a_duplicate_until_its_time_is_over() {
        let mut cache = Cache::new(8);
        assert!(is_first(&mut cache, 1, 0));
        assert!(!is_first(&mut cache, 1, 9), "and does not begin anew");
        assert!(is_first(&mut cache, 1, 10));
        assert!(!is_first(&mut cache, 1, 19));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = Cache::new(2);
        assert!(is_first(&mut cache, 1, 0) && is_first(&mut cache, 2, 0));
        assert!(
            !is_first(&mut cache, 1, 0),
            "seeing it again makes it no younger"
        );
        assert!(is_first(&mut cache, 3, 0));
        assert!(!is_first(&mut cache, 2, 0));
        assert!(is_first(&mut cache, 1, 0));
    }

    #[test]
    fn long_keys_make_room_by_their_bytes() {
        const BYTES_MAX: usize = 4096;
        let mut cache = Cache {
            bytes_max: BYTES_MAX,
            ..Cache::new(u64::MAX)
        };
        let long = |byte| Sighting {
            key: vec![byte; BYTES_MAX / 2 - ENTRY_BYTES].into(),
            ttl_ms: None,
        };
        for byte in 0..4 {
            assert!(cache.is_first(long(byte), at(0)));
            assert!(cache.bytes <= BYTES_MAX);
        }
        assert_eq!(cache.len(), 2);
        let too_long = || Sighting {
            key: vec![0; BYTES_MAX].into(),
            ttl_ms: None,
        };
        assert!(cache.is_first(too_long(), at(0)) && cache.is_first(too_long(), at(0)));
        assert_eq!(cache.len(), 2, "it pushed nobody out");
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind() {
        let mut cache = Cache::new(1000);
        cache.is_first(sighting(0, None), at(0));
        for _ in 0..10_000 {
            cache.is_first(sighting(1, None), at(0));
            cache.forget(&[1]);
        }
        assert_eq!(cache.len(), 1);
        assert!(cache.order.len() <= 2 + STALE_MIN, "{}", cache.order.len());
    }

    /// The same without an index: keys with their ends, oldest first.
    struct Model {
        size_max: usize,
        keys: Vec<(u8, Option<u64>)>,
    }

    impl Model {
        fn is_first(&mut self, key: u8, ttl_ms: Option<u64>, now: u64) -> bool {
            let over = |end: Option<u64>| end.is_some_and(|end| end <= now);
            while self.keys.first().is_some_and(|(_, end)| over(*end)) {
                self.keys.remove(0);
            }
            if let Some(place) = self.keys.iter().position(|(other, _)| *other == key) {
                if !over(self.keys[place].1) {
                    return false;
                }
                self.keys.remove(place);
            }
            while self.keys.len() >= self.size_max {
                self.keys.remove(0);
            }
            self.keys.push((key, ttl_ms.map(|ttl_ms| now + ttl_ms)));
            true
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        See(u8, Option<u64>),
        Forget(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..8_u8, proptest::option::of(0..20_u64)).prop_map(|(key, ttl)| Step::See(key, ttl)),
            1 => (0..8_u8).prop_map(Step::Forget),
            2 => (1..8_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn a_cache_remembers_what_its_model_does(
            size_max in 1..6_usize,
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut cache = Cache::new(size_max as u64);
            let mut model = Model { size_max, keys: Vec::new() };
            let mut now = 0;
            for step in steps {
                match step {
                    Step::See(key, ttl_ms) => prop_assert_eq!(
                        cache.is_first(sighting(key, ttl_ms), at(now)),
                        model.is_first(key, ttl_ms, now),
                    ),
                    Step::Forget(key) => {
                        cache.forget(&[key]);
                        model.keys.retain(|(other, _)| *other != key);
                    }
                    Step::Wait(ms) => now += ms,
                }
                prop_assert_eq!(cache.len(), model.keys.len());
                let bytes: usize = cache.entries.keys().map(|key| bytes_of(key)).sum();
                prop_assert_eq!(cache.bytes, bytes);
            }
        }
    }
}
