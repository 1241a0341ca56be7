//! [`Ready`]: the messages of a queue that wait for a taker, in the order in which they are handed out.
//!
//! ```text
//!   no x-max-priority:  Single ── Sequence        by position
//!   x-max-priority:     Levels ── 9 ── Sequence   by priority, then by position
//!                              └─ 0 ── Sequence
//! ```
//!
//! What it is not: it knows no consumers and decides nothing. Which of the two kinds a queue has is
//! fixed at its declaration (PRIO-06).
//!
//! Invariant: both kinds count all ready messages, wherever they are.

mod levels;
mod sequence;
mod stored_run;

use std::collections::VecDeque;
use std::ops::{AddAssign, SubAssign};

pub(super) use super::entry::{Entry, NEVER, sort_by_position};
pub(super) use levels::Levels;
pub(super) use sequence::{Block, Blocks, Sequence};
pub(super) use stored_run::StoredRun;

use crate::core::{Message, Moment};

/// A front of this many bytes stays in memory while the rest is paged out; a queue with a smaller
/// share keeps less.
pub(super) const FRONT_BYTES_MIN: u64 = 1 << 20;
/// The last block goes only when it is full or holds this many bytes: a block that new messages still
/// go to would soon be needed again. In a queue with a small share less has to do.
pub(super) const LAST_BLOCK_BYTES_MIN: u64 = 256 << 10;

/// How many messages there are, and their body bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All of them.
    pub(super) len: u64,
    pub(super) bytes: u64,
    /// Those that are only in the store.
    pub(super) stored_len: u64,
    pub(super) stored_bytes: u64,
    /// The heads of those in memory, as far as they are unusually large.
    pub(super) head_bytes: u64,
}

impl Counts {
    fn resident_len(&self) -> u64 {
        self.len - self.stored_len
    }

    fn resident_bytes(&self) -> u64 {
        self.bytes - self.stored_bytes + self.head_bytes
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.len += more.len;
        self.bytes += more.bytes;
        self.stored_len += more.stored_len;
        self.stored_bytes += more.stored_bytes;
        self.head_bytes += more.head_bytes;
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, less: Self) {
        self.len -= less.len;
        self.bytes -= less.bytes;
        self.stored_len -= less.stored_len;
        self.stored_bytes -= less.stored_bytes;
        self.head_bytes -= less.head_bytes;
    }
}

/// What is at the front.
#[derive(Debug)]
pub(super) enum Head<'r> {
    /// Nothing: the queue has no ready message.
    None,
    /// A message that has to be loaded first.
    Stored,
    /// This message.
    Resident(&'r Entry),
}

/// Which of the messages between two positions are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All.
    All,
    /// Those of one level.
    Level(u8),
}

/// A stored run that is to be loaded next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) run: StoredRun,
    pub(super) part: Part,
    /// Nothing can be handed out before all of it has been looked at.
    pub(super) is_to_be_sorted: bool,
}

/// What was loaded of a run.
#[derive(Debug)]
pub(super) struct LoadedPart {
    pub(super) part: Part,
    /// Where the run begins.
    pub(super) first: u64,
    /// The run goes on behind this position.
    pub(super) through: u64,
    /// The messages in order; also such as are not meant.
    pub(super) entries: Vec<Entry>,
    /// How many more messages were passed over.
    pub(super) unreadable: u64,
}

/// What decides which messages leave memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageLimits {
    /// Positions below are on disk.
    pub(super) written_below: u64,
    /// The front that stays.
    pub(super) front_bytes: u64,
    /// How many bytes the last block must hold to go.
    pub(super) last_block_bytes_min: u64,
}

/// What became of one block.
#[derive(Debug)]
pub(super) enum Paged {
    /// It is in the store only; its entries are to be freed. The next block begins at `next` or
    /// later.
    Out { next: u64, entries: VecDeque<Entry> },
    /// It is in the store only already, or cannot be.
    Passed { next: u64 },
    /// Its messages are not on disk yet.
    NotWritten,
    /// There is no such block, or it is the last one and not full yet.
    Nothing,
}

/// The ready messages of one queue.
#[derive(Debug)]
pub(super) enum Ready {
    /// All messages are alike.
    Single(Sequence),
    /// Messages of a higher priority go first.
    Levels(Box<Levels>),
}

impl Ready {
    /// No messages; with a highest priority of 0 there is a single level (PRIO-04).
    pub(super) fn new(max_priority: u8) -> Self {
        match max_priority {
            0 => Self::Single(Sequence::default()),
            max => Self::Levels(Box::new(Levels::new(max))),
        }
    }

    fn counts(&self) -> &Counts {
        match self {
            Self::Single(sequence) => sequence.counts(),
            Self::Levels(levels) => levels.counts(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.counts().len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts().len == 0
    }

    /// Body bytes of all ready messages.
    pub(super) fn bytes(&self) -> u64 {
        self.counts().bytes
    }

    /// How many ready messages are only in the store.
    pub(super) fn stored_len(&self) -> u64 {
        self.counts().stored_len
    }

    /// Body bytes of the ready messages that are only in the store.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.counts().stored_bytes
    }

    /// The heads of the ready messages in memory, as far as they are unusually large.
    pub(super) fn head_bytes(&self) -> u64 {
        self.counts().head_bytes
    }

    /// When the head expires; [`NEVER`] also for an empty queue and for a head that is not in memory.
    pub(super) fn head_expires_at(&self) -> Moment {
        match self {
            Self::Single(sequence) => sequence.head_expires_at(),
            Self::Levels(levels) => levels.head_expires_at(),
        }
    }

    /// What is handed out next.
    pub(super) fn head(&self) -> Head<'_> {
        match self {
            Self::Single(sequence) => sequence.head(),
            Self::Levels(levels) => levels.head(),
        }
    }

    /// The position of the head, wherever it is, or one before it; nothing if no message is ready.
    pub(super) fn first_position(&self) -> Option<u64> {
        match self {
            Self::Single(sequence) => sequence.first_position(),
            Self::Levels(levels) => levels.first_position(),
        }
    }

    /// Takes in an entry whose position is higher than all others.
    pub(super) fn push(&mut self, entry: Entry) {
        match self {
            Self::Single(sequence) => sequence.push(entry),
            Self::Levels(levels) => levels.push(entry),
        }
    }

    /// Takes the head if it is in memory.
    pub(super) fn take(&mut self) -> Option<Entry> {
        match self {
            Self::Single(sequence) => sequence.take(),
            Self::Levels(levels) => levels.take(),
        }
    }

    /// Takes the head if it has not expired, and may be handed out: if it is in the store too, only
    /// below `open_below`.
    pub(super) fn take_live(&mut self, now: Moment, open_below: u64) -> Option<Entry> {
        match self {
            Self::Single(sequence) => sequence.take_live(now, open_below),
            Self::Levels(levels) => levels.take_live(now, open_below),
        }
    }

    /// Takes the head if it has expired.
    pub(super) fn take_expired(&mut self, now: Moment) -> Option<Entry> {
        match self {
            Self::Single(sequence) => sequence.take_expired(now),
            Self::Levels(levels) => levels.take_expired(now),
        }
    }

    /// Puts entries back to their positions and empties `returned`. The next new message will have
    /// `next_position`.
    pub(super) fn put_back(&mut self, returned: &mut Vec<Entry>, next_position: u64) {
        match self {
            Self::Single(sequence) => sequence.put_back(returned),
            Self::Levels(levels) => levels.put_back(returned, next_position),
        }
    }

    /// Gives everything away.
    pub(super) fn take_all(&mut self) -> Blocks {
        match self {
            Self::Single(sequence) => sequence.take_all(),
            Self::Levels(levels) => levels.take_all(),
        }
    }
}

/// What leaves memory and comes back.
impl Ready {
    /// Adds the messages that were found in the store; there are no others yet.
    pub(super) fn recover(&mut self, run: StoredRun) {
        match self {
            Self::Single(sequence) => sequence.push_stored(run),
            Self::Levels(levels) => levels.recover(run),
        }
    }

    /// The stored run that is needed next, if little is left in memory before it.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        match self {
            Self::Single(sequence) => sequence.wanted_next().map(|run| Wanted {
                run,
                part: Part::All,
                is_to_be_sorted: false,
            }),
            Self::Levels(levels) => levels.wanted(),
        }
    }

    /// Puts what was loaded in its place. What is not kept goes to `dropped`.
    pub(super) fn place_loaded(&mut self, loaded: LoadedPart, dropped: &mut Vec<Message>) {
        match self {
            Self::Single(sequence) => {
                let (first, through) = (loaded.first, loaded.through);
                sequence.place_loaded(first, through, loaded.entries, loaded.unreadable);
            }
            Self::Levels(levels) => levels.place_loaded(loaded, dropped),
        }
    }

    /// Drops the next block from memory that can leave it.
    pub(super) fn page_out(&mut self, limits: &PageLimits) -> Paged {
        match self {
            Self::Single(sequence) => sequence.page_next(limits),
            Self::Levels(levels) => levels.page_next(limits),
        }
    }

    /// Looks again at what was spared before, but for a front of at most this many bytes.
    pub(super) fn page_anew(&mut self, front_bytes: u64) {
        match self {
            Self::Single(sequence) => sequence.page_anew(front_bytes),
            Self::Levels(levels) => levels.page_anew(),
        }
    }

    /// Passes every range of positions to `take` that has messages in the store, all of them ready.
    /// `away` gives the positions of those that are in the store and not ready.
    pub(super) fn logged_ranges(
        &self,
        away: impl FnOnce() -> Vec<u64>,
        take: impl FnMut(StoredRun),
    ) {
        match self {
            Self::Single(sequence) => sequence.logged_ranges(take),
            Self::Levels(levels) => {
                if let Some(span) = levels.logged_span() {
                    span.without(away(), take);
                }
            }
        }
    }
}
