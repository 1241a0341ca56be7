//! [`Store`]: one open data directory, and its two threads.
//!
//! ```text
//!   submit ─▶ pending ──swap──▶ committer: journal.write ─▶ commits.advance ─▶ bells
//!             (leaf lock)          │ ▲
//!                      checkpoint  ▼ │ next segment
//!                                keeper: makes segments, writes checkpoints, removes, compacts
//! ```
//!
//! While one commit is on its way to the disk the next one gathers; no timer decides how long. Only
//! what nobody waits for (settlements) is gathered for a moment, and goes with the next commit or
//! after [`LAZY_DELAY`](committer::LAZY_DELAY).
//!
//! Lock order: a queue's lock, then the pending lock, which is held for a copy and never while
//! another is taken. The ledger's lock is only ever taken alone.
//!
//! Invariant: after a fault nothing is written any more, and no epoch is reached.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::active::Active;
use crate::checkpoint::Encoded;
use crate::committer::{self, Committer};
use crate::disk::Disk;
use crate::held::{self, Held};
use crate::journal::{Batch, Journal, JournalError, Keeper};
use crate::keeper::Housekeeper;
use crate::options::{Read, Recovered, StoreOptions, StoreStatus, Sync};
use crate::read::{MessageReader, Wanted};
use crate::recovery::{self, Mode};
use crate::superblock::Superblock;
use crate::{Commits, Epoch, LogId, OpenError, Records};

/// Settlements are written at once when there are so many bytes of them.
const LAZY_BYTES_MAX: usize = 64 * 1024;
/// How often a full disk is looked at again.
pub(crate) const FULL_RETRY: Duration = Duration::from_millis(100);
/// How often the free space is looked at.
const FREE_SPACE_CHECK: Duration = Duration::from_secs(2);
/// The epoch of what comes too late to be written: it is never reached.
const NEVER: Epoch = Epoch(u64::MAX);
/// A commit that takes longer than this is worth a line in the log.
const SLOW_COMMIT: Duration = Duration::from_secs(2);
/// A buffer that grew beyond this is given back after its commit.
pub(crate) const KEEP_BYTES_MAX: usize = 4 << 20;

/// One open data directory. Clones are handles to the same one; the last one that is dropped closes
/// it.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    /// `None` once closed: it holds the disk, and with it the directory's lock.
    reader: Mutex<Option<Arc<MessageReader>>>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    committer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

type StatusCall = Box<dyn Fn(&StoreStatus) + Send>;

/// What the threads and the handles share.
pub(crate) struct Shared {
    pub(crate) pending: Mutex<Pending>,
    pub(crate) wake: Condvar,
    pub(crate) pending_bytes: AtomicU64,
    pub(crate) commits: Arc<Commits>,
    status: Mutex<StoreStatus>,
    on_change: Mutex<Option<StatusCall>>,
    full: AtomicBool,
    /// When the commit began that is on its way.
    pub(crate) committing_since: Mutex<Option<Instant>>,
}

/// What was submitted and is not yet on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) batch: Batch,
    pub(crate) closing: bool,
    pub(crate) failed: bool,
    /// The committer's thread waits.
    pub(crate) is_idle: bool,
    /// When the first of what is there was submitted.
    pub(crate) since: Option<Instant>,
    /// Taken by whoever writes.
    pub(crate) committer: Option<Box<Committer>>,
}

impl Store {
    /// Opens the store on this disk, or makes one there.
    ///
    /// # Errors
    /// When the directory is of a newer version, damaged beyond what can be worked with, or cannot be
    /// read or written.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
    ) -> Result<(Self, Recovered), OpenError> {
        let (journal, housekeeper, recovered) = begin(&disk, &options)?;
        let shared = Arc::new(Shared::new());
        let reader = Arc::clone(&housekeeper.reader);
        let (requests, inbox) = channel();
        let (spares, spare) = channel();
        let hand = KeeperHand {
            shared: Arc::clone(&shared),
            requests,
            spare: Mutex::new(spare),
            is_asked: false,
        };
        let threads = start(&shared, journal, housekeeper, hand, inbox, spares)
            .map_err(|error| OpenError::io(&*disk, "", error))?;
        let handle = Handle {
            shared,
            reader: Mutex::new(Some(reader)),
            threads: Mutex::new(Some(threads)),
        };
        let store = Self {
            handle: Arc::new(handle),
        };
        Ok((store, recovered))
    }

    /// Appends records and leaves the buffer empty. Never waits for the disk. Returns the epoch that
    /// makes them last. What comes once the store is being closed or has failed is dropped; its epoch is
    /// never reached.
    pub fn submit(&self, records: &mut Records) -> Epoch {
        self.handle.shared.submit(records)
    }

    /// While the answer lives, what this thread submits wakes nobody; see [`Held::commit`].
    pub fn hold(&self) -> Held<'_> {
        Held::new(&self.handle.shared)
    }

    /// How far the store has got.
    pub fn commits(&self) -> &Arc<Commits> {
        &self.handle.shared.commits
    }

    /// Reads messages of a log from `first` to `last`, as many as the limits allow but at least one
    /// if there is one. Blocks on the disk: never call it under a lock or on a thread that serves. A
    /// closed store has none.
    pub fn read(
        &self,
        log: LogId,
        first: u64,
        last: u64,
        messages_max: usize,
        bytes_max: usize,
    ) -> Read {
        let reader = lock(&self.handle.reader).clone();
        let nothing = Read {
            through: last,
            ..Read::default()
        };
        reader.map_or(nothing, |reader| {
            reader.read(Wanted {
                log,
                first,
                last,
                messages_max,
                bytes_max,
            })
        })
    }

    /// Bytes that were submitted and are not committed yet.
    pub fn pending_bytes(&self) -> u64 {
        self.handle.shared.pending_bytes.load(Ordering::Relaxed)
    }

    /// What it can do now.
    pub fn status(&self) -> StoreStatus {
        self.handle.shared.status().clone()
    }

    /// Calls this whenever the status has changed: failed, full, or room again. Called on the store's
    /// own threads, which it must not hold up.
    pub fn on_status_change(&self, call: impl Fn(&StoreStatus) + Send + 'static) {
        *lock(&self.handle.shared.on_change) = Some(Box::new(call));
    }

    /// Writes everything that was submitted, ends the journal cleanly, and lets go of the directory, even
    /// if other handles are left. Blocks on the disk. Also done when the last handle is dropped.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn close(&self) {
        lock(&self.shared.pending).closing = true;
        self.shared.wake.notify_all();
        if let Some(threads) = lock(&self.threads).take() {
            // Both threads report what goes wrong themselves.
            let _ = threads.committer.join();
            let _ = threads.keeper.join();
        }
        *lock(&self.reader) = None;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads what is there and makes it ready to go on.
pub(crate) fn begin(
    disk: &Arc<dyn Disk>,
    options: &StoreOptions,
) -> Result<(Journal, Housekeeper, Recovered), OpenError> {
    let fresh = Superblock {
        store_id: options.new_store_id,
        node_id: options.new_store_id,
    };
    let superblock = recovery::superblock(&**disk, Some(fresh))?;
    let opened = recovery::open(&**disk, superblock, Mode::Repair)?;
    opened
        .notes
        .iter()
        .for_each(|note| tracing::info!(note, "recovered"));
    opened
        .damage
        .iter()
        .for_each(|damage| tracing::error!(%damage, "the store is damaged"));
    let store_id = superblock.store_id;
    let ledger = Arc::new(Mutex::new(opened.ledger));
    let mut housekeeper = Housekeeper {
        disk: Arc::clone(disk),
        store_id,
        ledger: Arc::clone(&ledger),
        segment_bytes: options.segment_bytes,
        free_bytes_min: options.free_bytes_min,
        next_number: Arc::new(AtomicU64::new(opened.last_number + 1)),
        kept: opened.kept,
        full: false,
        was_refused: false,
        reader: Arc::new(MessageReader::new(
            Arc::clone(disk),
            Arc::clone(&ledger),
            store_id,
        )),
    };
    housekeeper.recount();
    let recovered = recovery::recovered(&mut lock(&ledger), opened.clean, opened.damage);
    let syncs = options.sync == Sync::Always;
    let mut journal = Journal::new(
        ledger,
        store_id,
        syncs,
        opened.next_checkpoint,
        opened.last_number,
    );
    let checkpoint = journal.checkpoint(false);
    match housekeeper.write_checkpoint(&checkpoint) {
        Ok(()) => Ok((journal, housekeeper, recovered)),
        // What was replayed now will be replayed again, if there is something to replay it on.
        Err(JournalError::Full) if !housekeeper.kept.is_empty() => {
            Ok((journal, housekeeper, recovered))
        }
        Err(JournalError::Full) => {
            let error = std::io::ErrorKind::StorageFull.into();
            Err(OpenError::io(&**disk, "checkpoint", error))
        }
        Err(JournalError::Failed { what, error }) => Err(OpenError::io(&**disk, &what, error)),
    }
}

impl Shared {
    fn new() -> Self {
        let pending = Pending {
            batch: Batch::new(1),
            closing: false,
            failed: false,
            is_idle: false,
            since: None,
            committer: None,
        };
        Self {
            pending: Mutex::new(pending),
            wake: Condvar::new(),
            pending_bytes: AtomicU64::new(0),
            commits: Arc::default(),
            status: Mutex::default(),
            on_change: Mutex::default(),
            full: AtomicBool::new(false),
            committing_since: Mutex::default(),
        }
    }

    fn submit(&self, records: &mut Records) -> Epoch {
        let mut pending = lock(&self.pending);
        if pending.failed || pending.closing {
            // Not the epoch of what is still to be written, which does not have it.
            drop(pending);
            records.clear(KEEP_BYTES_MAX);
            return NEVER;
        }
        let epoch = Epoch(pending.batch.epoch);
        let was_pressing = pending.is_pressing();
        let was_empty = pending.batch.bytes.is_empty();
        if was_empty {
            pending.batch.begin();
        }
        pending.batch.bytes.extend_from_slice(records.bytes());
        pending.batch.must_sync |= records.must_sync();
        let has_become_pressing = !was_pressing && pending.is_pressing();
        let is_free = pending.is_idle && pending.committer.is_some();
        let wakes =
            is_free && (was_empty || has_become_pressing) && !held::is_held_by_this_thread(self);
        self.pending_bytes
            .fetch_add(records.bytes().len() as u64, Ordering::Relaxed);
        drop(pending);
        if wakes {
            self.wake.notify_all();
        }
        records.clear(KEEP_BYTES_MAX);
        epoch
    }

    /// Gives the committer back, and wakes the store's thread if there is more to write.
    pub(crate) fn put_back(&self, committer: Box<Committer>) {
        let mut pending = lock(&self.pending);
        if pending.failed {
            return;
        }
        pending.committer = Some(committer);
        drop(pending);
        self.wake_if_due();
    }

    /// Wakes the store's thread if it waits and there is something for it to do.
    pub(crate) fn wake_if_due(&self) {
        let pending = lock(&self.pending);
        let has_work = pending.has_work();
        if pending.is_idle && has_work {
            drop(pending);
            self.wake.notify_all();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, what: &str, error: &std::io::Error) {
        tracing::error!(what, %error, "the store has failed: nothing is stored from now on");
        {
            let mut pending = lock(&self.pending);
            if pending.failed {
                // The first fault is the one to tell of.
                return;
            }
            pending.failed = true;
            pending.batch.clear(0);
        }
        self.wake.notify_all();
        self.pending_bytes.store(0, Ordering::Relaxed);
        self.change_status(|status| status.failed = Some(format!("{what}: {error}")));
        self.commits.fail();
    }

    /// Says once of each commit that it takes long: nothing is confirmed meanwhile.
    fn warn_of_slow_commit(&self, warned_of: &mut Option<Instant>) {
        let since = *lock(&self.committing_since);
        let waited = since.map(|since| since.elapsed()).unwrap_or_default();
        if waited >= SLOW_COMMIT && *warned_of != since {
            *warned_of = since;
            let waited_ms = waited.as_millis() as u64;
            tracing::warn!(
                waited_ms,
                "the disk is slow: nothing is confirmed meanwhile"
            );
        }
    }

    pub(crate) fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            self.change_status(|status| status.disk_full = full);
        }
    }

    fn change_status(&self, change: impl FnOnce(&mut StoreStatus)) {
        let status = {
            let mut status = self.status();
            change(&mut status);
            status.clone()
        };
        if let Some(call) = &*lock(&self.on_change) {
            call(&status);
        }
    }

    fn status(&self) -> MutexGuard<'_, StoreStatus> {
        lock(&self.status)
    }

    pub(crate) fn is_ending(&self) -> bool {
        let pending = lock(&self.pending);
        pending.closing || pending.failed
    }
}

impl Pending {
    /// True when what is there should be written without waiting for more.
    pub(crate) fn is_pressing(&self) -> bool {
        self.batch.must_sync || self.batch.bytes.len() >= LAZY_BYTES_MAX
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("status", &*self.status())
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

/// The keeper as the committer sees it.
#[derive(Debug)]
pub(crate) struct KeeperHand {
    shared: Arc<Shared>,
    requests: Sender<Request>,
    spare: Mutex<Receiver<Result<Active, JournalError>>>,
    /// A segment was asked for and has not been taken.
    is_asked: bool,
}

/// What the committer asks of the keeper.
#[derive(Debug)]
enum Request {
    /// A segment ahead of time; and the one that was made before is of no use.
    Segment {
        capacity: u64,
        useless: Option<Active>,
    },
    Checkpoint(Encoded),
}

impl KeeperHand {
    pub(crate) fn ask(&mut self, capacity: u64, useless: Option<Active>) {
        let request = Request::Segment { capacity, useless };
        self.is_asked = self.requests.send(request).is_ok();
    }
}

impl Keeper for KeeperHand {
    fn next_segment(&mut self, capacity: u64) -> Result<Active, JournalError> {
        let mut useless = None;
        loop {
            if !self.is_asked {
                self.ask(capacity, useless.take());
            }
            let made = lock(&self.spare).recv().map_err(|_| keeper_is_gone())?;
            self.is_asked = false;
            let made = made?;
            if made.capacity() >= capacity {
                self.ask(0, None);
                return Ok(made);
            }
            // Too small for this record; its number is passed over.
            useless = Some(made);
        }
    }

    fn checkpoint(&mut self, checkpoint: Encoded) -> Result<(), JournalError> {
        self.requests
            .send(Request::Checkpoint(checkpoint))
            .map_err(|_| keeper_is_gone())
    }

    fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }
}

fn keeper_is_gone() -> JournalError {
    JournalError::Failed {
        what: "keep the directory".to_owned(),
        error: std::io::Error::other("the thread has ended"),
    }
}

fn start(
    shared: &Arc<Shared>,
    journal: Journal,
    housekeeper: Housekeeper,
    hand: KeeperHand,
    inbox: Receiver<Request>,
    spares: Sender<Result<Active, JournalError>>,
) -> std::io::Result<Threads> {
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let for_keeper = Arc::clone(shared);
    let keeper =
        named("leveret-keeper").spawn(move || keep(&for_keeper, housekeeper, &inbox, &spares))?;
    let for_committer = Arc::clone(shared);
    let committer = Committer::new(journal, hand);
    let committer =
        named("leveret-commit").spawn(move || committer::run(&for_committer, committer))?;
    Ok(Threads { committer, keeper })
}

/// Fails the store if its thread ends by a panic: nobody would write any more.
pub(crate) struct FailOnPanic<'s>(pub(crate) &'s Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = std::io::Error::other("a thread of the store has panicked");
            self.0.fail("go on", &error);
        }
    }
}

/// The keeper's thread.
fn keep(
    shared: &Shared,
    mut housekeeper: Housekeeper,
    inbox: &Receiver<Request>,
    spares: &Sender<Result<Active, JournalError>>,
) {
    let _guard = FailOnPanic(shared);
    let mut warned_of = None;
    loop {
        shared.warn_of_slow_commit(&mut warned_of);
        let pause = if housekeeper.full {
            FULL_RETRY
        } else {
            FREE_SPACE_CHECK
        };
        let done = match inbox.recv_timeout(pause) {
            Ok(Request::Segment { capacity, useless }) => {
                let made = housekeeper.make_instead(capacity, useless);
                housekeeper.was_refused = matches!(made, Err(JournalError::Full));
                // The committer may have ended; then nobody needs it.
                let _ = spares.send(made);
                Ok(())
            }
            Ok(Request::Checkpoint(checkpoint)) => housekeeper.write_checkpoint(&checkpoint),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                if shared.status().failed.is_none() {
                    housekeeper.remove_spares();
                }
                return;
            }
        };
        housekeeper.full = housekeeper.is_short_of_room();
        match done {
            Ok(()) => shared.set_full(housekeeper.full),
            Err(JournalError::Full) => shared.set_full(true),
            Err(JournalError::Failed { what, error }) => return shared.fail(&what, &error),
        }
    }
}

/// Whatever was being done under these locks leaves what they guard whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::fake::{FakeDisk, Fault, OperationKind, Trouble};
    use crate::{CatalogChange, CommitBell, CommitState, NewMessage};

    /// So that a broken store fails a test instead of holding it up.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn opened(disk: Arc<dyn Disk>) -> Store {
        let options = StoreOptions {
            segment_bytes: 65_536,
            ..StoreOptions::default()
        };
        Store::open(disk, options).unwrap().0
    }

    fn submit(store: &Store, key: &str) -> Epoch {
        let mut records = Records::default();
        let put = CatalogChange::Put {
            key: key.into(),
            value: Vec::new(),
        };
        records.catalog(&[put], 0);
        store.submit(&mut records)
    }

    #[test]
    fn what_comes_while_it_closes_is_dropped_and_never_counts_as_committed() {
        let disk = FakeDisk::new();
        let store = opened(Arc::new(disk.clone()));
        disk.hold(OperationKind::SyncFile);
        let first = submit(&store, "first");
        assert!(disk.wait_for_held(1, PATIENCE));
        let second = submit(&store, "second");
        lock(&store.handle.shared.pending).closing = true;
        let late = submit(&store, "late");
        disk.release();
        store.close();
        let states = [first, second, late].map(|epoch| store.commits().state(epoch));
        let (reached, failed) = (CommitState::Reached, CommitState::Failed);
        assert_eq!(states, [reached, reached, failed]);
        let (_, recovered) = Store::open(Arc::new(disk), StoreOptions::default()).unwrap();
        let keys: Vec<_> = recovered.catalog.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn when_too_many_files_are_open_the_store_waits_and_nothing_is_given_up() {
        let disk = FakeDisk::new();
        let store = opened(Arc::new(disk.clone()));
        submit(&store, "first");
        let log = LogId(1);
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(log)], 0);
        let body = vec![7; 20_000];
        for index in 0..3 {
            let message = NewMessage {
                index,
                time_ms: 0,
                body_bytes: 20_000,
                pieces: &[&body],
            };
            records.message(log, message);
        }
        let written = store.submit(&mut records);
        wait_for(&store, written);
        for kind in [OperationKind::Open, OperationKind::Create] {
            disk.plan(Fault::lasting(kind, 1, Trouble::TooManyFiles));
        }
        let read = store.read(log, 0, 2, 3, 1 << 20);
        assert!(read.try_again && read.unreadable.is_empty(), "{read:?}");
        let (send, changed) = channel();
        store.on_status_change(move |status| {
            let _ = send.send(status.clone());
        });
        let mut waits = Epoch(0);
        for index in 3..9 {
            let message = NewMessage {
                index,
                time_ms: 0,
                body_bytes: 20_000,
                pieces: &[&body],
            };
            records.message(log, message);
            waits = store.submit(&mut records);
        }
        let status = changed.recv_timeout(PATIENCE).unwrap();
        assert_eq!((status.disk_full, status.failed), (true, None));
        assert_eq!(store.commits().state(waits), CommitState::Waiting);
        disk.mend();
        wait_for(&store, waits);
        assert_eq!(store.commits().state(waits), CommitState::Reached);
        let read = store.read(log, 0, 2, 3, 1 << 20);
        assert!(!read.try_again && !read.messages.is_empty());
    }

    fn wait_for(store: &Store, epoch: Epoch) {
        struct Told(Sender<()>);
        impl CommitBell for Told {
            fn on_commit(&self) {
                let _ = self.0.send(());
            }
        }
        let (send, told) = channel();
        store.commits().ring_at(epoch, Arc::new(Told(send)));
        told.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_closed_store_lets_go_of_its_disk_while_handles_are_left() {
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        let weak = Arc::downgrade(&disk);
        let store = opened(disk);
        let other = store.clone();
        store.close();
        assert!(weak.upgrade().is_none());
        let read = other.read(LogId(1), 3, 5, 1, 1);
        assert_eq!((read.messages.len(), read.through), (0, 5));
    }
}
