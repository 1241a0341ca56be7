//! A journal in memory for the tests of durable queues, which can be asked what it would recover.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use leveret_storage::{Epoch, LogId, Read, Records, RecoveredLog, Run, StoredMessage};

use super::testing::body;
use super::{ClassicOptions, ClassicQueue, Effects, Journal, Load, Loaded, Queue};
use crate::core::stored_message::{decode, decode_all};
use crate::core::{Message, Moment};

/// The log of every queue under test.
pub(super) const LOG: LogId = LogId(7);

const HEADER_LEN: usize = 48;

/// Keeps what is submitted; each submission is an epoch.
#[derive(Default)]
pub(super) struct FakeJournal(Mutex<State>);

#[derive(Default)]
struct State {
    latest: u64,
    committed: u64,
    failed: bool,
    log: Log,
    /// Marks by their epochs.
    marks: Vec<(u64, u64)>,
    messages: u64,
    /// Body bytes that settlements of this submission have taken off, less those they said.
    unsaid_bytes: i64,
}

/// What is left of a log.
#[derive(Clone, Default)]
struct Log {
    next_index: u64,
    left: BTreeMap<u64, Stored>,
}

/// One message in the journal.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) returns: u32,
    pub(super) body_bytes: u64,
    bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn message(&self) -> Message {
        decode(self.bytes.clone()).unwrap().0
    }

    pub(super) fn text(&self) -> String {
        body(&self.message())
    }
}

impl Journal for FakeJournal {
    fn submit(&self, records: &mut Records) -> Epoch {
        let mut state = self.lock();
        state.latest += 1;
        let mut rest = records.bytes();
        assert!(!rest.is_empty(), "nothing to submit");
        while !rest.is_empty() {
            let len = u32::from_le_bytes(*rest[4..].first_chunk().unwrap());
            let (record, after) = rest.split_at(len as usize);
            state.apply(record);
            rest = after;
        }
        records.clear(0);
        assert_eq!(state.unsaid_bytes, 0, "body bytes of what was settled");
        Epoch(state.latest)
    }

    fn committed(&self) -> Epoch {
        Epoch(self.lock().committed)
    }

    fn has_failed(&self) -> bool {
        self.lock().failed
    }
}

impl FakeJournal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Commits everything so far.
    pub(super) fn commit(&self) {
        let mut state = self.lock();
        state.committed = state.latest;
    }

    pub(super) fn fail(&self) {
        self.lock().failed = true;
    }

    /// The highest mark that is committed.
    pub(super) fn committed_mark(&self) -> u64 {
        let state = self.lock();
        let reached = |(epoch, _): &&(u64, u64)| *epoch <= state.committed;
        let marks = state.marks.iter().filter(reached);
        marks.map(|(_, below)| *below).max().unwrap_or_default()
    }

    /// How many marks were written.
    pub(super) fn marks(&self) -> usize {
        self.lock().marks.len()
    }

    /// How many messages were written.
    pub(super) fn messages(&self) -> u64 {
        self.lock().messages
    }

    /// The messages that are not settled, by position.
    pub(super) fn left(&self) -> BTreeMap<u64, Stored> {
        self.lock().log.left.clone()
    }

    /// What a restart would find if everything so far were committed.
    pub(super) fn recovered(&self) -> RecoveredLog {
        let state = self.lock();
        let left = &state.log.left;
        RecoveredLog {
            id: LOG,
            next_index: state.log.next_index,
            body_bytes: left.values().map(|stored| stored.body_bytes).sum(),
            returned: left
                .iter()
                .filter(|(_, stored)| stored.returns > 0)
                .map(|(at, stored)| (*at, stored.returns))
                .collect(),
            runs: left
                .keys()
                .map(|at| Run {
                    first: *at,
                    last: *at,
                    count: 1,
                })
                .collect(),
        }
    }

    /// What a load brings.
    pub(super) fn load(&self, load: Load) -> Loaded {
        decode_all(self.read(load), "q")
    }

    pub(super) fn read(&self, load: Load) -> Read {
        let state = self.lock();
        let mut read = Read {
            through: load.last,
            ..Read::default()
        };
        let mut bytes = 0;
        for (at, stored) in state.log.left.range(load.first..=load.last) {
            if read.messages.len() == load.messages_max || bytes >= load.bytes_max {
                break;
            }
            assert!(stored.epoch <= state.committed, "{at} is not on disk");
            bytes += stored.bytes.len();
            read.messages.push(StoredMessage {
                index: *at,
                return_count: stored.returns,
                redelivered: stored.returns > 0,
                bytes: stored.bytes.clone(),
            });
        }
        let next = read.messages.last().map_or(load.first, |m| m.index + 1);
        let more = state.log.left.range(next..).next();
        if more.is_some_and(|(at, _)| *at <= load.last) {
            read.through = next - 1;
        }
        read
    }
}

impl State {
    fn apply(&mut self, record: &[u8]) {
        let number = |at: usize| u64::from_le_bytes(*record[at..].first_chunk().unwrap());
        let index = number(32);
        assert_eq!(number(16), LOG.0);
        match record[9] {
            2 => self.write(record, index),
            3 => self.settle(index, number(48), number(56), number(64)),
            4 => self.log.left.get_mut(&index).unwrap().returns = number(48) as u32,
            5 => self.marks.push((self.latest, index)),
            kind => panic!("a record of kind {kind}"),
        }
    }

    fn write(&mut self, record: &[u8], index: u64) {
        let short = |at: usize| u16::from_le_bytes(*record[at..].first_chunk().unwrap());
        assert!(index >= self.log.next_index, "positions rise");
        self.log.next_index = index + 1;
        self.messages += 1;
        let end = record.len() - usize::from(short(10));
        let stored = Stored {
            epoch: self.latest,
            returns: 0,
            body_bytes: u64::from(short(12)) + (u64::from(short(14)) << 16),
            bytes: record[HEADER_LEN..end].to_vec(),
        };
        self.log.left.insert(index, stored);
    }

    fn settle(&mut self, first: u64, last: u64, count: u64, body_bytes: u64) {
        let settled: Vec<u64> = self
            .log
            .left
            .range(first..=last)
            .map(|(at, _)| *at)
            .collect();
        let settled: Vec<_> = settled
            .iter()
            .map(|at| self.log.left.remove(at).unwrap())
            .collect();
        // Nobody knows the counts of several ranges of a purge, and only the sum of their bytes.
        assert!(
            count == 0 || settled.len() as u64 == count,
            "{first} to {last}"
        );
        let taken: u64 = settled.iter().map(|s| s.body_bytes).sum();
        self.unsaid_bytes += taken as i64 - body_bytes as i64;
    }
}

/// A fake journal, and what one queue waits for from it.
pub(super) struct Backing {
    pub(super) journal: Arc<FakeJournal>,
    tick_at: Option<Epoch>,
    pub(super) load: Option<Load>,
    pub(super) durable_at: Option<Epoch>,
}

impl Backing {
    pub(super) fn new(options: ClassicOptions) -> (Self, ClassicQueue) {
        Self::with(Arc::default(), options, None)
    }

    pub(super) fn with(
        journal: Arc<FakeJournal>,
        options: ClassicOptions,
        recovered: Option<&RecoveredLog>,
    ) -> (Self, ClassicQueue) {
        let queue = ClassicQueue::durable(options, journal.clone(), LOG, recovered);
        let backing = Self {
            journal,
            tick_at: None,
            load: None,
            durable_at: None,
        };
        (backing, queue)
    }

    /// Takes over what a call asked for.
    pub(super) fn note(&mut self, effects: &mut Effects) {
        self.durable_at = effects.durable_at.take().or(self.durable_at);
        self.tick_at = self.tick_at.max(effects.tick_at_epoch.take());
        if let Some(load) = effects.load.take() {
            // A purge gives up the load that is under way; nothing else does.
            self.load = Some(load);
        }
    }

    /// Commits everything and ticks if that was waited for; says whether it did.
    pub(super) fn commit(
        &mut self,
        queue: &ClassicQueue,
        now: Moment,
        effects: &mut Effects,
    ) -> bool {
        self.journal.commit();
        let committed = self.journal.committed();
        let is_due = self.tick_at.take_if(|at| *at <= committed).is_some();
        if is_due {
            queue.tick(now, effects);
            self.note(effects);
        }
        is_due
    }

    /// Serves the load that is under way; says whether there was one.
    pub(super) fn serve(
        &mut self,
        queue: &ClassicQueue,
        now: Moment,
        effects: &mut Effects,
    ) -> bool {
        let Some(load) = self.load.take() else {
            return false;
        };
        let loaded = decode_all(self.journal.read(load), "q");
        queue.loaded(loaded, now, effects);
        self.note(effects);
        true
    }

    /// Both; says whether anything happened.
    pub(super) fn commit_and_serve(
        &mut self,
        queue: &ClassicQueue,
        now: Moment,
        effects: &mut Effects,
    ) -> bool {
        self.commit(queue, now, effects) | self.serve(queue, now, effects)
    }
}
