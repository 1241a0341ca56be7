//! [`State`]: what a fake disk is now, and what each call does to it.

use std::collections::BTreeMap;
use std::io;

use super::content::Content;
use super::faults::Faults;
use super::history::{FileId, Operation, OperationKind, Recorded, Trouble};

/// A fake disk, under its lock.
#[derive(Default)]
pub(super) struct State {
    /// What was there at first, lasting.
    pub(super) start: Content,
    /// `start` with the history applied.
    pub(super) now: Content,
    pub(super) history: Vec<Recorded>,
    pub(super) faults: Faults,
    pub(super) capacity: Option<u64>,
    /// The kind of calls that wait.
    pub(super) held: Option<OperationKind>,
    /// How many wait.
    pub(super) waiting: usize,
    /// How it came to be, for messages.
    pub(super) story: String,
    open_handles: BTreeMap<FileId, usize>,
}

impl State {
    pub(super) fn replayed(start: Content, history: Vec<Recorded>, story: String) -> Self {
        let mut state = Self {
            now: start.clone(),
            start,
            story,
            ..Self::default()
        };
        history.into_iter().for_each(|entry| state.record(entry));
        state
    }

    pub(super) fn record(&mut self, recorded: Recorded) {
        if recorded.took_effect() {
            self.now.apply(&recorded.operation);
        }
        self.history.push(recorded);
    }

    pub(super) fn find(&self, name: &str) -> io::Result<FileId> {
        let file = self.now.names.get(name).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let open = |file| self.open_handles.contains_key(&file);
        self.now.reserved_bytes(open)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        match self.capacity {
            Some(capacity) => capacity.saturating_sub(self.used_bytes()),
            None => u64::MAX,
        }
    }

    pub(super) fn opened(&mut self, file: FileId) {
        *self.open_handles.entry(file).or_default() += 1;
    }

    pub(super) fn closed(&mut self, file: FileId) {
        let handles = self.open_handles.entry(file).or_default();
        *handles = handles.saturating_sub(1);
        if *handles == 0 {
            self.open_handles.remove(&file);
        }
    }

    /// Fails a call that leaves no trace, if so planned.
    pub(super) fn check(&mut self, kind: OperationKind, name: Option<&str>) -> io::Result<()> {
        match self.faults.strike(kind, name) {
            Some(strike) => Err(strike.trouble.into()),
            None => Ok(()),
        }
    }

    /// Does an operation, or fails as planned.
    pub(super) fn carry_out(
        &mut self,
        kind: OperationKind,
        file: Option<FileId>,
        operation: Operation,
    ) -> io::Result<()> {
        let name = file.and_then(|file| self.now.name_of(file));
        let strike = self.faults.strike(kind, name);
        self.end(operation, strike.map(|strike| strike.trouble))
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.now.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.now.next_file();
        let strike = self.faults.strike(OperationKind::Create, Some(name));
        let name = name.into();
        let operation = Operation::Create { name, file };
        self.end(operation, strike.map(|strike| strike.trouble))?;
        Ok(file)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from)?;
        let operation = Operation::Rename {
            from: from.into(),
            to: to.into(),
            file,
        };
        self.carry_out(OperationKind::Rename, Some(file), operation)
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let file = self.find(name)?;
        let name = name.into();
        let operation = Operation::Remove { name, file };
        self.carry_out(OperationKind::Remove, Some(file), operation)
    }

    pub(super) fn read(&mut self, file: FileId, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let name = self.now.name_of(file);
        if let Some(strike) = self.faults.strike(OperationKind::Read, name) {
            return Err(strike.trouble.into());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let content = self.now.file(file);
        let Some(found) = content.slice(at, bytes.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        bytes.copy_from_slice(found);
        Ok(())
    }

    pub(super) fn write(&mut self, file: FileId, bytes: &[u8], at: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        check_len(at.saturating_add(len))?;
        let name = self.now.name_of(file);
        let strike = self.faults.strike(OperationKind::Write, name);
        let room = self.room(file).saturating_sub(at).min(len);
        let room = usize::try_from(room).unwrap_or(bytes.len());
        let (landing, failed) = match strike {
            Some(strike) => (strike.landing_bytes.min(room), Some(strike.trouble)),
            None if room < bytes.len() => (room, Some(Trouble::StorageFull)),
            None => (bytes.len(), None),
        };
        let bytes = bytes.split_at(landing).0.into();
        self.end(Operation::Write { file, at, bytes }, failed)
    }

    pub(super) fn allocate(&mut self, file: FileId, len: u64) -> io::Result<()> {
        check_len(len)?;
        let name = self.now.name_of(file);
        let strike = self.faults.strike(OperationKind::Allocate, name);
        let failed = match strike {
            Some(strike) => Some(strike.trouble),
            None => (len > self.room(file)).then_some(Trouble::StorageFull),
        };
        self.end(Operation::Allocate { file, len }, failed)
    }

    pub(super) fn set_len(&mut self, file: FileId, len: u64) -> io::Result<()> {
        check_len(len)?;
        let operation = Operation::SetLen { file, len };
        self.carry_out(OperationKind::SetLen, Some(file), operation)
    }

    /// Up to where a file can be filled.
    fn room(&self, file: FileId) -> u64 {
        let reserved = self.now.file(file).reserved;
        reserved.saturating_add(self.free_bytes())
    }

    fn end(&mut self, operation: Operation, failed: Option<Trouble>) -> io::Result<()> {
        self.record(Recorded { operation, failed });
        failed.map_or(Ok(()), |trouble| Err(trouble.into()))
    }
}

fn check_len(len: u64) -> io::Result<()> {
    if len > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(())
}

/// More than a test needs, less than would bring its machine down.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
