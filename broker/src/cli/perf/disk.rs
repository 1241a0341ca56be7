//! `leveret perf disk`: how fast a disk makes writes last.
//!
//! Each row writes blocks one after the other into a file and syncs after each one (`pwrite`,
//! `fdatasync`), as a broker must that confirms one message at a time; the larger blocks are what it
//! writes when many messages wait for one sync. The two kinds of file differ in what the file system has
//! to note down per sync:
//!
//! | `file` | what a write meets |
//! |---|---|
//! | `written` | blocks that were written and synced before: only data moves |
//! | `reserved` | space that was reserved (`fallocate`) and never written: the first write also changes metadata |
//!
//! What it is not: a test of the disk itself. What the drive or a virtual machine's host does behind
//! `fdatasync` does not show.
//!
//! Invariant: the file is removed however the case ends, a killed process excepted.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::PerfError;
use super::arguments::Disk;
use super::histogram::Histogram;
use super::report::{Cell, Table, micros, per_second};

/// Size of the file. At its end writing starts over, or the row ends where space must be fresh.
const FILE_LEN: u64 = 256 << 20;
/// Larger writes: what gathers while a sync is under way, from dozens of messages to a burst.
const BATCHES: [u64; 2] = [64 << 10, 1 << 20];
/// What the file is first filled with at once.
const FILL_LEN: usize = 1 << 20;

/// Measures and says how often per second and with what latency.
///
/// # Errors
/// The folder cannot be written to, or has less space than the file needs.
pub(super) async fn disk(arguments: &Disk) -> Result<Table, PerfError> {
    let scratch = Scratch::in_directory(&arguments.directory);
    let probe = Probe {
        path: scratch.path.clone(),
        target: arguments.directory.display().to_string(),
        size: arguments.size,
        seconds: Duration::from_secs(arguments.seconds),
        stopped: Arc::clone(&scratch.stopped),
    };
    tokio::task::spawn_blocking(move || probe.run()).await?
}

/// The file, removed when this goes away.
struct Scratch {
    path: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Scratch {
    fn in_directory(directory: &Path) -> Self {
        let name = format!("leveret-perf-{}.tmp", std::process::id());
        Self {
            path: directory.join(name),
            stopped: Arc::default(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // It may never have been made; there is nobody left to tell of anything else.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The blocking part, on a thread of its own.
struct Probe {
    path: PathBuf,
    target: String,
    size: u64,
    seconds: Duration,
    stopped: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Space {
    Written,
    Reserved,
}

impl Space {
    fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Reserved => "reserved",
        }
    }
}

/// How long each write took, and all of them.
type Timed = (Histogram, Duration);

impl Probe {
    fn run(&self) -> Result<Table, PerfError> {
        let mut table = Table::new("disk", &self.target);
        self.measure(&mut table).map_err(|source| PerfError::File {
            file: self.path.display().to_string(),
            source,
        })?;
        Ok(table)
    }

    fn measure(&self, table: &mut Table) -> io::Result<()> {
        for space in [Space::Written, Space::Reserved] {
            for size in [self.size].into_iter().chain(BATCHES) {
                let file = self.file(space)?;
                let (latency, elapsed) = self.blocks(&file, space, size as usize)?;
                row(table, space, size, &latency, elapsed);
            }
        }
        Ok(())
    }

    /// A fresh file, of which everything is on the disk.
    fn file(&self, space: Space) -> io::Result<File> {
        let _ = std::fs::remove_file(&self.path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, FILE_LEN)?;
        if let Space::Written = space {
            let bytes = vec![0xA5; FILL_LEN];
            for at in (0..FILE_LEN).step_by(FILL_LEN) {
                file.write_all_at(&bytes, at)?;
                self.check_stopped()?;
            }
        }
        file.sync_all()?;
        Ok(file)
    }

    /// Writes and syncs blocks until time is up or there is no more such space.
    fn blocks(&self, file: &File, space: Space, size: usize) -> io::Result<Timed> {
        let bytes = vec![0x5A; size];
        let mut latency = Histogram::default();
        let start = Instant::now();
        let mut before = start;
        let mut at = 0;
        while before - start < self.seconds {
            file.write_all_at(&bytes, at)?;
            file.sync_data()?;
            let now = Instant::now();
            latency.record(now - before);
            before = now;
            at += size as u64;
            if at + size as u64 > FILE_LEN {
                match space {
                    Space::Written => at = 0,
                    Space::Reserved => break,
                }
            }
            self.check_stopped()?;
        }
        Ok((latency, before - start))
    }

    fn check_stopped(&self) -> io::Result<()> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

fn row(table: &mut Table, space: Space, size: u64, latency: &Histogram, elapsed: Duration) {
    let writes = latency.count();
    let megabytes = (writes * size) as f64 / 1e6 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    table.row([
        ("file", Cell::from(space.name())),
        ("size", Cell::from(size)),
        ("writes", Cell::from(writes)),
        ("seconds", Cell::Number(elapsed.as_secs_f64(), 3)),
        ("syncs_per_s", per_second(writes, elapsed)),
        ("megabytes_per_s", Cell::Number(megabytes, 1)),
        ("p50_us", micros(latency.percentile(0.5))),
        ("p99_us", micros(latency.percentile(0.99))),
        ("p999_us", micros(latency.percentile(0.999))),
        ("max_us", micros(latency.max())),
    ]);
}
