//! [`Journal`]: the writing end: puts records into the segment that is being filled, and begins the
//! next one when it is full.
//!
//! ```text
//!   records ─▶ fit? ──yes──▶ seal each with its checksum ─▶ write ─▶ sync ─▶ ledger
//!                └─no──▶ footer, trailer, cut off, sync ─▶ checkpoint ─▶ next segment ─▶ again
//! ```
//!
//! Only one thread writes. A segment is synced before anything is written to the next one, so that
//! what is there after a crash is always everything up to some record and nothing behind it.
//!
//! What it is not: it neither waits nor retries. A full disk leaves it where it was; any other fault
//! ends it.
//!
//! Invariant: the ledger has exactly the records that were written, in their order.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::active::Active;
use crate::checkpoint::{self, Encoded};
use crate::codec::Malformed;
use crate::disk::is_out_of_descriptors;
use crate::ledger::Ledger;
use crate::record::{Record, announced_len, seal};
use crate::records::Records;
use crate::segment::{HEADER_LEN, INDEX_ENTRY_LEN, LOG_ENTRY_LEN, SegmentId, TRAILER_LEN};

/// What a message adds to a footer at most.
pub(crate) const FOOTER_SHARE: u64 = INDEX_ENTRY_LEN + LOG_ENTRY_LEN;
/// What a footer takes besides.
pub(crate) const FOOTER_REST: u64 = 8 + TRAILER_LEN;
/// Bytes of the record that begins a commit.
pub(crate) const BATCH_LEN: usize = 64;
/// As many segments without a live message make it worth beginning the next segment early, so that
/// they can go.
const EMPTY_SEGMENTS_MAX: usize = 4;

/// Why the journal did not take something.
#[derive(Debug)]
pub(crate) enum JournalError {
    /// There is no room on the disk, or too many files are open for one more. Nothing is lost: try again when there is.
    Full,
    /// A write or a sync has failed. Nothing may be written any more.
    Failed { what: String, error: io::Error },
}

impl JournalError {
    pub(crate) fn of(error: io::Error, what: impl FnOnce() -> String) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ if is_out_of_descriptors(&error) => {
                tracing::warn!(what = what(), %error, "the store has to wait");
                Self::Full
            }
            _ => Self::Failed {
                what: what(),
                error,
            },
        }
    }
}

/// Whoever has segments ready and writes checkpoints.
pub(crate) trait Keeper {
    /// A segment with at least this capacity and a number higher than any before.
    fn next_segment(&mut self, capacity: u64) -> Result<Active, JournalError>;

    /// Takes a checkpoint to be written; then what it makes needless can go.
    fn checkpoint(&mut self, checkpoint: Encoded) -> Result<(), JournalError>;

    /// True when the disk is full, so that room should be made.
    fn is_full(&self) -> bool;
}

/// The writing end of a store.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    store_id: [u8; 16],
    syncs: bool,
    active: Option<Active>,
    next_checkpoint: u64,
    last_number: u64,
    last_epoch: u64,
}

/// What is to be written under one epoch, and how much of it has been.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// A batch record, then whole records.
    pub(crate) bytes: Vec<u8>,
    pub(crate) must_sync: bool,
    pub(crate) epoch: u64,
    written: usize,
}

impl Batch {
    /// An empty batch of this epoch.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Leaves room for the record that begins a commit.
    pub(crate) fn begin(&mut self) {
        let mut records = Records::default();
        records.batch(0, (0, 0), 0);
        self.bytes.extend_from_slice(records.bytes());
    }

    pub(crate) fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
        self.must_sync = false;
        self.written = 0;
    }
}

impl Journal {
    /// A journal that goes on behind these.
    pub(crate) fn new(
        ledger: Arc<Mutex<Ledger>>,
        store_id: [u8; 16],
        syncs: bool,
        next_checkpoint: u64,
        last_number: u64,
    ) -> Self {
        Self {
            ledger,
            store_id,
            syncs,
            active: None,
            next_checkpoint,
            last_number,
            last_epoch: 0,
        }
    }

    /// Writes a batch, and syncs it if somebody waits for it. After [`JournalError::Full`] it goes on
    /// where it stopped when called with the same batch again.
    pub(crate) fn write(
        &mut self,
        batch: &mut Batch,
        keeper: &mut dyn Keeper,
    ) -> Result<(), JournalError> {
        while batch.written < batch.bytes.len() {
            self.ensure_active(batch, keeper)?;
            if !self.write_chunk(batch)? {
                self.end_segment(keeper)?;
            }
        }
        if batch.must_sync {
            self.sync()?;
        }
        self.make_room(keeper)
    }

    /// Ends the segment in good order and writes a checkpoint that says so.
    pub(crate) fn close(&mut self, keeper: &mut dyn Keeper) -> Result<(), JournalError> {
        self.seal_active()?;
        let checkpoint = self.checkpoint(true);
        keeper.checkpoint(checkpoint)
    }

    /// A checkpoint of the ledger as it is between two segments.
    pub(crate) fn checkpoint(&mut self, clean: bool) -> Encoded {
        let number = self.next_checkpoint;
        self.next_checkpoint += 1;
        let mut ledger = lock(&self.ledger);
        ledger.forget_empty_segments();
        let how = (clean, self.last_epoch);
        checkpoint::encode(&ledger, number, self.last_number + 1, how, self.store_id)
    }

    /// Where the records of the segment that is being filled end.
    #[cfg(test)]
    pub(crate) fn end(&self) -> Option<(String, u64)> {
        let active = self.active.as_ref()?;
        Some((active.id.file_name(), active.end))
    }

    fn ensure_active(
        &mut self,
        batch: &Batch,
        keeper: &mut dyn Keeper,
    ) -> Result<(), JournalError> {
        if self.active.is_some() {
            return Ok(());
        }
        let next = batch.bytes.get(batch.written..).and_then(announced_len);
        let needed = BATCH_LEN * 2 + next.unwrap_or_default();
        let capacity = HEADER_LEN + needed as u64 + FOOTER_SHARE + FOOTER_REST;
        let active = keeper.next_segment(capacity)?;
        assert!(active.id.number > self.last_number, "numbers only grow");
        self.last_number = active.id.number;
        lock(&self.ledger).begin_segment(active.id.number);
        self.active = Some(active);
        Ok(())
    }

    /// Writes as many records as fit; false when there is no room for the next.
    fn write_chunk(&mut self, batch: &mut Batch) -> Result<bool, JournalError> {
        let Some(active) = &mut self.active else {
            return Ok(false);
        };
        let begins_anew = batch.written > 0;
        let mut header = Records::default();
        let synced = if self.syncs {
            (active.id.number, active.synced)
        } else {
            (0, 0)
        };
        header.batch(batch.epoch, synced, 0);
        let mut header = header.bytes().to_vec();
        let mut end = active.end;
        if begins_anew {
            seal(&mut header, active.id.at(end));
            end += header.len() as u64;
        } else if let Some(begin) = batch.bytes.get_mut(..header.len()) {
            begin.copy_from_slice(&header);
        }
        let room = active.room().saturating_sub(end - active.end);
        let (len, messages) = fitting(&batch.bytes[batch.written..], room);
        if len == 0 {
            return Ok(false);
        }
        let is_all = batch.written == 0 && len == batch.bytes.len();
        let chunk = &mut batch.bytes[batch.written..batch.written + len];
        seal_all(chunk, active.id, end);
        let id = active.id;
        let failed = |error| JournalError::of(error, || format!("write {}", id.file_name()));
        if is_all && batch.must_sync && self.syncs && active.takes_synced(len) {
            active.write_synced(chunk).map_err(failed)?;
        } else {
            let header: &[u8] = if begins_anew { &header } else { &[] };
            active.write(header, chunk).map_err(failed)?;
        }
        apply_all(&mut lock(&self.ledger), chunk, end)?;
        active.messages += messages;
        batch.written += len;
        self.last_epoch = batch.epoch;
        Ok(true)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        if self.syncs && active.synced < active.end {
            let synced = active.file.sync_data();
            synced.map_err(|error| sync_failed(error, active.id))?;
            active.synced = active.end;
        }
        Ok(())
    }

    fn end_segment(&mut self, keeper: &mut dyn Keeper) -> Result<(), JournalError> {
        self.seal_active()?;
        let checkpoint = self.checkpoint(false);
        match keeper.checkpoint(checkpoint) {
            // The next one will do; until then more has to be read when the store is opened.
            Ok(()) | Err(JournalError::Full) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// Puts footer and trailer behind the records, cuts the file off there and syncs it.
    fn seal_active(&mut self) -> Result<(), JournalError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        // First, so that a trailer always means that everything before it is there.
        if active.synced < active.end {
            let synced = active.file.sync_data();
            synced.map_err(|error| sync_failed(error, active.id))?;
            active.synced = active.end;
        }
        let footer = lock(&self.ledger).footer();
        let (bytes, places) = footer.encode(active.id, active.end);
        let len = active.end + bytes.len() as u64;
        let failed = |error| JournalError::of(error, || format!("seal {}", active.id.file_name()));
        active.file.write_at(&bytes, active.end).map_err(failed)?;
        active.file.set_len(len).map_err(failed)?;
        // Also when commits do not wait for the disk: the checkpoint builds on it.
        let synced = active.file.sync_data();
        synced.map_err(|error| sync_failed(error, active.id))?;
        lock(&self.ledger).seal_segment(&places, len);
        self.active = None;
        Ok(())
    }

    /// Begins the next segment early when that lets others go.
    fn make_room(&mut self, keeper: &mut dyn Keeper) -> Result<(), JournalError> {
        let empty = lock(&self.ledger).empty_segments();
        let is_due = empty >= EMPTY_SEGMENTS_MAX || (empty > 0 && keeper.is_full());
        if is_due && self.active.is_some() {
            return self.end_segment(keeper);
        }
        Ok(())
    }
}

/// A sync that failed never is a full disk that can be waited for: what was written may be gone.
fn sync_failed(error: io::Error, id: SegmentId) -> JournalError {
    JournalError::Failed {
        what: format!("sync {}", id.file_name()),
        error,
    }
}

/// How many bytes of whole records fit, and how many messages are in them.
fn fitting(bytes: &[u8], room: u64) -> (usize, u64) {
    let (mut len, mut messages) = (0, 0);
    while let Some(next) = bytes.get(len..).and_then(announced_len) {
        let footer = (messages + 1) * FOOTER_SHARE;
        if (len + next) as u64 + footer > room {
            break;
        }
        len += next;
        messages += 1;
    }
    (len, messages)
}

fn seal_all(chunk: &mut [u8], id: SegmentId, at: u64) {
    let mut from = 0;
    while let Some(len) = chunk.get(from..).and_then(announced_len) {
        seal(&mut chunk[from..from + len], id.at(at + from as u64));
        from += len;
    }
}

fn apply_all(ledger: &mut Ledger, chunk: &[u8], at: u64) -> Result<(), JournalError> {
    let mut from = 0;
    while let Some(len) = chunk.get(from..).and_then(announced_len) {
        let record = Record::read(&chunk[from..], len).map_err(|_| nonsense(at))?;
        let applied = ledger.apply(&record, at + from as u64);
        applied.map_err(|Malformed| nonsense(at))?;
        from += len;
    }
    Ok(())
}

/// A record of this very process that the ledger does not take: whoever submitted it is wrong, and
/// nothing that follows can be relied on.
fn nonsense(at: u64) -> JournalError {
    JournalError::Failed {
        what: format!("apply what was written at {at}"),
        error: io::ErrorKind::InvalidInput.into(),
    }
}

/// The ledger, whatever happened to whoever had it: it changes by whole records.
pub(crate) fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
