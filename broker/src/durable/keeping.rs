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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leveret_storage::disk::{Disk, DiskOpenError, RealDisk};
use leveret_storage::{
    Commits, Held, LogId, OpenError, Recovered, Store, StoreOptions, StoreStatus, Sync,
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
    passed_over: Arc<PassedOver>,
}

/// Messages that could not be read when their queues wanted them.
#[derive(Debug, Default)]
struct PassedOver(Mutex<Option<(u64, String)>>);

impl PassedOver {
    /// Counts them; which was the first is kept to be told.
    fn add(&self, queue: &str, positions: &[u64]) {
        let Some(first) = positions.first() else {
            return;
        };
        let mut inside = self.lock();
        let which = || (0, format!("position {first} of queue '{queue}'"));
        inside.get_or_insert_with(which).0 += positions.len() as u64;
    }

    fn problem(&self) -> Option<Problem> {
        let inside = self.lock();
        let (count, first) = inside.as_ref()?;
        Some(Problem::Unreadable {
            count: *count,
            first: first.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u64, String)>> {
        // A count and a text are whole whatever happens.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let passed_over = Arc::<PassedOver>::default();
        let counted = Arc::clone(&passed_over);
        let read =
            Box::new(move |queue: &QueueHandle, load| read(&of_thread, queue, load, &counted));
        let loader = Loader::start(loads, read, timers, clock)?;
        Ok(Self {
            store,
            loader: Mutex::new(Some(loader)),
            damage,
            passed_over,
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

    /// While the answer lives, what this thread submits wakes nobody.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.store.hold()
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
            problems: failed
                .into_iter()
                .chain(full)
                .chain(self.passed_over.problem())
                .chain(damage)
                .collect(),
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

fn read(
    store: &Store,
    queue: &QueueHandle,
    load: Load,
    passed_over: &PassedOver,
) -> Option<Loaded> {
    let log = LogId(queue.id().0);
    let (messages_max, bytes_max) = (load.messages_max, load.bytes_max);
    let read = store.read(log, load.first, load.last, messages_max, bytes_max);
    if read.try_again {
        return None;
    }
    for position in &read.unreadable {
        let queue = &**queue.name();
        tracing::error!(queue, position, "a stored message cannot be read");
    }
    let loaded = stored_message::decode_all(read, queue.name());
    passed_over.add(queue.name(), &loaded.unreadable);
    Some(loaded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::topology::tests::{allow, counting, queue};
    use crate::core::vhost::Vhost;
    use leveret_storage::disk::fake::{FakeDisk, Fault, OperationKind, Trouble};
    use leveret_storage::{CatalogChange, NewMessage, Records};

    #[test]
    fn what_cannot_be_read_when_it_is_wanted_is_a_problem_and_what_has_to_wait_is_none() {
        let (disk, config) = (FakeDisk::new(), StorageConfig::default());
        let (store, _) = open_on(Arc::new(disk.clone()), &config).unwrap();
        let vhost = Vhost::new("/", counting());
        let (queue, _) = vhost.declare_queue(&queue("q"), &mut allow).unwrap();
        let log = LogId(queue.id().0);
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(log)], 0);
        for index in 7..9 {
            let message = NewMessage {
                index,
                time_ms: 0,
                body_bytes: 0,
                pieces: &[],
            };
            records.message(log, message);
        }
        store.submit(&mut records);
        store.close();
        let (store, _) = open_on(Arc::new(disk.clone()), &config).unwrap();
        let passed_over = PassedOver::default();
        let load = Load {
            first: 0,
            last: 9,
            messages_max: 9,
            bytes_max: 9_999,
        };
        disk.plan(Fault::once(OperationKind::Open, 1, Trouble::TooManyFiles));
        assert!(read(&store, &queue, load, &passed_over).is_none());
        assert_eq!(passed_over.problem(), None);
        disk.plan(Fault::lasting(OperationKind::Read, 1, Trouble::InputOutput));
        let loaded = read(&store, &queue, load, &passed_over).unwrap();
        assert_eq!(loaded.unreadable, [7, 8]);
        let problem = passed_over.problem().unwrap().to_string();
        let expected = "2 stored messages cannot be read, the first: position 7 of queue 'q'";
        assert_eq!(problem, expected);
    }
}
