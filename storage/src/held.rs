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
