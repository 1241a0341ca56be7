//! What the tests of topology, routing and vhost share: a vhost of fake queues that is spoken to in
//! few words.
#![allow(clippy::unwrap_used)]

mod bindings;
mod exchanges;
mod queue_types;
mod queues;

use std::sync::Mutex;

use super::*;
use crate::core::exchange::Routing;
use crate::core::permission::{Part, Resource};
use crate::core::queue::{
    AttachRefused, DeleteConditions, DeleteRefused, Delivery, DeliveryId, Effects, Got, Load,
    Loaded, Offered, Port, Pulled, QueueStatus, Room, SlotId, SlotSpec, Unsettled, Verdict,
};
use crate::core::{Message, Moment};
use leveret_protocol::{Fault, ReplyCode, Table, TableBuf};

pub(crate) const ME: ConnectionId = ConnectionId(1);
pub(crate) const OTHER: ConnectionId = ConnectionId(2);

/// A queue that only counts. A tick counts as one unsettled message, a loaded message as a ready one;
/// its length limit shows as ready bytes; it wants to load everything below position [`Counting::LOADED_MAX`], one part at a time.
#[derive(Debug, Default)]
pub(crate) struct Counting(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    status: QueueStatus,
    retired: bool,
}

impl Counting {
    pub(crate) const LOADED_MAX: u64 = 3;

    fn new(arguments: &QueueArguments) -> Self {
        let queue = Self::default();
        queue.take(arguments);
        queue
    }

    fn take(&self, arguments: &QueueArguments) {
        let limit = arguments.length_max.unwrap_or_default();
        self.0.lock().unwrap().status.ready_bytes = limit;
    }
}

impl Queue for Counting {
    fn offer(&self, batch: &mut Vec<Message>, _: Moment, _: &mut Effects) -> Offered {
        let mut counts = self.0.lock().unwrap();
        counts.status.ready += batch.drain(..).count() as u64;
        match counts.retired {
            true => Offered::Gone,
            false => Offered::Taken,
        }
    }

    fn attach(
        &self,
        _: SlotSpec,
        _: Port,
        _: Moment,
        _: &mut Effects,
    ) -> Result<SlotId, AttachRefused> {
        self.0.lock().unwrap().status.consumers += 1;
        Ok(SlotId {
            index: 0,
            generation: 0,
        })
    }

    fn detach(&self, _: SlotId, _: Unsettled, _: Moment, _: &mut Effects) {
        self.0.lock().unwrap().status.consumers -= 1;
    }

    fn set_pull_only(&self, _: SlotId, _: bool) {}

    fn pull(
        &self,
        _: SlotId,
        _: Room,
        _: Moment,
        _: &mut Vec<Delivery>,
        _: &mut Effects,
    ) -> Pulled {
        Pulled::Drained
    }

    fn get(&self, _: SlotId, _: Moment, _: &mut Effects) -> Got {
        Got::Empty
    }

    fn settle(&self, _: SlotId, _: Verdict, _: &[DeliveryId], _: Moment, _: &mut Effects) {}

    fn renew_lease(&self, _: Moment, _: &mut Effects) {}

    fn tick(&self, _: Moment, _: &mut Effects) {
        self.0.lock().unwrap().status.unsettled += 1;
    }

    fn loaded(&self, loaded: Loaded, _: Moment, effects: &mut Effects) {
        self.0.lock().unwrap().status.ready += loaded.messages.len() as u64;
        let next = loaded.through + 1;
        effects.load = (next < Self::LOADED_MAX).then_some(Load {
            first: next,
            last: Self::LOADED_MAX,
            messages_max: 1,
            bytes_max: 1,
        });
    }

    fn set_arguments(&self, arguments: &QueueArguments, _: Moment, _: &mut Effects) {
        // Somebody else has the chance to come first.
        std::thread::yield_now();
        self.take(arguments);
    }

    fn purge(&self, _: &mut Effects) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap().status.ready)
    }

    fn retire(&self, conditions: DeleteConditions) -> Result<u64, DeleteRefused> {
        let mut counts = self.0.lock().unwrap();
        let status = counts.status;
        if counts.retired {
            return Err(DeleteRefused::Gone);
        }
        if conditions.if_empty && status.ready > 0 {
            return Err(DeleteRefused::NotEmpty);
        }
        if conditions.if_unused && status.consumers > 0 {
            return Err(DeleteRefused::InUse);
        }
        counts.retired = true;
        Ok(status.ready)
    }

    fn status(&self) -> QueueStatus {
        self.0.lock().unwrap().status
    }
}

pub(crate) fn counting() -> MakeQueue {
    Arc::new(|_, arguments| Box::new(Counting::new(arguments)))
}

pub(crate) fn allow(_: Part, _: Resource<'_>) -> Result<(), Fault> {
    Ok(())
}

/// Refuses one question and notes all that were asked.
pub(crate) struct Asked {
    pub(crate) questions: Vec<String>,
    refused: &'static str,
}

impl Asked {
    pub(crate) fn new(refused: &'static str) -> Self {
        Self {
            questions: Vec::new(),
            refused,
        }
    }

    pub(crate) fn answer(&mut self, part: Part, on: Resource<'_>) -> Result<(), Fault> {
        let question = match on {
            Resource::Queue(name) | Resource::Exchange(name) => format!("{part:?} {name}"),
            Resource::Topic {
                exchange,
                routing_key,
            } => {
                let key = String::from_utf8_lossy(routing_key);
                format!("{part:?} {key} on {exchange}")
            }
            Resource::User(_) => panic!("{on:?}"),
        };
        let refused = question == self.refused;
        self.questions.push(question);
        match refused {
            true => Err(Fault::new(ReplyCode::AccessRefused, "refused")),
            false => Ok(()),
        }
    }
}

pub(crate) fn topology() -> Topology {
    let mut topology = Topology::new("/", Ids::default(), counting());
    topology.declare_predeclared();
    topology
}

pub(crate) fn exchange<'a>(name: &'a str, kind: &'a str) -> ExchangeDeclare<'a> {
    ExchangeDeclare {
        name,
        kind,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: Table::default(),
    }
}

pub(crate) fn queue(name: &str) -> QueueDeclare<'_> {
    QueueDeclare {
        name,
        generated_name: "amq.gen-1",
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Table::default(),
        connection: ME,
        queues_max: None,
    }
}

pub(crate) fn to_queue<'a>(source: &'a str, queue: &'a str, key: &'a str) -> BindRequest<'a> {
    BindRequest {
        source,
        destination: BindTo::Queue(queue),
        routing_key: key.as_bytes(),
        arguments: Table::default(),
        connection: ME,
    }
}

pub(crate) fn to_exchange<'a>(source: &'a str, to: &'a str, key: &'a str) -> BindRequest<'a> {
    BindRequest {
        destination: BindTo::Exchange(to),
        ..to_queue(source, "", key)
    }
}

/// The reply text of what must be refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.unwrap_err().reply_text()
}

impl Topology {
    pub(crate) fn run<A: std::fmt::Debug>(
        &mut self,
        plan: Result<Planned<A>, Fault>,
    ) -> Vec<String> {
        match plan.unwrap() {
            Planned::Answer(_) => Vec::new(),
            Planned::Apply(command) => {
                let changes = self.apply(command).changes;
                changes.iter().map(|change| self.said(change)).collect()
            }
        }
    }

    pub(crate) fn add_exchange(&mut self, request: ExchangeDeclare<'_>) {
        let plan = self.plan_declare_exchange(&request, &mut allow);
        assert_eq!(self.run(plan).len(), 1);
    }

    pub(crate) fn add_queue(&mut self, request: QueueDeclare<'_>) -> Arc<QueueHandle> {
        let plan = self.plan_declare_queue(&request, &mut allow);
        assert_eq!(self.run(plan).len(), 1);
        Arc::clone(self.queue(strip_cr_lf(request.name).as_bytes()).unwrap())
    }

    pub(crate) fn add_binding(&mut self, request: BindRequest<'_>) {
        let plan = self.plan_bind(&request, &mut allow);
        assert_eq!(self.run(plan).len(), 1);
    }

    pub(crate) fn take_binding(&mut self, request: BindRequest<'_>) -> Vec<String> {
        let plan = self.plan_unbind(&request, &mut allow);
        self.run(plan)
    }

    pub(crate) fn drop_exchange(&mut self, name: &str) -> Vec<String> {
        let request = ExchangeDelete {
            name,
            if_unused: false,
        };
        let plan = self.plan_delete_exchange(&request, &mut allow);
        self.run(plan)
    }

    pub(crate) fn drop_queue(&mut self, name: &str) -> Vec<String> {
        let id = self.queue(name.as_bytes()).unwrap().id();
        let changes = self.apply(Command::DeleteQueue(id)).changes;
        changes.iter().map(|change| self.said(change)).collect()
    }

    /// The names of the queues found for one key, or "404".
    pub(crate) fn routed(&self, exchange: &str, key: &str) -> Vec<String> {
        let keys = [key.as_bytes()];
        let routing = Routing {
            routing_keys: &keys,
            headers: None,
            ..Routing::default()
        };
        match self.route(exchange.as_bytes(), &routing) {
            Ok(targets) => targets
                .queues()
                .iter()
                .map(|q| q.name().to_string())
                .collect(),
            Err(_) => vec!["404".to_owned()],
        }
    }

    fn said(&self, change: &Change) -> String {
        match change {
            Change::ExchangeDeclared(spec) => format!("+exchange {}", spec.name),
            Change::ExchangeDeleted(spec) => format!("-exchange {}", spec.name),
            Change::QueueDeclared(queue) => format!("+queue {}", queue.name()),
            Change::QueueDeleted(queue) => format!("-queue {}", queue.name()),
            Change::OwnQueueGone(queue) => format!("-{}", queue.name()),
            Change::Bound(binding) => {
                format!(
                    "+binding {}",
                    String::from_utf8_lossy(binding.routing_key())
                )
            }
            Change::Unbound(binding) => {
                format!(
                    "-binding {}",
                    String::from_utf8_lossy(binding.routing_key())
                )
            }
            Change::PolicySet(policy) => format!("+policy {}", policy.name()),
            Change::PolicyCleared(policy) => format!("-policy {}", policy.name()),
            Change::QueueChanged(queue) => format!("~queue {}", queue.name()),
        }
    }
}

pub(crate) fn with_alternate(name: &str) -> TableBuf {
    use leveret_protocol::Value;
    TableBuf::new().with("alternate-exchange", Value::LongStr(name.as_bytes()))
}
