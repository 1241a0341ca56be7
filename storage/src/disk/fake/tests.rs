//! What a fake disk leaves after each kind of end, against images written out by hand.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::thread;

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

fn files(disk: &FakeDisk) -> Files {
    let names = disk.list().unwrap().into_iter();
    names
        .map(|name| (name.clone(), disk.contents(&name).unwrap()))
        .collect()
}

fn directory<const N: usize>(files: [(&str, &[u8]); N]) -> Files {
    let files = files.into_iter();
    files
        .map(|(name, bytes)| (name.into(), bytes.into()))
        .collect()
}

/// All images after everything done so far, with how many there are.
fn after_power_loss(disk: &FakeDisk) -> (u128, BTreeSet<Files>) {
    let images = disk.images(disk.operations());
    let all: Vec<Files> = images.iter().map(|image| files(&image)).collect();
    assert_eq!(all.len() as u128, images.total());
    (images.total(), all.into_iter().collect())
}

/// A disk with these files, lasting.
fn disk_with<const N: usize>(files: [(&str, &[u8]); N]) -> FakeDisk {
    let disk = FakeDisk::new();
    files
        .iter()
        .for_each(|(name, bytes)| disk.plant(name, bytes));
    disk.copy()
}

fn bytes_of(sizes: &[(u8, usize)]) -> Vec<u8> {
    let parts = sizes.iter();
    parts
        .flat_map(|(byte, count)| vec![*byte; *count])
        .collect()
}

#[test]
fn an_unsynced_write_is_absent_torn_at_a_sector_or_whole() {
    let disk = FakeDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(&[1; 600], 300).unwrap();
    let torn = bytes_of(&[(0, 300), (1, 212)]);
    let whole = bytes_of(&[(0, 300), (1, 600)]);
    let contents = BTreeSet::from([
        directory([]),
        directory([("a", b"")]),
        directory([("a", &torn)]),
        directory([("a", &whole)]),
    ]);
    assert_eq!(after_power_loss(&disk), (6, contents));

    file.sync_data().unwrap();
    let with_or_without_entry = BTreeSet::from([directory([]), directory([("a", &whole)])]);
    assert_eq!(after_power_loss(&disk), (2, with_or_without_entry));

    disk.sync_directory().unwrap();
    assert_eq!(
        after_power_loss(&disk),
        (1, [directory([("a", &whole)])].into())
    );
}

#[test]
fn syncing_the_directory_keeps_the_name_and_not_the_bytes() {
    let disk = FakeDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(b"abc", 0).unwrap();
    disk.sync_directory().unwrap();
    let contents = BTreeSet::from([directory([("a", b"")]), directory([("a", b"abc")])]);
    assert_eq!(after_power_loss(&disk), (2, contents));
}

#[test]
fn a_torn_write_leaves_the_old_bytes_behind_the_tear() {
    let disk = disk_with([("a", &[7; 1200])]);
    let file = disk.open("a").unwrap();
    file.write_at(&[1; 1100], 50).unwrap();
    let (total, contents) = after_power_loss(&disk);
    let image = |sizes: &[(u8, usize)]| directory([("a", &bytes_of(sizes))]);
    let expected = [
        image(&[(7, 1200)]),
        image(&[(7, 50), (1, 462), (7, 688)]),
        image(&[(7, 50), (1, 974), (7, 176)]),
        image(&[(7, 50), (1, 1100), (7, 50)]),
    ];
    assert_eq!((total, contents), (4, expected.into()));
}

#[test]
fn tears_are_at_sectors_of_the_file() {
    let disk = disk_with([("a", &[7; 2000])]);
    let file = disk.open("a").unwrap();
    file.write_at(&[1; 600], 1000).unwrap();
    let image = |written: usize| {
        let sizes = [(7, 1000), (1, written), (7, 1000 - written)];
        directory([("a", &bytes_of(&sizes))])
    };
    let expected = [image(0), image(24), image(536), image(600)];
    assert_eq!(after_power_loss(&disk), (4, expected.into()));
}

#[test]
fn unsynced_writes_come_and_go_independently() {
    let disk = disk_with([("a", b"....")]);
    let file = disk.open("a").unwrap();
    file.write_at(b"11", 0).unwrap();
    file.write_at(b"22", 1).unwrap();
    let expected = [b"....", b"11..", b".22.", b"122."];
    let expected = expected.map(|bytes| directory([("a", bytes)]));
    assert_eq!(after_power_loss(&disk), (4, expected.into()));
}

#[test]
fn a_length_is_there_or_not_until_it_is_synced() {
    let disk = disk_with([("a", b"abc")]);
    let file = disk.open("a").unwrap();
    file.allocate(5).unwrap();
    file.set_len(2).unwrap();
    let expected: [&[u8]; 3] = [b"abc", b"abc\0\0", b"ab"];
    let expected = expected.map(|bytes| directory([("a", bytes)]));
    assert_eq!(after_power_loss(&disk), (4, expected.into()));

    file.sync_data().unwrap();
    assert_eq!(
        after_power_loss(&disk),
        (1, [directory([("a", b"ab")])].into())
    );
}

#[test]
fn a_rename_is_there_or_not_and_never_half() {
    let disk = disk_with([("a", b"new"), ("b", b"old")]);
    disk.rename("a", "b").unwrap();
    let expected = BTreeSet::from([
        directory([("a", b"new"), ("b", b"old")]),
        directory([("b", b"new")]),
    ]);
    assert_eq!(after_power_loss(&disk), (2, expected));
}

#[test]
fn replacing_a_file_that_was_not_synced_can_leave_it_empty() {
    let disk = disk_with([("b", b"old")]);
    let file = disk.create("a").unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.rename("a", "b").unwrap();
    disk.sync_directory().unwrap();
    let expected = BTreeSet::from([directory([("b", b"")]), directory([("b", b"new")])]);
    assert_eq!(after_power_loss(&disk), (2, expected));
}

#[test]
fn names_change_independently_of_each_other() {
    let disk = disk_with([("a", b"1")]);
    disk.remove("a").unwrap();
    let again = disk.create("a").unwrap();
    again.write_at(b"2", 0).unwrap();
    again.sync_data().unwrap();
    disk.create("b").unwrap();
    let expected = BTreeSet::from([
        directory([]),
        directory([("a", b"1")]),
        directory([("a", b"2")]),
        directory([("b", b"")]),
        directory([("a", b"1"), ("b", b"")]),
        directory([("a", b"2"), ("b", b"")]),
    ]);
    assert_eq!(after_power_loss(&disk), (8, expected));
}

#[test]
fn a_removed_file_that_cannot_come_back_makes_no_images() {
    let disk = disk_with([("a", b"1")]);
    let file = disk.open("a").unwrap();
    disk.remove("a").unwrap();
    disk.sync_directory().unwrap();
    file.write_at(&[1; 5000], 0).unwrap();
    assert_eq!(after_power_loss(&disk), (1, [directory([])].into()));
}

#[test]
fn earlier_points_of_the_history_stay_what_they_were() {
    let disk = disk_with([("a", b"1")]);
    let file = disk.open("a").unwrap();
    file.write_at(b"2", 0).unwrap();
    file.sync_data().unwrap();
    disk.remove("a").unwrap();
    disk.sync_directory().unwrap();
    let totals: Vec<u128> = (0..=6).map(|point| disk.images(point).total()).collect();
    assert_eq!(totals, [1, 2, 1, 2, 1, 1, 1]);
    assert!(disk.images(1).image(2).is_none());
    assert!(
        disk.images(1)
            .image(1)
            .unwrap()
            .location()
            .contains("image 1 after 1 operation")
    );
}

#[test]
fn a_failed_sync_leaves_its_writes_in_doubt_for_ever() {
    let disk = disk_with([("a", b"....")]);
    let file = disk.open("a").unwrap();
    file.write_at(b"11", 0).unwrap();
    disk.plan(Fault::once(
        OperationKind::SyncFile,
        1,
        Trouble::InputOutput,
    ));
    assert!(file.sync_data().is_err());
    file.write_at(b"22", 1).unwrap();
    file.sync_data().unwrap();
    let expected = [b".22.", b"122."].map(|bytes| directory([("a", bytes)]));
    assert_eq!(after_power_loss(&disk), (2, expected.into()));
    assert_eq!(disk.contents("a").unwrap(), b"122.");
}

#[test]
fn a_failed_sync_of_the_directory_leaves_names_in_doubt() {
    let disk = disk_with([("a", b"1")]);
    disk.plan(Fault::once(
        OperationKind::SyncDirectory,
        1,
        Trouble::InputOutput,
    ));
    disk.remove("a").unwrap();
    assert!(disk.sync_directory().is_err());
    disk.sync_directory().unwrap();
    let expected = BTreeSet::from([directory([]), directory([("a", b"1")])]);
    assert_eq!(after_power_loss(&disk), (2, expected));
}

#[test]
fn power_lost_after_a_kill_takes_what_was_not_synced() {
    let disk = disk_with([("a", b"....")]);
    let file = disk.open("a").unwrap();
    file.write_at(b"11", 0).unwrap();
    file.write_at(b"22", 2).unwrap();
    let killed = disk.kill(1);
    assert_eq!(killed.contents("a").unwrap(), b"11..");
    assert_eq!(killed.operations(), 1);
    killed.open("a").unwrap().write_at(b"3", 3).unwrap();
    let expected = [b"....", b"11..", b"...3", b"11.3"].map(|bytes| directory([("a", bytes)]));
    assert_eq!(after_power_loss(&killed), (4, expected.into()));
    assert_eq!(disk.contents("a").unwrap(), b"1122");
}

#[test]
fn an_image_is_a_disk_of_its_own() {
    let disk = disk_with([("a", b"1")]);
    let image = disk.images(0).image(0).unwrap();
    let file = image.open("a").unwrap();
    file.write_at(b"2", 0).unwrap();
    assert_eq!(disk.contents("a").unwrap(), b"1");
    let expected = BTreeSet::from([directory([("a", b"1")]), directory([("a", b"2")])]);
    assert_eq!(after_power_loss(&image), (2, expected));
}

#[test]
fn samples_reach_every_image_and_no_other() {
    let disk = disk_with([("b", b"old")]);
    let file = disk.create("a").unwrap();
    file.write_at(&[1; 1500], 0).unwrap();
    disk.rename("a", "b").unwrap();
    disk.create("c").unwrap();
    let (_, all) = after_power_loss(&disk);
    let images = disk.images(disk.operations());
    let sampled = (0..2000).map(|seed| files(&images.sampled(seed)));
    assert_eq!(sampled.collect::<BTreeSet<_>>(), all);
}

#[test]
fn too_many_images_to_count_can_be_sampled() {
    let disk = disk_with([("a", b"")]);
    let file = disk.open("a").unwrap();
    (0..200).for_each(|at| file.write_at(&[1], at).unwrap());
    let images = disk.images(200);
    assert_eq!(images.total(), u128::MAX);
    let distinct: BTreeSet<Files> = (0..50).map(|seed| files(&images.sampled(seed))).collect();
    assert!(distinct.len() > 40, "{}", distinct.len());
    assert_eq!(files(&images.image(0).unwrap()), directory([("a", b"")]));
}

fn kinds(results: &[io::Result<()>]) -> Vec<Option<ErrorKind>> {
    let results = results.iter();
    results
        .map(|result| result.as_ref().err().map(io::Error::kind))
        .collect()
}

#[test]
fn a_fault_strikes_the_call_it_is_planned_for() {
    let disk = disk_with([("a", b"1"), ("b", b"1")]);
    let (a, b) = (disk.open("a").unwrap(), disk.open("b").unwrap());
    let fault = Fault::once(OperationKind::Write, 2, Trouble::StorageFull).of_files("b");
    disk.plan(fault);
    let write = |file: &Arc<dyn DiskFile>| file.write_at(b"2", 0);
    let results = [write(&a), write(&a), write(&b), write(&b), write(&b)];
    let full = Some(ErrorKind::StorageFull);
    assert_eq!(kinds(&results), [None, None, None, full, None]);
}

#[test]
fn a_lasting_fault_ends_when_it_is_mended() {
    let disk = disk_with([("a", b"1")]);
    let file = disk.open("a").unwrap();
    disk.plan(Fault::lasting(
        OperationKind::SyncFile,
        2,
        Trouble::ReadOnly,
    ));
    let sync = || file.sync_data();
    let results = [sync(), sync(), sync(), file.write_at(b"2", 0)];
    let failed = Some(ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kinds(&results), [None, failed, failed, None]);
    disk.mend();
    sync().unwrap();
    let history = disk.history();
    let tried = history.iter().filter(|recorded| recorded.failed.is_some());
    assert_eq!(tried.count(), 2);
}

#[test]
fn a_disk_that_is_gone_fails_everything_and_changes_nothing() {
    let disk = disk_with([("a", b"1")]);
    let file = disk.open("a").unwrap();
    disk.plan(Fault::everything(1, Trouble::InputOutput));
    let results = [
        disk.create("b").map(|_| ()),
        disk.open("a").map(|_| ()),
        disk.rename("a", "b"),
        disk.remove("a"),
        disk.list().map(|_| ()),
        disk.sync_directory(),
        file.write_at(b"2", 0),
        file.read_at(&mut [0], 0),
        file.allocate(10),
        file.set_len(0),
        file.sync_data(),
    ];
    for result in results {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(5));
    }
    disk.mend();
    assert_eq!(files(&disk), directory([("a", b"1")]));
}

#[test]
fn a_failing_write_leaves_its_beginning() {
    let disk = disk_with([("a", b"....")]);
    let file = disk.open("a").unwrap();
    disk.plan(Fault::once(OperationKind::Write, 1, Trouble::InputOutput).landing(2));
    assert!(file.write_at(b"1111", 0).is_err());
    assert_eq!(disk.contents("a").unwrap(), b"11..");
    assert_eq!(disk.kill(1).contents("a").unwrap(), b"11..");
    let expected = [b"....", b"11.."].map(|bytes| directory([("a", bytes)]));
    assert_eq!(after_power_loss(&disk), (2, expected.into()));
}

#[test]
fn a_full_disk_refuses_space_and_takes_writes_into_reserved_space() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(1000));
    let (a, b) = (disk.create("a").unwrap(), disk.create("b").unwrap());
    a.allocate(900).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 100);
    let full = ErrorKind::StorageFull;
    assert_eq!(b.allocate(101).unwrap_err().kind(), full);
    assert_eq!(b.len().unwrap(), 0);
    a.write_at(&[1; 900], 0).unwrap();
    assert_eq!(b.write_at(&[1; 200], 0).unwrap_err().kind(), full);
    assert_eq!(disk.contents("b").unwrap(), [1; 100]);
    assert_eq!(disk.free_bytes().unwrap(), 0);
    b.set_len(40).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 60);
    disk.set_capacity(None);
    b.write_at(&[1; 200], 0).unwrap();
}

#[test]
fn a_removed_file_takes_space_until_it_is_closed() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(1000));
    let file = disk.create("a").unwrap();
    file.allocate(600).unwrap();
    disk.remove("a").unwrap();
    assert_eq!(disk.used_bytes(), 600);
    drop(file);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_file_too_large_is_refused() {
    let disk = FakeDisk::new();
    let file = disk.create("a").unwrap();
    let far = u64::MAX - 1;
    let results = [
        file.write_at(b"123", far),
        file.allocate(far),
        file.set_len(far),
    ];
    for result in results {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
    let past_end = file.read_at(&mut [0; 3], far).unwrap_err();
    assert_eq!(past_end.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn damage_lasts_and_open_files_see_it() {
    let disk = disk_with([("a", &[0xff; 4])]);
    let file = disk.open("a").unwrap();
    disk.flip_bit("a", 9).unwrap();
    disk.zero("a", 2, 1).unwrap();
    let mut bytes = [0; 4];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [0xff, 0xfd, 0, 0xff]);
    disk.truncate("a", 3).unwrap();
    let expected = directory([("a", &[0xff, 0xfd, 0])]);
    assert_eq!(after_power_loss(&disk), (1, [expected].into()));
    let past_end = [
        disk.flip_bit("a", 24),
        disk.zero("a", 2, 2),
        disk.truncate("a", 4),
    ];
    assert_eq!(kinds(&past_end), [Some(ErrorKind::UnexpectedEof); 3]);
    assert_eq!(disk.lose("b").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn files_can_be_swapped_for_others_and_lost() {
    let disk = disk_with([("a", b"1")]);
    let older = disk.contents("a").unwrap();
    let file = disk.open("a").unwrap();
    file.write_at(b"2", 0).unwrap();
    disk.plant("a", &older);
    disk.plant("b", b"new");
    assert_eq!(
        after_power_loss(&disk),
        (1, [directory([("a", b"1"), ("b", b"new")])].into())
    );
    disk.lose("a").unwrap();
    assert_eq!(
        after_power_loss(&disk),
        (1, [directory([("b", b"new")])].into())
    );
}

#[test]
fn history_tells_what_was_done() {
    let disk = FakeDisk::new();
    let handle = disk.create("a").unwrap();
    handle.write_at(b"1", 3).unwrap();
    disk.rename("a", "b").unwrap();
    let history = disk.history().into_iter().map(|entry| entry.operation);
    let file = FileId(0);
    let expected = [
        Operation::Create {
            name: "a".into(),
            file,
        },
        Operation::Write {
            file,
            at: 3,
            bytes: b"1".as_slice().into(),
        },
        Operation::Rename {
            from: "a".into(),
            to: "b".into(),
            file,
        },
    ];
    assert!(history.eq(expected));
    assert_eq!(disk.name_of(file).as_deref(), Some("b"));
}

#[test]
fn held_calls_wait_and_others_pass() {
    let disk = disk_with([("a", b"1")]);
    disk.hold(OperationKind::SyncFile);
    let file = disk.open("a").unwrap();
    let syncing = thread::spawn(move || file.sync_data());
    let long = Duration::from_secs(20);
    assert!(disk.wait_for_held(1, long));
    disk.open("a").unwrap().write_at(b"2", 0).unwrap();
    assert!(!syncing.is_finished());
    disk.release();
    syncing.join().unwrap().unwrap();
    let history = disk.history();
    let last = history.last().map(|entry| &entry.operation);
    assert!(matches!(last, Some(Operation::SyncFile { .. })));
}
