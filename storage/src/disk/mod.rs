//! [`Disk`]: the only way to the disk.
//!
//! The store asks for positioned writes and explicit syncs and for nothing else: no memory maps, no
//! appends at a file's own position. Names are plain file names within the one data directory.
//!
//! [`RealDisk`] is a directory of the file system, [`fake`] one in memory that can crash.
//!
//! What it is not: it buffers nothing and retries nothing.

pub mod fake;
mod open_error;
mod real;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use open_error::{Attempt, DiskOpenError};
pub use real::RealDisk;

/// One data directory.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist yet. It is there after a crash only once it was synced
    /// *and* [`Disk::sync_directory`] has returned.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the system says; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it. Lasting once the directory is synced.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles go on reading it. Lasting once the directory is synced.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals last.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that can still be written to this disk by this user.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Where the directory is, for messages to people.
    fn location(&self) -> String;
}

/// One file. All positions are from its start.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the system says; then any part of them may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` past the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;

    /// Reserves space so that the file is `len` bytes long and reads as zeros where nothing was
    /// written. Never shortens.
    ///
    /// # Errors
    /// `StorageFull` when there is not that much space; then the file is as it was.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file off or extends it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// True for a file of no bytes.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes everything written to the file last, and its length (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. What was not synced before is then in doubt for ever: a second attempt
    /// may succeed without having written it.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes all of `bytes` and makes them last, and nothing else that was written before. Quickest for
    /// whole blocks of [`BLOCK_BYTES`] over bytes that were written before.
    ///
    /// # Errors
    /// What the system says; then any part of them may have been written, and what they were written over
    /// is in doubt. The same bytes may be written there again.
    fn write_synced(&self, bytes: &[u8], at: u64) -> io::Result<()>;
}

/// Writes of whole blocks of this size go straight to any usual disk. Tests have small files.
pub const BLOCK_BYTES: u64 = if cfg!(test) { 512 } else { 4096 };

/// The file that shows a directory to be in use. No file of the store may have its name, and no
/// list shows it.
const LOCK_NAME: &str = "LOCK";

/// The longest name that the usual file systems take.
const NAME_BYTES_MAX: usize = 255;

/// True if a file could not be opened because too many others are open. That passes, and says nothing of
/// the disk or of the file.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(
        errno,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

/// Refuses what is not a plain file name, so that nothing outside the directory is ever touched.
fn check_name(name: &str) -> io::Result<()> {
    let fault = match name {
        "" | "." | ".." => "is not a file name",
        LOCK_NAME => "is kept for the lock",
        _ if name.contains(['/', '\0']) => "is not a plain file name",
        _ if name.len() > NAME_BYTES_MAX => "is too long for a file name",
        _ => return Ok(()),
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name:?} {fault}"),
    ))
}
