//! [`Vhosts`]: the vhosts of a running broker by name, and how another one is made.
//!
//! What it is not: who decides which there are (see [`crate::accounts`]), or their limits (see
//! [`crate::access`]).
//!
//! Invariant: a vhost that is in here is not sealed, and what it began with has been handed to the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use leveret_storage::{CatalogChange, Epoch};

use crate::core::reserve::Reserve;
use crate::core::topology::{Applied, CatalogSink, Ids, MakeQueue, Topology};
use crate::core::vhost::Vhost;
use crate::durable::sink::StoreSink;

/// What vhosts are made with.
#[derive(Clone)]
pub(crate) struct VhostMaker {
    pub(crate) ids: Ids,
    pub(crate) make_queue: MakeQueue,
    /// None in a broker that keeps nothing.
    pub(crate) sink: Option<Arc<StoreSink>>,
    /// What they hold comes out of it.
    pub(crate) reserve: Arc<Reserve>,
}

impl VhostMaker {
    /// A topology with nothing in it.
    pub(crate) fn topology(&self, name: &str) -> Topology {
        Topology::new(name, self.ids.clone(), Arc::clone(&self.make_queue))
    }

    /// A vhost that begins with this, and takes down what it adds to it.
    pub(crate) fn vhost(&self, topology: Topology) -> Arc<Vhost> {
        Arc::new(Vhost::within(&self.reserve, topology, self.vhost_sink()))
    }

    /// A new vhost, and what of it is still to be taken down.
    pub(crate) fn unrecorded(&self, name: &str) -> (Arc<Vhost>, Applied) {
        let (vhost, applied) =
            Vhost::unrecorded(&self.reserve, self.topology(name), self.vhost_sink());
        (Arc::new(vhost), applied)
    }

    /// Takes down changes of accounts and of vhosts, all as one. Returns when that is safe, if it needs
    /// waiting for.
    pub(crate) fn record(
        &self,
        changes: Vec<CatalogChange>,
        vhosts: &[(Arc<str>, Applied)],
    ) -> Option<Epoch> {
        self.sink.as_ref()?.record_all(changes, vhosts)
    }

    fn vhost_sink(&self) -> Option<Arc<dyn CatalogSink>> {
        let sink = self.sink.clone()?;
        Some(sink)
    }
}

impl fmt::Debug for VhostMaker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("VhostMaker").finish_non_exhaustive()
    }
}

/// The vhosts of one broker.
#[derive(Debug)]
pub(crate) struct Vhosts {
    maker: VhostMaker,
    by_name: RwLock<HashMap<String, Arc<Vhost>>>,
}

impl Vhosts {
    pub(crate) fn new(maker: VhostMaker, vhosts: impl IntoIterator<Item = Arc<Vhost>>) -> Self {
        let named = vhosts.into_iter();
        let named = named.map(|vhost| (vhost.name().to_string(), vhost));
        Self {
            maker,
            by_name: RwLock::new(named.collect()),
        }
    }

    pub(crate) fn maker(&self) -> &VhostMaker {
        &self.maker
    }

    /// The vhost of exactly this name (CONN-20).
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Vhost>> {
        self.read().get(name).cloned()
    }

    /// All vhosts, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Vhost>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|one, other| one.name().cmp(other.name()));
        all
    }

    pub(crate) fn insert(&self, vhost: Arc<Vhost>) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(vhost.name().to_string(), vhost);
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(name);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Vhost>>> {
        // Inserting and removing leave the map whole whatever happens.
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }
}
