//! Bindings: what one is, and [`Bindings`], all those of a vhost, found from either end.
//!
//! A binding *is* its source, destination, key and arguments: an equal one is the same one, another
//! one differs (BIND-01, BIND-02). Its ends are ids, so a binding never outlives an exchange or queue
//! by clinging to a name.
//!
//! ```text
//!   by source:       exchange 7 ─▶ { 7→q1 "a", 7→q2 "a", 7→x9 "b" }     if-unused, auto-delete
//!   by destination:  queue 1    ─▶ { 7→q1 "a", 8→q1 "" }                deleting queue 1
//! ```
//!
//! What it is not: an index for routing (each exchange has its own), or the check whether a binding
//! may be made (see [`crate::core::topology`]).
//!
//! Invariants: both indexes hold the same bindings, as many as are counted; no entry is an empty set; taking away what leads
//! to one destination costs in proportion to just that.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use leveret_protocol::{Table, TableBuf};

use super::exchange::ExchangeId;
use super::queue::QueueId;

/// Where a binding leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Into a queue.
    Queue(QueueId),
    /// On to another exchange (BIND-12).
    Exchange(ExchangeId),
}

/// Names a durable binding where it is written down. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId(pub u64);

/// One binding. Its id has no part in what it is: two that differ in nothing else are equal.
#[derive(Clone, Debug)]
pub struct Binding {
    source: ExchangeId,
    destination: Destination,
    routing_key: Box<[u8]>,
    arguments: TableBuf,
    durable_id: Option<BindingId>,
}

impl Binding {
    /// A transient binding; the arguments' order does not matter, their wire types do (BIND-02).
    pub fn new(
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: Table<'_>,
    ) -> Self {
        Self {
            source,
            destination,
            routing_key: Box::from(routing_key),
            arguments: arguments.to_owned().sorted(),
            durable_id: None,
        }
    }

    /// The same binding as one that survives a restart.
    #[must_use]
    pub fn durable_as(self, id: BindingId) -> Self {
        Self {
            durable_id: Some(id),
            ..self
        }
    }

    /// Its id if it survives a restart.
    pub fn durable_id(&self) -> Option<BindingId> {
        self.durable_id
    }

    /// The exchange it leads away from.
    pub fn source(&self) -> ExchangeId {
        self.source
    }

    /// Where it leads.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// The binding key.
    pub fn routing_key(&self) -> &[u8] {
        &self.routing_key
    }

    /// Its arguments, sorted by key.
    pub fn arguments(&self) -> &TableBuf {
        &self.arguments
    }

    fn ordered_by(&self) -> (ExchangeId, Destination, &[u8], &[u8]) {
        let arguments = self.arguments.view().as_bytes();
        (self.source, self.destination, &self.routing_key, arguments)
    }
}

impl PartialEq for Binding {
    fn eq(&self, other: &Self) -> bool {
        self.ordered_by() == other.ordered_by()
    }
}

impl Eq for Binding {}

impl Hash for Binding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ordered_by().hash(state);
    }
}

impl Ord for Binding {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ordered_by().cmp(&other.ordered_by())
    }
}

impl PartialOrd for Binding {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

type Index<K> = BTreeMap<K, BTreeSet<Arc<Binding>>>;

/// The bindings of one vhost.
#[derive(Debug, Default)]
pub struct Bindings {
    by_source: Index<ExchangeId>,
    by_destination: Index<Destination>,
    count: usize,
}

impl Bindings {
    /// Adds a binding; false if it was there (BIND-01).
    pub fn add(&mut self, binding: Arc<Binding>) -> bool {
        let from = self.by_source.entry(binding.source).or_default();
        if !from.insert(Arc::clone(&binding)) {
            return false;
        }
        self.count += 1;
        let to = self.by_destination.entry(binding.destination).or_default();
        to.insert(binding)
    }

    /// Takes a binding away and returns it as it was added; `None` if there was none (BIND-10).
    pub fn remove(&mut self, binding: &Binding) -> Option<Arc<Binding>> {
        remove_from(&mut self.by_source, binding.source, binding);
        let removed = remove_from(&mut self.by_destination, binding.destination, binding);
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The binding that equals this one, as it was added.
    pub fn find(&self, binding: &Binding) -> Option<&Arc<Binding>> {
        self.by_source.get(&binding.source)?.get(binding)
    }

    /// True when this very binding exists.
    pub fn contains(&self, binding: &Binding) -> bool {
        self.find(binding).is_some()
    }

    /// True when any binding leads away from the exchange (EXCH-22).
    pub fn has_source(&self, source: ExchangeId) -> bool {
        self.by_source.contains_key(&source)
    }

    /// Takes away every binding that leads away from the exchange, and returns them in order.
    pub fn remove_source(&mut self, source: ExchangeId) -> BTreeSet<Arc<Binding>> {
        let removed = self.by_source.remove(&source).unwrap_or_default();
        for binding in &removed {
            remove_from(&mut self.by_destination, binding.destination, binding);
        }
        self.count -= removed.len();
        removed
    }

    /// Takes away every binding that leads to the destination, and returns them in order.
    pub fn remove_destination(&mut self, destination: Destination) -> BTreeSet<Arc<Binding>> {
        let removed = self.by_destination.remove(&destination).unwrap_or_default();
        for binding in &removed {
            remove_from(&mut self.by_source, binding.source, binding);
        }
        self.count -= removed.len();
        removed
    }

    /// The bindings that lead away from the exchange, in order.
    pub fn of_source(&self, source: ExchangeId) -> impl Iterator<Item = &Arc<Binding>> {
        self.by_source.get(&source).into_iter().flatten()
    }

    /// The bindings that lead to the destination, in order.
    pub fn of_destination(&self, destination: Destination) -> impl Iterator<Item = &Arc<Binding>> {
        self.by_destination.get(&destination).into_iter().flatten()
    }

    /// All bindings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.by_source.values().flatten()
    }
}

fn remove_from<K: Ord + Copy>(
    index: &mut Index<K>,
    key: K,
    binding: &Binding,
) -> Option<Arc<Binding>> {
    let bindings = index.get_mut(&key)?;
    let removed = bindings.take(binding);
    if bindings.is_empty() {
        index.remove(&key);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use leveret_protocol::Value;

    fn bound(source: u64, queue: u64, key: &str, arguments: &TableBuf) -> Arc<Binding> {
        let destination = Destination::Queue(QueueId(queue));
        Arc::new(Binding::new(
            ExchangeId(source),
            destination,
            key.as_bytes(),
            arguments.view(),
        ))
    }

    fn plain(source: u64, queue: u64, key: &str) -> Arc<Binding> {
        bound(source, queue, key, &TableBuf::new())
    }

    #[test]
    fn bind_01_an_equal_binding_is_the_same_one() {
        let mut bindings = Bindings::default();
        assert!(bindings.add(plain(1, 1, "k")));
        assert!(!bindings.add(plain(1, 1, "k")));
        assert!(bindings.remove(&plain(1, 1, "k")).is_some());
        assert!(bindings.remove(&plain(1, 1, "k")).is_none());
        assert_eq!(bindings.iter().count(), 0);
    }

    #[test]
    fn bind_02_argument_order_is_irrelevant_and_wire_types_are_not() {
        let a_b = TableBuf::new()
            .with("a", Value::I32(2))
            .with("b", Value::Void);
        let b_a = TableBuf::new()
            .with("b", Value::Void)
            .with("a", Value::I32(2));
        let long = TableBuf::new()
            .with("a", Value::I64(2))
            .with("b", Value::Void);
        let mut bindings = Bindings::default();
        bindings.add(bound(1, 1, "k", &a_b));
        assert!(!bindings.add(bound(1, 1, "k", &b_a)));
        assert!(bindings.remove(&bound(1, 1, "k", &long)).is_none());
        assert!(bindings.add(bound(1, 1, "k", &long)));
        assert!(bindings.add(plain(1, 1, "k")));
        assert_eq!(bindings.iter().count(), 3);
    }

    #[test]
    fn bind_16_both_ends_find_and_drop_their_bindings() {
        let mut bindings = Bindings::default();
        for (source, queue, key) in [(1, 1, "a"), (1, 1, "b"), (1, 2, "a"), (2, 1, "")] {
            bindings.add(plain(source, queue, key));
        }
        let removed = bindings.remove_destination(Destination::Queue(QueueId(1)));
        assert_eq!(
            removed.into_iter().collect::<Vec<_>>(),
            [plain(1, 1, "a"), plain(1, 1, "b"), plain(2, 1, "")]
        );
        assert!(bindings.has_source(ExchangeId(1)) && !bindings.has_source(ExchangeId(2)));
        assert_eq!(bindings.remove_source(ExchangeId(1)).len(), 1);
        assert!(bindings.by_source.is_empty() && bindings.by_destination.is_empty());
    }
}
