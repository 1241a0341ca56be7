//! What a store does on the disk that holds the directory for temporary files (or `TMPDIR`).
//!
//! ```sh
//! cargo bench -p leveret-storage
//! LEVERET_BENCH_GIB=1 cargo bench -p leveret-storage open_large
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use leveret_storage::disk::RealDisk;
use leveret_storage::{
    CatalogChange, CommitBell, Epoch, LogId, NewMessage, Records, Store, StoreOptions, Sync,
};

const LOG: LogId = LogId(1);

fn main() {
    divan::main();
}

struct Bell(Sender<()>);

impl CommitBell for Bell {
    fn on_commit(&self) {
        // The bench may have stopped waiting.
        let _ = self.0.send(());
    }
}

fn open(folder: &tempfile::TempDir, sync: Sync) -> Store {
    let disk = RealDisk::open(folder.path()).expect("a directory");
    let options = StoreOptions {
        sync,
        free_bytes_min: 0,
        ..StoreOptions::default()
    };
    let (store, recovered) = Store::open(Arc::new(disk), options).expect("a store");
    if recovered.logs.is_empty() {
        let mut records = Records::default();
        records.catalog(&[CatalogChange::CreateLog(LOG)], 0);
        wait(&store, store.submit(&mut records));
    }
    store
}

fn submit(store: &Store, records: &mut Records, index: u64, body: &[u8]) -> Epoch {
    let message = NewMessage {
        index,
        time_ms: 0,
        body_bytes: body.len() as u32,
        pieces: &[body],
    };
    records.message(LOG, message);
    store.submit(records)
}

fn wait(store: &Store, epoch: Epoch) {
    let (sender, receiver) = channel();
    store.commits().ring_at(epoch, Arc::new(Bell(sender)));
    receiver.recv().expect("the store rings");
}

/// Stores so many messages and waits for the last.
fn fill(store: &Store, first: u64, count: u64, body: &[u8]) {
    let mut records = Records::default();
    let mut epoch = Epoch(0);
    for index in first..first + count {
        epoch = submit(store, &mut records, index, body);
    }
    wait(store, epoch);
}

/// Messages in flight: 1 waits for each, more share their syncs.
#[divan::bench(args = [(16, 1), (16, 100), (16, 10_000), (1024, 1), (1024, 100), (1024, 10_000)], sample_count = 20)]
fn commit_with_sync(bencher: Bencher<'_, '_>, (len, in_flight): (usize, u64)) {
    commit(bencher, Sync::Always, len, in_flight);
}

#[divan::bench(args = [(16, 10_000), (1024, 10_000)], sample_count = 20)]
fn commit_without_sync(bencher: Bencher<'_, '_>, (len, in_flight): (usize, u64)) {
    commit(bencher, Sync::Never, len, in_flight);
}

fn commit(bencher: Bencher<'_, '_>, sync: Sync, len: usize, in_flight: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder, sync);
    let body = vec![7; len];
    let mut next = 0;
    bencher.counter(ItemsCount::new(in_flight)).bench_local(|| {
        fill(&store, next, in_flight, &body);
        next += in_flight;
    });
}

#[divan::bench(sample_count = 10)]
fn read_back(bencher: Bencher<'_, '_>) {
    const MESSAGES: u64 = 100_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder, Sync::Never);
    fill(&store, 0, MESSAGES, &[7; 1024]);
    bencher
        .counter(BytesCount::new(MESSAGES * 1024))
        .bench_local(|| {
            let mut first = 0;
            while first < MESSAGES {
                let read = store.read(LOG, first, MESSAGES - 1, 1000, 1 << 20);
                first = read.through + 1;
                black_box(read);
            }
        });
}

/// After an orderly stop; the size in GiB is `LEVERET_BENCH_GIB`, none without it.
#[divan::bench(sample_count = 5)]
fn open_large(bencher: Bencher<'_, '_>) {
    let wanted = std::env::var("LEVERET_BENCH_GIB").ok();
    let Some(gib) = wanted.and_then(|wanted| wanted.parse::<u64>().ok()) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder, Sync::Never);
    for round in 0..gib * 1024 {
        fill(&store, round * 1024, 1024, &[7; 1024]);
    }
    store.close();
    drop(store);
    bencher.bench_local(|| {
        let store = open(&folder, Sync::Never);
        store.close();
    });
}
