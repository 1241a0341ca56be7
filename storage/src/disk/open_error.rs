//! [`DiskOpenError`]: why a data directory cannot be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A data directory that cannot be opened. Each is told in one line that names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskOpenError {
    /// Another process has it, or another handle in this one.
    #[error("data directory {} is in use by {}", path.display(), holder(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, if its lock file says so.
        pid: Option<u32>,
    },
    /// There is none. Only where none is made.
    #[error("data directory {} does not exist", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something else has its name, or the name of a directory above it.
    #[error("data directory {} is not a directory", path.display())]
    NotADirectory {
        /// What was to be a directory.
        path: PathBuf,
    },
    /// A file in it is a link, a pipe or a device. It has not been touched.
    #[error("{} is not a regular file", path.display())]
    NotARegularFile {
        /// The file.
        path: PathBuf,
    },
    /// This user may not read, write or make it, or its file system is mounted for reading only.
    #[error("data directory {} is not {wanted}: {error}", path.display())]
    NotAllowed {
        /// The directory.
        path: PathBuf,
        /// What was wanted of it: "readable" or "writable".
        wanted: &'static str,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Anything else.
    #[error("cannot {attempt} data directory {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        attempt: Attempt,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

/// What is done to a data directory before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Make it.
    Make,
    /// Open it.
    Open,
    /// Find out whether it can be written to.
    Write,
    /// Lock it.
    Lock,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "make",
            Self::Open => "open",
            Self::Write => "write to",
            Self::Lock => "lock",
        })
    }
}

impl DiskOpenError {
    /// The error that a failed attempt on a directory comes to.
    pub(super) fn of(error: io::Error, path: &Path, attempt: Attempt) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::NotFound if attempt == Attempt::Open => Self::Missing { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let wanted = if attempt == Attempt::Open {
                    "readable"
                } else {
                    "writable"
                };
                Self::NotAllowed {
                    path,
                    wanted,
                    error,
                }
            }
            _ => Self::Io {
                path,
                attempt,
                error,
            },
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}
