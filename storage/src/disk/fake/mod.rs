//! [`FakeDisk`]: a disk in memory, for tests, that can fail and crash.
//!
//! It behaves as a real one and keeps a history of all that changed it. From any point of the
//! history it can go on as after
//!
//! * the death of the process ([`FakeDisk::kill`]): everything that was done is there;
//! * a loss of power ([`FakeDisk::images`]): everything that was *synced* is there, and of the rest
//!   anything that the file system and the disk are free to leave.
//!
//! Calls fail by plan ([`Fault`]), for want of space ([`FakeDisk::set_capacity`]) or wait at a gate
//! ([`FakeDisk::hold`]). Bytes can be damaged behind the back of whoever uses it.
//!
//! ```text
//!  calls ─▶ gate ─▶ faults ─▶ history ─▶ content as a process sees it
//!                                └────▶ remains (crash.rs) ─▶ images ─▶ another FakeDisk
//! ```
//!
//! It is the same in every run: no clock, no chance but from seeds, names in order. What it is not:
//! fast, or lasting; and it does not know what a real disk does to bytes that were not asked for (a
//! torn write leaves the rest of the old bytes, never others).

mod content;
mod crash;
mod damage;
mod faults;
mod history;
mod images;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use faults::Fault;
pub use history::{FileId, Operation, OperationKind, Recorded, Trouble};
pub use images::Images;

use self::content::Content;
use self::crash::Remains;
use self::state::State;
use super::{Disk, DiskFile, check_name};

/// A disk in memory. Clones are handles to the same one. Nothing stops two users from opening it.
#[derive(Clone, Default)]
pub struct FakeDisk {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when a gate opens and when somebody comes to wait at it.
    gate: Condvar,
}

/// What it does as a test wants it.
impl FakeDisk {
    /// An empty disk of unlimited size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same files, all of it lasting, and no history.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.lock();
        Self::holding(state.now.clone(), state.story.clone())
    }

    /// All that was done so far.
    #[must_use]
    pub fn history(&self) -> Vec<Recorded> {
        self.lock().history.clone()
    }

    /// How long the history is.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock().history.len()
    }

    /// The name that a file has now.
    #[must_use]
    pub fn name_of(&self, file: FileId) -> Option<String> {
        self.lock().now.name_of(file).map(Into::into)
    }

    /// Another disk as the next process finds it when this one died right after so many operations.
    /// What was not synced is not lost, and still not synced: the history is kept up to there, so
    /// the power can be lost later. Faults and capacity are not.
    #[must_use]
    pub fn kill(&self, operations: usize) -> Self {
        let state = self.lock();
        let history = state.history.iter().take(operations).cloned();
        let story = format!("killed after {operations} operations");
        Self::with_state(State::replayed(
            state.start.clone(),
            history.collect(),
            story,
        ))
    }

    /// Every directory that can be found when the power was lost right after so many operations
    /// (what was under way then is there with one operation more).
    #[must_use]
    pub fn images(&self, operations: usize) -> Images {
        let state = self.lock();
        let history = state.history.iter().take(operations).cloned();
        let history: Vec<_> = history.collect();
        let remains = Remains::after(&state.start, &history);
        Images::new(history, remains)
    }

    /// [`Images::sampled`] of [`FakeDisk::images`]. For many samples of one point keep the images.
    #[must_use]
    pub fn image_sampled(&self, operations: usize, seed: u64) -> Self {
        self.images(operations).sampled(seed)
    }

    /// Plans a fault. If several fit a call, the one planned first decides.
    pub fn plan(&self, fault: Fault) {
        self.lock().faults.plan(fault);
    }

    /// Forgets all faults, also those that last.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    /// Limits the space to so many bytes; None for no limit. May be less than is in use.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes in use, reserved ones included.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Lets every call of a kind wait, until [`FakeDisk::release`]. Replaces an earlier hold.
    pub fn hold(&self, kind: OperationKind) {
        self.lock().held = Some(kind);
        self.shared.gate.notify_all();
    }

    /// Lets all go on that were held.
    pub fn release(&self) {
        self.lock().held = None;
        self.shared.gate.notify_all();
    }

    /// Waits until so many calls are being held. False if that does not come about in time.
    #[must_use]
    pub fn wait_for_held(&self, calls: usize, timeout: Duration) -> bool {
        let fewer = |state: &mut State| state.waiting < calls;
        let gate = &self.shared.gate;
        let waited = gate.wait_timeout_while(self.lock(), timeout, fewer);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// A disk that holds this, all of it lasting.
    fn holding(content: Content, story: String) -> Self {
        Self::with_state(State::replayed(content, Vec::new(), story))
    }

    fn with_state(state: State) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                gate: Condvar::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the gate.
    fn enter(&self, kind: OperationKind) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.held != Some(kind) {
            return state;
        }
        state.waiting += 1;
        self.shared.gate.notify_all();
        let held = |state: &mut State| state.held == Some(kind);
        let waited = self.shared.gate.wait_while(state, held);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    fn handle(&self, state: &mut State, file: FileId) -> Arc<dyn DiskFile> {
        state.opened(file);
        Arc::new(FakeFile {
            disk: self.clone(),
            file,
        })
    }
}

impl Disk for FakeDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let mut state = self.enter(OperationKind::Create);
        let file = state.create(name)?;
        Ok(self.handle(&mut state, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let mut state = self.enter(OperationKind::Open);
        state.check(OperationKind::Open, Some(name))?;
        let file = state.find(name)?;
        Ok(self.handle(&mut state, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        self.enter(OperationKind::Rename).rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.enter(OperationKind::Remove).remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.enter(OperationKind::List);
        state.check(OperationKind::List, None)?;
        Ok(state.now.names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.enter(OperationKind::SyncDirectory);
        state.carry_out(OperationKind::SyncDirectory, None, Operation::SyncDirectory)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().free_bytes())
    }

    /// Tells an image from others, so that a failing test says which it was.
    fn location(&self) -> String {
        match &*self.lock().story {
            "" => "fake disk".into(),
            story => format!("fake disk, {story}"),
        }
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeDisk").field(&self.location()).finish()
    }
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    file: FileId,
}

impl DiskFile for FakeFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.enter(OperationKind::Write);
        state.write(self.file, bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.enter(OperationKind::Read);
        state.read(self.file, bytes, at)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.enter(OperationKind::Allocate);
        state.allocate(self.file, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.enter(OperationKind::SetLen);
        state.set_len(self.file, len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().now.file(self.file).len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.enter(OperationKind::SyncFile);
        let operation = Operation::SyncFile { file: self.file };
        state.carry_out(OperationKind::SyncFile, Some(self.file), operation)
    }

    /// Two operations, so that the power can be lost while the bytes are being written.
    fn write_synced(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_at(bytes, at)?;
        let mut state = self.disk.enter(OperationKind::SyncFile);
        let operation = Operation::SyncWrite { file: self.file };
        state.carry_out(OperationKind::SyncFile, Some(self.file), operation)
    }
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        self.disk.lock().closed(self.file);
    }
}
