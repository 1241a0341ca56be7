//! What was done to a fake disk, in order.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// One file of a fake disk, whatever name it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub(super) usize);

/// Something that changed a fake disk, or made a change last. Reading leaves no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new, empty file.
    Create {
        /// Its name.
        name: String,
        /// The file.
        file: FileId,
    },
    /// Bytes written. Of a write that failed: the bytes that got there all the same.
    Write {
        /// The file.
        file: FileId,
        /// Where they begin.
        at: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// Space reserved.
    Allocate {
        /// The file.
        file: FileId,
        /// The length it has now at least.
        len: u64,
    },
    /// Cut off or extended.
    SetLen {
        /// The file.
        file: FileId,
        /// The length it has now.
        len: u64,
    },
    /// A file's content and length made to last.
    SyncFile {
        /// The file.
        file: FileId,
    },
    /// The latest write to a file made to last, and nothing else.
    SyncWrite {
        /// The file.
        file: FileId,
    },
    /// A file given another name.
    Rename {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
        /// The file.
        file: FileId,
    },
    /// A name removed.
    Remove {
        /// The name.
        name: String,
        /// The file that had it.
        file: FileId,
    },
    /// All names made to last.
    SyncDirectory,
    /// Damage: the file's lasting content is something else now.
    Damaged {
        /// The file.
        file: FileId,
        /// All of its bytes.
        bytes: Arc<[u8]>,
    },
    /// A file put there from outside, and lasting.
    Planted {
        /// Its name.
        name: String,
        /// The file.
        file: FileId,
    },
    /// A file taken away from outside, lasting.
    Lost {
        /// Its name.
        name: String,
    },
}

/// An entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What was done or tried.
    pub operation: Operation,
    /// Why it failed, if it did. Then only a write can have changed anything.
    pub failed: Option<Trouble>,
}

impl Recorded {
    /// True if there is anything left of it.
    pub(super) fn took_effect(&self) -> bool {
        self.failed.is_none() || matches!(self.operation, Operation::Write { .. })
    }
}

/// Kinds of calls that a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// [`Disk::create`](crate::disk::Disk::create).
    Create,
    /// [`Disk::open`](crate::disk::Disk::open).
    Open,
    /// [`Disk::rename`](crate::disk::Disk::rename).
    Rename,
    /// [`Disk::remove`](crate::disk::Disk::remove).
    Remove,
    /// [`Disk::list`](crate::disk::Disk::list).
    List,
    /// [`Disk::sync_directory`](crate::disk::Disk::sync_directory).
    SyncDirectory,
    /// [`DiskFile::write_at`](crate::disk::DiskFile::write_at).
    Write,
    /// [`DiskFile::read_at`](crate::disk::DiskFile::read_at).
    Read,
    /// [`DiskFile::allocate`](crate::disk::DiskFile::allocate).
    Allocate,
    /// [`DiskFile::set_len`](crate::disk::DiskFile::set_len).
    SetLen,
    /// [`DiskFile::sync_data`](crate::disk::DiskFile::sync_data).
    SyncFile,
}

/// What a failing call says: the errors that disks really have, with their system codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// `EIO`.
    InputOutput,
    /// `ENOSPC`.
    StorageFull,
    /// `EDQUOT`.
    QuotaExceeded,
    /// `EROFS`: what a file system turns to after an error of its own.
    ReadOnly,
    /// `EMFILE`: the process has as many files open as it may.
    TooManyFiles,
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::InputOutput => Errno::IO,
            Trouble::StorageFull => Errno::NOSPC,
            Trouble::QuotaExceeded => Errno::DQUOT,
            Trouble::ReadOnly => Errno::ROFS,
            Trouble::TooManyFiles => Errno::MFILE,
        }
        .into()
    }
}
