//! Making, opening and locking a data directory.
//!
//! What it is not: it knows no file but the lock. The lock file is never removed; it is the lock
//! *on* it that counts, and that ends with the process whatever happens to it.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{is_not_regular, open_regular};
use crate::disk::LOCK_NAME;
use crate::disk::open_error::{Attempt, DiskOpenError};

/// Makes a directory and what is missing above it, so that it is there after a crash too.
pub(super) fn make(dir: &Path) -> Result<(), DiskOpenError> {
    match make_one(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match parent(dir) {
            Some(parent) if parent != dir => {
                make(parent)?;
                make_one(dir)
            }
            _ => Err(error),
        },
        other => other,
    }
    .map_err(|error| DiskOpenError::of(error, dir, Attempt::Make))
}

fn make_one(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_parent(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Whoever made it may have died before making it last. One who may not open the
            // directory above did not make it.
            let _ = sync_parent(dir);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    parent(dir).map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn parent(dir: &Path) -> Option<&Path> {
    let parent = dir.parent()?;
    Some(if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    })
}

/// Opens a directory that is there.
pub(super) fn open(dir: &Path) -> Result<File, DiskOpenError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| DiskOpenError::of(error.into(), dir, Attempt::Open))
}

/// Says early what the first new file would come to know.
pub(super) fn check_writable(directory: &File, dir: &Path) -> Result<(), DiskOpenError> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS)
        .map_err(|error| DiskOpenError::of(error.into(), dir, Attempt::Write))
}

/// The permission bit that lets everybody write.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Who may write here may put files in the place of ours, and which file is which cannot be told before
/// it is read. A directory is left as its owner has made it, since he may mean it so.
pub(super) fn warn_of_other_writers(directory: &File, dir: &Path) {
    let mode = directory.metadata().map(|metadata| metadata.mode());
    if mode.is_ok_and(|mode| mode & WRITABLE_BY_OTHERS != 0) {
        tracing::warn!(path = %dir.display(), "other users may write to the data directory");
    }
}

/// A lock on the directory, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(directory: &File, dir: &Path) -> Result<Self, DiskOpenError> {
        let mut file = open_lock_file(directory, dir)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // Only people read it, and a full disk must not keep anybody from starting.
                let _ = write_pid(&mut file);
                Ok(Self(file))
            }
            Err(Errno::WOULDBLOCK) => Err(DiskOpenError::InUse {
                path: dir.to_path_buf(),
                pid: read_pid(&file),
            }),
            Err(error) => Err(DiskOpenError::of(error.into(), dir, Attempt::Lock)),
        }
    }
}

impl Drop for Lock {
    /// Unlocks by itself, as a process started at this very moment may still have the file open.
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

fn open_lock_file(directory: &File, dir: &Path) -> Result<File, DiskOpenError> {
    open_regular(directory, LOCK_NAME, OFlags::RDWR | OFlags::CREATE).map_err(|error| {
        if is_not_regular(&error) {
            DiskOpenError::NotARegularFile {
                path: dir.join(LOCK_NAME),
            }
        } else {
            DiskOpenError::of(error, dir, Attempt::Lock)
        }
    })
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// More than any process id takes.
const PID_BYTES_MAX: u64 = 20;
