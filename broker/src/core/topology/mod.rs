//! [`Topology`]: the state of one vhost: its exchanges, queues, bindings and policies.
//!
//! Every change is made in two steps. A `plan_*` function judges a request by the rules, changes
//! nothing, and yields either the answer (nothing to do) or a [`Command`]: plain data, complete, free
//! of names that could mean something else tomorrow. [`Topology::apply`] carries a command out:
//!
//! ```text
//!  request ──▶ plan_*(&self) ──▶ Err(Fault)            the rules say no
//!                           ├──▶ Planned::Answer(..)   idempotent: already so
//!                           └──▶ Planned::Apply(Command) ──▶ apply(&mut self) ──▶ Applied { changes }
//! ```
//!
//! Applying is deterministic: the same commands in the same order give the same state and the same
//! changes. It reads no clock and no random number, the ids are in the commands, and no hash map's
//! order shows. A command about something that has gone meanwhile changes nothing.
//!
//! What it is not: locking (see [`crate::core::vhost`]), permissions (asked for through
//! [`crate::core::permission`]), or the path of a message (see [`crate::core::route`]).
//!
//! Invariants: every binding's ends exist; every exchange's rules hold exactly the bindings that lead
//! away from it; whatever changes where an exchange sends messages moves its generation on.

mod apply;
mod bindings;
mod command;
mod exchanges;
mod faults;
mod ids;
mod names;
mod policies;
mod queue_type;
mod queues;
mod sink;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::binding::Bindings;
use super::exchange::{DIRECT, ExchangeId, FANOUT, HEADERS, Kind, TOPIC};
use super::policy::Policies;
use super::queue::arguments::{QueueArguments, QueueType};
use super::queue::{Queue, QueueId};
use super::queue_handle::{ConnectionId, QueueHandle, QueueSpec};
pub use bindings::{BindRequest, BindTo};
pub use command::{Applied, Change, Command, HandedDown, Planned, Standing};
pub use exchanges::{ExchangeDeclare, ExchangeDelete, ExchangeSpec, ExchangeState};
pub(super) use faults::unknown_exchange_type;
pub use ids::Ids;
pub(crate) use names::is_reserved;
pub use names::strip_cr_lf;
pub(super) use queue_type::check_delete_conditions;
pub use queues::{QueueDeclare, no_previously_declared_queue};
pub(super) use queues::{queue_in_use, queue_not_empty};
pub use sink::CatalogSink;

/// Makes the body of a queue that is being declared, with what its arguments and the policies come to.
pub type MakeQueue = Arc<dyn Fn(&QueueSpec, &QueueArguments) -> Box<dyn Queue> + Send + Sync>;

/// The state of one vhost.
pub struct Topology {
    vhost: Arc<str>,
    make_queue: MakeQueue,
    ids: Ids,
    // Peers choose the names, so these hashers must resist aimed collisions; ids are ours.
    exchange_ids: HashMap<Arc<str>, ExchangeId>,
    exchanges: FxHashMap<ExchangeId, ExchangeState>,
    queue_ids: HashMap<Arc<str>, QueueId>,
    queues: FxHashMap<QueueId, Arc<QueueHandle>>,
    /// What exchanges hold back: queues without a name, which only their exchanges lead to.
    own_queues: FxHashMap<ExchangeId, Arc<QueueHandle>>,
    exclusive: BTreeMap<ConnectionId, BTreeSet<QueueId>>,
    bindings: Bindings,
    policies: Policies,
    default_queue_type: QueueType,
    limits: TopologyLimits,
}

/// How much a vhost may have of what clients make. What is there beyond it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopologyLimits {
    /// Exchanges, the predeclared ones included.
    pub exchanges_max: Option<u32>,
    /// Bindings, those to the default exchange, which are not made, not included.
    pub bindings_max: Option<u32>,
}

/// The exchanges of every vhost (EXCH-01): name, kind, internal.
const PREDECLARED: [(&str, &Kind, bool); 7] = [
    ("", &DIRECT, false),
    ("amq.direct", &DIRECT, false),
    ("amq.fanout", &FANOUT, false),
    ("amq.topic", &TOPIC, false),
    ("amq.headers", &HEADERS, false),
    ("amq.match", &HEADERS, false),
    ("amq.rabbitmq.trace", &TOPIC, true),
];

impl Topology {
    /// A vhost with nothing in it, not even the predeclared exchanges.
    pub fn new(vhost: impl Into<Arc<str>>, ids: Ids, make_queue: MakeQueue) -> Self {
        Self {
            vhost: vhost.into(),
            make_queue,
            ids,
            exchange_ids: HashMap::new(),
            exchanges: FxHashMap::default(),
            queue_ids: HashMap::new(),
            queues: FxHashMap::default(),
            own_queues: FxHashMap::default(),
            exclusive: BTreeMap::new(),
            bindings: Bindings::default(),
            policies: Policies::default(),
            default_queue_type: QueueType::default(),
            limits: TopologyLimits::default(),
        }
    }

    /// Sets how much there may be from now on.
    pub fn set_limits(&mut self, limits: TopologyLimits) {
        self.limits = limits;
    }

    /// Which type a queue is of that is declared without one, if it can be (QARG-35). Queues that are
    /// there stay what they are.
    pub fn set_default_queue_type(&mut self, queue_type: QueueType) {
        self.default_queue_type = queue_type;
    }

    /// Declares the predeclared exchanges that are missing (EXCH-01, DUR-09).
    pub fn declare_predeclared(&mut self) -> Applied {
        let mut applied = Applied::default();
        for (name, kind, internal) in PREDECLARED {
            if !self.exchange_ids.contains_key(name) {
                let spec = ExchangeSpec::predeclared(self.ids.take(), name, kind, internal);
                applied.add(self.apply(Command::DeclareExchange(spec)));
            }
        }
        applied
    }

    /// The vhost's name.
    pub fn vhost(&self) -> &Arc<str> {
        &self.vhost
    }

    /// Which type a queue is of that is declared without one (QARG-35).
    pub fn default_queue_type(&self) -> QueueType {
        self.default_queue_type
    }

    /// All bindings, in the order of their sources' and destinations' ids.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// All exchanges, the default one included, in the order in which they were declared.
    pub fn exchanges(&self) -> Vec<&ExchangeState> {
        let mut exchanges: Vec<_> = self.exchanges.values().collect();
        exchanges.sort_unstable_by_key(|exchange| exchange.spec().id);
        exchanges
    }

    /// All queues.
    pub fn queues_in_any_order(&self) -> Vec<Arc<QueueHandle>> {
        self.queues.values().cloned().collect()
    }

    /// All queues, in the order in which they were declared.
    pub fn queues(&self) -> Vec<Arc<QueueHandle>> {
        let mut queues = self.queues_in_any_order();
        queues.sort_unstable_by_key(|queue| queue.id());
        queues
    }

    /// The own queues of exchanges, in any order: they are in no other list.
    pub fn own_queues(&self) -> impl Iterator<Item = &Arc<QueueHandle>> {
        self.own_queues.values()
    }

    /// The queue in which this exchange holds messages back, if it is of a kind that does.
    pub fn own_queue(&self, exchange: ExchangeId) -> Option<&Arc<QueueHandle>> {
        self.own_queues.get(&exchange)
    }

    /// The exchange of this name; "" is the default exchange.
    pub fn exchange(&self, name: &[u8]) -> Option<&ExchangeState> {
        let name = std::str::from_utf8(name).ok()?;
        self.exchanges.get(self.exchange_ids.get(name)?)
    }

    /// The exchange of this id.
    pub fn exchange_by_id(&self, id: ExchangeId) -> Option<&ExchangeState> {
        self.exchanges.get(&id)
    }

    /// The queue of this name.
    pub fn queue(&self, name: &[u8]) -> Option<&Arc<QueueHandle>> {
        let name = std::str::from_utf8(name).ok()?;
        self.queues.get(self.queue_ids.get(name)?)
    }

    /// The queue of this id.
    pub fn queue_by_id(&self, id: QueueId) -> Option<&Arc<QueueHandle>> {
        self.queues.get(&id)
    }
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topology")
            .field("vhost", &self.vhost)
            .field("exchanges", &self.exchanges.len())
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
