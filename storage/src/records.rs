//! [`Records`]: what one call changes, laid out as it will lie in the journal.
//!
//! ```text
//!   0 crc u32 | 4 len u32 | 8 version u8 | 9 kind u8 | 10 padding u16 | 12 body bytes u32
//!  16 log u64 | 24 term u64 | 32 index u64 | 40 time i64 | 48 payload … | zeros up to a multiple of 8
//! ```
//!
//! All numbers are little-endian. The checksum is left open: it covers the record's place, which
//! only the committer knows.
//!
//! What it is not: the reading side; see [`crate::record`].
//!
//! Invariant: the buffer is a sequence of whole records, each a multiple of eight bytes long.

use crate::LogId;

/// Bytes before a record's payload.
pub(crate) const HEADER_LEN: usize = 48;

/// Every record begins at a multiple of this many bytes, so that a reader that lost its way can look
/// for the next one.
pub(crate) const ALIGNMENT: usize = 8;

/// The version of the record layout that this crate writes.
pub(crate) const RECORD_VERSION: u8 = 1;

/// The term of every record of a store that is alone; a replicated log counts its leaders here.
pub(crate) const TERM_ALONE: u64 = 1;

/// The log that holds the catalog.
pub(crate) const CATALOG: LogId = LogId(0);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A commit begins; says how far the journal was synced by then.
    Batch = 1,
    /// A message.
    Message = 2,
    /// Messages that are done with.
    Settle = 3,
    /// A message that came back to its queue.
    Returned = 4,
    /// Positions up to which messages may be delivered from now on.
    Mark = 5,
    /// A change of the catalog.
    Catalog = 6,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Batch,
            Self::Message,
            Self::Settle,
            Self::Returned,
            Self::Mark,
            Self::Catalog,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Its place in its log: larger than that of any message before it, and never used again.
    pub index: u64,
    /// When it was stored, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many bytes it counts for in its queue ([`Settled::body_bytes`] takes them off again).
    pub body_bytes: u32,
    /// Its bytes, in pieces.
    pub pieces: &'a [&'a [u8]],
}

/// Messages of one log that are done with: all that are stored and not settled yet from `first` to
/// `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The first index.
    pub first: u64,
    /// The last index, itself included.
    pub last: u64,
    /// How many messages these are; 0 if that is not known. A number that is not right could have the
    /// messages of others counted as settled, and their segment removed.
    pub count: u64,
    /// The sum of their [`NewMessage::body_bytes`]. Where the count is not known, only the sum over all
    /// such ranges that are submitted together has to be right.
    pub body_bytes: u64,
}

/// One change of the catalog, a map from keys to values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    /// Gives a key a value, in place of the one it had.
    Put {
        /// The key; at most 64 KiB minus one.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Takes a key and its value away.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Begins a log; messages of a log that was never begun are not kept.
    CreateLog(LogId),
    /// Ends a log and all messages in it.
    DropLog(LogId),
}

/// A buffer of records; reused between calls.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    must_sync: bool,
    /// Where the last record begins, if it is one of [`Kind::Settle`].
    last_settle: Option<usize>,
}

impl Records {
    /// True when there is nothing to submit.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything; keeps at most this much room.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
        self.must_sync = false;
        self.last_settle = None;
    }

    /// Adds a message.
    pub fn message(&mut self, log: LogId, message: NewMessage<'_>) {
        self.must_sync = true;
        let at = self.begin(Kind::Message, log, message.index, message.time_ms);
        self.put(at + 12, &message.body_bytes.to_le_bytes());
        for piece in message.pieces {
            self.bytes.extend_from_slice(piece);
        }
        self.finish(at);
    }

    /// Adds messages that are done with. Need not be on disk before anybody is told: if a crash
    /// takes it, they are delivered once more.
    pub fn settle(&mut self, log: LogId, settled: Settled) {
        if self.extend_settle(log, settled) {
            return;
        }
        let at = self.begin(Kind::Settle, log, settled.first, 0);
        self.bytes.extend_from_slice(&settled.last.to_le_bytes());
        self.bytes.extend_from_slice(&settled.count.to_le_bytes());
        self.bytes
            .extend_from_slice(&settled.body_bytes.to_le_bytes());
        self.finish(at);
        self.last_settle = Some(at);
    }

    /// Adds that a message came back to its queue, for the `count`th time.
    pub fn returned(&mut self, log: LogId, index: u64, count: u32) {
        let at = self.begin(Kind::Returned, log, index, 0);
        self.bytes
            .extend_from_slice(&u64::from(count).to_le_bytes());
        self.finish(at);
    }

    /// Adds that messages below this index may be delivered once this is on disk: after a crash they
    /// count as delivered.
    pub fn mark(&mut self, log: LogId, below: u64) {
        self.must_sync = true;
        let at = self.begin(Kind::Mark, log, below, 0);
        self.finish(at);
    }

    /// Adds changes of the catalog, all of which happen or none.
    pub fn catalog<'c>(
        &mut self,
        changes: impl IntoIterator<Item = &'c CatalogChange>,
        time_ms: u64,
    ) {
        self.must_sync = true;
        let at = self.begin(Kind::Catalog, CATALOG, 0, time_ms);
        for change in changes {
            self.put_change(change);
        }
        self.finish(at);
    }

    /// Says that somebody waits for these to be on disk, whatever they are.
    pub fn require_sync(&mut self) {
        self.must_sync = true;
    }

    /// Adds the beginning of a commit: its epoch, and how far the journal had been synced.
    pub(crate) fn batch(&mut self, epoch: u64, synced: (u64, u64), time_ms: u64) {
        let at = self.begin(Kind::Batch, CATALOG, epoch, time_ms);
        self.bytes.extend_from_slice(&synced.0.to_le_bytes());
        self.bytes.extend_from_slice(&synced.1.to_le_bytes());
        self.finish(at);
    }

    /// True when somebody waits for these to be on disk.
    pub(crate) fn must_sync(&self) -> bool {
        self.must_sync
    }

    /// The records as they will lie in the journal, but for their checksums.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put_change(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Put { key, value } => {
                self.bytes.push(1);
                self.put_bytes(key);
                self.put_bytes(value);
            }
            CatalogChange::Delete { key } => {
                self.bytes.push(2);
                self.put_bytes(key);
            }
            CatalogChange::CreateLog(log) => {
                self.bytes.push(3);
                self.bytes.extend_from_slice(&log.0.to_le_bytes());
            }
            CatalogChange::DropLog(log) => {
                self.bytes.push(4);
                self.bytes.extend_from_slice(&log.0.to_le_bytes());
            }
        }
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// A settlement next to the last one grows it instead of adding a record.
    fn extend_settle(&mut self, log: LogId, settled: Settled) -> bool {
        let Some(at) = self.last_settle else {
            return false;
        };
        let same_log = self.number(at + 16) == log.0;
        if !same_log || self.number(at + HEADER_LEN).checked_add(1) != Some(settled.first) {
            return false;
        }
        let count = self.number(at + HEADER_LEN + 8) + settled.count;
        let body_bytes = self.number(at + HEADER_LEN + 16) + settled.body_bytes;
        self.put(at + HEADER_LEN, &settled.last.to_le_bytes());
        self.put(at + HEADER_LEN + 8, &count.to_le_bytes());
        self.put(at + HEADER_LEN + 16, &body_bytes.to_le_bytes());
        true
    }

    fn begin(&mut self, kind: Kind, log: LogId, index: u64, time_ms: u64) -> usize {
        let at = self.bytes.len();
        let mut header = [0; HEADER_LEN];
        header[8] = RECORD_VERSION;
        header[9] = kind as u8;
        header[16..24].copy_from_slice(&log.0.to_le_bytes());
        header[24..32].copy_from_slice(&TERM_ALONE.to_le_bytes());
        header[32..40].copy_from_slice(&index.to_le_bytes());
        header[40..48].copy_from_slice(&time_ms.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.last_settle = None;
        at
    }

    fn finish(&mut self, at: usize) {
        let used = self.bytes.len() - at;
        let len = used.next_multiple_of(ALIGNMENT);
        self.bytes.resize(at + len, 0);
        self.put(at + 4, &(len as u32).to_le_bytes());
        self.put(at + 10, &((len - used) as u16).to_le_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn number(&self, at: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(number)
    }
}
