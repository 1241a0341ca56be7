//! [`RealDisk`]: a data directory of the file system.
//!
//! The directory is opened once and every file is opened relative to it, so that moving the
//! directory does not move files away from under the store. Links are never followed and only
//! regular files are opened: a pipe or a device under a file's name is refused, not waited for.
//!
//! What it is not: it does not guard a file against being used by two threads at once; each call is
//! one positioned system call or a few.

mod directory;
mod straight;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::directory::Lock;
use self::straight::Straight;
use super::{Disk, DiskFile, DiskOpenError, LOCK_NAME, check_name};

/// A directory of the file system. While it is open for writing no other process can open it so;
/// that ends when it is dropped, even if handles of its files are left.
#[derive(Debug)]
pub struct RealDisk {
    directory: Arc<File>,
    path: PathBuf,
    /// None if it is open for reading only.
    lock: Option<Lock>,
}

impl RealDisk {
    /// Opens a data directory for this process alone. Makes it, and what is missing above it, with
    /// access for this user only.
    ///
    /// # Errors
    /// See [`DiskOpenError`].
    pub fn open(dir: &Path) -> Result<Self, DiskOpenError> {
        directory::make(dir)?;
        let directory = directory::open(dir)?;
        directory::check_writable(&directory, dir)?;
        directory::warn_of_other_writers(&directory, dir);
        let lock = Some(Lock::take(&directory, dir)?);
        Ok(Self {
            directory: Arc::new(directory),
            path: dir.to_path_buf(),
            lock,
        })
    }

    /// Opens a data directory to look at it. Takes no lock and makes nothing, so it works beside a
    /// running process; then what is read may be in the middle of a change. Everything that would
    /// write is refused with `PermissionDenied`.
    ///
    /// # Errors
    /// See [`DiskOpenError`]; never `InUse`.
    pub fn open_read_only(dir: &Path) -> Result<Self, DiskOpenError> {
        Ok(Self {
            directory: Arc::new(directory::open(dir)?),
            path: dir.to_path_buf(),
            lock: None,
        })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let file =
            open_regular(&self.directory, name, flags).map_err(|error| self.naming(error, name))?;
        Ok(Arc::new(RealFile {
            file,
            writable: self.lock.is_some(),
            straight: Straight::new(&self.directory, name),
        }))
    }

    /// Adds the path where the system's own words would not tell what is wrong.
    fn naming(&self, error: io::Error, name: &str) -> io::Error {
        if !is_not_regular(&error) {
            return error;
        }
        let path = self.path.join(name);
        let text = format!("{} is not a regular file", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    }

    fn check_may_write(&self) -> io::Result<()> {
        may_write(self.lock.is_some())
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.check_may_write()?;
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let writable = self.lock.is_some();
        self.open_file(
            name,
            if writable {
                OFlags::RDWR
            } else {
                OFlags::RDONLY
            },
        )
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_may_write()?;
        check_name(from)?;
        check_name(to)?;
        rustix::fs::renameat(&self.directory, from, &self.directory, to)?;
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_may_write()?;
        check_name(name)?;
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
        Ok(())
    }

    /// Everything but directories (a mounted file system has its `lost+found`) and the lock: what
    /// is no regular file is shown here and refused when it is opened.
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCK_NAME && !self.is_directory(&entry)? {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.check_may_write()?;
        self.directory.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatvfs(&self.directory)?;
        Ok(status.f_frsize.saturating_mul(status.f_bavail))
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

impl RealDisk {
    /// Some file systems do not say in the entry itself what it is.
    fn is_directory(&self, entry: &rustix::fs::DirEntry) -> io::Result<bool> {
        if entry.file_type() != FileType::Unknown {
            return Ok(entry.file_type() == FileType::Directory);
        }
        match rustix::fs::statat(
            &self.directory,
            entry.file_name(),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(status) => Ok(FileType::from_raw_mode(status.st_mode) == FileType::Directory),
            // Removed since: then it does not matter what it was.
            Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    writable: bool,
    straight: Straight,
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        may_write(self.writable)?;
        self.file.write_all_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    /// Not to be called while another thread writes behind the end of the same file: a failure cuts
    /// the file back to where it ended before.
    ///
    /// Some file systems find out by trying: ext4 has taken all free space, and made the file
    /// longer, before it says that there is too little. Ask for [`Disk::free_bytes`] first.
    fn allocate(&self, len: u64) -> io::Result<()> {
        may_write(self.writable)?;
        let len_before = self.len()?;
        let reserved = match reserve(&self.file, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                fill_with_zeros(&self.file, len_before, len)
            }
            other => other,
        };
        if reserved.is_err() {
            // Part of the space may have been taken and the file may have grown. That this fails
            // too changes nothing: the file is longer than it was, and reads as zeros there.
            let _ = self.file.set_len(len_before);
        }
        reserved
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        may_write(self.writable)?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        may_write(self.writable)?;
        self.file.sync_data()
    }

    fn write_synced(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        may_write(self.writable)?;
        if self.straight.write(&self.file, bytes, at)? {
            return Ok(());
        }
        self.file.write_all_at(bytes, at)?;
        self.file.sync_data()
    }
}

/// Opens a file in a directory, without following a link and without waiting at a pipe.
fn open_regular(directory: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = File::from(rustix::fs::openat(directory, name, flags, mode)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Errno::LOOP.into())
    }
}

/// What opening says of a link, a directory and a socket.
fn is_not_regular(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::LOOP, Errno::ISDIR, Errno::NXIO]
        .map(Some)
        .contains(&errno)
}

fn may_write(writable: bool) -> io::Result<()> {
    if writable {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the data directory is open for reading only",
    ))
}

/// Takes the space for all of a file up to `len`, which makes it that long if it was shorter.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len))?;
    Ok(())
}

/// What reserves space on a file system that cannot do so by itself.
fn fill_with_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
        file.write_all_at(zeros.split_at(step).0, at)?;
        at += step as u64;
    }
    Ok(())
}

/// How many zeros are written at once: enough for few calls, little for a stack.
const ZEROS_BYTES: usize = 32 * 1024;
