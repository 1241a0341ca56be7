//! [`Definitions`]: what a file of definitions says, as plain data.
//!
//! What it is not: JSON (see [`super::read`] and [`super::write`]), or judged against a broker.

use std::fmt;

use leveret_protocol::TableBuf;

use super::report::NotHonoured;
use crate::config::Password;

/// Where something was read: it names the culprit in errors and reports. It has no part in what the
/// thing is, so any two are equal.
#[derive(Clone, Default)]
pub struct Place(pub(super) String);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Everything that a file of definitions says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    /// Who may log in.
    pub users: Vec<UserDefinition>,
    /// The vhosts.
    pub vhosts: Vec<VhostDefinition>,
    /// Limits of vhosts; in JSON parameters of the component `vhost-limits`.
    pub limits: Vec<LimitsDefinition>,
    /// What users may do.
    pub permissions: Vec<PermissionDefinition>,
    /// Which keys users may use on topic exchanges.
    pub topic_permissions: Vec<TopicPermissionDefinition>,
    /// Policies, operator policies included; in JSON the latter are parameters of the component
    /// `operator_policy`.
    pub policies: Vec<PolicyDefinition>,
    /// Exchanges.
    pub exchanges: Vec<ExchangeDefinition>,
    /// Queues.
    pub queues: Vec<QueueDefinition>,
    /// Bindings.
    pub bindings: Vec<BindingDefinition>,
    pub(super) not_honoured: Vec<NotHonoured>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDefinition {
    /// Where it was read.
    pub place: Place,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// The password's hash, or the password until it is imported; none means that no password is right.
    pub password: Password,
    /// What the user may do beyond messaging.
    pub tags: Vec<String>,
    /// Connections at once; 0 allows none.
    pub connections_max: Option<u32>,
    /// Channels at once; 0 allows none.
    pub channels_max: Option<u32>,
}

/// A vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostDefinition {
    /// Where it was read.
    pub place: Place,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Words by which operators find it.
    pub tags: Vec<String>,
    /// The type of queues that are declared without one.
    pub default_queue_type: Option<String>,
}

/// The limits of a vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsDefinition {
    /// Where they were read.
    pub place: Place,
    /// The vhost.
    pub vhost: String,
    /// Connections at once; 0 allows none.
    pub connections_max: Option<u32>,
    /// Queues at once; 0 allows none.
    pub queues_max: Option<u32>,
    /// Exchanges at once, the predeclared ones included. RabbitMQ does not have this limit.
    pub exchanges_max: Option<u32>,
    /// Bindings at once; 0 allows none. RabbitMQ does not have this limit.
    pub bindings_max: Option<u32>,
}

/// What a user may do in a vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionDefinition {
    /// Where it was read.
    pub place: Place,
    /// The user.
    pub user: String,
    /// The vhost.
    pub vhost: String,
    /// Names that may be declared and deleted.
    pub configure: String,
    /// Names that may be published to and bound.
    pub write: String,
    /// Names that may be consumed from and bound from.
    pub read: String,
}

/// Which keys a user may use on a topic exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPermissionDefinition {
    /// Where it was read.
    pub place: Place,
    /// The user.
    pub user: String,
    /// The vhost.
    pub vhost: String,
    /// The exchange, which need not exist.
    pub exchange: String,
    /// Routing keys that may be published with.
    pub write: String,
    /// Binding keys that may be bound with.
    pub read: String,
}

/// A policy or an operator policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyDefinition {
    /// Where it was read.
    pub place: Place,
    /// The vhost.
    pub vhost: String,
    /// The name, unique among the vhost's policies or operator policies.
    pub name: String,
    /// True for an operator policy.
    pub is_operator: bool,
    /// Which names it is for.
    pub pattern: String,
    /// What it is for: `queues`, `exchanges`, `all` and so on.
    pub apply_to: String,
    /// The highest one of those that match counts.
    pub priority: i64,
    /// What it says.
    pub definition: TableBuf,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeDefinition {
    /// Where it was read.
    pub place: Place,
    /// The vhost.
    pub vhost: String,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// The type's name.
    pub kind: String,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted with its last binding as a source.
    pub auto_delete: bool,
    /// Not for publishers; `None` where the file does not say, as RabbitMQ's since 4.2.9 do not.
    pub internal: Option<bool>,
    /// Its arguments.
    pub arguments: TableBuf,
}

/// A queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDefinition {
    /// Where it was read.
    pub place: Place,
    /// The vhost.
    pub vhost: String,
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// Its arguments; what the file says of the type is among them unless it is `classic`.
    pub arguments: TableBuf,
}

/// A binding.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingDefinition {
    /// Where it was read.
    pub place: Place,
    /// The vhost.
    pub vhost: String,
    /// The source exchange's name.
    pub source: String,
    /// The destination's name.
    pub destination: String,
    /// Whether the destination is an exchange.
    pub to_exchange: bool,
    /// The binding key.
    pub routing_key: String,
    /// Its arguments.
    pub arguments: TableBuf,
}

impl Definitions {
    /// What was read and is known to have no effect whatever the broker.
    #[must_use]
    pub fn not_honoured(&self) -> &[NotHonoured] {
        &self.not_honoured
    }

    /// Adds what another file says; where both speak of one thing, the later one counts.
    pub(super) fn add(&mut self, later: Self) {
        self.users.extend(later.users);
        self.vhosts.extend(later.vhosts);
        self.limits.extend(later.limits);
        self.permissions.extend(later.permissions);
        self.topic_permissions.extend(later.topic_permissions);
        self.policies.extend(later.policies);
        self.exchanges.extend(later.exchanges);
        self.queues.extend(later.queues);
        self.bindings.extend(later.bindings);
        self.not_honoured.extend(later.not_honoured);
    }

    /// Every vhost that something is said to be in, once.
    pub(super) fn vhosts_of_topology(&self) -> std::collections::BTreeSet<&str> {
        let exchanges = self.exchanges.iter().map(|one| &*one.vhost);
        let queues = self.queues.iter().map(|one| &*one.vhost);
        let bindings = self.bindings.iter().map(|one| &*one.vhost);
        let policies = self.policies.iter().map(|one| &*one.vhost);
        exchanges
            .chain(queues)
            .chain(bindings)
            .chain(policies)
            .collect()
    }
}
