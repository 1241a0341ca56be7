//! [`Housekeeper`]: everything beside the journal itself: makes segments ahead of time, writes
//! checkpoints, removes what no checkpoint needs, and compacts segments that hold little.
//!
//! ```text
//!   checkpoint 8: segments 3 5 6, replay from 9      kept: the latest two
//!   checkpoint 9: segments 5 6,   replay from 10     needed: 3 5 6, and 9 onwards
//! ```
//!
//! A segment is removed when neither of the two latest checkpoints needs it, so no record of the
//! removal has to be kept, and a damaged checkpoint does not take the other's segments with it. On a
//! full disk one checkpoint has to do.
//!
//! What it is not: a thread; see [`crate::store`].

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::LogId;
use crate::active::{Active, make_segment};
use crate::checkpoint::{self, Encoded};
use crate::compact::compact;
use crate::disk::Disk;
use crate::journal::{JournalError, Keeper, lock};
use crate::ledger::Ledger;
use crate::read::{MessageReader, read_index};
use crate::segment::SegmentId;

/// The name of a file that is not finished.
pub(crate) const UNFINISHED: &str = "unfinished";
/// A segment is compacted when no more than one in so many of its messages lives.
const COMPACT_SHARE: u64 = 4;
/// Smaller segments are left as they are: there is little to gain. Tests have small ones.
const COMPACT_BYTES_MIN: u64 = if cfg!(test) { 256 } else { 32 * 1024 };
/// How many segments are compacted after one checkpoint, so that none keeps the next one waiting.
const COMPACT_SEGMENTS_MAX: usize = 4;

/// When a segment does not fit on the disk, one of this share of it is tried.
const SHRINK_BY: u64 = 4;

/// A checkpoint that is on disk, and what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    pub(crate) replay_from: u64,
    pub(crate) segments: Vec<SegmentId>,
}

/// Whoever keeps the directory in order.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store_id: [u8; 16],
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) segment_bytes: u64,
    pub(crate) free_bytes_min: u64,
    pub(crate) next_number: Arc<AtomicU64>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) full: bool,
    /// The last segment that was asked for did not fit.
    pub(crate) was_refused: bool,
    /// Lets go of files that were removed; the disk gives their space back only then.
    pub(crate) reader: Arc<MessageReader>,
}

impl Housekeeper {
    /// Makes the next segment; on a nearly full disk the largest that fits of ever smaller ones, down
    /// to what must fit. Ahead of time, when nothing must, a small one is of no use.
    pub(crate) fn make(&self, capacity_min: u64) -> Result<Active, JournalError> {
        let mut wanted = self.segment_bytes.max(capacity_min);
        loop {
            match self.make_of(wanted) {
                Err(JournalError::Full) if wanted > capacity_min && capacity_min > 0 => {
                    wanted = (wanted / SHRINK_BY).max(capacity_min);
                }
                made => return made,
            }
        }
    }

    /// Makes a segment in place of one that is too small. That one must be gone before the next one
    /// is written: it would look as if something had been wiped from it. Making the next one syncs
    /// the directory.
    pub(crate) fn make_instead(
        &self,
        capacity_min: u64,
        useless: Option<Active>,
    ) -> Result<Active, JournalError> {
        if let Some(useless) = useless {
            let name = useless.id().file_name();
            let removed = self.disk.remove(&name);
            removed.map_err(|error| JournalError::of(error, || format!("remove {name}")))?;
        }
        self.make(capacity_min)
    }

    fn make_of(&self, capacity: u64) -> Result<Active, JournalError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        make_segment(&*self.disk, number, capacity, self.store_id)
            .map_err(|error| JournalError::of(error, || format!("make segment {number}")))
    }

    /// True when there is less room than there should be.
    pub(crate) fn is_short_of_room(&self) -> bool {
        // A disk that does not say how much is left is found full when it is.
        let wanted = if self.was_refused {
            self.segment_bytes
        } else {
            0
        };
        let least = self.free_bytes_min.max(wanted);
        self.disk.free_bytes().is_ok_and(|free| free < least)
    }

    /// Writes a checkpoint, and does what it allows.
    pub(crate) fn write_checkpoint(&mut self, checkpoint: &Encoded) -> Result<(), JournalError> {
        let name = checkpoint::file_name(checkpoint.number);
        write_file(&*self.disk, &name, &checkpoint.bytes)
            .map_err(|error| JournalError::of(error, || format!("write {name}")))?;
        self.kept.push(Kept {
            number: checkpoint.number,
            replay_from: checkpoint.replay_from,
            segments: checkpoint.segments.clone(),
        });
        self.forget_old_checkpoints();
        self.remove_unneeded();
        self.reader.forget_files();
        self.compact_sparse(&checkpoint.segments)
    }

    fn forget_old_checkpoints(&mut self) {
        let keep = if self.full { 1 } else { 2 };
        let surplus = self.kept.len().saturating_sub(keep);
        self.kept.drain(..surplus);
    }

    /// Removes every file that nobody needs. What cannot be removed now is tried again next time.
    pub(crate) fn remove_unneeded(&self) {
        let Ok(names) = self.disk.list() else {
            return;
        };
        let oldest = self.kept.iter().map(|kept| kept.replay_from).min();
        let needed: BTreeSet<_> = self.kept.iter().flat_map(|kept| &kept.segments).collect();
        let numbers: BTreeSet<_> = self.kept.iter().map(|kept| kept.number).collect();
        for name in names {
            let unneeded = match (
                SegmentId::from_file_name(&name),
                checkpoint::number_of(&name),
            ) {
                (Some(id), _) => {
                    let current = lock(&self.ledger).segment_id(id.number);
                    oldest.is_some_and(|from| id.number < from)
                        && !needed.contains(&id)
                        && !(self.is_known(id.number) && current == id)
                }
                (_, Some(number)) => !numbers.contains(&number),
                _ => false,
            };
            if unneeded && let Err(error) = self.disk.remove(&name) {
                tracing::warn!(name, %error, "cannot remove a file that is not needed any more");
            }
        }
    }

    /// Removes segments that were made ahead of time, when the store is closed.
    pub(crate) fn remove_spares(&self) {
        let (Ok(names), Some(last)) = (self.disk.list(), self.kept.last()) else {
            return;
        };
        for name in names {
            let id = SegmentId::from_file_name(&name);
            if id.is_some_and(|id| id.number >= last.replay_from) {
                // If it stays it is found empty when the store is opened.
                let _ = self.disk.remove(&name);
            }
        }
    }

    fn is_known(&self, number: u64) -> bool {
        lock(&self.ledger).segments.contains_key(&number)
    }

    /// Compacts some of the segments that a checkpoint has just listed. No others: a checkpoint that
    /// is still on its way here may list a file that was replaced since, and if it was replaced twice
    /// nothing would keep it.
    pub(crate) fn compact_sparse(&mut self, listed: &[SegmentId]) -> Result<(), JournalError> {
        self.recount();
        let mut ids = self.sparse_segments();
        ids.retain(|id| listed.contains(id));
        for id in ids.into_iter().take(COMPACT_SEGMENTS_MAX) {
            compact(&*self.disk, &self.ledger, id, self.store_id)?;
        }
        Ok(())
    }

    /// Counts what was only guessed. What cannot be read stays a guess, and its segment stays.
    pub(crate) fn recount(&self) {
        let uncertain = lock(&self.ledger).uncertain_runs();
        for (log, run) in uncertain {
            let id = lock(&self.ledger).segment_id(run.segment);
            let file = self.disk.open(&id.file_name());
            let entries = file.and_then(|file| read_index(&*file, run.index_at, run.index_count));
            if let Ok(entries) = entries {
                lock(&self.ledger).recount(log, run.segment, &entries);
            }
        }
    }

    fn sparse_segments(&self) -> Vec<SegmentId> {
        let ledger = lock(&self.ledger);
        let mut live: FxHashMap<u64, u64> = FxHashMap::default();
        let runs = ledger.logs.values().flat_map(|log| &log.runs);
        for run in runs {
            let all = if run.uncertain {
                run.index_count
            } else {
                run.live
            };
            let live = live.entry(run.segment).or_default();
            *live = live.saturating_add(all);
        }
        let is_sparse = |number: &u64| {
            let segment = ledger.segments.get(number);
            segment.is_some_and(|segment| {
                let live = live.get(number).copied().unwrap_or_default();
                let has_gain = live.saturating_mul(COMPACT_SHARE) <= segment.messages
                    && live < segment.messages;
                // One without a run goes as a whole.
                segment.runs > 0
                    && segment.full
                    && !segment.damaged
                    && has_gain
                    && segment.len >= COMPACT_BYTES_MIN
            })
        };
        let numbers = ledger.segments.keys().copied().filter(is_sparse);
        numbers.map(|number| ledger.segment_id(number)).collect()
    }

    /// The logs that have a run in a segment.
    pub(crate) fn logs_in(ledger: &Ledger, number: u64) -> Vec<LogId> {
        let has_run = |log: &crate::ledger::LogState| log.runs.iter().any(|r| r.segment == number);
        let logs = ledger.logs.iter().filter(|(_, log)| has_run(log));
        let mut ids: Vec<_> = logs.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

/// The housekeeper in the journal's own thread: for tests, and while a store opens and closes.
impl Keeper for Housekeeper {
    fn next_segment(&mut self, capacity: u64) -> Result<Active, JournalError> {
        let made = self.make(capacity);
        self.was_refused = matches!(made, Err(JournalError::Full));
        self.full = self.is_short_of_room();
        made
    }

    fn checkpoint(&mut self, checkpoint: Encoded) -> Result<(), JournalError> {
        self.write_checkpoint(&checkpoint)
    }

    fn is_full(&self) -> bool {
        self.full
    }
}

/// Puts a whole file into place: there is the old one or the new one, never half of it.
///
/// # Errors
/// What the disk says.
pub(crate) fn write_file(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    match disk.remove(UNFINISHED) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(UNFINISHED)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(UNFINISHED, name)?;
    disk.sync_directory()
}
