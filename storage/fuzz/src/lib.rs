//! One function per fuzz target: takes any bytes, panics when a property does not hold.
//!
//! All but `directory` put the right checksums over what they are given: a checksum would otherwise
//! keep nearly everything from the code behind it. So what is opened may say anything, and must not
//! bring the program down; `directory` changes bytes as a disk does, and nothing may be made up.
//!
//! The fuzzer's binaries and `cargo test` (`tests/corpus.rs`) run the same functions.
//!
//! What it is not: part of the crate's interface.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crc_fast::{CrcAlgorithm, Digest};
use leveret_storage::disk::Disk as _;
use leveret_storage::disk::fake::FakeDisk;
use leveret_storage::{LogId, Store, StoreOptions, inspect};

/// The files of a data directory.
type Files = Vec<(String, Vec<u8>)>;

/// Any bytes in place of the superblock.
pub fn superblock(data: &[u8]) {
    let disk = golden("clean");
    let mut bytes = data.to_vec();
    if bytes.len() >= 12 {
        let sum = checksum(b"superblock", &[&bytes[12..]]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }
    disk.plant("superblock", &bytes);
    open(&disk);
}

/// Any bytes in place of the newest checkpoint, behind its magic and version.
pub fn checkpoint(data: &[u8]) {
    let disk = golden("compacted");
    let name = newest(&disk, "checkpoint-");
    let mut bytes = b"LEVCHKP1\x01\0\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&(data.len() as u64 + 24).to_le_bytes());
    bytes.extend_from_slice(data);
    let sum = checksum(name.as_bytes(), &[&bytes[..12], &bytes[16..]]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    disk.plant(&name, &bytes);
    open(&disk);
}

/// Any bytes as records of the segment that is being filled.
pub fn segment(data: &[u8]) {
    let disk = golden("unclean");
    let name = newest(&disk, "journal-");
    let mut bytes = disk.contents(&name).unwrap_or_default();
    bytes.truncate(64);
    bytes.extend_from_slice(data);
    seal_records(number(&name), &mut bytes);
    bytes.resize(bytes.len().max(2048), 0);
    disk.plant(&name, &bytes);
    open(&disk);
}

/// Any bytes as the footer of a segment that no checkpoint lists.
pub fn footer(data: &[u8]) {
    let disk = golden("unclean");
    let name = newest(&disk, "journal-");
    let number = number(&name);
    let mut bytes = disk.contents(&name).unwrap_or_default();
    bytes.truncate(records_end(&bytes));
    let at = bytes.len() as u64;
    bytes.extend_from_slice(data);
    let trailer_at = bytes.len() as u64;
    let mut trailer = b"LEVSEALD".to_vec();
    trailer.extend_from_slice(&at.to_le_bytes());
    trailer.extend_from_slice(&checksum(&place(number, at), &[data]).to_le_bytes());
    trailer.extend_from_slice(&[0; 8]);
    let sum = checksum(&place(number, trailer_at), &[&trailer]);
    trailer.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(&trailer);
    disk.plant(&name, &bytes);
    open(&disk);
}

/// A golden directory with some bytes changed: which directory (1 octet), then changes of 4 octets:
/// which file, where (2), and what is added to the byte there. What can be read was there before.
pub fn directory(data: &[u8]) {
    let Some((which, changes)) = data.split_first() else {
        return;
    };
    let names = ["clean", "unclean", "compacted", "damaged"];
    let name = names[usize::from(*which) % names.len()];
    let disk = golden(name);
    let files = disk.list().unwrap_or_default();
    for change in changes.chunks_exact(4).take(64) {
        let file = &files[usize::from(change[0]) % files.len()];
        let mut bytes = disk.contents(file).unwrap_or_default();
        let at = usize::from(u16::from_le_bytes([change[1], change[2]])) % bytes.len();
        bytes[at] = bytes[at].wrapping_add(change[3]);
        disk.plant(file, &bytes);
    }
    let known = known();
    for message in open(&disk) {
        assert!(known.contains(&message), "made up: {message:?}");
    }
}

/// A message: log, index, bytes.
type Message = (u64, u64, Vec<u8>);

/// Everything that a whole record of a golden directory says.
fn known() -> &'static BTreeSet<Message> {
    static KNOWN: OnceLock<BTreeSet<Message>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let names = ["clean", "unclean", "compacted", "damaged"];
        let disks = names.iter().map(|name| golden(name));
        disks.flat_map(|disk| messages_ever(&disk)).collect()
    })
}

/// Every message record of every segment, settled or not.
fn messages_ever(disk: &FakeDisk) -> Vec<Message> {
    let mut found = Vec::new();
    for name in disk.list().unwrap_or_default() {
        let bytes = disk.contents(&name).unwrap_or_default();
        let mut at = 64;
        while name.starts_with("journal-") && at + 48 <= bytes.len() {
            let len = number_at(&bytes, at + 4, 4) as usize;
            if len < 48 || !len.is_multiple_of(8) || at + len > bytes.len() {
                at += 8;
                continue;
            }
            if bytes[at + 9] == 2 {
                let end = at + len - number_at(&bytes, at + 10, 2) as usize;
                let (log, index) = (number_at(&bytes, at + 16, 8), number_at(&bytes, at + 32, 8));
                found.push((log, index, bytes[at + 48..end].to_vec()));
            }
            at += len;
        }
    }
    found
}

/// Looks at a store, opens it, reads everything, closes it and opens it once more.
fn open(disk: &FakeDisk) -> Vec<Message> {
    let _ = inspect::verify(disk);
    let _ = inspect::dump(disk, &mut |_| {});
    let mut found = Vec::new();
    for _ in 0..2 {
        let options = StoreOptions {
            segment_bytes: 2048,
            free_bytes_min: 0,
            ..StoreOptions::default()
        };
        let Ok((store, recovered)) = Store::open(Arc::new(disk.clone()), options) else {
            return found;
        };
        for log in recovered.logs.iter().take(20) {
            read(&store, log.id, &mut found);
        }
        store.close();
        assert_eq!(store.status().failed, None);
    }
    found
}

fn read(store: &Store, log: LogId, found: &mut Vec<Message>) {
    let mut first = 0;
    for _ in 0..50 {
        let read = store.read(log, first, u64::MAX, 10, 4096);
        assert!(read.through >= first);
        let messages = read.messages.into_iter();
        found.extend(messages.map(|message| (log.0, message.index, message.bytes)));
        let Some(next) = read.through.checked_add(1) else {
            return;
        };
        first = next;
    }
}

/// A copy of a golden directory.
fn golden(name: &str) -> FakeDisk {
    static LOADED: OnceLock<Vec<(String, Files)>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let names = ["clean", "unclean", "compacted", "damaged"];
        names.map(|name| (name.to_owned(), load(name))).to_vec()
    });
    let disk = FakeDisk::new();
    let files = loaded.iter().find(|(of, _)| of == name);
    for (name, bytes) in files.into_iter().flat_map(|(_, files)| files) {
        disk.plant(name, bytes);
    }
    disk
}

fn load(name: &str) -> Files {
    // From the crate's folder or from the fuzzer's.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/golden/v1", "../tests/golden/v1"];
    let folder = folders.iter().map(|folder| root.join(folder).join(name));
    let folder = folder.into_iter().find(|folder| folder.is_dir());
    let entries = std::fs::read_dir(folder.expect("the golden directories"));
    let entries = entries.expect("a readable directory").flatten();
    let file = |entry: std::fs::DirEntry| {
        let bytes = std::fs::read(entry.path()).expect("a readable file");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    let mut files: Files = entries.map(file).collect();
    files.sort();
    files
}

fn newest(disk: &FakeDisk, prefix: &str) -> String {
    let mut names = disk.list().unwrap_or_default();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names.pop().expect("a golden directory has one")
}

/// The number of a segment, going by its name.
fn number(name: &str) -> u64 {
    name[8..20].parse().expect("twelve digits")
}

/// Where the records of a segment end, going by their lengths.
fn records_end(bytes: &[u8]) -> usize {
    let mut at = 64;
    while at + 48 <= bytes.len() {
        let len = number_at(bytes, at + 4, 4) as usize;
        if len < 48 || !len.is_multiple_of(8) || at + len > bytes.len() {
            break;
        }
        at += len;
    }
    at
}

fn seal_records(number: u64, bytes: &mut [u8]) {
    let mut at = 64;
    while at + 48 <= bytes.len() {
        let len = number_at(bytes, at + 4, 4) as usize;
        if len < 48 || !len.is_multiple_of(8) || at + len > bytes.len() {
            return;
        }
        let sum = checksum(&place(number, at as u64), &[&bytes[at + 4..at + len]]);
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        at += len;
    }
}

fn number_at(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut number = [0; 8];
    number[..len].copy_from_slice(&bytes[at..at + len]);
    u64::from_le_bytes(number)
}

/// What a checksum in a segment of generation 0 begins with.
fn place(number: u64, offset: u64) -> Vec<u8> {
    let mut place = number.to_le_bytes().to_vec();
    place.extend_from_slice(&[0; 4]);
    place.extend_from_slice(&offset.to_le_bytes());
    place
}

fn checksum(seed: &[u8], pieces: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(seed);
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}
