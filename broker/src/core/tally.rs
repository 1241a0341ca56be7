//! [`Tally`]: which queues have taken a dead letter, for one that has to arrive everywhere.
//!
//! A letter has arrived once every queue that it is routed to has taken it, and there was one at
//! least. Queues that took it in an earlier attempt count, also when no route leads to them any more.
//! For a letter that may get lost nothing is noted.
//!
//! What it is not: it routes nothing.

use super::queue::{DeadLetter, LetterSent, Offered, QueueId};

/// What becomes of one letter.
#[derive(Debug)]
pub(super) struct Tally(Option<Counted>);

#[derive(Debug)]
struct Counted {
    position: u64,
    sent_to: Vec<QueueId>,
    refused: bool,
}

impl Tally {
    /// Nobody has it yet, but for those that an earlier attempt has reached.
    pub(super) fn of(letter: &DeadLetter) -> Self {
        Self(letter.held.as_ref().map(|held| Counted {
            position: held.position,
            sent_to: held.sent_to.to_vec(),
            refused: false,
        }))
    }

    /// True when this queue has the letter.
    pub(super) fn has(&self, queue: QueueId) -> bool {
        let counted = self.0.as_ref();
        counted.is_some_and(|counted| counted.sent_to.contains(&queue))
    }

    /// A queue was offered the letter. One that is gone is no target any more.
    pub(super) fn note(&mut self, queue: QueueId, offered: Offered, refused: bool) {
        let Some(counted) = &mut self.0 else { return };
        match offered {
            Offered::Taken if !refused => counted.sent_to.push(queue),
            Offered::Taken => counted.refused = true,
            Offered::Gone => {}
        }
    }

    /// What its queue is to be told, if it holds the letter.
    pub(super) fn outcome(self) -> Option<LetterSent> {
        self.0.map(|counted| LetterSent {
            position: counted.position,
            is_done: !counted.refused && !counted.sent_to.is_empty(),
            sent_to: counted.sent_to,
        })
    }
}
