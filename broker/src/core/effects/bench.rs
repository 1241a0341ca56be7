//! A vhost of real queues in memory, driven by hand: what the tests of dead letters share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use leveret_protocol::content::Body;
use leveret_protocol::{Properties, TableBuf, Value};
use leveret_storage::Epoch;

use super::{Alarms, carry_out};
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::testing::{NotedBell, getter, port};
use crate::core::queue::{
    ClassicOptions, ClassicQueue, Delivery, DeliveryId, Effects, Got, Load, Queue, SlotId, Verdict,
};
use crate::core::queue_handle::{QueueHandle, QueueSpec};
use crate::core::topology::tests::{allow, exchange, queue, to_queue};
use crate::core::vhost::Vhost;
use crate::core::{Message, MessageParts, Moment};

/// Notes which queue wants to be ticked when.
#[derive(Default)]
struct NotedTicks(Mutex<BTreeSet<(Moment, Arc<str>)>>);

impl Alarms for NotedTicks {
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, _: &Arc<Vhost>) {
        let name = Arc::clone(queue.name());
        self.0.lock().unwrap().insert((at, name));
    }

    fn tick_at_epoch(&self, _: Epoch, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
    fn load(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
    fn load_letters(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
}

/// The vhost, and one getter for each queue that was got from.
pub(super) struct Bench {
    pub(super) vhost: Arc<Vhost>,
    ticks: NotedTicks,
    effects: Effects,
    pub(super) now_ms: u64,
    getters: Vec<(Arc<str>, SlotId)>,
}

fn make_queue(spec: &QueueSpec, arguments: &QueueArguments) -> Box<dyn Queue> {
    let options = ClassicOptions::new(spec.auto_delete, arguments);
    Box::new(ClassicQueue::new(options))
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            vhost: Arc::new(Vhost::new("/", Arc::new(make_queue))),
            ticks: NotedTicks::default(),
            effects: Effects::default(),
            now_ms: 0,
            getters: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_unix_ms(self.now_ms)
    }

    pub(super) fn declare(&self, name: &str, arguments: &[(&str, Value<'_>)]) {
        let arguments = TableBuf::from_entries(arguments.iter().copied());
        let mut request = queue(name);
        request.arguments = arguments.view();
        self.vhost.declare_queue(&request, &mut allow).unwrap();
    }

    /// A fanout exchange that leads to these queues.
    pub(super) fn fanout(&self, name: &str, queues: &[String]) {
        let request = exchange(name, "fanout");
        self.vhost.declare_exchange(&request, &mut allow).unwrap();
        for queue in queues {
            let bind = to_queue(name, queue, "");
            self.vhost.bind(&bind, &mut allow).unwrap();
        }
    }

    pub(super) fn queue(&self, name: &str) -> Arc<QueueHandle> {
        let topology = self.vhost.topology();
        Arc::clone(topology.queue(name.as_bytes()).unwrap())
    }

    fn carry_out(&mut self, queue: &Arc<QueueHandle>) {
        let now = self.now();
        carry_out(&self.vhost, queue, &mut self.effects, now, &self.ticks);
        self.effects.rejected.clear();
    }

    pub(super) fn publish(&mut self, name: &str, text: &str, expiration_ms: Option<u64>) {
        let expiration = expiration_ms.map(|ms| ms.to_string());
        let properties = Properties {
            expiration: expiration.as_deref().map(Into::into),
            ..Properties::default()
        };
        let parts = MessageParts {
            exchange: b"",
            routing_key: name.as_bytes(),
            properties: &properties.to_bytes(),
            body: Body::Whole(text.as_bytes()),
            persistent: false,
            priority: 0,
            expiration_ms,
        };
        let mut batch = vec![Message::new(parts, &mut Vec::new())];
        let (queue, now) = (self.queue(name), self.now());
        queue.body().offer(&mut batch, now, &mut self.effects);
        self.carry_out(&queue);
    }

    fn getter(&mut self, queue: &Arc<QueueHandle>) -> SlotId {
        let known = self.getters.iter().find(|(name, _)| name == queue.name());
        if let Some((_, slot)) = known {
            return *slot;
        }
        let (port, now) = (port(&Arc::<NotedBell>::default(), 0), self.now());
        let attached = queue
            .body()
            .attach(getter(false), port, now, &mut self.effects);
        let slot = attached.unwrap();
        self.getters.push((Arc::clone(queue.name()), slot));
        slot
    }

    pub(super) fn get(&mut self, name: &str) -> Option<Delivery> {
        let (queue, now) = (self.queue(name), self.now());
        let slot = self.getter(&queue);
        let got = queue.body().get(slot, now, &mut self.effects);
        self.carry_out(&queue);
        match got {
            Got::Message(delivery, _) => Some(delivery),
            Got::Loading | Got::Empty => None,
        }
    }

    pub(super) fn settle(&mut self, name: &str, id: DeliveryId, verdict: Verdict) {
        let (queue, now) = (self.queue(name), self.now());
        let slot = self.getter(&queue);
        queue
            .body()
            .settle(slot, verdict, &[id], now, &mut self.effects);
        self.carry_out(&queue);
    }

    /// Lets time pass. Queues that are due come in the order of their names.
    pub(super) fn advance_to(&mut self, now_ms: u64) {
        self.tick_due();
        while let Some(at) = self.next_tick().filter(|at| at.unix_ms() <= now_ms) {
            self.now_ms = self.now_ms.max(at.unix_ms());
            self.tick_due();
        }
        self.now_ms = now_ms;
    }

    fn next_tick(&self) -> Option<Moment> {
        self.ticks.0.lock().unwrap().first().map(|(at, _)| *at)
    }

    fn tick_due(&mut self) {
        while let Some(name) = self.take_due() {
            let (queue, now) = (self.queue(&name), self.now());
            queue.body().tick(now, &mut self.effects);
            self.carry_out(&queue);
        }
    }

    fn take_due(&self) -> Option<Arc<str>> {
        let mut ticks = self.ticks.0.lock().unwrap();
        let due = ticks.iter().filter(|(at, _)| *at <= self.now());
        let first = due.min_by_key(|(_, name)| Arc::clone(name))?.clone();
        ticks.remove(&first);
        Some(first.1)
    }
}
