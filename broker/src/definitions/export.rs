//! Gathers definitions from what a broker has.
//!
//! Left out, as RabbitMQ does: exclusive queues and their bindings, the exchanges that every vhost has,
//! and the bindings of the default exchange. Internal exchanges are there, unlike in RabbitMQ's own
//! exports, since bindings to them are.

use super::accounts::Accounts;
use super::document::{
    BindingDefinition, Definitions, ExchangeDefinition, LimitsDefinition, PermissionDefinition,
    Place, QueueDefinition, TopicPermissionDefinition, UserDefinition, VhostDefinition,
};
use super::policies::definitions_of;
use crate::access::VhostLimits;
use crate::config::{Password, PasswordHashing, Salt, UserConfig, VhostConfig};
use crate::core::binding::{Binding, Destination};
use crate::core::topology::{Topology, is_reserved};

/// The definitions of these users and vhosts, without what is in the vhosts. A password in clear text is
/// hashed in this way with a salt of `random`.
pub(crate) fn export(
    accounts: &Accounts,
    hashing: PasswordHashing,
    random: impl Fn() -> Salt,
) -> Definitions {
    let mut definitions = Definitions::default();
    for user in &accounts.users {
        definitions.users.push(self::user(user, hashing, random()));
        definitions.permissions.extend(permissions(user));
        definitions
            .topic_permissions
            .extend(topic_permissions(user));
    }
    for vhost in &accounts.vhosts {
        definitions.vhosts.push(self::vhost(vhost));
        definitions.limits.extend(limits(vhost));
    }
    definitions
}

fn user(user: &UserConfig, hashing: PasswordHashing, salt: Salt) -> UserDefinition {
    let hash = user.password.to_hash(hashing, salt);
    UserDefinition {
        place: Place::default(),
        name: user.name.clone(),
        password: hash.map(Password::hashed).unwrap_or_default(),
        tags: user.tags.clone(),
        connections_max: user.connections_max,
        channels_max: user.channels_max,
    }
}

fn permissions(user: &UserConfig) -> impl Iterator<Item = PermissionDefinition> {
    user.permissions.iter().map(|one| PermissionDefinition {
        place: Place::default(),
        user: user.name.clone(),
        vhost: one.vhost.clone(),
        configure: one.configure.clone(),
        write: one.write.clone(),
        read: one.read.clone(),
    })
}

fn topic_permissions(user: &UserConfig) -> impl Iterator<Item = TopicPermissionDefinition> {
    user.topic_permissions
        .iter()
        .map(|one| TopicPermissionDefinition {
            place: Place::default(),
            user: user.name.clone(),
            vhost: one.vhost.clone(),
            exchange: one.exchange.clone(),
            write: one.write.clone(),
            read: one.read.clone(),
        })
}

fn vhost(vhost: &VhostConfig) -> VhostDefinition {
    VhostDefinition {
        place: Place::default(),
        name: vhost.name.clone(),
        description: vhost.description.clone(),
        tags: vhost.tags.clone(),
        default_queue_type: vhost.default_queue_type.map(|one| one.as_str().to_owned()),
    }
}

fn limits(vhost: &VhostConfig) -> Option<LimitsDefinition> {
    let limits = VhostLimits::of(vhost);
    (limits != VhostLimits::default()).then(|| LimitsDefinition {
        place: Place::default(),
        vhost: vhost.name.clone(),
        connections_max: limits.connections_max,
        queues_max: limits.queues_max,
        exchanges_max: limits.exchanges_max,
        bindings_max: limits.bindings_max,
    })
}

impl Definitions {
    /// Adds what is in a vhost.
    pub(crate) fn add_topology(&mut self, topology: &Topology) {
        let vhost = topology.vhost().to_string();
        self.policies.extend(definitions_of(topology));
        for exchange in topology.exchanges() {
            let spec = exchange.spec();
            if spec.name.is_empty() || is_reserved(&spec.name) {
                continue;
            }
            self.exchanges.push(ExchangeDefinition {
                place: Place::default(),
                vhost: vhost.clone(),
                name: spec.name.to_string(),
                kind: spec.kind.name.to_owned(),
                durable: spec.durable,
                auto_delete: spec.auto_delete,
                internal: Some(spec.internal),
                arguments: spec.arguments.clone(),
            });
        }
        for queue in topology.queues() {
            let spec = queue.spec();
            if spec.exclusive_owner.is_some() {
                continue;
            }
            self.queues.push(QueueDefinition {
                place: Place::default(),
                vhost: vhost.clone(),
                name: spec.name.to_string(),
                durable: spec.durable,
                auto_delete: spec.auto_delete,
                arguments: spec.arguments.clone(),
            });
        }
        let bindings = topology.bindings().iter();
        self.bindings
            .extend(bindings.filter_map(|one| binding(topology, &vhost, one)));
    }
}

/// The binding by its names; nothing for one of an exclusive queue or of the default exchange.
fn binding(topology: &Topology, vhost: &str, binding: &Binding) -> Option<BindingDefinition> {
    let source = &topology.exchange_by_id(binding.source())?.spec().name;
    if source.is_empty() {
        return None;
    }
    let (destination, to_exchange) = match binding.destination() {
        Destination::Exchange(id) => (topology.exchange_by_id(id)?.spec().name.to_string(), true),
        Destination::Queue(id) => {
            let queue = topology.queue_by_id(id)?;
            let is_exclusive = queue.spec().exclusive_owner.is_some();
            (!is_exclusive).then(|| (queue.name().to_string(), false))?
        }
    };
    Some(BindingDefinition {
        place: Place::default(),
        vhost: vhost.to_owned(),
        source: source.to_string(),
        destination,
        to_exchange,
        routing_key: String::from_utf8_lossy(binding.routing_key()).into_owned(),
        arguments: binding.arguments().clone(),
    })
}
