//! Compaction: writes the live messages of a segment into a new file, so that a few messages that
//! nobody takes do not hold on to all the space that was used around them.
//!
//! ```text
//!   journal-5.0: 60,000 records, 3 alive ─▶ journal-5.1: 3 records
//! ```
//!
//! The new file stands for the same segment under the next generation; messages keep their indexes,
//! so order and readers do not notice. The old file stays until no checkpoint needs it.
//!
//! Invariant: a message is copied only if its checksum is right; otherwise the old file stays.

use std::io;
use std::sync::Mutex;

use crate::LogId;
use crate::disk::{Disk, DiskFile};
use crate::journal::{JournalError, lock};
use crate::keeper::{Housekeeper, UNFINISHED};
use crate::ledger::{Ledger, LogRun};
use crate::read::read_index;
use crate::record::{Record, seal};
use crate::segment::{Footer, HEADER_LEN, IndexEntry, IndexPlace, SegmentId, header};

/// Compacts one full segment. A segment that cannot be read is left as it is and marked.
pub(crate) fn compact(
    disk: &dyn Disk,
    ledger: &Mutex<Ledger>,
    old: SegmentId,
    store_id: [u8; 16],
) -> Result<(), JournalError> {
    let live = match live_entries(disk, ledger, old) {
        Ok(live) => live,
        Err(error) => return leave(ledger, old, &error),
    };
    let new = SegmentId {
        generation: old.generation + 1,
        ..old
    };
    let source = match disk.open(&old.file_name()) {
        Ok(file) => file,
        Err(error) => return leave(ledger, old, &error),
    };
    let (bytes, places) = match copy(&*source, old, new, &live, store_id) {
        Ok(copied) => copied,
        Err(error) => return leave(ledger, old, &error),
    };
    put(disk, &new.file_name(), &bytes)
        .map_err(|error| JournalError::of(error, || format!("write {}", new.file_name())))?;
    lock(ledger).replace_segment(new, bytes.len() as u64, &places);
    Ok(())
}

/// The segment cannot be read: it stays, and is not tried again.
fn leave(ledger: &Mutex<Ledger>, id: SegmentId, error: &io::Error) -> Result<(), JournalError> {
    tracing::error!(file = id.file_name(), %error, "a segment cannot be compacted; it is kept as it is");
    lock(ledger).mark_damaged(id.number);
    Ok(())
}

type LiveEntries = Vec<(LogId, Vec<IndexEntry>)>;

fn live_entries(disk: &dyn Disk, ledger: &Mutex<Ledger>, id: SegmentId) -> io::Result<LiveEntries> {
    let runs: Vec<(LogId, LogRun)> = {
        let ledger = lock(ledger);
        let ids = Housekeeper::logs_in(&ledger, id.number);
        let run_of = |log: &LogId| {
            let runs = &ledger.logs.get(log)?.runs;
            runs.iter().find(|run| run.segment == id.number).cloned()
        };
        ids.into_iter()
            .filter_map(|log| Some((log, run_of(&log)?)))
            .collect()
    };
    let file = disk.open(&id.file_name())?;
    runs.into_iter()
        .map(|(log, run)| {
            let mut entries = read_index(&*file, run.index_at, run.index_count)?;
            entries.retain(|entry| !run.settled.contains(entry.index));
            Ok((log, entries))
        })
        .collect()
}

/// The new segment's bytes and where its index is.
fn copy(
    source: &dyn DiskFile,
    old: SegmentId,
    new: SegmentId,
    live: &LiveEntries,
    store_id: [u8; 16],
) -> io::Result<(Vec<u8>, Vec<IndexPlace>)> {
    let mut bytes = header(new, store_id);
    let mut footer = Footer::default();
    for (log, entries) in live {
        let mut moved = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = bytes.len();
            bytes.resize(at + entry.len as usize, 0);
            let record = &mut bytes[at..];
            source.read_at(record, u64::from(entry.offset))?;
            check(record, old, *log, entry)?;
            seal(record, new.at(at as u64));
            moved.push(IndexEntry {
                offset: u32::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?,
                ..*entry
            });
        }
        if !moved.is_empty() {
            footer.logs.push((*log, moved));
        }
    }
    debug_assert!(bytes.len() as u64 >= HEADER_LEN);
    let (end, places) = footer.encode(new, bytes.len() as u64);
    bytes.extend_from_slice(&end);
    Ok((bytes, places))
}

fn check(bytes: &[u8], id: SegmentId, log: LogId, entry: &IndexEntry) -> io::Result<()> {
    let record = Record::parse(bytes, id.at(u64::from(entry.offset)))
        .map_err(|flaw| io::Error::new(io::ErrorKind::InvalidData, flaw.as_str()))?;
    if record.log == log && record.index == entry.index {
        return Ok(());
    }
    let text = "a record of another message";
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    // A compaction that a crash or a full disk ended may have left the name behind.
    for leftover in [UNFINISHED, name] {
        match disk.remove(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    crate::keeper::write_file(disk, name, bytes)
}
