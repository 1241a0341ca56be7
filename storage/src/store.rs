//! [`Store`]: one open data directory.

use std::sync::Arc;

use crate::disk::Disk;
use crate::{Commits, Epoch, LogId, Records};

/// How a store is to work.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Whether a commit waits for the disk.
    pub sync: Sync,
    /// How large a segment file is before the next one begins.
    pub segment_bytes: u64,
    /// The disk counts as full while less than this is free.
    pub free_bytes_min: u64,
}

/// When written data is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before a commit is reported.
    #[default]
    Always,
    /// Never: a crash of the machine, not of the process, may take what was committed.
    Never,
}

/// What was found when a store was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The catalog, in the order of its keys.
    pub catalog: Vec<(Vec<u8>, Vec<u8>)>,
    /// Every log, in the order of their ids.
    pub logs: Vec<RecoveredLog>,
    /// No log has had this id or a higher one.
    pub next_log_id: u64,
    /// What was found damaged, one line each with file and offset. Not empty is bad news.
    pub damage: Vec<String>,
}

/// One log as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Which log.
    pub id: LogId,
    /// No message has had this index or a higher one.
    pub next_index: u64,
    /// The sum of the body bytes of its messages.
    pub body_bytes: u64,
    /// Its messages, in order and without overlap.
    pub runs: Vec<Run>,
}

/// Stored messages between two indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The index of the first message.
    pub first: u64,
    /// The index of the last message.
    pub last: u64,
    /// How many there are; less than the span when some are settled.
    pub count: u64,
}

/// A message as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its place in its log.
    pub index: u64,
    /// How often it came back to its queue.
    pub return_count: u32,
    /// True if it may have been delivered before.
    pub redelivered: bool,
    /// The pieces it was stored as, in one.
    pub bytes: Vec<u8>,
}

/// What a read brought.
#[derive(Debug, Default)]
pub struct Read {
    /// The messages, in order.
    pub messages: Vec<StoredMessage>,
    /// Everything from `first` up to this index has been looked at; go on behind it.
    pub through: u64,
    /// Messages that are there and cannot be read: damaged, or the disk refuses. Each has been
    /// logged. They stay on disk.
    pub unreadable: Vec<u64>,
}

/// What a store can do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why nothing can be stored any more, if so.
    pub failed: Option<String>,
    /// True while the disk is too full for new messages.
    pub disk_full: bool,
    /// Bytes submitted and not committed.
    pub pending_bytes: u64,
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not yet.
    #[error("not available")]
    NotAvailable,
}

/// One open data directory. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    commits: Arc<Commits>,
}

impl Store {
    /// Opens the store on this disk, or makes one there.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _options: StoreOptions,
    ) -> Result<(Self, Recovered), OpenError> {
        Err(OpenError::NotAvailable)
    }

    /// Appends records and leaves the buffer empty. Never waits for the disk. Returns the epoch that
    /// makes them last.
    pub fn submit(&self, records: &mut Records) -> Epoch {
        records.clear(0);
        Epoch(0)
    }

    /// How far the store has got.
    pub fn commits(&self) -> &Arc<Commits> {
        &self.commits
    }

    /// Reads messages of a log from `first` to `last`, as many as the limits allow but at least one
    /// if there is one. Blocks on the disk: never call it under a lock or on a thread that serves.
    pub fn read(
        &self,
        _log: LogId,
        _first: u64,
        _last: u64,
        _messages_max: usize,
        _bytes_max: usize,
    ) -> Read {
        Read::default()
    }

    /// What it can do now.
    pub fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    /// Calls this whenever the status has changed in kind: failed, full, or room again.
    pub fn on_status_change(
        &self,
        _call: impl Fn(&StoreStatus) + Send + std::marker::Sync + 'static,
    ) {
    }

    /// Writes everything that was submitted, ends the journal cleanly, and lets go of the directory.
    /// Blocks on the disk. Also done when the last handle is dropped.
    pub fn close(&self) {}
}
