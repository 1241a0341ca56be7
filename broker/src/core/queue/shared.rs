//! [`ClassicQueue`]: the classic queue behind a lock, as the rest of the broker knows it.
//!
//! Each call locks once, lets the machine work, submits what a durable queue has to write, unlocks,
//! and only then rings bells and frees messages. What it is not: it decides nothing; every rule is in the machine (`classic.rs`).
//!
//! A panic under the lock leaves the machine in an unknown state. The queue is ended then: its
//! consumers are rung and learn that it is gone, and nobody else is touched.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leveret_storage::{LogId, RecoveredLog};

use super::aftermath::{Aftermath, Call};
use super::arguments::QueueArguments;
use super::classic::Classic;
use super::deduplication::QueueDeduplication;
use super::{
    AttachRefused, Buried, ClassicOptions, DeleteConditions, DeleteRefused, Delivery, DeliveryId,
    Effects, Got, Journal, LetterSent, Loaded, Offered, Port, Pulled, Queue, QueueStatus, Room,
    SlotId, SlotSpec, Unsettled, Verdict,
};
use crate::core::deduplication::Deduplication;
use crate::core::{Message, Moment};

thread_local! {
    /// The buffers of the last call on this thread. Taken out for the time of a call, so that a bell
    /// that calls a queue finds empty ones and not a borrow.
    static AFTERMATH: Cell<Aftermath> = Cell::default();
}

/// A classic queue that many connections share.
pub struct ClassicQueue {
    machine: Mutex<Classic>,
    /// Where the records of a durable queue go.
    journal: Option<Arc<dyn Journal>>,
    /// [`ClassicOptions::counts_deliveries`], to be read without the lock.
    counts_deliveries: AtomicBool,
}

impl ClassicQueue {
    /// An empty queue.
    pub fn new(options: ClassicOptions) -> Self {
        Self {
            machine: Mutex::new(Classic::new(options)),
            journal: None,
            counts_deliveries: AtomicBool::new(options.counts_deliveries),
        }
    }

    /// A queue that keeps its persistent messages in `log`, which has been begun. With `recovered` it
    /// has all that was found there; call [`Queue::tick`] then, which asks for the first messages.
    pub fn durable(
        options: ClassicOptions,
        journal: Arc<dyn Journal>,
        log: LogId,
        recovered: Option<&RecoveredLog>,
    ) -> Self {
        Self {
            machine: Mutex::new(Classic::durable(options, log, recovered)),
            journal: Some(journal),
            counts_deliveries: AtomicBool::new(options.counts_deliveries),
        }
    }

    /// The same queue, which drops duplicates from now on.
    #[must_use]
    pub fn dropping_duplicates(mut self, asked: Deduplication) -> Self {
        let machine = self.machine.get_mut();
        let machine = machine.unwrap_or_else(PoisonError::into_inner);
        machine.deduplication = Some(Box::new(QueueDeduplication::new(asked)));
        self
    }

    /// Changes the options of the living queue. New limits hold at once; a new time to live holds for
    /// messages that arrive from now on.
    pub fn set_options(&self, options: ClassicOptions, now: Moment, effects: &mut Effects) {
        self.counts_deliveries
            .store(options.counts_deliveries, Ordering::Relaxed);
        self.call(now, effects, |machine, call| {
            machine.set_options(options, call);
        });
    }

    /// Does `work` under the lock and its aftermath without it.
    fn locked<T>(&self, work: impl FnOnce(&mut Classic, &mut Aftermath) -> T) -> T {
        let mut aftermath = AFTERMATH.try_with(Cell::take).unwrap_or_default();
        let result = {
            let mut machine = self.lock(&mut aftermath);
            #[cfg(feature = "bench-parts")]
            let _held = crate::bench_parts::contention::Hold::begin();
            work(&mut machine, &mut aftermath)
        };
        aftermath.settle();
        // A thread that is ending has no buffers to keep.
        let _ = AFTERMATH.try_with(|kept| kept.set(aftermath));
        result
    }

    fn call<T>(
        &self,
        now: Moment,
        effects: &mut Effects,
        work: impl FnOnce(&mut Classic, &mut Call<'_>) -> T,
    ) -> T {
        self.locked(|machine, aftermath| {
            let mut call = Call {
                now,
                effects,
                aftermath,
            };
            let Some(journal) = &self.journal else {
                return work(machine, &mut call);
            };
            machine.begin(journal.committed(), journal.has_failed());
            let result = work(machine, &mut call);
            submit(&**journal, machine, &mut call);
            result
        })
    }

    fn lock(&self, aftermath: &mut Aftermath) -> MutexGuard<'_, Classic> {
        #[cfg(feature = "bench-parts")]
        let locked = crate::bench_parts::contention::lock(&self.machine);
        #[cfg(not(feature = "bench-parts"))]
        let locked = self.machine.lock();
        locked.unwrap_or_else(|poisoned| {
            let mut machine = poisoned.into_inner();
            machine.end(aftermath);
            self.machine.clear_poison();
            machine
        })
    }
}

/// Submits what the call has written. The lock is still held, so that records of one queue are in the
/// order of its calls.
fn submit(journal: &dyn Journal, machine: &mut Classic, call: &mut Call<'_>) {
    let is_awaited = std::mem::take(&mut call.aftermath.is_awaited);
    if !call.aftermath.records.is_empty() {
        let epoch = journal.submit(&mut call.aftermath.records);
        machine.submitted(epoch);
        if is_awaited {
            call.effects.durable_at = call.effects.durable_at.max(Some(epoch));
        }
    }
    machine.end_call(call.effects);
}

impl Queue for ClassicQueue {
    fn offer(&self, batch: &mut Vec<Message>, now: Moment, effects: &mut Effects) -> Offered {
        let offered = self.call(now, effects, |machine, call| machine.offer(batch, call));
        batch.clear();
        offered
    }

    fn attach(
        &self,
        spec: SlotSpec,
        port: Port,
        now: Moment,
        effects: &mut Effects,
    ) -> Result<SlotId, AttachRefused> {
        self.call(now, effects, |machine, call| {
            machine.attach(spec, port, call)
        })
    }

    fn detach(&self, slot: SlotId, unsettled: Unsettled, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| {
            machine.detach(slot, unsettled, call);
        });
    }

    fn set_pull_only(&self, slot: SlotId, pull_only: bool) {
        self.locked(|machine, aftermath| machine.set_pull_only(slot, pull_only, aftermath));
    }

    fn pull(
        &self,
        slot: SlotId,
        room: Room,
        now: Moment,
        out: &mut Vec<Delivery>,
        effects: &mut Effects,
    ) -> Pulled {
        self.call(now, effects, |machine, call| {
            machine.pull(slot, room, out, call)
        })
    }

    fn get(&self, slot: SlotId, now: Moment, effects: &mut Effects) -> Got {
        self.call(now, effects, |machine, call| machine.get(slot, call))
    }

    fn settle(
        &self,
        slot: SlotId,
        verdict: Verdict,
        ids: &[DeliveryId],
        now: Moment,
        effects: &mut Effects,
    ) {
        self.call(now, effects, |machine, call| {
            machine.settle(slot, verdict, ids, call);
        });
    }

    fn renew_lease(&self, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| machine.renew_lease(call));
    }

    fn set_arguments(&self, arguments: &QueueArguments, now: Moment, effects: &mut Effects) {
        let options = ClassicOptions::new(false, arguments);
        self.counts_deliveries
            .store(options.counts_deliveries, Ordering::Relaxed);
        self.call(now, effects, |machine, call| {
            machine.set_arguments(arguments, call);
        });
    }

    fn tick(&self, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| machine.tick(call));
    }

    fn forget(&self, buried: &[Buried], now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| machine.forget(buried, call));
    }

    fn letters_sent(&self, sent: &[LetterSent], now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| {
            machine.letters_sent(sent, call);
        });
    }

    fn letters_loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| {
            machine.letters_loaded(loaded, call);
        });
    }

    fn counts_deliveries(&self) -> bool {
        self.counts_deliveries.load(Ordering::Relaxed)
    }

    fn loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| machine.loaded(loaded, call));
    }

    fn set_resident_bytes_max(&self, bytes_max: u64, now: Moment, effects: &mut Effects) {
        self.call(now, effects, |machine, call| {
            machine.set_resident_bytes_max(bytes_max, call);
        });
    }

    fn purge(&self, effects: &mut Effects) -> u64 {
        // A purge asks for no time: what it drops is neither dead-lettered nor judged.
        let now = Moment::from_unix_ms(0);
        self.call(now, effects, |machine, call| machine.purge(call.aftermath))
    }

    fn retire(&self, conditions: DeleteConditions) -> Result<u64, DeleteRefused> {
        self.locked(|machine, aftermath| machine.retire(conditions, aftermath))
    }

    fn status(&self) -> QueueStatus {
        self.locked(|machine, _| machine.status())
    }
}

impl std::fmt::Debug for ClassicQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClassicQueue").field(&self.status()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::core::queue::testing::{NotedBell, consumer, message, port};
    use crate::core::queue::{Bell, Port};

    const NOW: Moment = Moment::from_unix_ms(0);

    #[test]
    fn a_panic_under_the_lock_ends_this_queue_and_says_so() {
        let (queue, bell) = (
            ClassicQueue::new(ClassicOptions::default()),
            Arc::new(NotedBell::default()),
        );
        let mut effects = Effects::default();
        queue.offer(&mut vec![message("a")], NOW, &mut effects);
        let attached = queue.attach(consumer(0), port(&bell, 7), NOW, &mut effects);
        bell.take();
        let panics = AssertUnwindSafe(|| queue.locked(|_, _| panic!("on purpose")));
        assert!(catch_unwind(panics).is_err());
        assert_eq!(queue.status(), QueueStatus::default());
        assert_eq!(bell.take(), [7], "its consumer is told");
        let room = Room {
            messages: 1,
            bytes: 1,
        };
        let pulled = queue.pull(attached.unwrap(), room, NOW, &mut Vec::new(), &mut effects);
        assert_eq!(pulled, Pulled::Gone);
    }

    /// Asks the queue for its counts while it is being rung.
    struct Curious(Arc<ClassicQueue>, std::sync::Mutex<Vec<u64>>);

    impl Bell for Curious {
        fn ring(&self, _token: u64) {
            self.1.lock().unwrap().push(self.0.status().unsettled);
        }
    }

    #[test]
    fn bells_ring_when_the_lock_is_gone() {
        let queue = Arc::new(ClassicQueue::new(ClassicOptions::default()));
        let bell = Arc::new(Curious(queue.clone(), std::sync::Mutex::default()));
        let port = Port {
            bell: bell.clone(),
            token: 0,
        };
        let mut effects = Effects::default();
        queue.attach(consumer(0), port, NOW, &mut effects).unwrap();
        queue.offer(&mut vec![message("a"), message("b")], NOW, &mut effects);
        assert_eq!(*bell.1.lock().unwrap(), [2]);
    }
}
