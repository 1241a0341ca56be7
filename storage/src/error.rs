//! [`OpenError`]: why a store cannot be had.

use std::io;

use crate::disk::Disk;

/// A store that cannot be opened. Each says in one line where and why.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a later version of this program, and must not be touched by this one.
    #[error("{directory} has format version {found}, and this program knows up to {known}")]
    Newer {
        /// The data directory.
        directory: String,
        /// Its version.
        found: u32,
        /// The latest version that can be read.
        known: u32,
    },
    /// A file without which nothing can be said about the rest is damaged. Nothing was touched.
    #[error("{directory}/{file} is damaged or missing; nothing was changed")]
    Damaged {
        /// The data directory.
        directory: String,
        /// The file.
        file: String,
    },
    /// There is no store, and none is to be made.
    #[error("{directory} holds no store")]
    NoStore {
        /// The data directory.
        directory: String,
    },
    /// The disk refuses.
    #[error("{directory}/{file}: {error}")]
    Io {
        /// The data directory.
        directory: String,
        /// The file, or what was being done.
        file: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn newer(disk: &dyn Disk, found: u32) -> Self {
        Self::Newer {
            directory: disk.location(),
            found,
            known: crate::FORMAT_VERSION,
        }
    }

    pub(crate) fn damaged(disk: &dyn Disk, file: &str) -> Self {
        Self::Damaged {
            directory: disk.location(),
            file: file.to_owned(),
        }
    }

    pub(crate) fn io(disk: &dyn Disk, file: &str, error: io::Error) -> Self {
        Self::Io {
            directory: disk.location(),
            file: file.to_owned(),
            error,
        }
    }
}
