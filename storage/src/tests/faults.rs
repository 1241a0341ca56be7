//! A disk that fails: after a fault nothing more is promised, and what was promised stays.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bench::{Bench, small};
use super::plain::{Author, Plain};
use crate::disk::fake::{FakeDisk, Fault, Operation, OperationKind, Trouble};
use crate::journal::JournalError;
use crate::{
    CatalogChange, CommitBell, CommitState, Epoch, LogId, NewMessage, Records, Store, StoreOptions,
    Sync, inspect,
};

const SEGMENT_BYTES: u64 = 2048;
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(30);

/// A history, up to where the disk let it come.
struct Told {
    states: Vec<Plain>,
    /// So many steps had been reported.
    promised: usize,
    failed: bool,
}

/// Goes on with a history until the first fault; waits for room if there is none.
fn tell(disk: &FakeDisk, seed: u64, commits: u64, mut on_full: impl FnMut()) -> Told {
    let mut told = Told {
        states: vec![Plain::default()],
        promised: 0,
        failed: true,
    };
    let Ok(mut bench) = Bench::open(disk, &small(SEGMENT_BYTES)) else {
        return told;
    };
    let mut author = Author::new(seed, 300);
    for _ in 0..commits {
        let (mut records, mut plain) = (Records::default(), told.states.last().unwrap().clone());
        for _ in 0..1 + author.random().below(4) {
            let step = author.step(&plain);
            plain.record(&step, &mut records);
            plain.apply(&step);
            told.states.push(plain.clone());
        }
        let mut batch = bench.batch(&records);
        loop {
            match bench.write(&mut batch) {
                Ok(()) => break,
                Err(JournalError::Full) => on_full(),
                Err(JournalError::Failed { .. }) => return told,
            }
        }
        if records.must_sync() {
            told.promised = told.states.len() - 1;
        }
    }
    told.failed = bench.close().is_err();
    told
}

impl Told {
    fn check(&self, disk: &FakeDisk, what: &str) -> Bench {
        let bench = match Bench::open(disk, &small(SEGMENT_BYTES)) {
            Ok(bench) => bench,
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(bench.recovered.damage, [], "{what}");
        let found = bench.contents();
        let is_there = self.states[self.promised..].contains(&found);
        assert!(
            is_there,
            "{what}: {} promised, found {found:?}",
            self.promised
        );
        bench
    }
}

const KINDS: [OperationKind; 7] = [
    OperationKind::Write,
    OperationKind::SyncFile,
    OperationKind::Create,
    OperationKind::Rename,
    OperationKind::SyncDirectory,
    OperationKind::SetLen,
    OperationKind::Allocate,
];

fn kind_of(operation: &Operation) -> Option<OperationKind> {
    Some(match operation {
        Operation::Write { .. } => OperationKind::Write,
        Operation::SyncFile { .. } | Operation::SyncWrite { .. } => OperationKind::SyncFile,
        Operation::Create { .. } => OperationKind::Create,
        Operation::Rename { .. } => OperationKind::Rename,
        Operation::SyncDirectory => OperationKind::SyncDirectory,
        Operation::SetLen { .. } => OperationKind::SetLen,
        Operation::Allocate { .. } => OperationKind::Allocate,
        _ => return None,
    })
}

fn count(disk: &FakeDisk, kind: OperationKind) -> u64 {
    let history = disk.history();
    let of_kind = history
        .iter()
        .filter(|entry| kind_of(&entry.operation) == Some(kind));
    of_kind.count() as u64
}

const COMMITS: u64 = 30;

/// Every call of a history fails in turn: once or for good, and a write having left nothing, a part
/// or all of itself.
fn every_fault(trouble: Trouble, check: impl Fn(FakeDisk, u64, &str)) {
    for seed in [1, 2] {
        let healthy = FakeDisk::new();
        assert!(!tell(&healthy, seed, COMMITS, || panic!("full")).failed);
        for kind in KINDS {
            let calls = count(&healthy, kind);
            assert!(calls > 1, "{kind:?} is never called");
            for nth in 1..=calls {
                for landing in [0, 300, usize::MAX] {
                    if landing > 0 && kind != OperationKind::Write {
                        continue;
                    }
                    let faults = [
                        Fault::once(kind, nth, trouble),
                        Fault::lasting(kind, nth, trouble),
                    ];
                    for fault in faults {
                        let disk = FakeDisk::new();
                        let what = format!("seed {seed}: {fault:?} landing {landing}");
                        disk.plan(fault.landing(landing));
                        check(disk, seed, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn after_any_fault_all_that_was_promised_is_there() {
    every_fault(Trouble::InputOutput, |disk, seed, what| {
        let told = tell(&disk, seed, COMMITS, || panic!("{what}: full"));
        assert!(told.failed, "{what}");
        disk.mend();
        let operations = disk.operations();
        told.check(&disk.kill(operations).copy(), what);
        for sample in 0..2 {
            told.check(&disk.images(operations).sampled(sample), what);
        }
    });
}

/// The program is started again on the same machine: what a failed sync was to write is in its
/// memory, and a second sync says that all is well. Then the power goes.
#[test]
fn a_failed_sync_is_not_believed_after_a_restart() {
    every_fault(Trouble::InputOutput, |disk, seed, what| {
        let told = tell(&disk, seed, COMMITS, || panic!("{what}: full"));
        let killed = disk.kill(disk.operations());
        let mut bench = told.check(&killed, what);
        let mut plain = bench.contents();
        let mut records = Records::default();
        let mut author = Author::new(seed + 50, 100);
        let logs = bench.recovered.logs.iter();
        author.go_on_from(
            bench.recovered.next_log_id,
            logs.map(|log| (log.id.0, log.next_index)),
        );
        for _ in 0..3 {
            let step = author.step(&plain);
            plain.record(&step, &mut records);
            plain.apply(&step);
        }
        records.require_sync();
        bench.commit(&records).unwrap();
        let told = Told {
            states: vec![plain],
            promised: 0,
            failed: false,
        };
        let images = killed.images(killed.operations());
        for image in [images.image(0).unwrap(), images.sampled(seed)] {
            told.check(&image, &format!("{what}, then {image:?}"));
        }
    });
}

/// Want of space is waited out: the same commit goes on, nothing is lost and nothing doubled.
#[test]
fn a_full_disk_is_waited_out() {
    let waits = std::cell::Cell::new(0_u64);
    every_fault(Trouble::StorageFull, |disk, seed, what| {
        let mut tries = 0;
        let told = tell(&disk, seed, COMMITS, || {
            waits.set(waits.get() + 1);
            tries += 1;
            assert!(tries < 20, "{what}");
            if tries % 3 == 0 {
                disk.mend();
            }
        });
        disk.mend();
        if !told.failed {
            let found = Bench::open(&disk.copy(), &small(SEGMENT_BYTES)).unwrap();
            assert_eq!(Some(&found.contents()), told.states.last(), "{what}");
        }
        let operations = disk.operations();
        told.check(&disk.images(operations).sampled(seed), what);
    });
    assert!(waits.get() > 100, "{}", waits.get());
}

/// A commit that wants room waits for it; it does not fail.
#[test]
fn no_room_for_a_segment_fails_nothing() {
    for kind in [OperationKind::Allocate, OperationKind::Create] {
        let disk = FakeDisk::new();
        drop(Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap());
        disk.plan(Fault::lasting(kind, 2, Trouble::StorageFull).of_files("journal"));
        let mut waited = 0;
        let told = tell(&disk, 3, COMMITS, || {
            waited += 1;
            disk.mend();
        });
        assert!(!told.failed);
        assert_eq!(waited, 1);
    }
}

/// A store that could not even write its first checkpoint has nothing to go on from.
#[test]
fn a_new_store_without_room_for_a_checkpoint_is_not_begun() {
    let disk = FakeDisk::new();
    // After the superblock.
    disk.plan(Fault::once(OperationKind::Rename, 2, Trouble::StorageFull));
    assert!(Bench::open(&disk, &small(SEGMENT_BYTES)).is_err());
    Bench::open(&disk, &small(SEGMENT_BYTES)).unwrap();
}

// The store with its threads.

/// Sends when it rings.
struct Bell(Mutex<Sender<()>>);

impl CommitBell for Bell {
    fn on_commit(&self) {
        let _ = self.0.lock().unwrap().send(());
    }
}

/// A store whose keeper has nothing left to do.
pub(super) struct Running {
    pub(super) disk: FakeDisk,
    pub(super) store: Store,
}

pub(crate) fn message(log: u64, index: u64, bytes: &[u8]) -> Records {
    let mut records = Records::default();
    let message = NewMessage {
        index,
        time_ms: 1,
        body_bytes: bytes.len() as u32,
        pieces: &[bytes],
    };
    records.message(LogId(log), message);
    records
}

impl Drop for Running {
    /// A test that fails while it holds the disk must end all the same: the store waits for its threads.
    fn drop(&mut self) {
        self.disk.release();
    }
}

impl Running {
    fn open(options: &StoreOptions) -> Self {
        let disk = FakeDisk::new();
        let (store, _) = Store::open(Arc::new(disk.clone()), options.clone()).unwrap();
        let running = Self { disk, store };
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
        let epoch = running.store.submit(&mut records);
        assert_eq!(running.end_of(epoch), CommitState::Reached);
        running.settle_down();
        running
    }

    /// Waits until the segment that the keeper makes ahead is there. It tells nobody, so it is
    /// looked for.
    fn settle_down(&self) {
        let is_idle = || {
            let history = self.disk.history();
            let is_segment = |operation: &Operation| matches!(operation, Operation::Create { name, .. } if name.starts_with("journal"));
            let made = history.iter().filter(|e| is_segment(&e.operation)).count();
            let last = history.iter().rposition(|e| is_segment(&e.operation));
            let mut since = history.iter().skip(last.unwrap_or_default());
            made >= 2 && since.any(|e| e.operation == Operation::SyncDirectory)
        };
        wait_until(is_idle);
    }

    fn bell(&self, epoch: Epoch) -> Receiver<()> {
        let (sender, receiver) = channel();
        let bell = Arc::new(Bell(Mutex::new(sender)));
        self.store.commits().ring_at(epoch, bell);
        receiver
    }

    /// Waits until an epoch is reached or never will be.
    pub(super) fn end_of(&self, epoch: Epoch) -> CommitState {
        end_of(&self.store, epoch)
    }
}

pub(crate) fn end_of(store: &Store, epoch: Epoch) -> CommitState {
    let (sender, receiver) = channel();
    let bell = Arc::new(Bell(Mutex::new(sender)));
    store.commits().ring_at(epoch, bell);
    receiver.recv_timeout(LONG).unwrap();
    store.commits().state(epoch)
}

pub(super) fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "it never comes about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn large() -> StoreOptions {
    small(1 << 20)
}

#[test]
fn a_commit_is_reported_after_its_sync_and_not_before() {
    let running = Running::open(&large());
    running.disk.hold(OperationKind::SyncFile);
    let epoch = running.store.submit(&mut message(1, 0, b"held"));
    let bell = running.bell(epoch);
    assert!(running.disk.wait_for_held(1, LONG));
    assert_eq!(running.store.commits().state(epoch), CommitState::Waiting);
    assert!(bell.try_recv().is_err());
    assert!(running.store.pending_bytes() > 0);
    running.disk.release();
    bell.recv_timeout(LONG).unwrap();
    assert_eq!(running.store.commits().state(epoch), CommitState::Reached);
    let images = running.disk.images(running.disk.operations());
    let bench = Bench::open(&images.image(0).unwrap(), &large()).unwrap();
    assert_eq!(bench.contents().logs[&1][&0].bytes, b"held");
}

#[test]
fn what_gathers_during_a_sync_goes_with_the_next_one() {
    let running = Running::open(&large());
    let before = count(&running.disk, OperationKind::SyncFile);
    running.disk.hold(OperationKind::SyncFile);
    running.store.submit(&mut message(1, 0, b"first"));
    assert!(running.disk.wait_for_held(1, LONG));
    let epochs: Vec<_> = (1..50)
        .map(|index| running.store.submit(&mut message(1, index, b"gathered")))
        .collect();
    running.disk.release();
    assert_eq!(
        running.end_of(*epochs.last().unwrap()),
        CommitState::Reached
    );
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
    let after = count(&running.disk, OperationKind::SyncFile);
    assert_eq!(after - before, 2, "one for the first, one for all others");
}

#[test]
fn without_sync_no_commit_waits_for_the_disk() {
    let running = Running::open(&StoreOptions {
        sync: Sync::Never,
        ..large()
    });
    let before = count(&running.disk, OperationKind::SyncFile);
    for index in 0..20 {
        let epoch = running.store.submit(&mut message(1, index, b"fast"));
        assert_eq!(running.end_of(epoch), CommitState::Reached);
    }
    assert_eq!(count(&running.disk, OperationKind::SyncFile), before);
}

#[test]
fn after_a_fault_nothing_is_promised_and_reading_goes_on() {
    for kind in [OperationKind::SyncFile, OperationKind::Write] {
        let running = Running::open(&large());
        let (sender, changes) = channel();
        running
            .store
            .on_status_change(move |status| drop(sender.send(status.clone())));
        let good = running.store.submit(&mut message(1, 0, b"good"));
        assert_eq!(running.end_of(good), CommitState::Reached);
        running
            .disk
            .plan(Fault::once(kind, 1, Trouble::InputOutput));
        let bad = running.store.submit(&mut message(1, 1, b"bad"));
        assert_eq!(running.end_of(bad), CommitState::Failed);
        let status = changes.recv_timeout(LONG).unwrap();
        assert!(
            status.failed.unwrap().contains("journal-"),
            "it names the file"
        );
        assert_eq!(running.store.commits().state(good), CommitState::Reached);
        let operations = running.disk.operations();
        let later = running.store.submit(&mut message(1, 2, b"later"));
        assert_eq!(running.end_of(later), CommitState::Failed);
        assert_eq!(running.store.pending_bytes(), 0);
        let read = running.store.read(LogId(1), 0, 0, 10, 1000);
        assert_eq!(read.messages[0].bytes, b"good");
        running.store.close();
        assert_eq!(running.disk.operations(), operations, "nothing is written");
        assert!(changes.try_recv().is_err(), "it is told once");
        let images = running.disk.images(operations);
        let bench = Bench::open(&images.image(0).unwrap(), &large()).unwrap();
        assert_eq!(bench.contents().logs[&1][&0].bytes, b"good");
    }
}

/// A fault of the thread that keeps the directory is one of the store.
#[test]
fn a_fault_beside_the_journal_fails_the_store_too() {
    let disk = FakeDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), small(SEGMENT_BYTES)).unwrap();
    disk.plan(Fault::once(OperationKind::Rename, 1, Trouble::InputOutput));
    let mut records = Records::default();
    records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
    store.submit(&mut records);
    let begun = Instant::now();
    let mut index = 0;
    loop {
        let epoch = store.submit(&mut message(1, index, &[1; 500]));
        if end_of(&store, epoch) == CommitState::Failed {
            break;
        }
        index += 1;
        assert!(begun.elapsed() < LONG);
    }
    let committed = store.commits().committed();
    let later = store.submit(&mut message(1, index + 1, b"later"));
    assert_eq!(end_of(&store, later), CommitState::Failed);
    store.close();
    assert_eq!(store.commits().committed(), committed);
    assert!(store.status().failed.unwrap().contains("checkpoint"));
    let images = disk.images(disk.operations());
    let bench = Bench::open(&images.image(0).unwrap(), &small(SEGMENT_BYTES)).unwrap();
    assert_eq!(bench.recovered.damage, []);
    let found = bench.contents().logs[&1].len() as u64;
    assert!(found >= index, "{found} of {index}");
}

/// After a fault of the keeper the committer writes nothing more either, not even when it ends.
#[test]
fn after_a_fault_beside_the_journal_nothing_is_written() {
    let disk = FakeDisk::new();
    let (store, _) = Store::open(Arc::new(disk.clone()), small(SEGMENT_BYTES)).unwrap();
    let (sender, changes) = channel();
    store.on_status_change(move |status| drop(sender.send(status.clone())));
    let mut records = Records::default();
    records.catalog(&[CatalogChange::CreateLog(LogId(1))], 0);
    store.submit(&mut records);
    disk.hold(OperationKind::Rename);
    let mut index = 0;
    while !disk.wait_for_held(1, Duration::from_millis(20)) {
        let epoch = store.submit(&mut message(1, index, &[1; 300]));
        assert_eq!(end_of(&store, epoch), CommitState::Reached);
        index += 1;
        assert!(index < 100, "no checkpoint is written");
    }
    disk.plan(Fault::once(OperationKind::Rename, 1, Trouble::InputOutput));
    disk.release();
    assert!(changes.recv_timeout(LONG).unwrap().failed.is_some());
    store.close();
    let history = disk.history();
    let fault = history.iter().position(|entry| entry.failed.is_some());
    let behind = history.get(fault.unwrap() + 1..).unwrap_or_default();
    assert_eq!(behind, [], "something was done after the fault");
}

#[test]
fn dropping_the_last_handle_ends_the_threads_and_closes_in_order() {
    for explicitly in [true, false] {
        let running = Running::open(&large());
        let token = Arc::new(());
        let held = Arc::clone(&token);
        running
            .store
            .on_status_change(move |_| drop(Arc::clone(&held)));
        running.store.submit(&mut message(1, 0, b"last"));
        let mut records = Records::default();
        records.returned(LogId(1), 0, 1);
        running.store.submit(&mut records);
        let other = running.store.clone();
        let disk = running.disk.clone();
        if explicitly {
            other.close();
            let late = other.submit(&mut message(1, 1, b"late"));
            assert_eq!(end_of(&other, late), CommitState::Failed);
        }
        drop(running);
        drop(other);
        assert_eq!(Arc::strong_count(&token), 1, "the threads have ended");
        let image = disk.images(disk.operations()).image(0).unwrap();
        let report = inspect::verify(&image).unwrap();
        assert!(report.clean);
        assert_eq!((report.messages, report.damage.len()), (1, 0));
        let names = crate::disk::Disk::list(&image).unwrap();
        assert!(names.len() <= 5, "nothing is left behind: {names:?}");
    }
}

/// A segment that was made ahead and is too small for a large message must not look like one whose
/// messages were wiped.
#[test]
fn a_segment_that_is_passed_over_is_no_damage() {
    let running = Running::open(&small(4096));
    let epoch = running.store.submit(&mut message(1, 0, &[7; 20_000]));
    assert_eq!(running.end_of(epoch), CommitState::Reached);
    let epoch = running.store.submit(&mut message(1, 1, b"behind it"));
    assert_eq!(running.end_of(epoch), CommitState::Reached);
    for at in 0..=running.disk.operations() {
        let images = running.disk.images(at);
        for image in [images.image(0).unwrap(), images.sampled(at as u64)] {
            let bench = Bench::open(&image, &small(4096)).unwrap();
            assert_eq!(bench.recovered.damage, [], "{image:?}");
        }
    }
}

/// A segment is as long as it was reserved, however far ahead it is prepared.
#[test]
fn a_synced_write_stays_within_its_segment() {
    // Not what preparing it would come to by itself.
    const SEGMENT_BYTES: u64 = 2500;
    let running = Running::open(&small(SEGMENT_BYTES));
    for index in 0..40 {
        let epoch = running.store.submit(&mut message(1, index, &[1; 400]));
        assert_eq!(running.end_of(epoch), CommitState::Reached);
    }
    for recorded in running.disk.history() {
        if let Operation::Write { file, at, bytes } = recorded.operation {
            let is_segment = running
                .disk
                .name_of(file)
                .is_some_and(|name| name.starts_with("journal"));
            let end = at + bytes.len() as u64;
            assert!(!is_segment || end <= SEGMENT_BYTES, "{at} to {end}");
        }
    }
}
