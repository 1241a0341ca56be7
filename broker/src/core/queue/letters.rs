//! [`Letters`]: the dead letters that a queue holds until every queue has them that they are for.
//!
//! ```text
//!   dies ──▶ under way ──letters_sent: all have it──▶ settled in the log, gone
//!                 ▲  └──not all, or there is none──▶ waiting ── noted in the log ─┐
//!                 └────────── the interval is over: read again, a part at a time ─┘
//! ```
//!
//! A waiting letter is noted in the queue's log by the record of a return whose count has a mark, its
//! reason and how often it had come back, so that a restart finds it dead. Of a letter that is in the
//! log only its place is in memory; one that is not (a transient message, or a queue without a log) is
//! held itself, as it was while it was ready.
//!
//! An attempt takes a bounded part, and the next one goes on behind it, so that letters which lead
//! nowhere keep none back that could go. While letters get through, the next part is tried at once.
//!
//! What it is not: it neither routes nor writes; its queue does the one and `effects.rs` the other.
//!
//! Invariants: at most one load of letters is under way; while letters wait and none is under way, a
//! moment for the next attempt is set.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::entry::{Entry, NEVER, memory_len};
use super::{
    DeadLetter, DeathReason, HeldLetter, LetterSent, Load, Loaded, LoadedMessage, QueueId,
};
use crate::core::{Message, Moment};

/// How long letters wait that could not be sent on. Whoever mends an exchange or makes room in a queue
/// waits no longer than this; the attempts themselves are bounded.
pub const RETRY_INTERVAL_MS: u64 = 10_000;

/// The most letters of one attempt: one batch.
const ATTEMPT_LETTERS_MAX: usize = 256;
/// An attempt stops reading letters after this many bytes.
const ATTEMPT_BYTES_MAX: usize = 256 << 10;
/// Letters further apart than this are read by separate loads, which bring all that lies between.
const ATTEMPT_GAP_MAX: u64 = 64;

/// Marks the count of a return as that of a letter.
const LETTER_MARK: u32 = 1 << 31;
/// Where the reason is beside the mark.
const REASON_SHIFT: u32 = 16;

const REASONS: [DeathReason; 4] = [
    DeathReason::Rejected,
    DeathReason::Expired,
    DeathReason::MaxLength,
    DeathReason::DeliveryLimit,
];

/// What the log notes of a waiting letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    reason: DeathReason,
    return_count: u16,
}

impl Note {
    fn to_count(self) -> u32 {
        let reason = (0..)
            .zip(REASONS)
            .find(|(_, reason)| *reason == self.reason);
        let reason = reason.map_or(0, |(number, _)| number);
        LETTER_MARK | (reason << REASON_SHIFT) | u32::from(self.return_count)
    }

    fn from_count(count: u32) -> Option<Self> {
        let reason = (count & !LETTER_MARK) >> REASON_SHIFT;
        let reason = REASONS.get(usize::try_from(reason).ok()?);
        (count & LETTER_MARK != 0).then_some(Self {
            reason: *reason?,
            return_count: count as u16,
        })
    }
}

/// True when what was noted of a message's returns says that it is a letter.
pub(super) fn is_letter(return_count: u32) -> bool {
    Note::from_count(return_count).is_some()
}

#[derive(Debug)]
struct Letter {
    note: Note,
    body_bytes: u32,
    is_logged: bool,
    is_noted: bool,
    is_under_way: bool,
    sent_to: Box<[QueueId]>,
    /// The message, if it is not in the log.
    message: Option<Message>,
}

/// What is to be written of a letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is done with.
    Settled { position: u64, body_bytes: u32 },
    /// It waits: a return with this count.
    Noted { position: u64, count: u32 },
    /// Nothing.
    Nothing,
}

/// The next part that is to be tried.
#[derive(Debug)]
pub(super) enum Attempt {
    /// These are at hand.
    Letters(Vec<DeadLetter>),
    /// These have to be read.
    Load(Load),
    /// There is none, or it is not on disk yet.
    Nothing,
}

/// The letters of one queue.
#[derive(Debug)]
pub(super) struct Letters {
    held: BTreeMap<u64, Letter>,
    /// The next attempt begins with the first letter that waits here or behind.
    next: u64,
    retry_at: Moment,
    load: Option<Load>,
    /// Letters that a restart has found and that still lie among the ready messages.
    undiscovered: u64,
    resident: u64,
    resident_bytes: u64,
}

impl Letters {
    /// No letters, but as many in the log as this says.
    pub(super) fn new(undiscovered: u64) -> Self {
        Self {
            held: BTreeMap::new(),
            next: 0,
            retry_at: NEVER,
            load: None,
            undiscovered,
            resident: 0,
            resident_bytes: 0,
        }
    }

    /// How many there are, undiscovered ones included.
    pub(super) fn len(&self) -> u64 {
        self.held.len() as u64 + self.undiscovered
    }

    /// How many count as ready until they have been loaded.
    pub(super) fn undiscovered(&self) -> u64 {
        self.undiscovered
    }

    /// How many are in memory, and their body bytes.
    pub(super) fn resident(&self) -> (u64, u64) {
        (self.resident, self.resident_bytes)
    }

    /// When the next attempt is due.
    pub(super) fn retry_at(&self) -> Moment {
        self.retry_at
    }

    /// Holds a message that has just died.
    pub(super) fn bury(&mut self, entry: Entry, reason: DeathReason) -> DeadLetter {
        let note = Note {
            reason,
            return_count: entry.return_count,
        };
        let kept = (!entry.logged).then(|| entry.message.clone());
        let (position, body_bytes) = (entry.position, entry.body_bytes());
        self.hold(position, note, body_bytes, kept);
        under_way(position, reason, entry.message, Box::default())
    }

    /// Holds a message that was dead already when the broker was started.
    pub(super) fn discover(&mut self, loaded: LoadedMessage) -> Option<DeadLetter> {
        let note = Note::from_count(loaded.return_count)?;
        self.undiscovered = self.undiscovered.saturating_sub(1);
        let body_bytes = super::entry::counted_len(&loaded.message);
        self.hold(loaded.position, note, body_bytes, None);
        if let Some(letter) = self.held.get_mut(&loaded.position) {
            letter.is_noted = true;
        }
        let letter = under_way(loaded.position, note.reason, loaded.message, Box::default());
        Some(letter)
    }

    fn hold(&mut self, position: u64, note: Note, body_bytes: u32, message: Option<Message>) {
        if message.is_some() {
            self.resident += 1;
            self.resident_bytes += message.as_ref().map_or(0, memory_len);
        }
        let letter = Letter {
            note,
            body_bytes,
            is_logged: message.is_none(),
            is_noted: false,
            is_under_way: true,
            sent_to: Box::default(),
            message,
        };
        self.held.insert(position, letter);
    }

    /// An attempt is over. A letter that is not done with waits for the next one if it is to be held.
    pub(super) fn sent(&mut self, sent: &LetterSent, holds: bool) -> Written {
        if sent.is_done || !holds {
            return self.release(sent.position);
        }
        let Some(letter) = self.held.get_mut(&sent.position) else {
            return Written::Nothing;
        };
        letter.is_under_way = false;
        letter.sent_to = sent.sent_to.clone().into_boxed_slice();
        if !letter.is_logged || std::mem::replace(&mut letter.is_noted, true) {
            return Written::Nothing;
        }
        Written::Noted {
            position: sent.position,
            count: letter.note.to_count(),
        }
    }

    fn release(&mut self, position: u64) -> Written {
        let Some(letter) = self.held.remove(&position) else {
            return Written::Nothing;
        };
        if letter.is_logged {
            return Written::Settled {
                position,
                body_bytes: letter.body_bytes,
            };
        }
        self.resident -= 1;
        self.resident_bytes -= letter.message.as_ref().map_or(0, memory_len);
        Written::Nothing
    }

    /// Sets the moment of the next attempt: at once while letters get through, else after the interval.
    pub(super) fn schedule(&mut self, some_got_through: bool, now: Moment) {
        let waits = |letter: &Letter| !letter.is_under_way;
        if self.load.is_some() || !self.held.values().any(waits) {
            return;
        }
        let due = match some_got_through {
            true => now,
            false => now.after_ms(RETRY_INTERVAL_MS),
        };
        self.retry_at = self.retry_at.min(due);
    }

    /// Begins the attempt that is due. `written_below`: what lies below is on disk.
    pub(super) fn attempt(&mut self, written_below: u64, now: Moment) -> Attempt {
        if self.retry_at > now || self.load.is_some() {
            return Attempt::Nothing;
        }
        self.retry_at = NEVER;
        let Some((first, is_logged)) = self.first_waiting() else {
            return Attempt::Nothing;
        };
        if !is_logged {
            return Attempt::Letters(self.take_resident(first));
        }
        let last = self.end_of_part(first);
        if last >= written_below {
            self.retry_at = now.after_ms(RETRY_INTERVAL_MS);
            return Attempt::Nothing;
        }
        let load = Load {
            first,
            last,
            messages_max: ATTEMPT_LETTERS_MAX,
            bytes_max: ATTEMPT_BYTES_MAX,
        };
        self.load = Some(load);
        Attempt::Load(load)
    }

    /// The letter that an attempt begins with, and whether it is in the log.
    fn first_waiting(&self) -> Option<(u64, bool)> {
        let (before, behind) = (self.held.range(..self.next), self.held.range(self.next..));
        let mut all = behind.chain(before);
        let (position, letter) = all.find(|(_, letter)| !letter.is_under_way)?;
        Some((*position, letter.is_logged))
    }

    fn take_resident(&mut self, first: u64) -> Vec<DeadLetter> {
        let from = self.held.range_mut(first..).take(ATTEMPT_LETTERS_MAX);
        let mut taken = Vec::new();
        for (position, letter) in from.take_while(|(_, letter)| !letter.is_logged) {
            self.next = position.saturating_add(1);
            if let (false, Some(message)) = (letter.is_under_way, letter.message.clone()) {
                taken.push(letter.go(*position, message));
            }
        }
        taken
    }

    /// The last of the letters in the log that lie close enough behind this one.
    fn end_of_part(&self, first: u64) -> u64 {
        let behind = (Bound::Excluded(first), Bound::Unbounded);
        let behind = self.held.range(behind).take(ATTEMPT_LETTERS_MAX);
        let mut last = first;
        for (position, _) in behind.take_while(|(_, letter)| letter.is_logged) {
            if position - last > ATTEMPT_GAP_MAX {
                break;
            }
            last = *position;
        }
        last
    }

    /// Takes what was read for the attempt under way. What cannot be read is passed over and stays in
    /// the log, as with ready messages.
    pub(super) fn loaded(&mut self, loaded: Loaded) -> Vec<DeadLetter> {
        let Some(load) = self.load.take() else {
            return Vec::new();
        };
        self.next = loaded.through.min(load.last).saturating_add(1);
        for position in &loaded.unreadable {
            self.held.remove(position);
        }
        let messages = loaded.messages.into_iter();
        let letters = messages.filter_map(|message| {
            let letter = self.held.get_mut(&message.position)?;
            let waits = letter.is_logged && !letter.is_under_way;
            waits.then(|| letter.go(message.position, message.message))
        });
        letters.collect()
    }
}

impl Letter {
    fn go(&mut self, position: u64, message: Message) -> DeadLetter {
        self.is_under_way = true;
        under_way(position, self.note.reason, message, self.sent_to.clone())
    }
}

fn under_way(
    position: u64,
    reason: DeathReason,
    message: Message,
    sent_to: Box<[QueueId]>,
) -> DeadLetter {
    DeadLetter {
        message,
        reason,
        held: Some(HeldLetter { position, sent_to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_a_letter_comes_back_and_no_plain_count_is_one() {
        for reason in REASONS {
            for return_count in [0, 1, u16::MAX] {
                let note = Note {
                    reason,
                    return_count,
                };
                assert_eq!(Note::from_count(note.to_count()), Some(note));
            }
        }
        assert!(!is_letter(0) && !is_letter(u32::from(u16::MAX)));
        assert!(!is_letter(u32::MAX), "a reason that there is none of");
    }
}
