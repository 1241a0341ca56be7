//! [`Bench`]: a store without threads, one commit at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plain::{Plain, PlainMessage};
use crate::disk::fake::FakeDisk;
use crate::journal::{Batch, Journal, JournalError, lock};
use crate::keeper::Housekeeper;
use crate::options::{Recovered, StoreOptions};
use crate::read::Wanted;
use crate::store::begin;
use crate::{LogId, OpenError, Records};

/// A store whose threads are the test's own.
pub(super) struct Bench {
    pub(super) disk: FakeDisk,
    pub(super) journal: Journal,
    pub(super) keeper: Housekeeper,
    pub(super) recovered: Recovered,
    epoch: u64,
}

/// What a store that may be damaged shows.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// By log and index.
    pub(super) messages: BTreeMap<(u64, u64), Vec<u8>>,
    pub(super) unreadable: Vec<(u64, u64)>,
}

/// Segments of a few records.
pub(super) fn small(segment_bytes: u64) -> StoreOptions {
    StoreOptions {
        segment_bytes,
        free_bytes_min: 0,
        new_store_id: [7; 16],
        ..StoreOptions::default()
    }
}

impl Bench {
    pub(super) fn open(disk: &FakeDisk, options: &StoreOptions) -> Result<Self, OpenError> {
        let shared: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
        let (journal, keeper, recovered) = begin(&shared, options)?;
        Ok(Self {
            disk: disk.clone(),
            journal,
            keeper,
            recovered,
            epoch: 0,
        })
    }

    /// Commits these records.
    pub(super) fn commit(&mut self, records: &Records) -> Result<(), JournalError> {
        let mut batch = self.batch(records);
        self.write(&mut batch)
    }

    /// What commits these records.
    pub(super) fn batch(&mut self, records: &Records) -> Batch {
        self.epoch += 1;
        let mut batch = Batch::new(self.epoch);
        batch.begin();
        batch.bytes.extend_from_slice(records.bytes());
        batch.must_sync = records.must_sync();
        batch
    }

    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), JournalError> {
        self.journal.write(batch, &mut self.keeper)
    }

    /// Where the records of the segment that is being filled end.
    pub(super) fn end(&self) -> Option<(String, u64)> {
        self.journal.end()
    }

    pub(super) fn close(mut self) -> Result<(), JournalError> {
        self.journal.close(&mut self.keeper)?;
        self.keeper.remove_spares();
        Ok(())
    }

    /// Everything that it holds, read back through the reading end.
    pub(super) fn contents(&self) -> Plain {
        let (ids, catalog) = {
            let ledger = lock(&self.journal.ledger);
            let mut ids: Vec<_> = ledger.logs.keys().copied().collect();
            ids.sort_unstable();
            (ids, ledger.catalog.clone())
        };
        let logs = ids.into_iter().map(|id| (id.0, self.messages(id)));
        let logs: BTreeMap<_, _> = logs.collect();
        for (id, messages) in &logs {
            let sum: u64 = messages
                .values()
                .map(|message| message.bytes.len() as u64)
                .sum();
            let ledger = lock(&self.journal.ledger);
            let log = &ledger.logs[&LogId(*id)];
            assert_eq!(log.body_bytes, sum, "body bytes of log {id}: {log:?}");
            let live: u64 = log.runs.iter().map(|run| run.live).sum();
            let certain = log.runs.iter().all(|run| !run.uncertain);
            assert!(
                !certain || live == messages.len() as u64,
                "messages of log {id}"
            );
        }
        Plain { logs, catalog }
    }

    /// Everything that can be read, and what cannot.
    pub(super) fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for log in &self.recovered.logs {
            let mut first = 0;
            while first < u64::MAX {
                let read = self.keeper.reader.read(Wanted {
                    log: log.id,
                    first,
                    last: u64::MAX - 1,
                    messages_max: 100,
                    bytes_max: 1 << 20,
                });
                let unreadable = read.unreadable.iter();
                survey
                    .unreadable
                    .extend(unreadable.map(|index| (log.id.0, *index)));
                for message in read.messages {
                    let before = survey
                        .messages
                        .insert((log.id.0, message.index), message.bytes);
                    assert_eq!(before, None, "a message twice");
                }
                first = read.through + 1;
            }
        }
        survey
    }

    fn messages(&self, log: LogId) -> BTreeMap<u64, PlainMessage> {
        let (mut found, mut first) = (BTreeMap::new(), 0);
        loop {
            let read = self.keeper.reader.read(Wanted {
                log,
                first,
                last: u64::MAX - 1,
                messages_max: 3,
                bytes_max: 4096,
            });
            assert_eq!(read.unreadable, [0; 0], "log {}", log.0);
            for message in read.messages {
                let plain = PlainMessage {
                    bytes: message.bytes,
                    return_count: message.return_count,
                };
                assert!(message.index >= first);
                assert_eq!(found.insert(message.index, plain), None);
            }
            if read.through >= u64::MAX - 1 {
                return found;
            }
            first = read.through + 1;
        }
    }
}
