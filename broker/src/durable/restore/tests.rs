//! What is taken down of a topology, and that it comes back.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::sync::Mutex;

use leveret_protocol::{Table, TableBuf, Value};
use leveret_storage::{CatalogChange, Epoch, LogId};
use proptest::prelude::*;

use super::*;
use crate::core::policy::{ApplyTo, Policy, PolicyKind, PolicyValue};
use crate::core::queue::DeleteConditions;
use crate::core::queue_handle::{ConnectionId, QueueHandle};
use crate::core::topology::tests::{ME, allow, counting, exchange, queue, to_exchange, to_queue};
use crate::core::topology::{
    Applied, BindRequest, CatalogSink, ExchangeDeclare, ExchangeDelete, QueueDeclare,
};
use crate::core::vhost::Vhost;

/// A catalog in memory. Its epochs count the records.
#[derive(Debug)]
struct Noted {
    ids: Ids,
    inside: Mutex<Inside>,
}

#[derive(Clone, Debug, Default)]
struct Inside {
    catalog: BTreeMap<Vec<u8>, Vec<u8>>,
    logs: BTreeSet<LogId>,
    records: Vec<Vec<CatalogChange>>,
}

impl Inside {
    fn take_down(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Put { key, value } => {
                self.catalog.insert(key.clone(), value.clone());
            }
            CatalogChange::Delete { key } => {
                assert!(self.catalog.remove(key).is_some(), "nothing to delete");
            }
            CatalogChange::CreateLog(log) => assert!(self.logs.insert(*log)),
            CatalogChange::DropLog(log) => assert!(self.logs.remove(log)),
        }
    }
}

impl CatalogSink for Noted {
    fn record(&self, vhost: &str, applied: &Applied) -> Option<Epoch> {
        let changes = catalog::changes(vhost, applied, self.ids.next());
        if changes.is_empty() {
            return None;
        }
        let mut inside = self.inside.lock().unwrap();
        changes.iter().for_each(|change| inside.take_down(change));
        inside.records.push(changes);
        Some(Epoch(inside.records.len() as u64))
    }

    fn recorded(&self) -> Option<Epoch> {
        match self.inside.lock().unwrap().records.len() {
            0 => None,
            records => Some(Epoch(records as u64)),
        }
    }
}

impl Noted {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ids: Ids::default(),
            inside: Mutex::default(),
        })
    }

    fn vhost(self: &Arc<Self>, name: &str) -> Vhost {
        let topology = Topology::new(name, self.ids.clone(), counting());
        Vhost::with(topology, Some(Arc::clone(self) as Arc<dyn CatalogSink>))
    }

    fn catalog(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inside = self.inside.lock().unwrap();
        inside.catalog.clone().into_iter().collect()
    }

    fn records(&self) -> usize {
        self.inside.lock().unwrap().records.len()
    }

    fn last_record(&self) -> Vec<CatalogChange> {
        self.inside.lock().unwrap().records.last().unwrap().clone()
    }
}

fn durable(name: &str) -> QueueDeclare<'_> {
    QueueDeclare {
        durable: true,
        ..queue(name)
    }
}

fn durable_exchange(name: &str) -> ExchangeDeclare<'_> {
    ExchangeDeclare {
        durable: true,
        ..exchange(name, "direct")
    }
}

fn declare(vhost: &Vhost, request: QueueDeclare<'_>) -> (Arc<QueueHandle>, Option<Epoch>) {
    let (queue, applied) = vhost.declare_queue(&request, &mut allow).unwrap();
    (queue, applied.durable_at)
}

fn declare_exchange(vhost: &Vhost, request: ExchangeDeclare<'_>) -> Option<Epoch> {
    let applied = vhost.declare_exchange(&request, &mut allow).unwrap();
    applied.durable_at
}

fn bind(vhost: &Vhost, request: BindRequest<'_>) -> Option<Epoch> {
    vhost.bind(&request, &mut allow).unwrap().durable_at
}

fn unbind(vhost: &Vhost, request: BindRequest<'_>) -> Option<Epoch> {
    vhost.unbind(&request, &mut allow).unwrap().durable_at
}

fn delete(vhost: &Vhost, name: &str) -> Option<Epoch> {
    let deleted = vhost.delete_queue(name, ME, DeleteConditions::default(), &mut allow);
    deleted.unwrap().applied.durable_at
}

fn delete_exchange(vhost: &Vhost, name: &str) -> Option<Epoch> {
    let request = ExchangeDelete {
        name,
        if_unused: false,
    };
    let applied = vhost.delete_exchange(&request, &mut allow).unwrap();
    applied.durable_at
}

#[test]
fn dur_09_the_predeclared_exchanges_are_taken_down_once() {
    let noted = Noted::new();
    noted.vhost("/");
    assert_eq!((noted.records(), noted.catalog().len()), (1, 8));
    let ids = Ids::default();
    let restored = restore(&noted.catalog(), &ids, &counting()).unwrap();
    let topology = restored.topologies.into_values().next().unwrap();
    let again: Arc<dyn CatalogSink> = Arc::clone(&noted) as _;
    let vhost = Vhost::with(topology, Some(again));
    assert_eq!(noted.records(), 1);
    assert_eq!(vhost.topology().exchanges().len(), 7);
}

#[test]
fn an_exchange_that_holds_messages_has_a_log_of_its_own_id() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    let arguments = TableBuf::new().with("x-delayed-type", Value::LongStr(b"topic"));
    for (name, durable) in [("kept", true), ("transient", false)] {
        let request = ExchangeDeclare {
            durable,
            arguments: arguments.view(),
            ..exchange(name, "x-delayed-message")
        };
        declare_exchange(&vhost, request);
    }
    let logs = || noted.inside.lock().unwrap().logs.clone();
    let id = vhost.topology().exchange(b"kept").unwrap().spec().id;
    assert_eq!(logs(), BTreeSet::from([LogId(id.0)]));

    let restored = restore(&noted.catalog(), &Ids::default(), &counting()).unwrap();
    let topology = restored.topologies.into_values().next().unwrap();
    let own = topology.own_queue(id).unwrap().spec();
    assert!(own.is_kept() && own.id.0 == id.0);
    assert_eq!(topology.own_queues().count(), 1);
    assert!(topology.queues().is_empty());

    delete_exchange(&vhost, "kept");
    delete_exchange(&vhost, "transient");
    assert_eq!(logs(), BTreeSet::new());
}

#[test]
fn dur_01_only_what_is_durable_is_taken_down() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    assert_eq!(declare(&vhost, queue("transient")).1, None);
    let exclusive = QueueDeclare {
        exclusive: true,
        ..durable("exclusive")
    };
    assert_eq!(declare(&vhost, exclusive).1, None);
    assert_eq!(declare_exchange(&vhost, exchange("x", "fanout")), None);
    assert_eq!(noted.records(), 1);
    assert_eq!(declare(&vhost, durable("q")).1, Some(Epoch(2)));
    assert_eq!(
        declare_exchange(&vhost, durable_exchange("e")),
        Some(Epoch(3))
    );
}

#[test]
fn dur_07_only_a_binding_of_two_durable_ends_is_taken_down() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q"));
    declare(&vhost, queue("transient"));
    declare_exchange(&vhost, exchange("x", "direct"));
    declare_exchange(&vhost, durable_exchange("e"));
    let before = noted.records();
    assert_eq!(bind(&vhost, to_queue("x", "q", "k")), None);
    assert_eq!(bind(&vhost, to_queue("e", "transient", "k")), None);
    assert_eq!(bind(&vhost, to_exchange("e", "x", "k")), None);
    assert_eq!(unbind(&vhost, to_queue("x", "q", "k")), None);
    assert_eq!(noted.records(), before);
    assert!(bind(&vhost, to_queue("e", "q", "k")).is_some());
    assert!(bind(&vhost, to_exchange("e", "amq.fanout", "k")).is_some());
    assert_eq!(noted.records(), before + 2);
}

#[test]
fn what_is_so_already_is_answered_when_it_is_safe() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q"));
    declare(&vhost, queue("transient"));
    declare_exchange(&vhost, durable_exchange("e"));
    let last = bind(&vhost, to_queue("e", "q", "k"));
    assert!(last.is_some());
    assert_eq!(declare(&vhost, durable("q")).1, last);
    assert_eq!(declare_exchange(&vhost, durable_exchange("e")), last);
    assert_eq!(bind(&vhost, to_queue("e", "q", "k")), last);
    assert_eq!(unbind(&vhost, to_queue("e", "q", "other")), last);
    assert_eq!(delete(&vhost, "gone"), last);
    assert_eq!(delete_exchange(&vhost, "gone"), last);
    assert_eq!(vhost.recorded(), last);
    let passive = |name| vhost.check_queue(name, ME).unwrap().1.durable_at;
    assert_eq!((passive("q"), passive("transient")), (last, None));
    let passive = |name| vhost.check_exchange(name).unwrap().durable_at;
    assert_eq!(passive("e"), last);
    assert_eq!(declare(&vhost, queue("transient")).1, None);
}

/// One deletion is one record, so that no crash leaves a binding without its ends.
#[test]
fn a_deletion_is_one_record_with_all_that_follows_from_it() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    let (q, _) = declare(&vhost, durable("q"));
    let auto_delete = ExchangeDeclare {
        auto_delete: true,
        ..durable_exchange("e")
    };
    declare_exchange(&vhost, auto_delete);
    bind(&vhost, to_queue("e", "q", "k"));
    let before = noted.records();
    assert_eq!(delete(&vhost, "q"), Some(Epoch(before as u64 + 1)));
    let log = LogId(q.id().0);
    let record = noted.last_record();
    assert!(record.contains(&CatalogChange::DropLog(log)));
    let deleted = |change: &&CatalogChange| matches!(change, CatalogChange::Delete { .. });
    assert_eq!(record.iter().filter(deleted).count(), 3, "{record:?}");
    assert_eq!(noted.catalog().len(), 8, "as a new vhost");
}

/// An exclusive queue is never taken down, but what goes with it may have been.
#[test]
fn the_end_of_a_connection_returns_what_it_took_down() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    let auto_delete = ExchangeDeclare {
        auto_delete: true,
        ..durable_exchange("e")
    };
    declare_exchange(&vhost, auto_delete);
    declare(
        &vhost,
        QueueDeclare {
            exclusive: true,
            ..queue("mine")
        },
    );
    bind(&vhost, to_queue("e", "mine", "k"));
    let before = noted.records() as u64;
    let applied = vhost.delete_exclusive_queues(ME);
    assert_eq!(applied.durable_at, Some(Epoch(before + 1)));
}

#[test]
fn ids_go_on_behind_those_of_what_is_gone() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q"));
    let (gone, _) = declare(&vhost, durable("gone"));
    delete(&vhost, "gone");
    let ids = Ids::default();
    restore(&noted.catalog(), &ids, &counting()).unwrap();
    assert!(ids.next() > gone.id().0);
}

#[test]
fn a_binding_without_its_ends_is_named() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q"));
    bind(&vhost, to_queue("amq.direct", "q", "the key"));
    let mut catalog = noted.catalog();
    catalog.retain(|(key, _)| key.first() != Some(&b'q'));
    let restored = restore(&catalog, &Ids::default(), &counting()).unwrap();
    let [text] = &restored.misplaced[..] else {
        panic!("{restored:?}");
    };
    assert!(text.contains("with key 'the key' in vhost '/'"), "{text}");
}

#[test]
fn an_entry_that_cannot_be_read_is_named() {
    let noted = Noted::new();
    let vhost = noted.vhost("orders");
    let (q, _) = declare(&vhost, durable("q"));
    let of_queue = |key: &Vec<u8>| key.first() == Some(&b'q');
    let spoil = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut catalog = noted.catalog();
        let (_, value) = catalog.iter_mut().find(|(key, _)| of_queue(key)).unwrap();
        spoil(value);
        let error = restore(&catalog, &Ids::default(), &counting()).unwrap_err();
        error.to_string()
    };
    let named = format!("catalog entry of queue {} in vhost 'orders': ", q.id().0);
    assert_eq!(
        spoil(&|value| value[0] = 9),
        format!("{named}it is of version 9, and only version 1 is known")
    );
    assert_eq!(
        spoil(&|value| value[1] |= 0x40),
        format!("{named}it has flags 0x40 that are not known")
    );
    let malformed = format!("{named}its bytes contradict each other");
    assert_eq!(spoil(&|value| value.push(0)), malformed);
    assert_eq!(spoil(&|value| value.truncate(3)), malformed);
    assert_eq!(spoil(&Vec::clear), malformed);
}

#[test]
fn an_exchange_type_that_is_not_known_is_named() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare_exchange(&vhost, durable_exchange("e"));
    let mut catalog = noted.catalog();
    for (_, value) in &mut catalog {
        if let Some(at) = value.windows(7).position(|bytes| bytes == b"\x06\0\0\0dir") {
            value[at + 4] = b'x';
        }
    }
    let error = restore(&catalog, &Ids::default(), &counting()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("its exchange type 'xirect' is not known"),
        "{text}"
    );
}

/// Every entry of a catalog with one of each, cut off anywhere: an error, never a panic.
#[test]
fn entries_cut_off_anywhere_are_refused() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q"));
    bind(&vhost, to_queue("amq.direct", "q", "k"));
    for (key, value) in noted.catalog() {
        for len in 0..value.len() {
            assert!(
                catalog::decode(&key, &value[..len]).is_err(),
                "{key:?} {len}"
            );
        }
        for len in 0..key.len() {
            assert!(
                catalog::decode(&key[..len], &value).is_err(),
                "{key:?} {len}"
            );
        }
    }
}

#[test]
fn queues_come_back_as_policies_have_it_wherever_these_lie_in_the_catalog() {
    let noted = Noted::new();
    let vhost = noted.vhost("/");
    declare(&vhost, durable("q0"));
    declare(&vhost, durable("q9"));
    vhost.apply(Command::SetPolicy(Arc::new(policy(0, 5))));
    let mut catalog = noted.catalog();
    for _ in 0..2 {
        catalog.reverse();
        let restored = restore(&catalog, &Ids::default(), &counting()).unwrap();
        let [topology] = &Vec::from_iter(restored.topologies.into_values())[..] else {
            panic!("one vhost");
        };
        let limits = topology
            .queues()
            .into_iter()
            .map(|queue| queue.body().status().ready_bytes);
        assert_eq!(limits.collect::<Vec<_>>(), [0, 1]);
    }
}

/// What of a vhost is to survive, in words that can be compared.
fn durable_part(topology: &Topology) -> (Vec<String>, BTreeSet<LogId>) {
    let mut said = Vec::new();
    let mut logs = BTreeSet::new();
    for exchange in topology.exchanges() {
        if exchange.spec().durable {
            said.push(format!("{:?} {:?}", exchange.spec(), exchange.alternate()));
        }
    }
    for queue in topology.queues() {
        if queue.spec().durable {
            logs.insert(LogId(queue.id().0));
            said.push(format!("{:?} {:?}", queue.spec(), queue.arguments()));
        }
    }
    for kind in [PolicyKind::User, PolicyKind::Operator] {
        said.extend(topology.policies().of_kind(kind).map(|p| format!("{p:?}")));
    }
    for binding in topology.bindings().iter() {
        if binding.durable_id().is_some() {
            let arguments = binding.arguments().view().as_bytes();
            said.push(format!("{binding:?} {arguments:?}"));
        }
    }
    (said, logs)
}

#[derive(Clone, Debug)]
enum Step {
    Exchange { name: u8, kind: u8, flags: u8 },
    Queue { name: u8, flags: u8 },
    Bind { from: u8, to: u8, key: u8 },
    Unbind { from: u8, to: u8, key: u8 },
    DeleteExchange(u8),
    DeleteQueue(u8),
    EndConnection,
    SetPolicy { name: u8, priority: i8 },
    ClearPolicy(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0u8..4;
    prop_oneof![
        3 => (name(), 0u8..4, 0u8..8)
            .prop_map(|(name, kind, flags)| Step::Exchange { name, kind, flags }),
        3 => (name(), 0u8..8).prop_map(|(name, flags)| Step::Queue { name, flags }),
        6 => (name(), 0u8..8, name()).prop_map(|(from, to, key)| Step::Bind { from, to, key }),
        2 => (name(), 0u8..8, name()).prop_map(|(from, to, key)| Step::Unbind { from, to, key }),
        1 => name().prop_map(Step::DeleteExchange),
        1 => name().prop_map(Step::DeleteQueue),
        1 => Just(Step::EndConnection),
        2 => (name(), any::<i8>()).prop_map(|(name, priority)| Step::SetPolicy { name, priority }),
        1 => name().prop_map(Step::ClearPolicy),
    ]
}

/// Duplicate keys, an unsigned number and a nested table: what a rewriting store would change.
fn arguments(key: u8) -> TableBuf {
    let nested = TableBuf::new().with("deep", Value::U8(key));
    TableBuf::new()
        .with("n", Value::I16(i16::from(key)))
        .with("n", Value::I64(i64::from(key)))
        .with("t", Value::Table(nested.view()))
}

fn policy_name(name: u8) -> String {
    format!("p{}", name / 2)
}

fn kind_of(name: u8) -> PolicyKind {
    match name.is_multiple_of(2) {
        true => PolicyKind::User,
        false => PolicyKind::Operator,
    }
}

/// Even names are policies with a value of every shape, odd ones operator policies.
fn policy(name: u8, priority: i8) -> Policy {
    let kind = kind_of(name);
    let mut definition = vec![("max-length", PolicyValue::from(i64::from(name) + 1))];
    if kind == PolicyKind::User {
        definition.push(("alternate-exchange", "e0".into()));
        definition.push(("ha-mode", "nodes".into()));
        let nodes = vec!["a".into(), "b".into()];
        definition.push(("ha-params", PolicyValue::List(nodes)));
    }
    let pattern = format!("[{}-9]$", priority.rem_euclid(4));
    let (name, priority) = (policy_name(name), i64::from(priority));
    Policy::new(kind, &name, &pattern, ApplyTo::All, priority, definition).unwrap()
}

/// Carries out one step; that it is refused is as good.
fn take(vhost: &Vhost, step: &Step) {
    let exchange_name = |name: u8| format!("e{name}");
    let queue_name = |name: u8| format!("q{name}");
    match *step {
        Step::Exchange { name, kind, flags } => {
            let arguments = arguments(flags);
            let kinds = ["direct", "fanout", "topic", "headers"];
            let request = ExchangeDeclare {
                name: &exchange_name(name),
                kind: kinds[usize::from(kind)],
                durable: flags & 1 != 0,
                auto_delete: flags & 2 != 0,
                internal: flags & 4 != 0,
                arguments: arguments.view(),
            };
            let _ = vhost.declare_exchange(&request, &mut allow);
        }
        Step::Queue { name, flags } => {
            let (arguments, name_text) = (arguments(flags), queue_name(name));
            let request = QueueDeclare {
                durable: flags & 1 != 0,
                auto_delete: flags & 2 != 0,
                exclusive: flags & 4 != 0,
                arguments: arguments.view(),
                connection: ConnectionId(u64::from(name) % 2 + 1),
                ..queue(&name_text)
            };
            let _ = vhost.declare_queue(&request, &mut allow);
        }
        Step::Bind { from, to, key } => with_bind_request(from, to, key, |request| {
            let _ = vhost.bind(request, &mut allow);
        }),
        Step::Unbind { from, to, key } => with_bind_request(from, to, key, |request| {
            let _ = vhost.unbind(request, &mut allow);
        }),
        Step::DeleteExchange(name) => {
            delete_exchange(vhost, &exchange_name(name));
        }
        Step::DeleteQueue(name) => {
            let name = queue_name(name);
            let conditions = DeleteConditions::default();
            let _ = vhost.delete_queue(&name, ME, conditions, &mut allow);
        }
        Step::EndConnection => {
            vhost.delete_exclusive_queues(ME);
        }
        Step::SetPolicy { name, priority } => {
            vhost.apply(Command::SetPolicy(Arc::new(policy(name, priority))));
        }
        Step::ClearPolicy(name) => {
            let command = Command::ClearPolicy(kind_of(name), policy_name(name).into());
            vhost.apply(command);
        }
    }
}

/// Destinations from 4 on are exchanges; source 3 is a predeclared one.
fn with_bind_request(from: u8, to: u8, key: u8, call: impl FnOnce(&BindRequest<'_>)) {
    let source = match from {
        3 => "amq.topic".to_owned(),
        from => format!("e{from}"),
    };
    let (queue, exchange) = (format!("q{to}"), format!("e{}", to.saturating_sub(4)));
    let key_text = format!("k{key}");
    let request = match to {
        0..4 => to_queue(&source, &queue, &key_text),
        _ => to_exchange(&source, &exchange, &key_text),
    };
    let arguments = arguments(key);
    let arguments = if key.is_multiple_of(2) {
        Table::default()
    } else {
        arguments.view()
    };
    call(&BindRequest {
        arguments,
        ..request
    });
}

proptest! {
    #[test]
    fn dur_01_and_dur_08_what_was_durable_comes_back_as_it_was(
        steps in prop::collection::vec((any::<bool>(), step()), 0..60),
    ) {
        let noted = Noted::new();
        let vhosts = [noted.vhost("/"), noted.vhost("orders")];
        for (second, step) in &steps {
            take(&vhosts[usize::from(*second)], step);
        }
        let ids = Ids::default();
        let restored = restore(&noted.catalog(), &ids, &counting()).unwrap();
        prop_assert!(restored.misplaced.is_empty(), "{:?}", restored.misplaced);
        let mut logs = BTreeSet::new();
        for vhost in &vhosts {
            let (expected, of_vhost) = durable_part(&vhost.topology());
            let found = durable_part(&restored.topologies[vhost.name()]);
            prop_assert_eq!(&found.0, &expected);
            logs.extend(of_vhost);
        }
        prop_assert_eq!(&noted.inside.lock().unwrap().logs, &logs);
        prop_assert!(logs.iter().all(|log| log.0 < ids.next()));
    }
}
