//! [`Straight`]: the way of a write past the system's cache to the disk, for a few blocks that somebody
//! waits for.
//!
//! The file is opened once more with `O_DIRECT` and `O_DSYNC`. That saves what a write through the cache
//! and a sync behind it take: copying, looking for what is to be written, and waiting for the disk twice.
//! Where a file system, a device or the place of the bytes does not allow it, the caller writes and
//! syncs as ever; what is in the file is the same.
//!
//! Invariant: a write either says that it was done, and then the bytes last, or has left the file to the
//! caller.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::open_regular;

/// What disks and file systems want place, length and memory to be multiples of, at most.
const ALIGNMENT: usize = 4096;

/// A second handle of a file, opened when it is first wanted.
#[derive(Debug)]
pub(super) struct Straight {
    directory: Arc<File>,
    name: String,
    /// `None` when there is no such way for this file.
    file: OnceLock<Option<File>>,
    /// The file system or the device took such a handle and refused what was written.
    is_refused: AtomicBool,
    /// Room for aligned bytes, kept between writes.
    room: Mutex<Vec<u8>>,
}

impl Straight {
    pub(super) fn new(directory: &Arc<File>, name: &str) -> Self {
        Self {
            directory: Arc::clone(directory),
            name: name.to_owned(),
            file: OnceLock::new(),
            is_refused: AtomicBool::new(false),
            room: Mutex::default(),
        }
    }

    /// Writes the bytes and makes them last; false if that cannot be done this way.
    pub(super) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<bool> {
        let is_aligned =
            bytes.len().is_multiple_of(ALIGNMENT) && at.is_multiple_of(ALIGNMENT as u64);
        if !is_aligned || bytes.is_empty() || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let straight = self.file.get_or_init(|| self.open(file).ok());
        let Some(straight) = straight else {
            return Ok(false);
        };
        let mut room = std::mem::take(&mut *self.room());
        let written = straight.write_all_at(aligned(&mut room, bytes), at);
        *self.room() = room;
        match written {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    fn room(&self) -> MutexGuard<'_, Vec<u8>> {
        // Whatever is in it is written over.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file by its name, if it is still the same file.
    fn open(&self, file: &File) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::DSYNC;
        let straight = open_regular(&self.directory, &self.name, flags)?;
        let (one, other) = (rustix::fs::fstat(file)?, rustix::fs::fstat(&straight)?);
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
            Ok(straight)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// A copy of the bytes at a place in memory that a disk can read from.
fn aligned<'r>(room: &'r mut Vec<u8>, bytes: &[u8]) -> &'r [u8] {
    if room.len() < bytes.len() + ALIGNMENT {
        room.resize(bytes.len() + ALIGNMENT, 0);
    }
    let from = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let place = &mut room[from..from + bytes.len()];
    place.copy_from_slice(bytes);
    place
}
