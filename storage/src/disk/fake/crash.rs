//! [`Remains`]: what a loss of power leaves for certain, and what is open.
//!
//! ```text
//!            successful sync
//!   Open ──────────────────────▶ Certain ──▶ part of the settled content, once all before it is
//!     │ failed sync
//!     ▼
//!   InDoubt (for ever: a later sync may succeed without having written it)
//! ```
//!
//! What it is not: it chooses nothing; [`super::images`] does.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, FileContent, apply_to_names};
use super::history::{FileId, Operation, Recorded};

/// The least that a disk writes whole.
pub(super) const SECTOR_BYTES: u64 = 512;

/// The state of the disk itself, below all caches.
#[derive(Debug)]
pub(super) struct Remains {
    names: BTreeMap<String, FileId>,
    name_changes: Changes,
    files: Vec<(FileContent, Changes)>,
}

impl Remains {
    /// What remains of a disk that began with `start` and saw `history`.
    pub(super) fn after(start: &Content, history: &[Recorded]) -> Self {
        let files = start.files().iter().cloned();
        let mut remains = Self {
            names: start.names.clone(),
            name_changes: Changes::default(),
            files: files.map(|file| (file, Changes::default())).collect(),
        };
        for (place, recorded) in history.iter().enumerate() {
            remains.note(place, recorded);
        }
        remains.settle(history);
        remains
    }

    /// Every change that may be missing and has not lost its meaning, in the order of the history.
    pub(super) fn doubts(&self, history: &[Recorded]) -> Vec<Doubt> {
        let reachable = self.reachable(history);
        let files = self.files.iter().enumerate();
        let files = files.filter(|(id, _)| reachable.contains(&FileId(*id)));
        let mut doubts: Vec<_> = files
            .flat_map(|(_, (_, changes))| changes.open_places())
            .chain(self.name_changes.open_places())
            .filter_map(|place| Doubt::about(place, history))
            .collect();
        doubts.sort_by_key(|doubt| doubt.place);
        doubts
    }

    /// The disk with what is certain, and of everything open as much as `choice` says: how many
    /// sectors of a write, 0 or 1 of anything else.
    pub(super) fn image(&self, history: &[Recorded], choice: impl Fn(usize) -> u64) -> Content {
        let mut names = self.names.clone();
        for change in &self.name_changes.0 {
            if let Some(operation) = change.part(history, &choice) {
                apply_to_names(&mut names, &operation);
            }
        }
        let named: BTreeSet<FileId> = names.values().copied().collect();
        let files = self.files.iter().enumerate();
        let files = files.map(|(id, (settled, changes))| {
            let named = named.contains(&FileId(id));
            named.then(|| changes.file_image(settled, history, &choice))
        });
        let files = files.map(Option::unwrap_or_default).collect();
        Content::new(names, files)
    }

    fn note(&mut self, place: usize, recorded: &Recorded) {
        match &recorded.operation {
            Operation::SyncDirectory => self.name_changes.synced(recorded.failed.is_none()),
            Operation::SyncFile { file } => {
                self.file(*file).1.synced(recorded.failed.is_none());
            }
            Operation::SyncWrite { file } => {
                self.file(*file).1.latest_synced(recorded.failed.is_none());
            }
            _ if !recorded.took_effect() => {}
            Operation::Create { .. } | Operation::Rename { .. } | Operation::Remove { .. } => {
                self.name_changes.add(place, Fate::Open);
            }
            Operation::Planted { .. } | Operation::Lost { .. } => {
                self.name_changes.add(place, Fate::Certain);
            }
            Operation::Write { file, .. }
            | Operation::Allocate { file, .. }
            | Operation::SetLen { file, .. } => self.file(*file).1.add(place, Fate::Open),
            operation @ Operation::Damaged { file, .. } => {
                let (settled, changes) = self.file(*file);
                changes.0.clear();
                settled.apply(operation);
            }
        }
    }

    /// Takes what is certain, and has nothing open before it, into the settled content.
    fn settle(&mut self, history: &[Recorded]) {
        for place in self.name_changes.drain_certain() {
            if let Some(recorded) = history.get(place) {
                apply_to_names(&mut self.names, &recorded.operation);
            }
        }
        for (settled, changes) in &mut self.files {
            for place in changes.drain_certain() {
                if let Some(recorded) = history.get(place) {
                    settled.apply(&recorded.operation);
                }
            }
        }
    }

    /// The files that can have a name in some image.
    fn reachable(&self, history: &[Recorded]) -> BTreeSet<FileId> {
        let changes = self.name_changes.0.iter();
        let given = changes.filter_map(|change| match history.get(change.place)?.operation {
            Operation::Create { file, .. }
            | Operation::Planted { file, .. }
            | Operation::Rename { file, .. } => Some(file),
            _ => None,
        });
        self.names.values().copied().chain(given).collect()
    }

    fn file(&mut self, id: FileId) -> &mut (FileContent, Changes) {
        if self.files.len() <= id.0 {
            self.files.resize_with(id.0 + 1, Default::default);
        }
        &mut self.files[id.0]
    }
}

/// A change that may or may not be on the disk after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Where in the history.
    pub(super) place: usize,
    /// In how many ways it can have ended: one more than it has sectors, or two.
    pub(super) options: u64,
}

impl Doubt {
    fn about(place: usize, history: &[Recorded]) -> Option<Self> {
        let options = match &history.get(place)?.operation {
            Operation::Write { at, bytes, .. } => sectors(*at, bytes.len()) + 1,
            _ => 2,
        };
        (options > 1).then_some(Self { place, options })
    }
}

/// Changes to one file, or to the names, in order.
#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, place: usize, fate: Fate) {
        self.0.push(Change { place, fate });
    }

    fn synced(&mut self, well: bool) {
        let open = self.0.iter_mut().filter(|change| change.fate == Fate::Open);
        let fate = if well { Fate::Certain } else { Fate::InDoubt };
        open.for_each(|change| change.fate = fate);
    }

    fn latest_synced(&mut self, well: bool) {
        if let Some(change) = self.0.last_mut().filter(|last| last.fate == Fate::Open) {
            change.fate = if well { Fate::Certain } else { Fate::InDoubt };
        }
    }

    fn drain_certain(&mut self) -> Vec<usize> {
        let certain = self.0.iter().take_while(|c| c.fate == Fate::Certain);
        let count = certain.count();
        self.0.drain(..count).map(|change| change.place).collect()
    }

    fn open_places(&self) -> impl Iterator<Item = usize> {
        let open = self.0.iter().filter(|c| c.fate != Fate::Certain);
        open.map(|change| change.place)
    }

    fn file_image(
        &self,
        settled: &FileContent,
        history: &[Recorded],
        choice: impl Fn(usize) -> u64,
    ) -> FileContent {
        let mut file = settled.clone();
        for change in &self.0 {
            if let Some(operation) = change.part(history, &choice) {
                file.apply(&operation);
            }
        }
        file
    }
}

#[derive(Clone, Copy, Debug)]
struct Change {
    place: usize,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    InDoubt,
    Certain,
}

impl Change {
    /// As much of the operation as is on the disk.
    fn part(&self, history: &[Recorded], choice: impl Fn(usize) -> u64) -> Option<Operation> {
        let operation = &history.get(self.place)?.operation;
        if self.fate == Fate::Certain {
            return Some(operation.clone());
        }
        let chosen = choice(self.place);
        match operation {
            _ if chosen == 0 => None,
            Operation::Write { file, at, bytes } => Some(Operation::Write {
                file: *file,
                at: *at,
                bytes: bytes.get(..prefix_bytes(*at, bytes.len(), chosen))?.into(),
            }),
            operation => Some(operation.clone()),
        }
    }
}

/// How many sectors of the file a write touches.
fn sectors(at: u64, len: usize) -> u64 {
    if len == 0 {
        return 0;
    }
    (at + len as u64).div_ceil(SECTOR_BYTES) - at / SECTOR_BYTES
}

/// How many bytes of a write are in the first `count` sectors it touches.
fn prefix_bytes(at: u64, len: usize, count: u64) -> usize {
    let end = (at / SECTOR_BYTES)
        .saturating_add(count)
        .saturating_mul(SECTOR_BYTES);
    usize::try_from(end - at).map_or(len, |prefix| prefix.min(len))
}
