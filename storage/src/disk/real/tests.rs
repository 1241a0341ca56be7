//! A data directory in the file system: its lock, its access rights, and what is planted in it.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use rustix::fs::CWD;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::disk::Attempt;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn line(error: &DiskOpenError) -> String {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn makes_the_directory_and_those_above_it_for_this_user_only() {
    let root = tempdir().unwrap();
    let dir = root.path().join("above/data");
    let disk = RealDisk::open(&dir).unwrap();
    disk.create("a").unwrap();
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&root.path().join("above")), 0o700);
    assert_eq!(mode(&dir.join("LOCK")), 0o600);
    assert_eq!(mode(&dir.join("a")), 0o600);
    assert_eq!(disk.location(), dir.display().to_string());
}

#[test]
fn a_second_handle_is_refused_until_the_first_is_dropped() {
    let dir = tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let kept = disk.create("a").unwrap();
    let error = RealDisk::open(dir.path()).unwrap_err();
    let own = std::process::id();
    let expected = format!(
        "data directory {} is in use by process {own}",
        dir.path().display()
    );
    assert_eq!(line(&error), expected);
    drop(disk);
    RealDisk::open(dir.path()).unwrap();
    kept.write_at(b"x", 0).unwrap();
}

#[test]
fn a_holder_that_left_no_pid_is_another_process() {
    let dir = tempdir().unwrap();
    let _disk = RealDisk::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("LOCK"), "of nobody").unwrap();
    let error = RealDisk::open(dir.path()).unwrap_err();
    assert!(line(&error).ends_with("is in use by another process"));
}

/// The other process of `another_process_is_refused_until_this_one_dies`; by itself it does nothing.
#[test]
fn other_process() {
    let Some(dir) = std::env::var_os(HELD_DIR) else {
        return;
    };
    let _disk = RealDisk::open(Path::new(&dir)).unwrap();
    println!("\n{HOLDS}");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn another_process_is_refused_until_this_one_dies() {
    let dir = tempdir().unwrap();
    let mut child = hold_in_another_process(&dir);
    let error = RealDisk::open(dir.path()).unwrap_err();
    let DiskOpenError::InUse { pid, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(pid, Some(child.id()));
    RealDisk::open_read_only(dir.path()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    RealDisk::open(dir.path()).unwrap();
}

const HELD_DIR: &str = "LEVERET_TEST_HELD_DIR";
const HOLDS: &str = "the directory is held";

fn hold_in_another_process(dir: &TempDir) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "disk::real::tests::other_process"])
        .env(HELD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == HOLDS));
    child
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("data")] {
        let error = RealDisk::open(&path).unwrap_err();
        assert!(matches!(error, DiskOpenError::NotADirectory { .. }));
        assert!(line(&error).contains(&*file.to_string_lossy()));
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    let dir = tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o500)).unwrap();
    // For some users no directory is closed.
    let writable = std::fs::write(dir.path().join("probe"), "").is_ok();
    let opened = RealDisk::open(dir.path());
    assert_eq!(opened.is_ok(), writable);
    if let Err(error) = opened {
        assert!(line(&error).contains("is not writable: "), "{error}");
    }
}

#[test]
fn system_errors_come_to_one_line_each() {
    let told =
        |errno: Errno, attempt| line(&DiskOpenError::of(errno.into(), Path::new("data"), attempt));
    let not_writable = "data directory data is not writable: ";
    assert!(told(Errno::ACCESS, Attempt::Make).starts_with(not_writable));
    assert!(told(Errno::ROFS, Attempt::Lock).starts_with(not_writable));
    assert!(
        told(Errno::ACCESS, Attempt::Open).starts_with("data directory data is not readable: ")
    );
    assert!(told(Errno::NOSPC, Attempt::Make).starts_with("cannot make data directory data: "));
    assert_eq!(
        told(Errno::NOENT, Attempt::Open),
        "data directory data does not exist"
    );
}

#[test]
fn reading_only_needs_no_lock_and_makes_nothing() {
    let root = tempdir().unwrap();
    let dir = root.path().join("data");
    let missing = RealDisk::open_read_only(&dir).unwrap_err();
    assert!(matches!(missing, DiskOpenError::Missing { .. }));
    assert!(!dir.exists());

    let writer = RealDisk::open(&dir).unwrap();
    writer.create("a").unwrap().write_at(b"abc", 0).unwrap();
    let reader = RealDisk::open_read_only(&dir).unwrap();
    assert_eq!(reader.list().unwrap(), ["a"]);
    let mut bytes = [0; 3];
    reader.open("a").unwrap().read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"abc");
}

#[test]
fn reading_only_refuses_every_change() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "abc").unwrap();
    let disk = RealDisk::open_read_only(dir.path()).unwrap();
    let file = disk.open("a").unwrap();
    let refused = [
        disk.create("b").map(|_| ()),
        disk.rename("a", "b"),
        disk.remove("a"),
        disk.sync_directory(),
        file.write_at(b"x", 0),
        file.allocate(10),
        file.set_len(0),
        file.sync_data(),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"abc");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

fn plant_fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_pipe_a_link_a_socket_and_a_directory_are_not_opened() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let disk = RealDisk::open(dir.path()).unwrap();
    disk.create("regular").unwrap();
    plant_fifo(&at("fifo"));
    symlink("regular", at("link")).unwrap();
    symlink("missing", at("dangling")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    let reader = RealDisk::open_read_only(dir.path()).unwrap();
    for name in ["fifo", "link", "dangling", "socket", "directory"] {
        for disk in [&disk, &reader] {
            let error = disk.open(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
            let expected = format!("{} is not a regular file", at(name).display());
            assert_eq!(error.to_string(), expected);
        }
        let error = disk.create(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{name}");
    }
    assert!(!at("missing").exists());
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, ["dangling", "fifo", "link", "regular", "socket"]);
}

#[test]
fn a_lock_that_is_a_pipe_or_a_link_is_refused_untouched() {
    let dir = tempdir().unwrap();
    let lock = dir.path().join("LOCK");
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let plants: [&dyn Fn(); 2] = [&|| plant_fifo(&lock), &|| symlink("victim", &lock).unwrap()];
    for plant in plants {
        plant();
        let error = RealDisk::open(dir.path()).unwrap_err();
        let expected = format!("{} is not a regular file", lock.display());
        assert_eq!(line(&error), expected);
        std::fs::remove_file(&lock).unwrap();
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let dir = tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    disk.create("a").unwrap();
    let long = "x".repeat(256);
    for name in ["", ".", "..", "../a", "/a", "a/b", "a\0b", "LOCK", &long] {
        let refused = [
            disk.create(name).map(|_| ()),
            disk.open(name).map(|_| ()),
            disk.rename("a", name),
            disk.rename(name, "a"),
            disk.remove(name),
        ];
        for result in refused {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
    disk.create(&long[1..]).unwrap();
}

#[test]
fn allocated_space_is_really_taken() {
    let dir = tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let file = disk.create("a").unwrap();
    file.allocate(1 << 20).unwrap();
    let blocks = std::fs::metadata(dir.path().join("a")).unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
}

#[test]
fn space_is_filled_with_zeros_where_it_cannot_be_reserved() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "abc").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    fill_with_zeros(&file, 3, ZEROS_BYTES as u64 + 10).unwrap();
    let mut expected = b"abc".to_vec();
    expected.resize(ZEROS_BYTES + 10, 0);
    assert!(std::fs::read(&path).unwrap() == expected);
    fill_with_zeros(&file, 10, 3).unwrap();
    assert!(std::fs::read(&path).unwrap() == expected);
}

#[test]
fn a_full_disk_says_so_and_leaves_the_file_as_it_was() {
    let dir = match tempfile::tempdir_in("/dev/shm") {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("not tested, there is no file system in memory: {error}");
            return;
        }
    };
    let disk = RealDisk::open(dir.path()).unwrap();
    let file = disk.create("a").unwrap();
    file.write_at(b"abc", 0).unwrap();
    let more = disk.free_bytes().unwrap() * 4 + (1 << 30);
    let error = file.allocate(more).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"abc");
}

#[test]
fn some_space_is_free() {
    let dir = tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let status = rustix::fs::statvfs(dir.path()).unwrap();
    let all = status.f_frsize * status.f_blocks;
    let free = disk.free_bytes().unwrap();
    assert!(0 < free && free <= all, "{free} of {all}");
}
