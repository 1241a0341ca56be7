//! [`Content`]: names and files, as plain values.
//!
//! What it is not: it knows no crash and no fault. Copies share the bytes of their files until one
//! of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::{FileId, Operation};

/// What is in a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) names: BTreeMap<String, FileId>,
    /// Every file there ever was, by its id; also those that have no name any more.
    files: Vec<FileContent>,
}

impl Content {
    pub(super) fn new(names: BTreeMap<String, FileId>, files: Vec<FileContent>) -> Self {
        Self { names, files }
    }

    pub(super) fn next_file(&self) -> FileId {
        FileId(self.files.len())
    }

    pub(super) fn file(&self, id: FileId) -> FileContent {
        self.files.get(id.0).cloned().unwrap_or_default()
    }

    pub(super) fn named(&self, name: &str) -> Option<FileContent> {
        Some(self.file(*self.names.get(name)?))
    }

    pub(super) fn name_of(&self, id: FileId) -> Option<&str> {
        let mut names = self.names.iter();
        names
            .find(|(_, file)| **file == id)
            .map(|(name, _)| &**name)
    }

    pub(super) fn files(&self) -> &[FileContent] {
        &self.files
    }

    /// The space taken by files that have a name, or of which `is_open` is true.
    pub(super) fn reserved_bytes(&self, is_open: impl Fn(FileId) -> bool) -> u64 {
        let files = self.files.iter().enumerate();
        files
            .filter(|(id, _)| is_open(FileId(*id)) || self.name_of(FileId(*id)).is_some())
            .map(|(_, file)| file.reserved)
            .sum()
    }

    /// Does to names and files what an operation does to them.
    pub(super) fn apply(&mut self, operation: &Operation) {
        apply_to_names(&mut self.names, operation);
        if let Some(id) = file_changed(operation) {
            if self.files.len() <= id.0 {
                self.files.resize_with(id.0 + 1, FileContent::default);
            }
            if let Some(file) = self.files.get_mut(id.0) {
                file.apply(operation);
            }
        }
    }
}

/// What is in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileContent {
    pub(super) bytes: Arc<Vec<u8>>,
    /// Up to where space is taken on the disk.
    pub(super) reserved: u64,
}

impl FileContent {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes from `at` on, if there are that many.
    pub(super) fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        self.bytes.get(at..at.checked_add(len)?)
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { at, bytes, .. } => self.write(bytes, *at),
            Operation::Allocate { len, .. } => self.allocate(*len),
            Operation::SetLen { len, .. } => self.set_len(*len),
            Operation::Damaged { bytes, .. } => {
                self.bytes = Arc::new(bytes.to_vec());
                self.reserved = self.len();
            }
            _ => {}
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len() as u64;
        self.extend(end);
        let target = Arc::make_mut(&mut self.bytes);
        if let Some(target) = target.get_mut(at as usize..end as usize) {
            target.copy_from_slice(bytes);
        }
        self.reserved = self.reserved.max(end);
    }

    fn allocate(&mut self, len: u64) {
        self.extend(len);
        self.reserved = self.reserved.max(len);
    }

    fn set_len(&mut self, len: u64) {
        Arc::make_mut(&mut self.bytes).resize(len as usize, 0);
        self.reserved = self.reserved.min(len);
    }

    fn extend(&mut self, len: u64) {
        if self.len() < len {
            Arc::make_mut(&mut self.bytes).resize(len as usize, 0);
        }
    }
}

/// Does to names what an operation does to them. What has a name on the disk need not be what had
/// it when the operation was done: after a crash an earlier one may be missing.
pub(super) fn apply_to_names(names: &mut BTreeMap<String, FileId>, operation: &Operation) {
    match operation {
        Operation::Create { name, file } | Operation::Planted { name, file } => {
            names.insert(name.clone(), *file);
        }
        Operation::Rename { from, to, file } => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        Operation::Remove { name, .. } | Operation::Lost { name } => {
            names.remove(name);
        }
        _ => {}
    }
}

/// The file whose bytes an operation changes or begins.
fn file_changed(operation: &Operation) -> Option<FileId> {
    match operation {
        Operation::Create { file, .. }
        | Operation::Planted { file, .. }
        | Operation::Write { file, .. }
        | Operation::Allocate { file, .. }
        | Operation::SetLen { file, .. }
        | Operation::Damaged { file, .. } => Some(*file),
        _ => None,
    }
}
