//! [`StoreSink`]: takes down what has changed in any vhost and among the accounts, in the one store.
//!
//! What it is not: it waits for nothing; the epoch it returns is for whoever answers the client.
//!
//! Invariant: the *next id* in the catalog only grows, for it is read and submitted under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use leveret_storage::{CatalogChange, Epoch, Records, Store};

use super::catalog;
use crate::clock::Clock;
use crate::core::topology::{Applied, CatalogSink, Ids};

/// A buffer that grew beyond this is given back: deleting an exchange with a million bindings is one
/// record.
const BUFFER_BYTES_MAX: usize = 65_536;

/// The way of all vhosts into the catalog.
#[derive(Debug)]
pub(crate) struct StoreSink {
    store: Store,
    ids: Ids,
    clock: Clock,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    records: Records,
    recorded: Option<Epoch>,
}

impl StoreSink {
    /// A sink that has taken down nothing yet.
    pub(crate) fn new(store: Store, ids: Ids, clock: Clock) -> Self {
        Self {
            store,
            ids,
            clock,
            inside: Mutex::default(),
        }
    }

    /// Takes down changes of accounts and what has changed in these vhosts with them, all as one. Returns
    /// when that is safe, `None` if there is nothing to be kept.
    pub(crate) fn record_all(
        &self,
        mut changes: Vec<CatalogChange>,
        vhosts: &[(Arc<str>, Applied)],
    ) -> Option<Epoch> {
        let mut inside = self.lock();
        for (vhost, applied) in vhosts {
            changes.extend(catalog::changes(vhost, applied, self.ids.next()));
        }
        self.submit(&mut inside, &changes)
    }

    fn submit(&self, inside: &mut Inside, changes: &[CatalogChange]) -> Option<Epoch> {
        if changes.is_empty() {
            return None;
        }
        let time_ms = self.clock.moment(Instant::now()).unix_ms();
        inside.records.catalog(changes, time_ms);
        let epoch = self.store.submit(&mut inside.records);
        inside.records.clear(BUFFER_BYTES_MAX);
        inside.recorded = Some(epoch);
        Some(epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // A record is submitted as a whole or not at all.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CatalogSink for StoreSink {
    fn record(&self, vhost: &str, applied: &Applied) -> Option<Epoch> {
        let mut inside = self.lock();
        let changes = catalog::changes(vhost, applied, self.ids.next());
        self.submit(&mut inside, &changes)
    }

    fn recorded(&self) -> Option<Epoch> {
        self.lock().recorded
    }
}
