//! The fake disk and the real one do the same.
#![allow(clippy::unwrap_used)]

use std::io::{self, ErrorKind};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::fake::FakeDisk;
use super::{Disk, DiskFile, RealDisk};

#[derive(Clone, Debug)]
enum Step {
    Create(&'static str),
    Open(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    SyncDirectory,
    /// The number says which handle of those open, counted round.
    Write(usize, u64, Vec<u8>),
    WriteSynced(usize, u64, Vec<u8>),
    Read(usize, u64, usize),
    Allocate(usize, u64),
    SetLen(usize, u64),
    SyncFile(usize),
    Close(usize),
}

/// What goes straight to a disk, and what does not.
const BLOCK: u64 = 4096;

fn block_or_not() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..3 * BLOCK as usize, any::<bool>()).prop_map(|(byte, len, whole)| {
        let len = if whole {
            len.next_multiple_of(BLOCK as usize)
        } else {
            len
        };
        vec![byte; len]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!["a", "b", "c", "..", "LOCK"]);
    let handle = || 0..8usize;
    let at = || 0..3000u64;
    prop_oneof![
        name().prop_map(Step::Create),
        name().prop_map(Step::Open),
        (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        name().prop_map(Step::Remove),
        Just(Step::SyncDirectory),
        (handle(), at(), vec(any::<u8>(), 0..700))
            .prop_map(|(file, at, bytes)| Step::Write(file, at, bytes)),
        (handle(), 0..3u64, block_or_not()).prop_map(|(file, at, bytes)| Step::WriteSynced(
            file,
            at * BLOCK,
            bytes
        )),
        (handle(), at(), 0..700usize).prop_map(|(file, at, len)| Step::Read(file, at, len)),
        (handle(), at()).prop_map(|(file, len)| Step::Allocate(file, len)),
        (handle(), at()).prop_map(|(file, len)| Step::SetLen(file, len)),
        handle().prop_map(Step::SyncFile),
        handle().prop_map(Step::Close),
    ]
}

/// What a step shows of itself and of the disk after it.
type Shown = (Result<Vec<u8>, ErrorKind>, Vec<(String, Vec<u8>)>);

struct User<'a> {
    disk: &'a dyn Disk,
    files: Vec<Arc<dyn DiskFile>>,
}

impl User<'_> {
    fn take(&mut self, step: &Step) -> Shown {
        let result = self.call(step).map_err(|error| error.kind());
        (result, contents(self.disk))
    }

    fn call(&mut self, step: &Step) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        match step {
            Step::Create(name) => self.files.push(self.disk.create(name)?),
            Step::Open(name) => self.files.push(self.disk.open(name)?),
            Step::Rename(from, to) => self.disk.rename(from, to)?,
            Step::Remove(name) => self.disk.remove(name)?,
            Step::SyncDirectory => self.disk.sync_directory()?,
            _ if self.files.is_empty() => {}
            Step::Write(file, at, bytes) => self.file(*file).write_at(bytes, *at)?,
            Step::WriteSynced(file, at, bytes) => self.file(*file).write_synced(bytes, *at)?,
            Step::Read(file, at, len) => {
                read.resize(*len, 0);
                self.file(*file).read_at(&mut read, *at)?;
            }
            Step::Allocate(file, len) => self.file(*file).allocate(*len)?,
            Step::SetLen(file, len) => self.file(*file).set_len(*len)?,
            Step::SyncFile(file) => self.file(*file).sync_data()?,
            Step::Close(file) => {
                let place = file % self.files.len();
                self.files.remove(place);
            }
        }
        Ok(read)
    }

    fn file(&self, number: usize) -> &dyn DiskFile {
        &*self.files[number % self.files.len()]
    }
}

fn contents(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    let read = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(file.is_empty().unwrap(), bytes.is_empty());
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn both_disks_do_the_same(steps in vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let real = RealDisk::open(dir.path()).unwrap();
        let fake = FakeDisk::new();
        let mut real = User { disk: &real, files: Vec::new() };
        let mut model = User { disk: &fake, files: Vec::new() };
        for step in &steps {
            prop_assert_eq!(model.take(step), real.take(step), "{:?}", step);
        }
    }

    /// The history tells every state the disk was in, with and without a loss of power.
    #[test]
    fn history_tells_every_state(steps in vec(step(), 1..40), seed: u64) {
        let fake = FakeDisk::new();
        let mut user = User { disk: &fake, files: Vec::new() };
        let mut states = vec![contents(&fake)];
        for step in &steps {
            let (_, state) = user.take(step);
            states.resize(fake.operations() + 1, state);
        }
        for (operations, state) in states.iter().enumerate() {
            let images = fake.images(operations);
            prop_assert_eq!(&contents(&fake.kill(operations)), state);
            if let Some(whole) = images.total().checked_sub(1) && images.total() < u128::MAX {
                prop_assert_eq!(&contents(&images.image(whole).unwrap()), state);
            }
            let sampled = contents(&images.sampled(seed));
            prop_assert_eq!(sampled, contents(&fake.image_sampled(operations, seed)));
        }
    }

    /// What was all synced is there, whatever comes of what was done after.
    #[test]
    fn synced_state_is_never_lost(
        before in vec(step(), 1..20),
        after in vec(step(), 0..20),
        seeds in vec(any::<u64>(), 20),
    ) {
        let fake = FakeDisk::new();
        let mut user = User { disk: &fake, files: Vec::new() };
        before.iter().for_each(|step| drop(user.take(step)));
        for name in fake.list().unwrap() {
            fake.open(&name).unwrap().sync_data().unwrap();
        }
        fake.sync_directory().unwrap();
        prop_assert_eq!(fake.images(fake.operations()).total(), 1);
        let kept = fake.create("kept").unwrap();
        kept.write_at(b"whole", 600).unwrap();
        kept.sync_data().unwrap();
        fake.sync_directory().unwrap();
        let synced = contents(&fake);
        let bystanders: Vec<_> = synced.iter().filter(|(name, _)| name == "kept").collect();
        after.iter().for_each(|step| drop(user.take(step)));
        let images = fake.images(fake.operations());
        for seed in seeds {
            let image = contents(&images.sampled(seed));
            prop_assert!(bystanders.iter().all(|file| image.contains(file)));
            prop_assert_eq!(images.sampled(seed).images(0).total(), 1);
        }
    }
}
