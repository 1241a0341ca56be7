//! A queue that says its messages are in a store, and the store, which does what the test tells it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use leveret_storage::{Commits, Epoch};
use tokio::sync::Notify;

use crate::config::Config;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::{
    AttachRefused, ClassicOptions, ClassicQueue, DeleteConditions, DeleteRefused, Delivery,
    DeliveryId, Effects, Got, Loaded, Offered, Port, Pulled, Queue, QueueStatus, Room, SlotId,
    SlotKind, SlotSpec, Unsettled, Verdict,
};
use crate::core::{Message, Moment};
use crate::node::Node;

/// A store without a disk.
#[derive(Debug, Default)]
pub(super) struct FakeStore {
    pub(super) commits: Arc<Commits>,
    submitted: AtomicU64,
    loading: AtomicBool,
    getters: Mutex<Vec<Port>>,
    pub(super) asked_to_load: Notify,
    pub(super) purged: Notify,
}

impl FakeStore {
    /// A node whose queues keep persistent messages here.
    pub(super) fn node(self: &Arc<Self>) -> Arc<Node> {
        self.node_with(Config::default())
    }

    pub(super) fn node_with(self: &Arc<Self>, config: Config) -> Arc<Node> {
        let store = Arc::clone(self);
        let make_queue = move |_: &_, _: &_| -> Box<dyn Queue> {
            Box::new(StoredQueue {
                inside: ClassicQueue::new(ClassicOptions::default()),
                store: Arc::clone(&store),
            })
        };
        Node::for_tests(config, Arc::new(make_queue), Arc::clone(&self.commits))
    }

    fn submit(&self) -> Epoch {
        Epoch(self.submitted.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Commits everything that was submitted so far.
    pub(super) fn commit(&self) {
        let submitted = self.submitted.load(Ordering::SeqCst);
        self.commits.advance(Epoch(submitted));
    }

    /// From now on messages have to be loaded before anybody gets one.
    pub(super) fn page_out(&self) {
        self.loading.store(true, Ordering::SeqCst);
    }

    /// Brings the messages back and rings whoever gets.
    pub(super) fn load(&self) {
        self.loading.store(false, Ordering::SeqCst);
        self.ring_getters();
    }

    pub(super) fn ring_getters(&self) {
        let getters = self.getters.lock().unwrap().clone();
        getters.iter().for_each(|port| port.bell.ring(port.token));
    }
}

#[derive(Debug)]
struct StoredQueue {
    inside: ClassicQueue,
    store: Arc<FakeStore>,
}

impl Queue for StoredQueue {
    fn offer(&self, batch: &mut Vec<Message>, now: Moment, effects: &mut Effects) -> Offered {
        let is_stored = batch.iter().any(Message::is_persistent);
        let offered = self.inside.offer(batch, now, effects);
        if is_stored {
            effects.durable_at = Some(self.store.submit());
        }
        offered
    }

    fn attach(
        &self,
        spec: SlotSpec,
        port: Port,
        now: Moment,
        effects: &mut Effects,
    ) -> Result<SlotId, AttachRefused> {
        if matches!(spec.kind, SlotKind::Getter) {
            self.store.getters.lock().unwrap().push(port.clone());
        }
        self.inside.attach(spec, port, now, effects)
    }

    fn get(&self, slot: SlotId, now: Moment, effects: &mut Effects) -> Got {
        if self.store.loading.load(Ordering::SeqCst) {
            self.store.asked_to_load.notify_one();
            return Got::Loading;
        }
        self.inside.get(slot, now, effects)
    }

    fn purge(&self, effects: &mut Effects) -> u64 {
        let purged = self.inside.purge(effects);
        effects.durable_at = Some(self.store.submit());
        self.store.purged.notify_one();
        purged
    }

    fn retire(&self, conditions: DeleteConditions) -> Result<u64, DeleteRefused> {
        self.store.loading.store(false, Ordering::SeqCst);
        let retired = self.inside.retire(conditions);
        self.store.ring_getters();
        retired
    }

    fn settle(
        &self,
        slot: SlotId,
        verdict: Verdict,
        ids: &[DeliveryId],
        now: Moment,
        effects: &mut Effects,
    ) {
        self.inside.settle(slot, verdict, ids, now, effects);
        // Nobody waits for this one.
        effects.durable_at = Some(self.store.submit());
    }

    fn detach(&self, slot: SlotId, unsettled: Unsettled, now: Moment, effects: &mut Effects) {
        self.inside.detach(slot, unsettled, now, effects);
    }

    fn set_pull_only(&self, slot: SlotId, pull_only: bool) {
        self.inside.set_pull_only(slot, pull_only);
    }

    fn pull(
        &self,
        slot: SlotId,
        room: Room,
        now: Moment,
        out: &mut Vec<Delivery>,
        effects: &mut Effects,
    ) -> Pulled {
        self.inside.pull(slot, room, now, out, effects)
    }

    fn renew_lease(&self, now: Moment, effects: &mut Effects) {
        self.inside.renew_lease(now, effects);
    }

    fn set_arguments(&self, arguments: &QueueArguments, now: Moment, effects: &mut Effects) {
        self.inside.set_arguments(arguments, now, effects);
    }

    fn tick(&self, now: Moment, effects: &mut Effects) {
        self.inside.tick(now, effects);
    }

    fn loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects) {
        self.inside.loaded(loaded, now, effects);
    }

    fn status(&self) -> QueueStatus {
        self.inside.status()
    }
}
