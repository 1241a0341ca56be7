//! Brings exchanges, queues and bindings of definitions into vhosts.
//!
//! ```text
//!   write locks of all vhosts concerned ─▶ try on a copy of each ─▶ any problem? ─▶ Err, nothing changed
//!                                                                └─▶ the same on each itself
//! ```
//!
//! The rules are the core's: an entry is judged like a client's declaration that may do everything. What
//! has gone through on the copy goes through on the vhost, since nobody changes it meanwhile.
//!
//! What it is not: users, vhosts and limits (see [`super::accounts`]).

use std::collections::HashSet;
use std::sync::Arc;

use leveret_protocol::{Fault, ReplyCode, Table, TableBuf, Value};
use leveret_storage::Epoch;

use super::arguments::object_of;
use super::document::{
    BindingDefinition, Definitions, ExchangeDefinition, PolicyDefinition, QueueDefinition,
};
use super::policies::policy_of;
use super::problem::{DefinitionsError, Problems};
use super::report::Report;
use super::scratch::{Target, copy_of};
use crate::core::binding::{Binding, Destination};
use crate::core::exchange::{self, ExchangeId};
use crate::core::permission::{Part, Resource};
use crate::core::queue::arguments::{QUEUE_TYPE, QueueType};
use crate::core::queue_handle::{ConnectionId, QueueHandle};
use crate::core::topology::{
    Applied, BindRequest, BindTo, Change, Command, ExchangeDeclare, Planned, QueueDeclare,
    Topology, is_reserved, strip_cr_lf,
};
use crate::core::vhost::{Vhost, VhostChange};

/// No connection has this id: they are counted from 1.
const NOBODY: ConnectionId = ConnectionId(0);

/// What has come into vhosts.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// The queues that were declared, whose leases are still to begin.
    pub(crate) queues: Vec<(Arc<Vhost>, Arc<QueueHandle>)>,
    /// The queues that other policies are for now, and that are still to be told.
    pub(crate) changed: Vec<(Arc<Vhost>, Arc<QueueHandle>)>,
    /// When everything is safe, if that needs waiting for.
    pub(crate) durable_at: Option<Epoch>,
}

/// Tries definitions on copies of topologies.
pub(crate) fn check_topologies<'t>(
    definitions: &Definitions,
    existing: impl Fn(&str) -> Option<&'t Topology>,
    problems: &mut Problems,
    report: &mut Report,
) {
    for vhost in definitions.vhosts_of_topology() {
        let mut copy = copy_of(vhost, existing(vhost));
        import(definitions, vhost, &mut copy, problems, report);
    }
}

/// Brings definitions into these vhosts, all of it or nothing. `commit` is called when it is certain that
/// all of it can be done and nothing has been yet; it makes the vhosts that there are not.
///
/// # Errors
/// Everything that stands against it.
pub(crate) fn import_all(
    definitions: &Definitions,
    find: impl Fn(&str) -> Option<Arc<Vhost>>,
    mut problems: Problems,
    report: &mut Report,
    commit: impl FnOnce(),
) -> Result<Imported, DefinitionsError> {
    let names = definitions.vhosts_of_topology();
    let vhosts: Vec<_> = names.iter().filter_map(|name| find(name)).collect();
    let made: Vec<_>;
    // In the order of their names, as whoever else would take several.
    let mut changes: Vec<_> = vhosts.iter().map(|vhost| vhost.begin_change()).collect();
    let existing = |name: &str| {
        let at = vhosts.iter().position(|vhost| &**vhost.name() == name)?;
        changes.get(at).map(VhostChange::topology)
    };
    check_topologies(definitions, existing, &mut problems, &mut Report::default());
    problems.verdict()?;
    commit();
    // Those that were not there before are by now, with nothing in them that could be in the way.
    let is_new = |name: &&&str| vhosts.iter().all(|vhost| &**vhost.name() != **name);
    let new = names.iter().filter(is_new);
    made = new.filter_map(|name| find(name)).collect();
    changes.extend(made.iter().map(|vhost: &Arc<Vhost>| vhost.begin_change()));
    let mut imported = Imported::default();
    let mut unforeseen = Problems::default();
    for (vhost, change) in vhosts.iter().chain(&made).zip(&mut changes) {
        let name = Arc::clone(vhost.name());
        let applied = import(definitions, &name, change, &mut unforeseen, report);
        imported.durable_at = imported.durable_at.max(change.recorded());
        for change in applied.changes {
            match change {
                Change::QueueDeclared(queue) => imported.queues.push((Arc::clone(vhost), queue)),
                Change::QueueChanged(queue) => imported.changed.push((Arc::clone(vhost), queue)),
                _ => {}
            }
        }
    }
    unforeseen.verdict()?;
    Ok(imported)
}

pub(super) fn import(
    definitions: &Definitions,
    vhost: &str,
    target: &mut dyn Target,
    problems: &mut Problems,
    report: &mut Report,
) -> Applied {
    let mut import = Import {
        written_alike: written(target.topology()),
        target,
        problems,
        report,
        applied: Applied::default(),
    };
    let exchanges = definitions
        .exchanges
        .iter()
        .filter(|one| one.vhost == vhost);
    exchanges.for_each(|one| import.exchange(one));
    // Before the queues, so that these begin with what the policies say.
    let policies = definitions.policies.iter().filter(|one| one.vhost == vhost);
    policies.for_each(|one| import.policy(one));
    let queues = definitions.queues.iter().filter(|one| one.vhost == vhost);
    queues.for_each(|one| import.queue(one));
    let bindings = definitions.bindings.iter().filter(|one| one.vhost == vhost);
    bindings.for_each(|one| import.binding(one));
    import.applied
}

/// A binding as JSON tells it from others: wire types of its arguments do not count.
type Written = (ExchangeId, Destination, Vec<u8>, String);

struct Import<'i> {
    target: &'i mut dyn Target,
    written_alike: HashSet<Written>,
    problems: &'i mut Problems,
    report: &'i mut Report,
    applied: Applied,
}

impl Import<'_> {
    fn exchange(&mut self, one: &ExchangeDefinition) {
        if exchange::kind(&one.kind).is_none() {
            let reason = format!("there is no exchange type '{}' here", one.kind);
            return self.report.not_honoured(&one.place, reason);
        }
        let current = self.target.topology().exchange(one.name.as_bytes());
        let internal = current.is_some_and(|current| current.spec().internal);
        let request = ExchangeDeclare {
            name: &one.name,
            kind: &one.kind,
            durable: one.durable,
            auto_delete: one.auto_delete,
            internal: one.internal.unwrap_or(internal),
            arguments: one.arguments.view(),
        };
        let planned = self
            .target
            .topology()
            .plan_declare_exchange(&request, &mut allow);
        match planned {
            Ok(Planned::Apply(command)) => {
                self.report.exchanges += 1;
                self.apply(command);
            }
            Ok(Planned::Answer(_)) => {}
            Err(fault) => self.problems.add(&one.place, fault.explanation),
        }
    }

    fn policy(&mut self, one: &PolicyDefinition) {
        // One that is wrong has been named by the check, one that asks for nothing by the report.
        let Ok(policy) = policy_of(one) else { return };
        self.report.policies += 1;
        let policies = self.target.topology().policies();
        let is_there = policies.of_kind(policy.kind()).any(|one| **one == policy);
        if !is_there {
            self.apply(Command::SetPolicy(Arc::new(policy)));
        }
    }

    fn queue(&mut self, one: &QueueDefinition) {
        // A server-named queue that survives is the broker's own to make again under its name.
        let name = match is_reserved(&one.name) {
            true => "",
            false => &*one.name,
        };
        let arguments = self.with_type(one);
        let request = QueueDeclare {
            name,
            generated_name: &one.name,
            durable: one.durable,
            exclusive: false,
            auto_delete: one.auto_delete,
            arguments: arguments.view(),
            connection: NOBODY,
            queues_max: None,
        };
        match self
            .target
            .topology()
            .plan_declare_queue(&request, &mut allow)
        {
            Ok(Planned::Apply(command)) => {
                self.report.queues += 1;
                self.apply(command);
            }
            Ok(Planned::Answer(_)) => {}
            Err(Fault {
                code: ReplyCode::NotImplemented,
                explanation,
                ..
            }) => {
                self.report.not_honoured(&one.place, explanation);
            }
            Err(fault) => self.problems.add(&one.place, fault.explanation),
        }
    }

    /// A queue without a type was classic where it comes from, and is not one of the vhost's other type
    /// here: a client that declares it knows it as it was.
    fn with_type(&self, one: &QueueDefinition) -> TableBuf {
        let arguments = one.arguments.clone();
        let is_told = arguments.view().get(QUEUE_TYPE).is_some();
        match is_told || self.target.topology().default_queue_type() == QueueType::Classic {
            true => arguments,
            false => arguments.with(QUEUE_TYPE, Value::LongStr(b"classic")),
        }
    }

    fn binding(&mut self, one: &BindingDefinition) {
        if let Some(missing) = self.missing_end(one) {
            // RabbitMQ's own exports have bindings of exclusive queues and internal exchanges, and not
            // these; so this is no sign of a broken file.
            let reason =
                format!("there is no {missing}, neither in the definitions nor in the broker");
            return self.report.not_honoured(&one.place, reason);
        }
        let destination = match one.to_exchange {
            true => BindTo::Exchange(&one.destination),
            false => BindTo::Queue(&one.destination),
        };
        let request = BindRequest {
            source: &one.source,
            destination,
            routing_key: one.routing_key.as_bytes(),
            arguments: one.arguments.view(),
            connection: NOBODY,
        };
        match self.target.topology().plan_bind(&request, &mut allow) {
            Ok(Planned::Apply(Command::Bind(binding))) => {
                if !self.written_alike.contains(&as_written(&binding)) {
                    self.report.bindings += 1;
                    self.apply(Command::Bind(binding));
                }
            }
            Ok(_) => {}
            Err(fault) => self.problems.add(&one.place, fault.explanation),
        }
    }

    /// What a binding cannot be made for, in words.
    fn missing_end(&self, one: &BindingDefinition) -> Option<String> {
        let topology = self.target.topology();
        let (source, to) = (strip_cr_lf(&one.source), strip_cr_lf(&one.destination));
        let lacks_exchange = |name: &str| topology.exchange(name.as_bytes()).is_none();
        if lacks_exchange(&source) {
            return Some(format!("exchange '{source}'"));
        }
        match one.to_exchange {
            true => lacks_exchange(&to).then(|| format!("exchange '{to}'")),
            false => topology
                .queue(to.as_bytes())
                .is_none()
                .then(|| format!("queue '{to}'")),
        }
    }

    fn apply(&mut self, command: Command) {
        let applied = self.target.apply(command);
        self.applied.add(applied);
    }
}

/// The bindings with arguments that are there. Exports do not tell wire types, and one of what is there
/// must not bind everything once more.
fn written(topology: &Topology) -> HashSet<Written> {
    let bindings = topology.bindings().iter();
    let with_arguments = bindings.filter(|binding| !binding.arguments().view().is_empty());
    with_arguments.map(|binding| as_written(binding)).collect()
}

fn as_written(binding: &Binding) -> Written {
    let arguments: Table<'_> = binding.arguments().view();
    let arguments = match arguments.is_empty() {
        true => String::new(),
        false => serde_json::Value::Object(object_of(arguments)).to_string(),
    };
    let key = binding.routing_key().to_vec();
    (binding.source(), binding.destination(), key, arguments)
}

fn allow(_: Part, _: Resource<'_>) -> Result<(), Fault> {
    Ok(())
}

impl Target for VhostChange<'_> {
    fn topology(&self) -> &Topology {
        VhostChange::topology(self)
    }

    fn apply(&mut self, command: Command) -> Applied {
        VhostChange::apply(self, command)
    }
}
