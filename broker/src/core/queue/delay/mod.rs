//! [`DelayQueue`]: the own queue of an exchange that holds messages back until their time has come.
//!
//! ```text
//!   offer ──▶ written to its own log (persistent), or kept in memory (anything else)
//!               │ held: 16 bytes of index each, and no body of what is in the log
//!               ▼
//!   tick at the earliest deadline ──▶ in memory: released ──────────────────┐
//!                                └──▶ in the log: Load ──▶ loaded: released ─┤
//!                                                                           ▼
//!              next ◀── forget: settled in the log ◀── routed, offered to their queues
//! ```
//!
//! Messages are released in the order of their deadlines, those of one deadline in the order in which
//! they came. That is why only one part is on its way at a time: the next one is released when the last
//! has been offered to its queues. A part is small, so that whatever falls due at once goes out piece by
//! piece, with others having their turns in between, and no faster than the store commits it.
//!
//! A message leaves the log after its next queues have written it down: a crash in between may double it,
//! and loses none. Once started again, the queue reads its log through before it releases anything, for
//! what came last may be due first; deadlines that have passed meanwhile are due at once.
//!
//! What it is not: a queue that clients can see. Nobody consumes from it, gets, purges or binds it.
//!
//! Invariants: a load or a released part is under way, never both and never two; bodies of messages in the
//! log are in memory only on their way out, a part at a time.

mod held;
mod machine;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use leveret_storage::{LogId, RecoveredLog};

use super::arguments::QueueArguments;
use super::{
    AttachRefused, Buried, DeleteConditions, DeleteRefused, Delivery, DeliveryId, Effects, Got,
    Journal, Loaded, Offered, Port, Pulled, Queue, QueueStatus, Room, SlotId, SlotSpec, Unsettled,
    Verdict,
};
use crate::core::delay::release_at;
use crate::core::{Message, Moment};
use machine::{Call, Delay, Next};

/// Messages that an exchange holds back.
pub struct DelayQueue {
    machine: Mutex<Delay>,
    /// Where the records of a durable exchange's queue go.
    journal: Option<Arc<dyn Journal>>,
}

impl DelayQueue {
    /// An empty queue that keeps everything in memory.
    pub fn new() -> Self {
        Self {
            machine: Mutex::new(Delay::new()),
            journal: None,
        }
    }

    /// A queue that keeps its persistent messages in `log`, which has been begun. With `recovered` it has
    /// all that was found there; call [`Queue::tick`] then, which begins to read it.
    pub fn durable(
        journal: Arc<dyn Journal>,
        log: LogId,
        recovered: Option<&RecoveredLog>,
    ) -> Self {
        Self {
            machine: Mutex::new(Delay::durable(log, recovered)),
            journal: Some(journal),
        }
    }

    /// Does `work` under the lock, submits what it has written, and then sees what is next.
    fn call<T>(
        &self,
        next: Next,
        now: Moment,
        effects: &mut Effects,
        work: impl FnOnce(&mut Delay, &mut Call<'_>) -> T,
    ) -> T {
        let mut machine = self.lock();
        let mut call = Call { now, effects };
        if let Some(journal) = &self.journal {
            machine.begin(journal.committed(), journal.has_failed());
        }
        let result = work(&mut machine, &mut call);
        if let Some(journal) = &self.journal {
            machine.submit(&**journal, &mut call);
        }
        machine.go_on(next, &mut call);
        result
    }

    /// A panic under the lock leaves the machine in an unknown state: the queue is ended then, and what
    /// it has in the log is there when the broker is started again.
    fn lock(&self) -> MutexGuard<'_, Delay> {
        self.machine.lock().unwrap_or_else(|poisoned| {
            let mut machine = poisoned.into_inner();
            drop(machine.end());
            self.machine.clear_poison();
            machine
        })
    }
}

impl Default for DelayQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue for DelayQueue {
    fn offer(&self, batch: &mut Vec<Message>, now: Moment, effects: &mut Effects) -> Offered {
        // Headers are read before the lock is taken.
        let release_at: Vec<_> = batch.iter().map(|m| release_at(m, now)).collect();
        let offered = self.call(Next::Ask, now, effects, |machine, call| {
            let messages = batch.drain(..).zip(release_at);
            machine.offer(messages, call)
        });
        batch.clear();
        offered
    }

    fn tick(&self, now: Moment, effects: &mut Effects) {
        self.call(Next::Release, now, effects, |machine, _| machine.tick());
    }

    fn loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects) {
        self.call(Next::Release, now, effects, |machine, _| {
            machine.loaded(loaded);
        });
    }

    fn forget(&self, buried: &[Buried], now: Moment, effects: &mut Effects) {
        self.call(Next::Ask, now, effects, |machine, _| machine.forget(buried));
    }

    fn retire(&self, _conditions: DeleteConditions) -> Result<u64, DeleteRefused> {
        let mut machine = self.lock();
        if machine.is_gone() {
            return Err(DeleteRefused::Gone);
        }
        let held = machine.end();
        drop(machine);
        // Freed without the lock: it may be much.
        Ok(held.len())
    }

    fn status(&self) -> QueueStatus {
        self.lock().status()
    }

    // Nobody consumes from it: there is no name by which anybody could ask.

    fn attach(
        &self,
        _spec: SlotSpec,
        _port: Port,
        _now: Moment,
        _effects: &mut Effects,
    ) -> Result<SlotId, AttachRefused> {
        Err(AttachRefused::Gone)
    }

    fn detach(&self, _slot: SlotId, _unsettled: Unsettled, _now: Moment, _effects: &mut Effects) {}

    fn set_pull_only(&self, _slot: SlotId, _pull_only: bool) {}

    fn set_arguments(&self, _arguments: &QueueArguments, _now: Moment, _effects: &mut Effects) {}

    fn pull(
        &self,
        _slot: SlotId,
        _room: Room,
        _now: Moment,
        _out: &mut Vec<Delivery>,
        _effects: &mut Effects,
    ) -> Pulled {
        Pulled::Gone
    }

    fn get(&self, _slot: SlotId, _now: Moment, _effects: &mut Effects) -> Got {
        Got::Empty
    }

    fn settle(
        &self,
        _slot: SlotId,
        _verdict: Verdict,
        _ids: &[DeliveryId],
        _now: Moment,
        _effects: &mut Effects,
    ) {
    }

    fn renew_lease(&self, _now: Moment, _effects: &mut Effects) {}

    fn purge(&self, _effects: &mut Effects) -> u64 {
        0
    }
}

impl std::fmt::Debug for DelayQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelayQueue").finish_non_exhaustive()
    }
}
