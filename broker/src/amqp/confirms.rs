//! [`Confirms`]: which publishes of a channel are still to be confirmed.
//!
//! A publish gets the next number when it arrives (CONFIRM-02). It is settled when every queue it was
//! routed to has taken it and, if one of them keeps it in the store, the store has committed it
//! (CONFIRM-06). Answers go out in the order of the numbers: what need not wait for the store still
//! waits for what was published before it. Numbers that were settled in a row are confirmed with one
//! frame (CONFIRM-04), which never jumps over one that was refused (CONFIRM-17).
//!
//! ```text
//!   answered ──▶│ row: epoch 7 │ row: epoch 8 │ not handed over │◀── published
//!               └─ acked or nacked when its epoch is reached or can never be
//! ```
//!
//! What it is not: it asks nobody to be woken; its caller does, for [`Confirms::waits_for`].
//!
//! Invariant: rows are in the order of their numbers and of their epochs.

use std::collections::VecDeque;

use bytes::BytesMut;
use leveret_protocol::method::{basic, write_frame};
use leveret_storage::{CommitState, Epoch};

/// A channel's publisher confirms.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// The latest number given out.
    published: u64,
    /// Everything up to this number has been answered.
    answered: u64,
    /// Numbers after `answered` that a queue refused.
    refused: Vec<u64>,
    /// The epoch that covers what was handed over since the last row ended, if the store has any of it.
    needs: Option<Epoch>,
    /// Publishes that wait for the store.
    rows: VecDeque<Row>,
}

/// Publishes behind the row before, up to this number, that one commit settles.
#[derive(Debug)]
struct Row {
    through: u64,
    epoch: Epoch,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Acked, except for what was refused.
    Ack,
    /// All of it nacked: the store has failed.
    Nack,
}

impl Confirms {
    /// Numbers the next publish.
    pub(crate) fn next(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// A queue has refused this publish (CONFIRM-08).
    pub(crate) fn refuse(&mut self, sequence: u64) {
        self.refused.push(sequence);
    }

    /// What was handed over is in the store once it has committed this epoch.
    pub(crate) fn wait_for(&mut self, epoch: Epoch) {
        self.needs = self.needs.max(Some(epoch));
    }

    /// True while publishes wait for the store.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The epoch that settles the next publishes.
    pub(crate) fn waits_for(&self) -> Option<Epoch> {
        self.rows.front().map(|row| row.epoch)
    }

    /// Answers what can be answered of everything published so far. Call it when all of it has been
    /// handed to its queues.
    pub(crate) fn write(
        &mut self,
        state: impl Fn(Epoch) -> CommitState,
        channel: u16,
        out: &mut BytesMut,
    ) {
        if self.needs.is_some() || self.is_waiting() {
            self.end_row();
            self.write_due(state, channel, out);
        } else {
            self.answer_up_to(self.published, Answer::Ack, channel, out);
        }
    }

    /// Answers the rows whose epochs have been decided.
    pub(crate) fn write_due(
        &mut self,
        state: impl Fn(Epoch) -> CommitState,
        channel: u16,
        out: &mut BytesMut,
    ) {
        while let Some(row) = self.rows.front() {
            let answer = match state(row.epoch) {
                CommitState::Waiting => return,
                CommitState::Reached => Answer::Ack,
                CommitState::Failed => Answer::Nack,
            };
            self.answer_up_to(row.through, answer, channel, out);
            self.rows.pop_front();
        }
    }

    /// Puts what was published since the last row into a row, or to the last one if the same commit
    /// settles both.
    fn end_row(&mut self) {
        let (through, needs) = (self.published, self.needs.take());
        match (self.rows.back_mut(), needs) {
            (Some(last), needs) if needs <= Some(last.epoch) => last.through = through,
            (_, Some(epoch)) => self.rows.push_back(Row { through, epoch }),
            (_, None) => {}
        }
    }

    fn answer_up_to(&mut self, through: u64, answer: Answer, channel: u16, out: &mut BytesMut) {
        for sequence in self.take_refused(through) {
            if answer == Answer::Ack {
                self.ack_up_to(sequence - 1, channel, out);
                self.nack_up_to(sequence, channel, out);
            }
        }
        match answer {
            Answer::Ack => self.ack_up_to(through, channel, out),
            Answer::Nack => self.nack_up_to(through, channel, out),
        }
    }

    /// Takes out the numbers up to this one that were refused, in order and each once.
    fn take_refused(&mut self, through: u64) -> Vec<u64> {
        if self.refused.is_empty() {
            return Vec::new();
        }
        self.refused.sort_unstable();
        self.refused.dedup();
        let later = self.refused.partition_point(|number| *number <= through);
        let later = self.refused.split_off(later);
        std::mem::replace(&mut self.refused, later)
    }

    fn ack_up_to(&mut self, sequence: u64, channel: u16, out: &mut BytesMut) {
        if let Some(multiple) = self.advance_to(sequence) {
            let ack = basic::Ack {
                delivery_tag: sequence,
                multiple,
            };
            write_frame(ack, channel, out);
        }
    }

    fn nack_up_to(&mut self, sequence: u64, channel: u16, out: &mut BytesMut) {
        if let Some(multiple) = self.advance_to(sequence) {
            // The requeue bit means nothing here, but it is set in the reference (CONFIRM-09).
            let nack = basic::Nack {
                delivery_tag: sequence,
                multiple,
                requeue: true,
            };
            write_frame(nack, channel, out);
        }
    }

    /// Counts everything up to this number as answered. Says whether that is more than one number,
    /// or nothing if it is none.
    fn advance_to(&mut self, sequence: u64) -> Option<bool> {
        let count = sequence
            .checked_sub(self.answered)
            .filter(|count| *count > 0)?;
        self.answered = sequence;
        Some(count > 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leveret_protocol::Method;
    use leveret_protocol::framer::{Cut, cut};
    use leveret_storage::Commits;

    /// A channel's confirms and a store that commits by hand.
    #[derive(Default)]
    struct Channel {
        confirms: Confirms,
        commits: Commits,
    }

    impl Channel {
        fn publish(&mut self, count: u64) {
            (0..count).for_each(|_| {
                self.confirms.next();
            });
        }

        fn publish_stored(&mut self, count: u64, epoch: u64) {
            self.publish(count);
            self.confirms.wait_for(Epoch(epoch));
        }

        fn end_turn(&mut self) -> Vec<String> {
            let mut out = BytesMut::new();
            let state = |epoch| self.commits.state(epoch);
            self.confirms.write(state, 1, &mut out);
            frames(&mut out)
        }

        fn due(&mut self) -> Vec<String> {
            let mut out = BytesMut::new();
            let state = |epoch| self.commits.state(epoch);
            self.confirms.write_due(state, 1, &mut out);
            frames(&mut out)
        }

        fn commit(&mut self, epoch: u64) -> Vec<String> {
            self.commits.advance(Epoch(epoch));
            self.due()
        }
    }

    fn frames(out: &mut BytesMut) -> Vec<String> {
        let mut answers = Vec::new();
        while let Ok(Cut::Frame(frame)) = cut(out, 100) {
            let (word, tag, multiple) = match Method::parse(frame.payload).unwrap() {
                Method::Basic(basic::Method::Ack(ack)) => ("ack", ack.delivery_tag, ack.multiple),
                Method::Basic(basic::Method::Nack(nack)) => {
                    assert!(nack.requeue, "CONFIRM-09");
                    ("nack", nack.delivery_tag, nack.multiple)
                }
                other => panic!("{other:?}"),
            };
            answers.push(format!("{word}{} {tag}", if multiple { "s" } else { "" }));
            let len = frame.wire_len();
            let _ = out.split_to(len);
        }
        answers
    }

    #[test]
    fn confirm_04_a_row_is_confirmed_with_one_frame() {
        let mut channel = Channel::default();
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.confirms.next(), 1);
        assert_eq!(channel.end_turn(), ["ack 1"]);
        (2..=5).for_each(|n| assert_eq!(channel.confirms.next(), n));
        assert_eq!(channel.end_turn(), ["acks 5"]);
        assert_eq!(channel.end_turn(), [""; 0]);
    }

    #[test]
    fn confirm_17_an_ack_never_covers_a_refused_publish() {
        let mut channel = Channel::default();
        channel.publish(6);
        [4, 3, 4]
            .into_iter()
            .for_each(|n| channel.confirms.refuse(n));
        assert_eq!(channel.end_turn(), ["acks 2", "nack 3", "nack 4", "acks 6"]);
    }

    #[test]
    fn confirm_06_what_is_stored_is_confirmed_when_it_is_committed() {
        let mut channel = Channel::default();
        channel.publish_stored(3, 1);
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.confirms.waits_for(), Some(Epoch(1)));
        channel.publish_stored(2, 2);
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.commit(1), ["acks 3"]);
        assert_eq!(channel.confirms.waits_for(), Some(Epoch(2)));
        assert_eq!(channel.commit(2), ["acks 5"]);
        assert!(!channel.confirms.is_waiting());
    }

    #[test]
    fn what_was_committed_by_the_end_of_the_turn_does_not_wait() {
        let mut channel = Channel::default();
        channel.publish_stored(1, 4);
        channel.commit(4);
        assert_eq!(channel.end_turn(), ["ack 1"]);
    }

    #[test]
    fn what_need_not_wait_waits_for_what_was_published_before_it() {
        let mut channel = Channel::default();
        channel.publish_stored(1, 1);
        assert_eq!(channel.end_turn(), [""; 0]);
        channel.publish(2);
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.commit(1), ["acks 3"]);
        channel.publish(1);
        assert_eq!(channel.end_turn(), ["ack 4"]);
    }

    #[test]
    fn a_row_waits_for_the_latest_of_its_epochs() {
        let mut channel = Channel::default();
        channel.publish_stored(1, 2);
        // Another queue's part of the same turn, handed over earlier.
        channel.confirms.wait_for(Epoch(1));
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.commit(1), [""; 0]);
        assert_eq!(channel.commit(2), ["ack 1"]);
    }

    #[test]
    fn a_commit_answers_nothing_that_is_not_handed_over() {
        let mut channel = Channel::default();
        channel.publish_stored(1, 1);
        assert_eq!(channel.end_turn(), [""; 0]);
        channel.publish(1);
        assert_eq!(channel.commit(1), ["ack 1"]);
        assert_eq!(channel.end_turn(), ["ack 2"]);
    }

    #[test]
    fn confirm_17_holds_behind_a_commit() {
        let mut channel = Channel::default();
        channel.publish_stored(3, 1);
        channel.confirms.refuse(2);
        assert_eq!(channel.end_turn(), [""; 0]);
        channel.publish_stored(3, 2);
        channel.confirms.refuse(6);
        channel.confirms.refuse(4);
        assert_eq!(channel.end_turn(), [""; 0]);
        assert_eq!(channel.commit(1), ["ack 1", "nack 2", "ack 3"]);
        assert_eq!(channel.commit(2), ["nack 4", "ack 5", "nack 6"]);
    }

    #[test]
    fn a_failed_store_nacks_what_it_has_not_committed_and_nothing_else() {
        let mut channel = Channel::default();
        channel.publish_stored(2, 1);
        channel.end_turn();
        channel.publish_stored(4, 2);
        channel.confirms.refuse(4);
        channel.end_turn();
        channel.commits.advance(Epoch(1));
        channel.commits.fail();
        assert_eq!(channel.due(), ["acks 2", "nacks 6"]);
        // What does not need the store goes on; what does is nacked at once.
        channel.publish(2);
        assert_eq!(channel.end_turn(), ["acks 8"]);
        channel.publish_stored(1, 3);
        assert_eq!(channel.end_turn(), ["nack 9"]);
    }
}
