//! [`Keeping`]: what a broker that keeps its data holds beside its vhosts: the open store and the
//! thread that reads from it.
//!
//! ```text
//!   open ──▶ Keeping + Recovered ──▶ restore ──▶ serve ──▶ close (or drop) ──▶ no thread left
//! ```
//!
//! What it is not: the store's rules. It opens, wires and closes.
//!
//! Invariant: once [`Keeping::close`] has returned, everything that was submitted is on disk, or the
//! store has failed and said so.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use leveret_storage::disk::{Disk, DiskOpenError, RealDisk};
use leveret_storage::{
    Commits, LogId, OpenError, Recovered, Store, StoreOptions, StoreStatus, Sync,
};
use thiserror::Error;

use super::health::{Health, Problem};
use super::loader::{Loader, Loads};
use crate::alarm::{Alarm, Cause};
use crate::clock::Clock;
use crate::config::{StorageConfig, StorageSync};
use crate::connections::Connections;
use crate::core::queue::{Load, Loaded};
use crate::core::queue_handle::QueueHandle;
use crate::core::stored_message;
use crate::limits::PENDING_BYTES_MAX;
use crate::timers::Timers;

/// A data directory that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// It is in use, not writable, or no directory.
    #[error(transparent)]
    Disk(#[from] DiskOpenError),
    /// What is in it cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The system has no thread or no random bytes to give.
    #[error("cannot open the store: {0}")]
    System(#[from] std::io::Error),
    /// An entry of the catalog is of a kind that this version does not know.
    #[error("{directory}: {error}")]
    Catalog {
        /// The data directory.
        directory: String,
        /// Which entry, and why.
        #[source]
        error: super::catalog::BadEntry,
    },
}

/// An open store and what goes with it.
#[derive(Debug)]
pub(crate) struct Keeping {
    store: Store,
    loader: Mutex<Option<Loader>>,
    damage: Vec<String>,
}

/// Opens the data directory, or makes one.
///
/// # Errors
/// One line that names the directory.
pub(crate) fn open(
    directory: &Path,
    config: &StorageConfig,
) -> Result<(Store, Recovered), KeepError> {
    let disk = RealDisk::open(directory)?;
    open_on(Arc::new(disk), config)
}

/// Opens the store on this disk.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_on(
    disk: Arc<dyn Disk>,
    config: &StorageConfig,
) -> Result<(Store, Recovered), KeepError> {
    let mut new_store_id = [0; 16];
    let random = getrandom::fill(&mut new_store_id);
    random.map_err(|error| std::io::Error::other(error.to_string()))?;
    let options = StoreOptions {
        sync: match config.sync {
            StorageSync::Always => Sync::Always,
            StorageSync::Never => Sync::Never,
        },
        segment_bytes: config.segment_bytes,
        free_bytes_min: config.disk_free_min_bytes,
        new_store_id,
    };
    let opened = Store::open(disk, options)?;
    if config.sync == StorageSync::Never {
        tracing::warn!(
            "storage.sync is \"never\": a crash of the machine may take what was confirmed"
        );
    }
    Ok(opened)
}

impl Keeping {
    /// Starts reading for queues. `damage` is what was found when the store was opened.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(
        store: Store,
        loads: Arc<Loads>,
        timers: Timers,
        clock: Clock,
        damage: Vec<String>,
    ) -> Result<Self, KeepError> {
        for what in &damage {
            tracing::error!(what, "the data directory is damaged");
        }
        let of_thread = store.clone();
        let read = Box::new(move |queue: &QueueHandle, load| read(&of_thread, queue, load));
        let loader = Loader::start(loads, read, timers, clock)?;
        Ok(Self {
            store,
            loader: Mutex::new(Some(loader)),
            damage,
        })
    }

    /// Raises the alarm while the disk is full, and logs what happens to the store.
    pub(crate) fn watch(&self, alarm: &Arc<Alarm>, connections: &Arc<Connections>) {
        let watch = Arc::new(Watch {
            alarm: Arc::clone(alarm),
            connections: Arc::clone(connections),
            failure_told: AtomicBool::new(false),
        });
        let of_store = Arc::clone(&watch);
        self.store
            .on_status_change(move |status| of_store.note(status));
        // What was so before, and again should it change while it is being noted: the store's own
        // thread may have noted the later status first.
        let mut noted = None;
        while noted.as_ref() != Some(&self.store.status()) {
            let status = self.store.status();
            watch.note(&status);
            noted = Some(status);
        }
    }

    /// How far the store has got.
    pub(crate) fn commits(&self) -> &Arc<Commits> {
        self.store.commits()
    }

    /// True while too much waits for the disk.
    pub(crate) fn is_behind(&self) -> bool {
        self.store.pending_bytes() > PENDING_BYTES_MAX
    }

    /// What is wrong now.
    pub(crate) fn health(&self) -> Health {
        let StoreStatus {
            failed, disk_full, ..
        } = self.store.status();
        let failed = failed.map(Problem::StoreFailed);
        let full = disk_full.then_some(Problem::DiskFull);
        let damage = self.damage.iter().cloned().map(Problem::Damage);
        Health {
            problems: failed.into_iter().chain(full).chain(damage).collect(),
        }
    }

    /// Writes everything that was submitted and ends all threads. Blocks on the disk. What is
    /// submitted later is not kept.
    pub(crate) fn close(&self) {
        let loader = self
            .loader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(loader);
        self.store.close();
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whom a change of the store concerns. Not the node: were this its last handle, the store's own thread
/// would have to end the store.
struct Watch {
    alarm: Arc<Alarm>,
    connections: Arc<Connections>,
    failure_told: AtomicBool,
}

impl Watch {
    fn note(&self, status: &StoreStatus) {
        if let Some(why) = &status.failed
            && !self.failure_told.swap(true, Ordering::Relaxed)
        {
            tracing::error!(
                why,
                "the store has failed: nothing persistent is confirmed any more; start the broker \
                 again when the cause is gone"
            );
        }
        let (alarm, full) = (&self.alarm, status.disk_full);
        if !alarm.set_for(&self.connections, Cause::Disk, full) {
            return;
        }
        if full {
            tracing::warn!("the disk is full: publishers are held up");
        } else {
            tracing::info!("the disk has space again: publishers go on");
        }
    }
}

fn read(store: &Store, queue: &QueueHandle, load: Load) -> Loaded {
    let log = LogId(queue.id().0);
    let (messages_max, bytes_max) = (load.messages_max, load.bytes_max);
    let read = store.read(log, load.first, load.last, messages_max, bytes_max);
    for position in &read.unreadable {
        let queue = &**queue.name();
        tracing::error!(queue, position, "a stored message cannot be read");
    }
    stored_message::decode_all(read, queue.name())
}
