//! What a store is asked and what it answers: options, what was recovered, what was read.

use crate::LogId;

/// How a store is to work.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Whether a commit waits for the disk.
    pub sync: Sync,
    /// How large a segment file is before the next one begins.
    pub segment_bytes: u64,
    /// The disk counts as full while less than this is free.
    pub free_bytes_min: u64,
    /// What a store that is made now is known by: random bytes.
    pub new_store_id: [u8; 16],
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            sync: Sync::Always,
            segment_bytes: 64 << 20,
            free_bytes_min: 50_000_000,
            new_store_id: [0; 16],
        }
    }
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
    /// What was found damaged. Not empty is bad news.
    pub damage: Vec<Damage>,
}

/// Something in a data directory that is not as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The first byte that is not right, and the first that is again; equal if the whole file is
    /// meant.
    pub bytes: (u64, u64),
    /// Whose messages are concerned, as far as that can be told.
    pub logs: Vec<LogId>,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.file)?;
        if self.bytes.0 != self.bytes.1 {
            write!(f, "bytes {} to {}: ", self.bytes.0, self.bytes.1)?;
        }
        write!(f, "{}", self.what)
    }
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
    /// The messages that came back to their queue, and what was last written of how often.
    pub returned: Vec<(u64, u32)>,
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
    /// Nothing was looked at, because too many files are open: ask again a moment later.
    pub try_again: bool,
}

/// What a store can do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why nothing can be stored any more, if so.
    pub failed: Option<String>,
    /// True while the disk is too full for new messages.
    pub disk_full: bool,
}
