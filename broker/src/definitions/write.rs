//! Writes definitions as RabbitMQ 3.13 and its tools read them.
//!
//! What it is not: the choice of what is written (see [`super::export`]).
//!
//! Invariants: equal definitions give the same text, whatever the order they were gathered in, but for the salt
//! of a password in clear text, which is never written.

use leveret_protocol::Table;
use serde_json::{Value as Json, json};

use super::arguments::object_of;
use super::document::{
    BindingDefinition, Definitions, ExchangeDefinition, LimitsDefinition, PermissionDefinition,
    PolicyDefinition, QueueDefinition, TopicPermissionDefinition, UserDefinition, VhostDefinition,
};
use super::offline::salt;
use crate::config::{HashingAlgorithm, PasswordHashing};
use crate::core::queue::arguments::QueueType;

impl Definitions {
    /// The definitions as JSON of a whole broker, an entry a line. `version` is RabbitMQ's that the file
    /// claims to be of.
    #[must_use]
    pub fn to_json(&self, product: &str, version: &str) -> String {
        let operator = |policy: &&PolicyDefinition| policy.is_operator;
        let operator_policies = self.policies.iter().filter(operator).map(operator_policy);
        let parameters = self
            .limits
            .iter()
            .map(limits)
            .chain(operator_policies)
            .collect();
        let policies = self.policies.iter().filter(|policy| !policy.is_operator);
        let sections: [(&str, Vec<Json>); 10] = [
            ("users", self.users.iter().map(user).collect()),
            ("vhosts", self.vhosts.iter().map(vhost).collect()),
            (
                "permissions",
                self.permissions.iter().map(permission).collect(),
            ),
            (
                "topic_permissions",
                self.topic_permissions
                    .iter()
                    .map(topic_permission)
                    .collect(),
            ),
            ("parameters", parameters),
            ("global_parameters", Vec::new()),
            ("policies", policies.map(policy).collect()),
            ("queues", self.queues.iter().map(queue).collect()),
            ("exchanges", self.exchanges.iter().map(exchange).collect()),
            ("bindings", self.bindings.iter().map(binding).collect()),
        ];
        let heads = [
            ("rabbit_version", version),
            ("rabbitmq_version", version),
            ("product_name", product),
            ("product_version", version),
            ("rabbitmq_definition_format", "cluster"),
        ];
        let heads = heads.map(|(key, text)| format!("  {}: {}", Json::from(key), Json::from(text)));
        let lists = sections.map(|(key, items)| list(key, items));
        let lines: Vec<_> = heads.into_iter().chain(lists).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

fn list(key: &str, items: Vec<Json>) -> String {
    if items.is_empty() {
        return format!("  \"{key}\": []");
    }
    let mut lines: Vec<_> = items.iter().map(|item| format!("    {item}")).collect();
    lines.sort();
    format!("  \"{key}\": [\n{}\n  ]", lines.join(",\n"))
}

fn table(table: Table<'_>) -> Json {
    Json::Object(object_of(table))
}

fn limits_json<const N: usize>(limits: [(&str, Option<u32>); N]) -> Json {
    let given = limits
        .into_iter()
        .filter_map(|(key, max)| Some((key.to_owned(), Json::from(max?))));
    Json::Object(given.collect())
}

fn user(user: &UserDefinition) -> Json {
    // Passwords in clear text do not leave this process, whoever has put them here.
    let hash = user.password.to_hash(PasswordHashing::default(), salt());
    let algorithm = hash
        .as_ref()
        .map_or(HashingAlgorithm::Sha256, |hash| hash.algorithm());
    json!({
        "name": user.name,
        "password_hash": hash.map(|hash| hash.to_base64()).unwrap_or_default(),
        "hashing_algorithm": algorithm.name(),
        "tags": user.tags,
        "limits": limits_json([
            ("max-connections", user.connections_max),
            ("max-channels", user.channels_max),
        ]),
    })
}

fn vhost(vhost: &VhostDefinition) -> Json {
    let mut metadata = json!({"description": vhost.description, "tags": vhost.tags});
    let mut entry = json!({
        "name": vhost.name,
        "description": vhost.description,
        "tags": vhost.tags,
    });
    if let Some(queue_type) = &vhost.default_queue_type {
        metadata["default_queue_type"] = Json::from(queue_type.as_str());
        entry["default_queue_type"] = Json::from(queue_type.as_str());
    }
    entry["metadata"] = metadata;
    entry
}

fn limits(limits: &LimitsDefinition) -> Json {
    json!({
        "vhost": limits.vhost,
        "component": "vhost-limits",
        "name": "limits",
        "value": limits_json([
            ("max-connections", limits.connections_max),
            ("max-queues", limits.queues_max),
            ("max-exchanges", limits.exchanges_max),
            ("max-bindings", limits.bindings_max),
        ]),
    })
}

fn permission(permission: &PermissionDefinition) -> Json {
    json!({
        "user": permission.user,
        "vhost": permission.vhost,
        "configure": permission.configure,
        "write": permission.write,
        "read": permission.read,
    })
}

fn topic_permission(permission: &TopicPermissionDefinition) -> Json {
    json!({
        "user": permission.user,
        "vhost": permission.vhost,
        "exchange": permission.exchange,
        "write": permission.write,
        "read": permission.read,
    })
}

fn policy(policy: &PolicyDefinition) -> Json {
    json!({
        "vhost": policy.vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "priority": policy.priority,
        "definition": table(policy.definition.view()),
    })
}

fn operator_policy(policy: &PolicyDefinition) -> Json {
    json!({
        "vhost": policy.vhost,
        "component": "operator_policy",
        "name": policy.name,
        "value": {
            "pattern": policy.pattern,
            "apply-to": policy.apply_to,
            "priority": policy.priority,
            "definition": table(policy.definition.view()),
        },
    })
}

fn exchange(exchange: &ExchangeDefinition) -> Json {
    json!({
        "vhost": exchange.vhost,
        "name": exchange.name,
        "type": exchange.kind,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal.unwrap_or_default(),
        "arguments": table(exchange.arguments.view()),
    })
}

fn queue(queue: &QueueDefinition) -> Json {
    let arguments = queue.arguments.view();
    json!({
        "vhost": queue.vhost,
        "name": queue.name,
        "type": QueueType::of(arguments).as_str(),
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "arguments": table(arguments),
    })
}

fn binding(binding: &BindingDefinition) -> Json {
    let to = if binding.to_exchange {
        "exchange"
    } else {
        "queue"
    };
    json!({
        "vhost": binding.vhost,
        "source": binding.source,
        "destination": binding.destination,
        "destination_type": to,
        "routing_key": binding.routing_key,
        "arguments": table(binding.arguments.view()),
    })
}
