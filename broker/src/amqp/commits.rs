//! A session and the store's commits: confirms that wait for one, publishers that are held up until
//! the next, and the bell that tells of it.
//!
//! ```text
//!   offer ──▶ epoch ─┬─▶ the channel's confirms ─┐
//!                    └─▶ uncommitted bytes ──────┼─▶ one bell, at the earliest epoch ──▶ Mailbox
//!   parked answer ───────────────────────────────┘                                        │
//!        ▲ on_commit: write what is due, ask for the next ◀───────────────────────────────┘
//! ```
//!
//! A connection has at most one bell in the store's list, however much it waits for. Epochs are given
//! out in growing order, so nothing that begins to wait later needs an earlier one.
//!
//! What it is not: the answers that wait (see [`super::parking`]), or the order of confirms (see
//! [`super::confirms`]).

use std::sync::Arc;

use leveret_storage::{CommitHere, Epoch, Held};

use crate::amqp::channel::PublishMode;
use crate::amqp::confirms::Confirms;
use crate::amqp::parking::Parked;
use crate::amqp::session::Session;
use crate::amqp::stage::StagedQueue;
use crate::limits::COMMIT_HERE_HEARTBEAT_MIN;

impl Session {
    /// What was handed to this queue is safe once the store has committed `epoch`.
    pub(super) fn note_stored(&mut self, handed_over: &StagedQueue, epoch: Epoch) {
        let tickets = &handed_over.tickets;
        for run in tickets.chunk_by(|one, other| one.channel == other.channel) {
            let channel = run.first().map(|ticket| ticket.channel);
            let channel = channel.and_then(|number| self.channels.get_mut(&number));
            match channel.map(|channel| &mut channel.mode) {
                Some(PublishMode::Confirm(confirms)) => confirms.wait_for(epoch),
                Some(PublishMode::Transaction(transaction)) => {
                    transaction.stored_at = transaction.stored_at.max(Some(epoch));
                }
                Some(PublishMode::Plain) | None => {}
            }
        }
        self.uncommitted
            .add(epoch, tickets.len(), handed_over.bytes);
    }

    /// What a client did without asking for an answer is in the store once it has committed `epoch`. It is
    /// counted like a publish, or such a client could fill the memory while the disk is slow.
    pub(super) fn note_unanswered(&mut self, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            self.uncommitted.add(epoch, 1, 0);
        }
    }

    /// Messages went back to a queue that writes it down. A client can do that to the same ones for ever,
    /// so it is counted too; what is acked is not, for each message is that once.
    pub(super) fn note_returned(&mut self, epoch: Option<Epoch>, messages: usize) {
        if let Some(epoch) = epoch {
            self.uncommitted.add(epoch, messages, 0);
        }
    }

    /// Confirms what was published in this turn and has nothing to wait for.
    pub(super) fn write_confirms(&mut self) {
        let (node, out) = (&self.node, self.outbox.buffer());
        for number in self.unconfirmed.drain(..) {
            let Some(channel) = self.channels.get_mut(&number) else {
                continue;
            };
            if let PublishMode::Confirm(confirms) = &mut channel.mode {
                let was_waiting = confirms.is_waiting();
                confirms.write(|epoch| node.commit_state(epoch), number, out);
                if confirms.is_waiting() && !was_waiting {
                    self.awaiting_commit.push(number);
                }
            }
        }
    }

    /// Ends the turn's input as [`Session::finish_input`] does, of a client that waits for every commit:
    /// what it waits for is committed at once where the store allows that.
    pub(crate) fn finish_input_in_step(
        &mut self,
        held: Held<'_>,
        commit: impl FnOnce(CommitHere<'_>),
    ) {
        self.hand_over();
        self.write_confirms();
        if self.awaits_commit()
            && !self.commit_asked
            && let Some(here) = held.commit()
        {
            commit(here);
            self.on_commit();
        }
        self.ask_for_commit();
    }

    /// True while a confirm or an answer waits for the store.
    pub(crate) fn awaits_commit(&self) -> bool {
        self.next_awaited().is_some()
    }

    /// True if nothing but publishing goes on here, so that nobody notices when the connection is not served
    /// for the time of a commit. A disk that hangs must not cost a client its heartbeats.
    pub(crate) fn only_publishes(&self) -> bool {
        let heartbeat = self.machine.heartbeat_interval();
        let is_patient = heartbeat.is_none_or(|interval| interval >= COMMIT_HERE_HEARTBEAT_MIN);
        let mut channels = self.channels.values();
        is_patient && channels.all(|channel| channel.consumer_count() == 0)
    }

    /// The store has committed, or has failed: what waited for it goes on.
    pub(crate) fn on_commit(&mut self) {
        self.commit_asked = false;
        self.write_due_confirms();
        let node = &self.node;
        self.uncommitted
            .forget_decided(|epoch| node.commit_state(epoch));
        self.write_parked_reply();
        self.ask_for_commit();
    }

    fn write_due_confirms(&mut self) {
        let mut awaiting = std::mem::take(&mut self.awaiting_commit);
        awaiting.retain(|number| self.write_due_confirms_of(*number));
        self.awaiting_commit = awaiting;
    }

    /// True if there are more to come. A channel that was closed has none (CONFIRM-21); if its number
    /// was opened and waits again, it is listed twice, which does no harm.
    fn write_due_confirms_of(&mut self, number: u16) -> bool {
        let node = &self.node;
        let channel = self.channels.get_mut(&number);
        let Some(PublishMode::Confirm(confirms)) = channel.map(|channel| &mut channel.mode) else {
            return false;
        };
        let state = |epoch| node.commit_state(epoch);
        confirms.write_due(state, number, self.outbox.buffer());
        confirms.is_waiting()
    }

    /// True while the connection is not to be read, because too much of what it has published is not
    /// committed, or because the whole store is behind and it is one of those to blame.
    #[inline]
    pub(crate) fn must_wait_for_commit(&mut self) -> bool {
        self.held_up = !self.uncommitted.is_empty() && self.is_ahead_of_store();
        if self.held_up {
            self.ask_for_commit();
        }
        self.held_up
    }

    fn is_ahead_of_store(&mut self) -> bool {
        let node = &self.node;
        self.uncommitted
            .forget_decided(|epoch| node.commit_state(epoch));
        let is_behind = !self.uncommitted.is_empty() && node.store_is_behind();
        self.uncommitted.is_full() || is_behind
    }

    /// Asks to be woken at the next commit that something waits for.
    pub(super) fn ask_for_commit(&mut self) {
        if self.commit_asked {
            return;
        }
        let Some(epoch) = self.next_awaited() else {
            return;
        };
        if let Some(commits) = self.node.commits() {
            self.commit_asked = true;
            let bell = Arc::clone(&self.mailbox);
            commits.ring_at(epoch, bell);
        }
    }

    /// The earliest epoch that something waits for. Uncommitted bytes alone wake nobody: only a
    /// connection that is held up by them waits.
    fn next_awaited(&self) -> Option<Epoch> {
        let confirms = self.awaiting_commit.iter();
        let confirms = confirms.filter_map(|number| self.confirms_of(*number)?.waits_for());
        let parked = self.parked.as_ref().and_then(Parked::waits_for);
        let held_up = self.held_up.then(|| self.uncommitted.waits_for()).flatten();
        confirms.chain(parked).chain(held_up).min()
    }

    fn confirms_of(&self, number: u16) -> Option<&Confirms> {
        match &self.channels.get(&number)?.mode {
            PublishMode::Confirm(confirms) => Some(confirms),
            _ => None,
        }
    }
}
