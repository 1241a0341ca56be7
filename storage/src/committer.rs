//! [`Committer`]: takes what is pending to the disk, batch after batch.
//!
//! ```text
//!   Pending: batch, committer ──take──▶ whoever writes ──▶ commits.advance ─▶ bells
//!                  ▲                        │
//!                  └─────── put back ───────┘
//! ```
//!
//! There is one, and it lies beside what is pending while nobody writes. The store's own thread takes it
//! when something is pressing; so may a thread that has just submitted something and has nothing to do
//! before that is on disk (see [`crate::held`]). Nobody waits for it but the store's thread.
//!
//! What it is not: it decides nothing about records; see [`crate::journal`].
//!
//! Invariant: a batch that was begun is finished before another one is.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::Epoch;
use crate::journal::{BATCH_LEN, Batch, Journal, JournalError};
use crate::store::{FULL_RETRY, FailOnPanic, KEEP_BYTES_MAX, KeeperHand, Pending, Shared, lock};

/// How long settlements may wait for company.
pub(crate) const LAZY_DELAY: Duration = Duration::from_millis(5);

/// What is needed to write, and what is being written.
#[derive(Debug)]
pub(crate) struct Committer {
    journal: Journal,
    hand: KeeperHand,
    batch: Batch,
    /// The batch was begun and found no room.
    is_unfinished: bool,
}

/// How a commit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// There is no room: the same batch goes on when there is.
    Full,
    /// The store has failed.
    Failed,
}

impl Committer {
    pub(crate) fn new(journal: Journal, hand: KeeperHand) -> Box<Self> {
        Box::new(Self {
            journal,
            hand,
            batch: Batch::default(),
            is_unfinished: false,
        })
    }

    /// Writes the batch that was taken, and says that it lasts.
    pub(crate) fn commit(&mut self, shared: &Shared) -> Outcome {
        *lock(&shared.committing_since) = Some(Instant::now());
        let written = self.journal.write(&mut self.batch, &mut self.hand);
        *lock(&shared.committing_since) = None;
        self.is_unfinished = matches!(written, Err(JournalError::Full));
        match written {
            Ok(()) if lock(&shared.pending).failed => Outcome::Failed,
            Ok(()) => {
                self.finish(shared);
                Outcome::Done
            }
            Err(JournalError::Full) => {
                shared.set_full(true);
                Outcome::Full
            }
            Err(JournalError::Failed { what, error }) => {
                shared.fail(&what, &error);
                Outcome::Failed
            }
        }
    }

    /// The batch that was taken is for whoever takes this next.
    pub(crate) fn leave_unfinished(&mut self) {
        self.is_unfinished = true;
    }

    fn finish(&mut self, shared: &Shared) {
        let len = self.batch.bytes.len() as u64;
        shared.commits.advance(Epoch(self.batch.epoch));
        self.batch.clear(KEEP_BYTES_MAX);
        if len > 0 {
            let records = len - BATCH_LEN as u64;
            shared.pending_bytes.fetch_sub(records, Ordering::Relaxed);
        }
    }
}

impl Pending {
    /// Takes the committer, with what is pending, from where it lies.
    pub(crate) fn take_committer(&mut self) -> Option<Box<Committer>> {
        let mut committer = self.committer.take()?;
        if !committer.is_unfinished {
            let epoch = self.batch.epoch;
            std::mem::swap(&mut self.batch, &mut committer.batch);
            self.batch.epoch = epoch + 1;
        }
        Some(committer)
    }

    /// True when the store's thread has something to write or to wait for, and something to write it with.
    pub(crate) fn has_work(&self) -> bool {
        self.is_due() || self.committer.is_some() && !self.batch.bytes.is_empty()
    }

    /// True when it has to write now.
    fn is_due(&self) -> bool {
        let committer = self.committer.as_ref();
        committer.is_some_and(|it| it.is_unfinished || self.is_pressing() || self.closing)
    }
}

/// The store's own thread.
pub(crate) fn run(shared: &Shared, mut committer: Box<Committer>) {
    let _guard = FailOnPanic(shared);
    committer.hand.ask(0, None);
    lock(&shared.pending).committer = Some(committer);
    while let Some(mut committer) = take(shared) {
        if committer.batch.bytes.is_empty() {
            // Only taken so when the store is being closed.
            return close(shared, *committer);
        }
        if !commit_with_patience(&mut committer, shared) {
            return;
        }
        shared.put_back(committer);
    }
}

/// Waits for something to commit and takes it; nothing once the store has failed.
fn take(shared: &Shared) -> Option<Box<Committer>> {
    let mut pending = lock(&shared.pending);
    while !pending.is_due() && !pending.failed {
        pending.is_idle = true;
        if pending.batch.bytes.is_empty() || pending.committer.is_none() {
            pending.since = None;
            let waited = shared.wake.wait(pending);
            pending = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let since = *pending.since.get_or_insert_with(Instant::now);
        let left = LAZY_DELAY.saturating_sub(since.elapsed());
        if left.is_zero() {
            break;
        }
        let waited = shared.wake.wait_timeout(pending, left);
        (pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
    pending.since = None;
    pending.is_idle = false;
    let committer = pending.take_committer();
    // Dropped, if the store has failed: it holds on to the keeper's thread.
    committer.filter(|_| !pending.failed)
}

/// Commits, waiting for room if there is none; false when the store has failed.
fn commit_with_patience(committer: &mut Committer, shared: &Shared) -> bool {
    loop {
        match committer.commit(shared) {
            Outcome::Done => return true,
            Outcome::Failed => return false,
            Outcome::Full if shared.is_ending() => {
                let error = std::io::ErrorKind::StorageFull.into();
                shared.fail("close", &error);
                return false;
            }
            Outcome::Full => std::thread::sleep(FULL_RETRY),
        }
    }
}

fn close(shared: &Shared, mut committer: Committer) {
    match committer.journal.close(&mut committer.hand) {
        // Whoever still waits waits in vain. After a full disk more is read at the next start.
        Ok(()) | Err(JournalError::Full) => shared.commits.fail(),
        Err(JournalError::Failed { what, error }) => shared.fail(&what, &error),
    }
}
