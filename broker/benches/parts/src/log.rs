//! Appending to the log: a round of messages is submitted to a store in the directory for temporary files
//! and waited for. Between the rounds it is settled again.
//!
//! Everything is submitted at once, so that it does not hang on how far the committer has got how often a
//! buffer is enlarged.
//!
//! Wall time has all of it, but no sync. Instructions are counted on the publisher's thread alone: the
//! records and their hand-over, not what the committer does with them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use leveret_storage::disk::RealDisk;
use leveret_storage::{
    CatalogChange, CommitBell, Epoch, LogId, NewMessage, Records, Settled, Store, StoreOptions,
    Sync,
};
use tempfile::TempDir;

use super::{MESSAGES, Part};

const LOG: LogId = LogId(1);

/// Says when the store has got there.
struct Bell(Sender<()>);

impl CommitBell for Bell {
    fn on_commit(&self) {
        // The bench may be over.
        let _ = self.0.send(());
    }
}

struct Append {
    store: Store,
    bell: Arc<Bell>,
    committed: Receiver<()>,
    records: Records,
    body: Vec<u8>,
    next: u64,
    first_unsettled: u64,
    /// The last field, so that the store goes before its directory.
    _folder: TempDir,
}

impl Part for Append {
    /// The round before is over and done with, so that the store does not grow.
    fn prepare(&mut self) {
        let count = self.next - self.first_unsettled;
        if count == 0 {
            return;
        }
        let settled = Settled {
            first: self.first_unsettled,
            last: self.next - 1,
            count,
            body_bytes: count * self.body.len() as u64,
        };
        self.first_unsettled = self.next;
        self.records.settle(LOG, settled);
        let epoch = self.store.submit(&mut self.records);
        self.wait(epoch);
    }

    fn round(&mut self) {
        for _ in 0..MESSAGES {
            self.append();
        }
        let epoch = self.store.submit(&mut self.records);
        self.wait(epoch);
    }
}

impl Append {
    fn append(&mut self) {
        let message = NewMessage {
            index: self.next,
            time_ms: 1_700_000_000_000,
            body_bytes: self.body.len() as u32,
            pieces: &[&self.body],
        };
        self.records.message(LOG, message);
        self.next += 1;
    }

    fn wait(&self, epoch: Epoch) {
        let bell = Arc::clone(&self.bell) as Arc<dyn CommitBell>;
        self.store.commits().ring_at(epoch, bell);
        self.committed.recv().expect("the store rings");
    }
}

pub(super) fn append_16() -> Box<dyn Part> {
    append(16)
}

pub(super) fn append_1024() -> Box<dyn Part> {
    append(1024)
}

fn append(len: usize) -> Box<dyn Part> {
    let folder = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open(folder.path()).expect("a disk");
    let options = StoreOptions {
        sync: Sync::Never,
        free_bytes_min: 0,
        ..StoreOptions::default()
    };
    let (store, _) = Store::open(Arc::new(disk), options).expect("a store");
    let (sender, committed) = channel();
    let mut append = Append {
        store,
        bell: Arc::new(Bell(sender)),
        committed,
        records: Records::default(),
        body: vec![b'x'; len],
        next: 0,
        first_unsettled: 0,
        _folder: folder,
    };
    append.records.catalog(&[CatalogChange::CreateLog(LOG)], 0);
    let epoch = append.store.submit(&mut append.records);
    append.wait(epoch);
    Box::new(append)
}
