//! [`Active`]: the segment that is being filled, as a file and what is known of it.
//!
//! ```text
//!   0        end − tail      end        prepared            capacity
//!   │ records │ tail │        │ zeros,   │ reserved, never   │
//!   │         └─ block ─ … ───┤ written  │ written           │
//!             └── what a synced write puts there as whole blocks
//! ```
//!
//! There are two ways to write. Much at once goes through the system's cache and is synced behind it. A
//! little that somebody waits for goes straight to the disk in whole blocks: the block in which the
//! records ended is written again, with the same bytes before the end, and zeros fill the last one.
//! Space that was only reserved makes a sync write the file system's own journal too, so such a write
//! takes zeros far ahead with it whenever it reaches space that was never written.
//!
//! What it is not: it neither knows records nor counts what is submitted; see [`crate::journal`].
//!
//! Invariants: behind the end there is nothing but zeros; what lies before it is never changed.

use std::io;
use std::sync::Arc;

use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::journal::{FOOTER_REST, FOOTER_SHARE};
use crate::segment::{HEADER_LEN, SegmentId, header};

/// More than this is written through the cache: by then the sync is most of the time, and whoever reads it
/// back soon finds it there. Tests have small commits.
const SYNCED_BYTES_MAX: usize = if cfg!(test) { 600 } else { 32 * 1024 };
/// How far ahead of the records a synced write prepares space. One in some two hundred commits of 1 KiB
/// takes twice as long for it. Tests have small segments.
const PREPARE_BYTES: u64 = if cfg!(test) { 512 } else { 256 * 1024 };

/// A segment that is being filled.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: SegmentId,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
    /// Where the records end.
    pub(crate) end: u64,
    /// Everything before it is known to last.
    pub(crate) synced: u64,
    pub(crate) messages: u64,
    /// The bytes of the block in which the records end.
    tail: Vec<u8>,
    /// Up to here the file was written at least once.
    prepared: u64,
}

/// Makes a segment file that lasts, and puts its header into it.
///
/// # Errors
/// What the disk says; then the file is gone again if that was possible.
pub(crate) fn make_segment(
    disk: &dyn Disk,
    number: u64,
    capacity: u64,
    store_id: [u8; 16],
) -> io::Result<Active> {
    let id = SegmentId {
        number,
        generation: 0,
    };
    let header = header(id, store_id);
    let file = disk.create(&id.file_name())?;
    let begun = file
        .allocate(capacity)
        .and_then(|()| file.write_at(&header, 0))
        .and_then(|()| file.sync_data())
        .and_then(|()| disk.sync_directory());
    if let Err(error) = begun {
        // What is left of it has no record in it and is removed when the store is opened.
        let _ = disk.remove(&id.file_name());
        return Err(error);
    }
    Ok(Active {
        id,
        file,
        capacity,
        end: HEADER_LEN,
        synced: HEADER_LEN,
        messages: 0,
        tail: header,
        prepared: 0,
    })
}

impl Active {
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of records that still fit, besides what the footer needs for those that are there.
    pub(crate) fn room(&self) -> u64 {
        let taken = self.end + self.messages * FOOTER_SHARE + FOOTER_REST;
        self.capacity.saturating_sub(taken)
    }

    /// Whether so much may be written with [`Active::write_synced`]: only if nothing before it waits for a
    /// sync, for it makes nothing else last.
    pub(crate) fn takes_synced(&self, len: usize) -> bool {
        self.synced == self.end && len <= SYNCED_BYTES_MAX
    }

    /// Puts these behind the records. They last after the next sync.
    ///
    /// # Errors
    /// What the disk says; then the records end where they ended.
    pub(crate) fn write(&mut self, first: &[u8], then: &[u8]) -> io::Result<()> {
        if !first.is_empty() {
            self.file.write_at(first, self.end)?;
        }
        self.file.write_at(then, self.end + first.len() as u64)?;
        self.went_on(first);
        self.went_on(then);
        Ok(())
    }

    /// Puts these behind the records and makes them last.
    ///
    /// # Errors
    /// What the disk says; then the records end where they ended, and what else lasted still does.
    pub(crate) fn write_synced(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begin = self.end - self.tail.len() as u64;
        let mut until = (self.end + bytes.len() as u64).next_multiple_of(BLOCK_BYTES);
        if until > self.prepared {
            until += PREPARE_BYTES;
        }
        let until = until.min(self.capacity);
        let mut blocks = Vec::with_capacity((until - begin) as usize);
        blocks.extend_from_slice(&self.tail);
        blocks.extend_from_slice(bytes);
        blocks.resize((until - begin) as usize, 0);
        self.file.write_synced(&blocks, begin)?;
        self.prepared = self.prepared.max(until);
        self.went_on(bytes);
        self.synced = self.end;
        Ok(())
    }

    fn went_on(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let tail = (self.end % BLOCK_BYTES) as usize;
        match bytes.len().checked_sub(tail) {
            Some(from) => {
                self.tail.clear();
                self.tail.extend_from_slice(&bytes[from..]);
            }
            // All within the block in which they ended before.
            None => self.tail.extend_from_slice(bytes),
        }
    }
}
