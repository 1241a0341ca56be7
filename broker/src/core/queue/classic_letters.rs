//! What a [`Classic`] does that sends its dead letters on at least once, or has a delivery limit.
//!
//! What it is not: it knows no rule of routing; whether a letter has arrived it is told by
//! [`Queue::letters_sent`](super::Queue::letters_sent). The letters themselves are in
//! [`super::letters`].
//!
//! Invariant: a letter of the log is settled only after it was said to be done with, which whoever sent
//! it says only after the queues it went to have submitted their records.

use super::aftermath::Call;
use super::classic::Classic;
use super::durable::write_settled;
use super::entry::{Entry, sort_by_position};
use super::letters::{Attempt, Letters, Written, is_letter};
use super::{DeathReason, LetterSent, Loaded, LoadedMessage};
use leveret_storage::RecoveredLog;

impl Classic {
    /// Notes how many letters the log holds.
    pub(super) fn recover_letters(&mut self, recovered: &RecoveredLog) {
        let counts = recovered.returned.iter().map(|(_, count)| *count);
        let count = counts.filter(|count| is_letter(*count)).count() as u64;
        if count > 0 {
            self.letters = Some(Box::new(Letters::new(count)));
        }
    }

    /// Holds a message that has died; `held_bytes` has it no more.
    pub(super) fn bury_letter(&mut self, entry: Entry, reason: DeathReason, call: &mut Call<'_>) {
        let letters = self
            .letters
            .get_or_insert_with(|| Box::new(Letters::new(0)));
        if let (true, Some(durable)) = (entry.logged, &mut self.durable) {
            durable.note_buried(entry.position);
        }
        call.effects.dead_letters.push(letters.bury(entry, reason));
    }

    /// Takes what a restart has found dead out of what was loaded; says how many they were.
    pub(super) fn discover_letters(
        &mut self,
        messages: &mut Vec<LoadedMessage>,
        call: &mut Call<'_>,
    ) -> u64 {
        let before = call.effects.dead_letters.len();
        let Some(letters) = self.letters.as_mut().filter(|l| l.undiscovered() > 0) else {
            return 0;
        };
        let found = messages.extract_if(.., |message| is_letter(message.return_count));
        for message in found {
            if let Some(durable) = &mut self.durable {
                durable.note_buried(message.position);
            }
            call.effects.dead_letters.extend(letters.discover(message));
        }
        (call.effects.dead_letters.len() - before) as u64
    }

    /// Attempts to send letters on have ended.
    pub(super) fn letters_sent(&mut self, sent: &[LetterSent], call: &mut Call<'_>) {
        let Some(letters) = &mut self.letters else {
            return;
        };
        let records = &mut call.aftermath.records;
        // A queue that is not to hold letters any more has sent them on once.
        let holds = self.options.at_least_once;
        for sent in sent {
            match (letters.sent(sent, holds), &mut self.durable) {
                (
                    Written::Settled {
                        position,
                        body_bytes,
                    },
                    Some(durable),
                ) => {
                    durable.forget_buried(position);
                    write_settled(durable.log, position, body_bytes, records);
                }
                (Written::Noted { position, count }, Some(durable)) => {
                    records.returned(durable.log, position, count);
                }
                _ => {}
            }
        }
        let some_got_through = sent.iter().any(|sent| sent.is_done);
        letters.schedule(some_got_through, call.now);
        self.finish(call);
    }

    /// Tries to send on the next part of what waits, if that is due.
    pub(super) fn attempt_letters(&mut self, call: &mut Call<'_>) {
        let Some(letters) = &mut self.letters else {
            return;
        };
        let written = self.durable.as_ref().map(|durable| durable.written.below());
        match letters.attempt(written.unwrap_or_default(), call.now) {
            Attempt::Letters(letters) => call.effects.dead_letters.extend(letters),
            Attempt::Load(load) => call.effects.letters_load = Some(load),
            Attempt::Nothing => {}
        }
    }

    /// Letters have been read.
    pub(super) fn letters_loaded(&mut self, loaded: Loaded, call: &mut Call<'_>) {
        let Some(letters) = &mut self.letters else {
            return;
        };
        call.effects.dead_letters.extend(letters.loaded(loaded));
        letters.schedule(false, call.now);
        self.finish(call);
    }

    /// Buries those that have come back too often, in queue order (QQ-04).
    pub(super) fn bury_overdue(&mut self, returned: &mut Vec<Entry>, call: &mut Call<'_>) {
        let Some(limit) = self.options.delivery_limit else {
            return;
        };
        let is_overdue = |entry: &mut Entry| u32::from(entry.return_count) > limit;
        let mut overdue: Vec<Entry> = returned.extract_if(.., is_overdue).collect();
        sort_by_position(&mut overdue);
        for entry in overdue {
            self.bury_held(entry, DeathReason::DeliveryLimit, call);
        }
    }
}
