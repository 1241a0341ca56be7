//! Importing into a node: broken files, what is reported, and what becomes of what is there.

#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};

use super::*;
use crate::access::AccountChange;
use crate::config::{Config, VhostConfig};
use crate::core::queue::arguments::QueueType;
use crate::importing;
use crate::node::Node;

pub(super) fn definitions(text: &str) -> Definitions {
    Definitions::from_json(text, "/").unwrap()
}

pub(super) fn written(definitions: &Definitions) -> String {
    definitions.to_json("RabbitMQ", "3.13.7")
}

/// A node with two vhosts.
pub(super) fn node() -> Node {
    let node = Node::new(Config::default()).unwrap();
    let shop = AccountChange::PutVhost(VhostConfig::named("shop"));
    node.change_accounts().apply(&[shop]).unwrap();
    node
}

pub(super) fn file(entries: &Json) -> String {
    let mut file = json!({"rabbit_version": "3.13.7", "vhosts": [{"name": "/"}, {"name": "shop"}]});
    for (key, value) in entries.as_object().unwrap() {
        file[key] = value.clone();
    }
    file.to_string()
}

pub(super) fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}

/// What an import says stands against it, having changed nothing.
#[track_caller]
pub(super) fn problems_of(node: &Node, entries: &Json) -> Vec<String> {
    let before = written(&importing::export(node));
    let read = Definitions::from_json(&file(entries), "/");
    let error = match read.and_then(|read| importing::import(node, &read)) {
        Err(error) => error,
        Ok((report, _)) => panic!("imported: {report:?}"),
    };
    // The salt of a password in clear text is another one each time.
    assert_eq!(
        without_hashes(&written(&importing::export(node))),
        without_hashes(&before)
    );
    error.problems.iter().map(ToString::to_string).collect()
}

fn without_hashes(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("password_hash"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_culprit_is_named_at_once_and_nothing_is_applied() {
    let node = node();
    let found = problems_of(
        &node,
        &json!({
            "users": [{"name": "ada", "password_hash": "AAAA", "tags": []}],
            "permissions": [
                {"user": "guest", "vhost": "/", "configure": "(", "write": "", "read": ""},
                {"user": "eve", "vhost": "/", "configure": "", "write": "", "read": ""},
            ],
            "queues": [
                {"name": "fine", "vhost": "/", "durable": true, "arguments": {}},
                {"name": 7, "vhost": "/", "durable": "yes"},
                {"name": "lost", "vhost": "nowhere"},
            ],
            "bindings": "all",
        }),
    );
    let expected = [
        "users[0] 'ada': password_hash is not a hash of this algorithm",
        "queues[1] in vhost '/': name: expected a string, found a number",
        "queues[1] in vhost '/': durable: expected true or false, found a string",
        "bindings: expected a list, found a string",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_does_not_fit_together_is_named_and_nothing_is_applied() {
    let node = node();
    let found = problems_of(
        &node,
        &json!({
            "users": [{"name": "ada", "password": "hush", "tags": ""}],
            "permissions": [
                {"user": "guest", "vhost": "/", "configure": "(", "write": "", "read": ""},
                {"user": "eve", "vhost": "/", "configure": "", "write": "", "read": ""},
            ],
            "exchanges": [
                {"name": "amq.mine", "vhost": "/", "type": "fanout"},
                {"name": "amq.direct", "vhost": "/", "type": "topic"},
            ],
            "queues": [
                {"name": "fine", "vhost": "/", "durable": true, "arguments": {}},
                {"name": "ttl", "vhost": "/", "arguments": {"x-message-ttl": -1}},
            ],
            "bindings": [
                {"source": "amq.direct", "vhost": "nowhere", "destination": "fine"},
                {"source": "amq.headers", "vhost": "/", "destination": "fine",
                 "arguments": {"x-match": "some"}},
            ],
        }),
    );
    let expected = [
        "permissions[1] 'eve' in vhost '/': there is no user 'eve'",
        "bindings[0] from 'amq.direct' to 'fine' in vhost 'nowhere': there is no vhost 'nowhere'",
        "permissions[0] 'guest' in vhost '/': configure: expected a regular expression (unclosed group), \
         found '('",
        "exchanges[0] 'amq.mine' in vhost '/': exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        "exchanges[1] 'amq.direct' in vhost '/': inequivalent arg 'type' for exchange 'amq.direct' in vhost \
         '/': received 'topic' but current is 'direct'",
        "queues[1] 'ttl' in vhost '/': invalid arg 'x-message-ttl' for queue 'ttl' in vhost '/': \
         {value_negative,-1}",
    ];
    assert_eq!(found[..6], expected);
    assert!(
        found[6].starts_with("bindings[1] from 'amq.headers' to 'fine' in vhost '/': "),
        "{found:?}"
    );
    assert!(node.access.user("ada").is_none());
}

#[test]
fn a_queue_that_exists_with_other_arguments_is_found_before_anything_is_applied() {
    let node = node();
    let first = json!({"queues": [
        {"name": "q", "vhost": "shop", "durable": true, "arguments": {"x-max-length": 1}},
    ]});
    importing::import(&node, &definitions(&file(&first))).unwrap();
    let found = problems_of(
        &node,
        &json!({"queues": [
            {"name": "new", "vhost": "/", "durable": true},
            {"name": "q", "vhost": "shop", "durable": true, "arguments": {"x-max-length": 2}},
        ]}),
    );
    let expected = "queues[1] 'q' in vhost 'shop': inequivalent arg 'x-max-length' for queue 'q' in vhost \
                    'shop': received '2' but current is '1'";
    assert_eq!(found, [expected]);
}

#[test]
fn a_broken_file_is_told_as_one() {
    let whole = file(&json!({"queues": [{"name": "q", "vhost": "/"}]}));
    for end in 0..whole.len() {
        let error = Definitions::from_json(&whole[..end], "/").unwrap_err();
        assert!(
            error.to_string().contains("the file: this is not JSON: "),
            "{error}"
        );
    }
    let error = Definitions::from_json("[]", "/").unwrap_err().to_string();
    assert_eq!(
        error,
        "definitions not imported, 1 problem: the file: expected an object, found a list"
    );
    let nested = format!("{{\"queues\": {}", "[".repeat(100_000));
    assert!(Definitions::from_json(&nested, "/").is_err());
}

#[test]
fn problems_are_kept_up_to_a_number_and_counted_beyond() {
    let items = vec![json!(1); PROBLEMS_MAX + 5];
    let error = Definitions::from_json(&file(&json!({"queues": items})), "/").unwrap_err();
    assert_eq!((error.problems.len(), error.more), (PROBLEMS_MAX, 5));
    let text = error.to_string();
    assert!(
        text.starts_with("definitions not imported, 105 problems, the first: queues[0]: "),
        "{text}"
    );
}

#[test]
fn what_has_no_effect_is_reported_by_name() {
    let node = node();
    let read = definitions(&file(&json!({
        "federation": [{"a": 1}],
        "nothing": [],
        "users": [{"name": "ada", "password": "x", "tags": "", "colour": "red",
                   "limits": {"max-sessions": 1}}],
        "parameters": [{"vhost": "/", "component": "shovel", "name": "to-berlin", "value": {}}],
        "global_parameters": [{"name": "mine", "value": 1}, {"name": "cluster_name", "value": "c"}],
        "exchanges": [{"name": "x", "vhost": "/", "type": "x-of-no-plugin"}],
        "queues": [{"name": "s", "vhost": "/", "type": "stream", "arguments": {}}],
        "bindings": [{"source": "x", "vhost": "/", "destination": "s"},
                     {"source": "amq.direct", "vhost": "/", "destination": "s"}],
    })));
    let (report, _) = importing::import(&node, &read).unwrap();
    let found: Vec<_> = report
        .not_honoured
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "users[0] 'ada' limit 'max-sessions': it is not known here",
        "users[0] 'ada' field 'colour': it is not known here",
        "parameters[0] 'to-berlin' in vhost '/' of component 'shovel': there is no such component here",
        "global_parameters[0] 'mine': there are no global parameters here",
        "federation: it is not known here",
        "exchanges[0] 'x' in vhost '/': there is no exchange type 'x-of-no-plugin' here",
        "queues[0] 's' in vhost '/': queue type 'stream' of queue 's' in vhost '/' is not available",
        "bindings[0] from 'x' to 's' in vhost '/': there is no exchange 'x', neither in the definitions nor \
         in the broker",
        "bindings[1] from 'amq.direct' to 's' in vhost '/': there is no queue 's', neither in the \
         definitions nor in the broker",
    ];
    assert_eq!(found, expected);
    assert_eq!(
        (
            report.users,
            report.exchanges,
            report.queues,
            report.bindings
        ),
        (1, 0, 0, 0)
    );
}

#[test]
fn qarg_35_a_vhost_brings_the_type_of_its_queues() {
    let node = node();
    let import = |entries: Json| {
        importing::import(&node, &definitions(&file(&entries)))
            .unwrap()
            .0
    };
    import(json!({"vhosts": [{"name": "shop", "metadata": {"default_queue_type": "quorum"}}]}));
    import(json!({"queues": [
        {"name": "untold", "vhost": "shop", "durable": true},
        {"name": "told", "vhost": "shop", "durable": true, "type": "quorum"},
    ]}));
    // At every start the same file meets what is there.
    import(
        json!({"queues": [{"name": "untold", "vhost": "shop", "durable": true, "type": "classic"}]}),
    );
    let exported = importing::export(&node);
    let types = |name: &str| {
        let vhost = exported.vhosts.iter().find(|one| one.name == name).unwrap();
        vhost.default_queue_type.clone()
    };
    assert_eq!(
        (types("shop"), types("/")),
        (Some("quorum".to_owned()), None)
    );
    let type_of = |name: &str| {
        let queue = exported.queues.iter().find(|one| one.name == name).unwrap();
        QueueType::of(queue.arguments.view())
    };
    assert_eq!(
        (type_of("untold"), type_of("told")),
        (QueueType::Classic, QueueType::Quorum)
    );
    let report = import(json!({"vhosts": [{"name": "shop", "default_queue_type": "stream"}]}));
    assert_eq!(report.not_honoured.len(), 1);
}

#[test]
fn an_export_of_a_binding_whose_types_json_does_not_tell_finds_that_very_binding() {
    use crate::core::topology::tests::{allow, to_queue};
    use leveret_protocol::{TableBuf, Value};
    let node = node();
    let queue = json!({"queues": [{"name": "q", "vhost": "/", "durable": true}]});
    importing::import(&node, &definitions(&file(&queue))).unwrap();
    let arguments = TableBuf::new().with("n", Value::I32(7));
    let mut request = to_queue("amq.headers", "q", "");
    request.arguments = arguments.view();
    node.vhost("/").unwrap().bind(&request, &mut allow).unwrap();
    let exported = written(&importing::export(&node));
    let (report, _) = importing::import(&node, &definitions(&exported)).unwrap();
    assert_eq!(report.bindings, 0);
    assert_eq!(
        node.vhost("/")
            .unwrap()
            .topology()
            .bindings()
            .iter()
            .count(),
        1
    );
}

#[test]
fn permissions_of_a_running_broker_are_replaced_vhost_by_vhost() {
    let node = node();
    let read = definitions(&file(&json!({
        "users": [{"name": "guest", "password": "other", "tags": ["monitoring"]}],
        "permissions": [{"user": "guest", "vhost": "shop", "configure": "", "write": "w", "read": "r"}],
        "topic_permissions": [
            {"user": "guest", "vhost": "shop", "exchange": "x", "write": "a", "read": "b"},
        ],
        "parameters": [{"vhost": "shop", "component": "vhost-limits", "name": "limits",
                        "value": [["max-queues", 3], ["max-connections", -1]]}],
    })));
    importing::import(&node, &read).unwrap();
    let guest = node.access.user("guest").unwrap();
    assert_eq!(guest.tags(), ["monitoring"]);
    assert!(
        node.access
            .permissions(&guest, "/")
            .unwrap()
            .may_configure("x")
    );
    let shop = node.access.permissions(&guest, "shop").unwrap();
    assert!(shop.may_write("w") && !shop.may_configure("w"));
    assert!(shop.may_write_topic("x", b"a") && !shop.may_write_topic("x", b"b"));
    assert!(
        node.access
            .authenticate_password(b"guest", b"other", true)
            .is_ok()
    );
    assert!(
        node.access
            .authenticate_password(b"guest", b"guest", true)
            .is_err()
    );
    let limits = node.access.vhost_limits("shop");
    assert_eq!((limits.queues_max, limits.connections_max), (Some(3), None));
}

#[test]
fn what_belongs_to_the_configuration_stays_as_it_is_and_is_reported_where_it_would_not() {
    let config = "users = [{ name = 'ada', password = 'hush', permissions = [{ vhost = 'own' }] }]
                  vhosts = [{ name = 'own', queues_max = 1 }]";
    let node = Node::new(Config::from_toml(config).unwrap()).unwrap();
    let before = (node.access.users(), node.access.vhosts());
    let read = definitions(
        &json!({
            "vhosts": [{"name": "own"}, {"name": "/"}],
            "users": [{"name": "ada", "password": "other", "tags": ""}],
            "permissions": [{"user": "ada", "vhost": "/", "configure": "", "write": "", "read": ""}],
            "topic_permissions": [
                {"user": "ada", "vhost": "own", "exchange": "x", "write": "a", "read": "b"},
            ],
            "parameters": [{"vhost": "own", "component": "vhost-limits", "name": "limits",
                            "value": {"max-queues": 3}}],
            "queues": [{"name": "q", "vhost": "own", "durable": true}],
        })
        .to_string(),
    );
    let (report, _) = importing::import(&node, &read).unwrap();
    assert_eq!((node.access.users(), node.access.vhosts()), before);
    let found: Vec<_> = report
        .not_honoured
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "users[0] 'ada': user 'ada' belongs to the configuration",
        "parameters[0] 'limits' in vhost 'own': vhost 'own' belongs to the configuration",
        "permissions[0] 'ada' in vhost '/': user 'ada' belongs to the configuration",
        "topic_permissions[0] 'ada' in vhost 'own': user 'ada' belongs to the configuration",
    ];
    assert_eq!(found, expected);
    assert_eq!((report.users, report.permissions, report.queues), (0, 0, 1));
}

#[test]
fn a_running_broker_is_given_new_vhosts_with_what_is_in_them() {
    let node = node();
    let read = |queue: &str| {
        let file = json!({
            "vhosts": [{"name": "new", "metadata": {"default_queue_type": "quorum"}}],
            "permissions": [{"user": "guest", "vhost": "new", "configure": "", "write": "", "read": "q"}],
            "queues": [{"name": queue, "vhost": "new", "durable": true, "type": "classic"}],
        });
        definitions(&file.to_string())
    };
    let bad = json!({"vhosts": [{"name": "new"}], "queues": [
        {"name": "q", "vhost": "new", "durable": true, "arguments": {"x-max-length": -1}}]});
    problems_of(&node, &bad);
    assert!(node.vhost("new").is_none() && node.access.vhost("new").is_none());
    importing::import(&node, &read("q")).unwrap();
    // And now that it is there, its lock is held while it is told what it is.
    importing::import(&node, &read("other")).unwrap();
    let vhost = node.vhost("new").unwrap();
    assert_eq!(vhost.topology().queues().len(), 2);
    assert_eq!(vhost.topology().default_queue_type(), QueueType::Quorum);
    let guest = node.access.user("guest").unwrap();
    assert!(
        node.access
            .permissions(&guest, "new")
            .unwrap()
            .may_read("q")
    );
}
