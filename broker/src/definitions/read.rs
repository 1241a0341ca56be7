//! Reads definitions: RabbitMQ's JSON of every version since 3.8, of a whole broker or of one vhost.
//!
//! ```text
//!   {"rabbit_version": …, "users": […], …}                              a whole broker
//!   {"rabbitmq_definition_format": "single_virtual_host",
//!    "original_vhost_name": …, "queues": […], …}                        one vhost (4.x)
//!   {"rabbit_version": …, "queues": […], …} without "vhosts"            one vhost (3.x)
//! ```
//!
//! What it is not: the check whether one entry fits another, or a broker (see [`super::check`]).

use serde_json::Value as Json;

use super::document::{
    BindingDefinition, Definitions, ExchangeDefinition, LimitsDefinition, PermissionDefinition,
    Place, PolicyDefinition, QueueDefinition, TopicPermissionDefinition, UserDefinition,
    VhostDefinition,
};
use super::entry::{Entry, Notes, Object, kind_of, object_like};
use super::problem::DefinitionsError;
use crate::config::{HashingAlgorithm, Password, PasswordHash};

/// What is about the file and not about the broker.
const ABOUT_THE_FILE: [&str; 8] = [
    "explanation",
    "original_cluster_name",
    "original_vhost_name",
    "product_name",
    "product_version",
    "rabbit_version",
    "rabbitmq_definition_format",
    "rabbitmq_version",
];

/// What a file of one vhost says about that vhost.
const ABOUT_ONE_VHOST: [&str; 4] = ["default_queue_type", "description", "limits", "metadata"];

type ReadEntry = fn(&mut Entry<'_>, &mut Work<'_>);

/// The lists of a file and how their entries are read.
const SECTIONS: [(&str, ReadEntry); 10] = [
    ("users", user),
    ("vhosts", vhost),
    ("permissions", permission),
    ("topic_permissions", topic_permission),
    ("parameters", parameter),
    ("global_parameters", global_parameter),
    ("policies", policy),
    ("exchanges", exchange),
    ("queues", queue),
    ("bindings", binding),
];

impl Definitions {
    /// Reads a file of definitions. What it says without naming a vhost, as a file of one vhost does, is
    /// said of the vhost that the file is of, or of `default_vhost`.
    ///
    /// # Errors
    /// Everything that is not allowed, with its path.
    pub fn from_json(text: &str, default_vhost: &str) -> Result<Self, DefinitionsError> {
        let mut notes = Notes::default();
        let mut read = Self::default();
        match serde_json::from_str::<Json>(text) {
            Err(error) => notes
                .problems
                .add("the file", format!("this is not JSON: {error}")),
            Ok(Json::Object(file)) => read = whole(&file, default_vhost, &mut notes),
            Ok(other) => {
                let text = format!("expected an object, found {}", kind_of(&other));
                notes.problems.add("the file", text);
            }
        }
        notes.problems.verdict()?;
        read.not_honoured = notes.not_honoured;
        Ok(read)
    }
}

/// What is read so far, and the vhost of entries that name none.
struct Work<'w> {
    read: Definitions,
    only_vhost: Option<&'w str>,
}

fn whole(file: &Object, default_vhost: &str, notes: &mut Notes) -> Definitions {
    let original = file.get("original_vhost_name").and_then(Json::as_str);
    let is_marked = file
        .get("rabbitmq_definition_format")
        .and_then(Json::as_str)
        == Some("single_virtual_host");
    let is_of_one = is_marked || original.is_some() || !file.contains_key("vhosts");
    let only_vhost = is_of_one.then(|| original.unwrap_or(default_vhost));
    let mut work = Work {
        read: Definitions::default(),
        only_vhost,
    };
    if let (Some(name), true) = (only_vhost, is_marked || original.is_some()) {
        one_vhost(name, file, notes, &mut work);
    }
    for (section, read) in SECTIONS {
        list(file, section, read, notes, &mut work);
    }
    let known = |key: &str| SECTIONS.iter().any(|(section, _)| *section == key);
    for (key, value) in file {
        let is_told =
            ABOUT_THE_FILE.contains(&&**key) || (is_of_one && ABOUT_ONE_VHOST.contains(&&**key));
        if !known(key) && !is_told && !is_empty(value) {
            notes.not_honoured(key, "it is not known here");
        }
    }
    work.read
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn list(file: &Object, section: &str, read: ReadEntry, notes: &mut Notes, work: &mut Work<'_>) {
    let items = match file.get(section) {
        None | Some(Json::Null) => return,
        Some(Json::Array(items)) => items,
        Some(other) => {
            let text = format!("expected a list, found {}", kind_of(other));
            return notes.problems.add(section, text);
        }
    };
    for (index, item) in items.iter().enumerate() {
        let path = format!("{section}[{index}]");
        let Json::Object(fields) = item else {
            let text = format!("expected an object, found {}", kind_of(item));
            notes.problems.add(path, text);
            continue;
        };
        let mut entry = Entry::new(&path, fields, notes);
        read(&mut entry, work);
        entry.finish();
    }
}

/// The vhost that a whole file is of: the file itself is its entry.
fn one_vhost(name: &str, file: &Object, notes: &mut Notes, work: &mut Work<'_>) {
    let mut about: Object = ABOUT_ONE_VHOST
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), file.get(key)?.clone())))
        .collect();
    about.insert("name".to_owned(), Json::from(name));
    let mut entry = Entry::new("the file's vhost", &about, notes);
    vhost(&mut entry, work);
    entry.finish();
}

fn user(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let limits = entry.object("limits");
    let user = UserDefinition {
        place: entry.place(),
        name: entry.text("name"),
        password: password(entry),
        tags: entry.tags("tags"),
        connections_max: entry.limit(&limits, "max-connections"),
        channels_max: entry.limit(&limits, "max-channels"),
    };
    entry.unknown_in("limit", &limits, &["max-connections", "max-channels"]);
    work.read.users.push(user);
}

/// A hash, or a password in clear text, which whoever imports it hashes.
fn password(entry: &mut Entry<'_>) -> Password {
    let algorithm = entry.text_or("hashing_algorithm", "");
    let hash = entry.text_or("password_hash", "");
    let clear = entry.text_or("password", "");
    if hash.is_empty() {
        return Password::new(clear);
    }
    let known = HashingAlgorithm::from_name(&algorithm);
    if known.is_none() && !algorithm.is_empty() {
        entry.problem(format!("hashing_algorithm '{algorithm}' is not known"));
        return Password::default();
    }
    match PasswordHash::from_text(&hash, known) {
        Some(hash) => Password::hashed(hash),
        None => {
            entry.problem("password_hash is not a hash of this algorithm");
            Password::default()
        }
    }
}

fn vhost(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let metadata = entry.object("metadata");
    let inside = |key: &str| metadata.get(key).and_then(Json::as_str).unwrap_or_default();
    let name = entry.text("name");
    let description = entry.text_or("description", inside("description"));
    let queue_type = entry.text_or("default_queue_type", inside("default_queue_type"));
    let tags = match entry.take("tags") {
        Some(tags) => entry.tags_of("tags", Some(tags)),
        None => entry.tags_of("metadata.tags", metadata.get("tags")),
    };
    entry.unknown_in(
        "metadata",
        &metadata,
        &["description", "tags", "default_queue_type"],
    );
    let limits = entry.object("limits");
    if !limits.is_empty() {
        let place = entry.place();
        limits_of(entry, &name, &limits, place, work);
    }
    if entry.flag("tracing", false) {
        let what = format!("{} tracing", entry.at);
        entry
            .notes
            .not_honoured(what, "there is no tracing of messages");
    }
    // Told by exports of some versions, and about the cluster they came from.
    entry.take("cluster_state");
    entry.take("protected_from_deletion");
    let is_named = !matches!(&*queue_type, "" | "undefined");
    work.read.vhosts.push(VhostDefinition {
        place: entry.place(),
        name,
        description,
        tags,
        default_queue_type: is_named.then_some(queue_type),
    });
}

fn limits_of(
    entry: &mut Entry<'_>,
    vhost: &str,
    limits: &Object,
    place: Place,
    work: &mut Work<'_>,
) {
    let definition = LimitsDefinition {
        place,
        vhost: vhost.to_owned(),
        connections_max: entry.limit(limits, "max-connections"),
        queues_max: entry.limit(limits, "max-queues"),
        exchanges_max: entry.limit(limits, "max-exchanges"),
        bindings_max: entry.limit(limits, "max-bindings"),
    };
    let known = [
        "max-connections",
        "max-queues",
        "max-exchanges",
        "max-bindings",
    ];
    entry.unknown_in("limit", limits, &known);
    // A vhost's own entry and a parameter say the same.
    work.read.limits.retain(|earlier| earlier.vhost != vhost);
    work.read.limits.push(definition);
}

/// The vhost that an entry names, or the one that the file is of.
fn vhost_of(entry: &mut Entry<'_>, work: &Work<'_>) -> String {
    match work.only_vhost {
        Some(only) => entry.text_or("vhost", only),
        None => entry.text("vhost"),
    }
}

fn permission(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let permission = PermissionDefinition {
        place: entry.place(),
        user: entry.text("user"),
        vhost: vhost_of(entry, work),
        configure: entry.text("configure"),
        write: entry.text("write"),
        read: entry.text("read"),
    };
    work.read.permissions.push(permission);
}

fn topic_permission(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let permission = TopicPermissionDefinition {
        place: entry.place(),
        user: entry.text("user"),
        vhost: vhost_of(entry, work),
        exchange: entry.text("exchange"),
        write: entry.text("write"),
        read: entry.text("read"),
    };
    work.read.topic_permissions.push(permission);
}

fn parameter(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let component = entry.text("component");
    let name = entry.text("name");
    let vhost = vhost_of(entry, work);
    let value = entry.take("value").cloned().unwrap_or_default();
    match &*component {
        "vhost-limits" => {
            let limits = as_object(entry, &value);
            let place = entry.place();
            limits_of(entry, &vhost, &limits, place, work);
        }
        "operator_policy" => {
            let fields = as_object(entry, &value);
            let mut inner = Entry::new("", &fields, entry.notes);
            inner.at = format!("{} value", entry.at);
            let mut policy = policy_of(&mut inner, name, vhost, true);
            inner.finish();
            policy.place = entry.place();
            work.read.policies.push(policy);
        }
        other => {
            let what = format!("{} of component '{other}'", entry.at);
            let reason = "there is no such component here";
            entry.notes.not_honoured(what, reason);
        }
    }
}

fn as_object(entry: &mut Entry<'_>, value: &Json) -> Object {
    object_like(value).unwrap_or_else(|| {
        entry.problem(format!(
            "value: expected an object, found {}",
            kind_of(value)
        ));
        Object::new()
    })
}

fn global_parameter(entry: &mut Entry<'_>, _: &mut Work<'_>) {
    let name = entry.text("name");
    entry.take("value");
    // RabbitMQ's own, about the cluster that the file came from.
    if !matches!(
        &*name,
        "internal_cluster_id" | "cluster_name" | "cluster_tags"
    ) {
        let what = entry.at.clone();
        entry
            .notes
            .not_honoured(what, "there are no global parameters here");
    }
}

fn policy(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let (name, vhost) = (entry.text("name"), vhost_of(entry, work));
    let policy = policy_of(entry, name, vhost, false);
    work.read.policies.push(policy);
}

fn policy_of(
    entry: &mut Entry<'_>,
    name: String,
    vhost: String,
    is_operator: bool,
) -> PolicyDefinition {
    PolicyDefinition {
        place: entry.place(),
        vhost,
        name,
        is_operator,
        pattern: entry.text("pattern"),
        apply_to: entry.text_or("apply-to", "all"),
        priority: entry.integer("priority", 0),
        definition: entry.table("definition"),
    }
}

fn exchange(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let exchange = ExchangeDefinition {
        place: entry.place(),
        name: entry.text("name"),
        vhost: vhost_of(entry, work),
        kind: entry.text("type"),
        durable: entry.flag("durable", true),
        auto_delete: entry.flag("auto_delete", false),
        internal: entry.flag_if_told("internal"),
        arguments: entry.table("arguments"),
    };
    work.read.exchanges.push(exchange);
}

fn queue(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let queue = QueueDefinition {
        place: entry.place(),
        name: entry.text("name"),
        vhost: vhost_of(entry, work),
        durable: entry.flag("durable", true),
        auto_delete: entry.flag("auto_delete", false),
        arguments: typed_arguments(entry),
    };
    work.read.queues.push(queue);
}

/// The type is an argument; files say it both ways, and only one may be there.
fn typed_arguments(entry: &mut Entry<'_>) -> leveret_protocol::TableBuf {
    let arguments = entry.table("arguments");
    let queue_type = entry.text_or("type", "classic");
    let is_told = arguments.view().get("x-queue-type").is_some();
    match is_told || matches!(&*queue_type, "classic" | "rabbit_classic_queue") {
        true => arguments,
        false => arguments.with(
            "x-queue-type",
            leveret_protocol::Value::LongStr(queue_type.as_bytes()),
        ),
    }
}

fn binding(entry: &mut Entry<'_>, work: &mut Work<'_>) {
    let to = entry.text_or("destination_type", "queue");
    if !matches!(&*to, "queue" | "exchange") {
        entry.problem(format!(
            "destination_type: expected queue or exchange, found '{to}'"
        ));
    }
    // Told by listings of bindings, and made of the rest.
    entry.take("properties_key");
    let binding = BindingDefinition {
        place: entry.place(),
        vhost: vhost_of(entry, work),
        source: entry.text("source"),
        destination: entry.text("destination"),
        to_exchange: to == "exchange",
        routing_key: entry.text_or("routing_key", ""),
        arguments: entry.table("arguments"),
    };
    work.read.bindings.push(binding);
}
