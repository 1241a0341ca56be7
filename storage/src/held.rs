//! [`Held`]: commits in the thread that submits, when it has nothing else to do.
//!
//! ```text
//!   hold ─▶ submit, submit ─┬─ commit ─▶ nobody else writes, it is little ─▶ written here
//!                           │               └─ otherwise ─▶ the store's thread is woken
//!                           └─ dropped ─────────────────────▶ the store's thread is woken
//! ```
//!
//! A client that waits for each confirm gets nothing from a commit in another thread, and pays for
//! waking that thread and for being woken by it, which takes about half as long as the disk itself.
//!
//! What it is not: a way to wait. It writes at once or leaves it to the store's thread.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::committer::{Committer, Outcome};
use crate::store::{FailOnPanic, Shared, lock};

/// More than this is left to the store's thread: it takes long, and somebody else can use the time.
const BYTES_MAX: usize = 32 * 1024;

thread_local! {
    /// The store whose thread is not woken by what this thread submits; none is at zero.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, what this thread submits to the store wakes nobody. Not to be kept across anything that
/// waits.
#[derive(Debug)]
pub struct Held<'s> {
    shared: &'s Shared,
    /// It is about this thread.
    _stays: PhantomData<*const ()>,
}

/// The right to write what is pending, which blocks on the disk.
#[derive(Debug)]
pub struct CommitHere<'s> {
    shared: &'s Shared,
    committer: Option<Box<Committer>>,
}

impl<'s> Held<'s> {
    pub(crate) fn new(shared: &'s Shared) -> Self {
        HELD.set(place_of(shared));
        let _stays = PhantomData;
        Self { shared, _stays }
    }

    /// The right to commit what is pending, if somebody waits for it, it is little, and nobody else writes.
    /// Otherwise the store's thread does it.
    pub fn commit(self) -> Option<CommitHere<'s>> {
        let shared = self.shared;
        let mut pending = lock(&shared.pending);
        let is_little = pending.batch.must_sync && pending.batch.bytes.len() <= BYTES_MAX;
        if !is_little || pending.closing || pending.failed || shared.is_full() {
            return None;
        }
        let committer = Some(pending.take_committer()?);
        Some(CommitHere { shared, committer })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        HELD.set(0);
        self.shared.wake_if_due();
    }
}

impl CommitHere<'_> {
    /// Writes it and waits for the disk. Without room on the disk it is left to the store's thread.
    pub fn run(mut self) {
        let _guard = FailOnPanic(self.shared);
        if let Some(mut committer) = self.committer.take()
            && committer.commit(self.shared) != Outcome::Failed
        {
            self.shared.put_back(committer);
        }
    }
}

impl Drop for CommitHere<'_> {
    fn drop(&mut self) {
        if let Some(mut committer) = self.committer.take() {
            committer.leave_unfinished();
            self.shared.put_back(committer);
        }
    }
}

/// Whether this thread has said that it will see to what it submits.
pub(crate) fn is_held_by_this_thread(shared: &Shared) -> bool {
    HELD.get() == place_of(shared)
}

/// What tells stores apart. Only compared while the store lives.
fn place_of(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use crate::disk::fake::{FakeDisk, Fault, Operation, OperationKind, Trouble};
    use crate::tests::faults::{end_of, message};
    use crate::{CatalogChange, CommitState, LogId, Records, Store, StoreOptions};

    /// So that a broken store fails a test instead of holding it up.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn opened() -> (FakeDisk, Store) {
        let disk = FakeDisk::new();
        let options = StoreOptions {
            segment_bytes: 65_536,
            ..StoreOptions::default()
        };
        let store = Store::open(Arc::new(disk.clone()), options).unwrap().0;
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
        let epoch = store.submit(&mut records);
        assert_eq!(end_of(&store, epoch), CommitState::Reached);
        (disk, store)
    }

    #[test]
    fn what_is_held_is_committed_in_this_thread_by_one_write() {
        let (disk, store) = opened();
        let writes = |disk: &FakeDisk| {
            let history = disk.history();
            let synced = |entry: &&crate::disk::fake::Recorded| {
                matches!(entry.operation, Operation::SyncWrite { .. })
            };
            history.iter().filter(synced).count()
        };
        for index in 0..50 {
            let before = writes(&disk);
            let held = store.hold();
            let epoch = store.submit(&mut message(1, index, b"here"));
            assert_eq!(store.commits().state(epoch), CommitState::Waiting);
            // The store's thread may not yet lie down after what it did last.
            match held.commit() {
                Some(here) => {
                    here.run();
                    assert_eq!(store.commits().state(epoch), CommitState::Reached);
                    assert_eq!(writes(&disk), before + 1);
                }
                None => assert_eq!(end_of(&store, epoch), CommitState::Reached),
            }
        }
    }

    #[test]
    fn what_is_not_committed_here_is_left_to_the_stores_thread() {
        let (_, store) = opened();
        for index in 0..50 {
            let held = store.hold();
            let epoch = store.submit(&mut message(1, index * 2, b"dropped"));
            drop(held);
            assert_eq!(end_of(&store, epoch), CommitState::Reached);
            let held = store.hold();
            let epoch = store.submit(&mut message(1, index * 2 + 1, b"not run"));
            drop(held.commit());
            assert_eq!(end_of(&store, epoch), CommitState::Reached);
        }
    }

    #[test]
    fn what_gathers_meanwhile_is_committed_too_and_nobody_else_writes_here() {
        let (disk, store) = opened();
        let mut index = 0;
        let here = loop {
            let held = store.hold();
            store.submit(&mut message(1, index, b"here"));
            index += 1;
            if let Some(here) = held.commit() {
                break here;
            }
        };
        disk.hold(OperationKind::SyncFile);
        std::thread::scope(|scope| {
            scope.spawn(|| here.run());
            assert!(disk.wait_for_held(1, PATIENCE));
            let held = store.hold();
            let epoch = store.submit(&mut message(1, index, b"meanwhile"));
            assert!(held.commit().is_none());
            assert_eq!(store.commits().state(epoch), CommitState::Waiting);
            disk.release();
            assert_eq!(end_of(&store, epoch), CommitState::Reached);
        });
    }

    #[test]
    fn a_fault_here_fails_the_store_and_it_still_ends() {
        let (disk, store) = opened();
        disk.plan(Fault::lasting(
            OperationKind::SyncFile,
            1,
            Trouble::InputOutput,
        ));
        let held = store.hold();
        let epoch = store.submit(&mut message(1, 0, b"lost"));
        if let Some(here) = held.commit() {
            here.run();
        }
        assert_eq!(end_of(&store, epoch), CommitState::Failed);
        assert!(store.status().failed.is_some());
        store.close();
    }

    #[test]
    fn without_room_it_is_left_to_the_stores_thread() {
        let (disk, store) = opened();
        disk.plan(Fault::lasting(
            OperationKind::Write,
            1,
            Trouble::StorageFull,
        ));
        let held = store.hold();
        let epoch = store.submit(&mut message(1, 0, b"later"));
        if let Some(here) = held.commit() {
            here.run();
        }
        assert_eq!(store.commits().state(epoch), CommitState::Waiting);
        disk.mend();
        assert_eq!(end_of(&store, epoch), CommitState::Reached);
        store.close();
    }
}
