//! [`Durable`]: what a durable queue knows beside its messages, and which records it writes.
//!
//! ```text
//!   take_in ──▶ message        gone for good ──▶ settle        came back ──▶ returned
//!   deliveries run ahead of the mark ──▶ mark
//! ```
//!
//! Only persistent messages are logged; a transient one takes a position as well and leaves a gap in
//! the log. What a call writes is submitted under the queue's lock as it ends, so that the order of
//! records is the order of events.
//!
//! What it is not: it does not see the ready messages and submits nothing itself.
//!
//! Invariants: at most one load is under way; a tick is asked for again only for an earlier epoch or
//! after the one that was asked for has come.

use std::collections::BTreeSet;

use leveret_storage::{Epoch, LogId, NewMessage, Records, RecoveredLog, Settled};

use super::aftermath::Aftermath;
use super::entry::Entry;
use super::marks::Marks;
use super::ready::{
    FRONT_BYTES_MIN, LAST_BLOCK_BYTES_MIN, PageLimits, Part, Ready, StoredRun, Wanted,
};
use super::written::Written;
use super::{Effects, Load, SlotId};
use crate::core::{Moment, stored_message};

/// How long a message that a consumer could take does not expire because its mark is still being
/// committed: far longer than a commit takes, and still an instant to whoever waits for its death.
pub(super) const MARK_WAIT_MS: u64 = 1_000;

/// A queue that is read keeps about this many bytes of ready messages in memory, each counted with
/// [`MESSAGE_OVERHEAD_BYTES`](crate::limits::MESSAGE_OVERHEAD_BYTES); what is more is paged out. Some three times what its front keeps, so
/// that small backlogs never touch the disk again.
pub const RESIDENT_BYTES_MAX: u64 = 4 << 20;

/// The share of a queue that nobody reads: twice what is loaded of such a one. Whoever comes to read
/// waits for one load; until then memory is better used by others.
const UNREAD_BYTES_MAX: u64 = 128 << 10;

/// The most of a [`Load`]: a few milliseconds of reading, and of a fast consumer's work.
const LOAD_MESSAGES_MAX: usize = 4096;
const LOAD_BYTES_MAX: usize = 4 << 20;
const LOAD_BYTES_MIN: usize = 256 << 10;
/// The most of a [`Load`] of a queue that nobody reads: enough to know the head and its deadline.
const HEAD_MESSAGES_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The durable side of a queue.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) log: LogId,
    pub(super) marks: Marks,
    pub(super) written: Written,
    /// The load that is under way, and which messages it is to bring.
    pub(super) load: Option<(Load, Part)>,
    /// How much memory the ready messages may need; [`RESIDENT_BYTES_MAX`] until told otherwise.
    pub(super) resident_bytes_max: u64,
    /// Somebody reads: there is a consumer, or a getter waits.
    is_read: bool,
    /// Getters that wait for the head.
    pub(super) getters: Vec<SlotId>,
    /// Dead letters that are still in the log. Only a queue with priorities has to know: in another one
    /// nothing that is ready lies on both sides of them.
    buried: Option<BTreeSet<u64>>,
    /// How far the store has got.
    committed: Epoch,
    has_failed: bool,
    /// The tick that is on its way.
    tick_at: Option<Epoch>,
    /// Deliveries wait for a mark.
    pub(super) waits_for_mark: bool,
    /// There is more to page out.
    pub(super) waits_to_page: bool,
}

impl Durable {
    /// A new queue's side, or that of a recovered one.
    pub(super) fn new(log: LogId, next_position: u64, has_priorities: bool) -> Self {
        Self {
            log,
            marks: Marks::default(),
            written: Written::up_to(next_position),
            load: None,
            resident_bytes_max: RESIDENT_BYTES_MAX,
            is_read: false,
            getters: Vec::new(),
            buried: has_priorities.then(BTreeSet::new),
            committed: Epoch(0),
            has_failed: false,
            tick_at: None,
            waits_for_mark: false,
            waits_to_page: false,
        }
    }

    /// A call begins, and the store has got this far.
    pub(super) fn begin(&mut self, committed: Epoch, has_failed: bool) {
        self.committed = committed;
        self.has_failed = has_failed;
        self.marks.committed(committed);
        self.written.committed(committed);
        if has_failed {
            self.marks.failed();
        }
    }

    /// A tick: the one that was asked for, if the store has got so far. Any other leaves it on its way, so
    /// that one that comes often does not ask for another each time.
    pub(super) fn tick(&mut self) {
        let has_come = |asked: &mut Epoch| *asked <= self.committed || self.has_failed;
        let _ = self.tick_at.take_if(has_come);
    }

    /// The call's records were submitted under this epoch; `next_position` is behind all of them.
    pub(super) fn submitted(&mut self, epoch: Epoch, next_position: u64) {
        self.marks.submitted(epoch);
        self.written.submitted(next_position, epoch);
    }

    /// A call ends: asks for the tick that it waits for.
    pub(super) fn end(&mut self, effects: &mut Effects) {
        let for_mark = std::mem::take(&mut self.waits_for_mark);
        let to_page = std::mem::take(&mut self.waits_to_page);
        let mark = for_mark.then(|| self.marks.awaited()).flatten();
        let page = to_page.then(|| self.written.awaited().unwrap_or(self.committed));
        let Some(epoch) = mark.or(page) else {
            return;
        };
        if self.tick_at.is_none_or(|asked| epoch < asked) {
            self.tick_at = Some(epoch);
            effects.tick_at_epoch = effects.tick_at_epoch.max(Some(epoch));
        }
    }

    /// Writes down a message that is taken in, if it is to be kept; says whether it may be handed out.
    pub(super) fn take_in(
        &self,
        entry: &mut Entry,
        keeps_transient: bool,
        now: Moment,
        aftermath: &mut Aftermath,
    ) -> bool {
        entry.logged = keeps_transient || entry.message.is_persistent();
        if !entry.logged {
            return true;
        }
        write_message(self.log, entry, now, &mut aftermath.records);
        aftermath.is_awaited = true;
        entry.position < self.marks.open_below()
    }

    /// Writes a mark, unless one is on its way.
    pub(super) fn ask_mark(&mut self, next: u64, records: &mut Records) {
        if let Some(below) = self.marks.ask(next) {
            records.mark(self.log, below);
        }
    }

    /// Writes a mark ahead of time when the last one is half used up.
    pub(super) fn renew_mark(&mut self, next: u64, records: &mut Records) {
        if self.marks.run_short(next) {
            self.ask_mark(next, records);
        }
    }

    /// Asks for a part of this run; `is_read` when somebody is waiting for messages.
    pub(super) fn ask_load(&mut self, wanted: Wanted, is_read: bool, effects: &mut Effects) {
        let (messages_max, bytes_max) = match is_read || wanted.is_to_be_sorted {
            true => (LOAD_MESSAGES_MAX, self.load_bytes_max()),
            false => (HEAD_MESSAGES_MAX, HEAD_BYTES_MAX),
        };
        let load = Load {
            first: wanted.run.first,
            last: wanted.run.last,
            messages_max,
            bytes_max,
        };
        self.load = Some((load, wanted.part));
        effects.load = Some(load);
    }

    /// A dead letter is in the log until it is with its next queue.
    pub(super) fn note_buried(&mut self, position: u64) {
        if let Some(buried) = &mut self.buried {
            buried.insert(position);
        }
    }

    /// A dead letter is done with.
    pub(super) fn forget_buried(&mut self, position: u64) {
        if let Some(buried) = &mut self.buried {
            buried.remove(&position);
        }
    }

    /// The positions of dead letters that are still in the log.
    pub(super) fn buried(&self) -> impl Iterator<Item = u64> {
        self.buried.iter().flatten().copied()
    }

    /// What may leave memory now.
    pub(super) fn page_limits(&self) -> PageLimits {
        PageLimits {
            written_below: self.written.below(),
            front_bytes: self.front_bytes(),
            last_block_bytes_min: self.last_block_bytes_min(),
        }
    }

    /// A queue with a small share loads little at a time, but still enough to keep a reader busy.
    fn load_bytes_max(&self) -> usize {
        let share = usize::try_from(self.resident_bytes_max).unwrap_or(LOAD_BYTES_MAX);
        share.clamp(LOAD_BYTES_MIN, LOAD_BYTES_MAX)
    }

    /// How much of the front stays in memory whatever is paged out.
    pub(super) fn front_bytes(&self) -> u64 {
        FRONT_BYTES_MIN.min(self.share() / 4)
    }

    /// How many bytes the last block must hold to be paged out.
    fn last_block_bytes_min(&self) -> u64 {
        LAST_BLOCK_BYTES_MIN.min(self.share() / 4)
    }

    /// True when the ready messages need more memory than their share, and some could be paged out.
    pub(super) fn is_over_share(&self, ready: &Ready) -> bool {
        !self.has_failed && resident_bytes(ready) > self.share()
    }

    /// How much memory the ready messages may need now.
    fn share(&self) -> u64 {
        match self.is_read {
            true => self.resident_bytes_max,
            false => self.resident_bytes_max.min(UNREAD_BYTES_MAX),
        }
    }

    /// Notes whether somebody reads; true when the last one has gone.
    pub(super) fn set_read(&mut self, is_read: bool) -> bool {
        std::mem::replace(&mut self.is_read, is_read) && !is_read
    }
}

/// What the ready messages need in memory.
pub(super) fn resident_bytes(ready: &Ready) -> u64 {
    let messages = ready.len() - ready.stored_len();
    let bytes = ready.bytes() - ready.stored_bytes() + ready.head_bytes();
    bytes + messages * crate::limits::MESSAGE_OVERHEAD_BYTES
}

/// Everything that a recovered log has, as one run: between its messages there are only such as are
/// gone for good. `None` if there is none.
pub(super) fn recovered_run(recovered: &RecoveredLog) -> Option<StoredRun> {
    let (first, last) = (recovered.runs.first()?, recovered.runs.last()?);
    Some(StoredRun {
        first: first.first,
        last: last.last,
        count: recovered.runs.iter().map(|run| run.count).sum(),
        bytes: recovered.body_bytes,
    })
}

/// Writes a message.
fn write_message(log: LogId, entry: &Entry, now: Moment, records: &mut Records) {
    stored_message::pieces(&entry.message, entry.deadline(), |pieces| {
        records.message(
            log,
            NewMessage {
                index: entry.position,
                time_ms: now.unix_ms(),
                body_bytes: entry.body_bytes(),
                pieces,
            },
        );
    });
}

/// Writes that a message is done with.
pub(super) fn write_settled(log: LogId, position: u64, body_bytes: u32, records: &mut Records) {
    let settled = Settled {
        first: position,
        last: position,
        count: 1,
        body_bytes: u64::from(body_bytes),
    };
    records.settle(log, settled);
}

/// Writes that all of these are done with.
pub(super) fn write_settled_run(log: LogId, run: StoredRun, records: &mut Records) {
    let settled = Settled {
        first: run.first,
        last: run.last,
        count: run.count,
        body_bytes: run.bytes,
    };
    records.settle(log, settled);
}
