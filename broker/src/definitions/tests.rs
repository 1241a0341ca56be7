//! Reading, writing, and importing into a node: proptest over generated definitions, and broken files.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::Config;
use crate::importing;
use crate::node::Node;

fn definitions(text: &str) -> Definitions {
    Definitions::from_json(text, "/").unwrap()
}

fn written(definitions: &Definitions) -> String {
    definitions.to_json("RabbitMQ", "3.13.7")
}

/// A node with two vhosts.
fn node() -> Node {
    let vhosts = r#"vhosts = [{ name = "shop" }]"#;
    Node::new(Config::from_toml(vhosts).unwrap()).unwrap()
}

fn file(entries: &Json) -> String {
    let mut file = json!({"rabbit_version": "3.13.7", "vhosts": [{"name": "/"}, {"name": "shop"}]});
    for (key, value) in entries.as_object().unwrap() {
        file[key] = value.clone();
    }
    file.to_string()
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}

/// What an import says stands against it, having changed nothing.
#[track_caller]
fn problems_of(node: &Node, entries: &Json) -> Vec<String> {
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
        "users[0] 'ada': password_hash is not the base64 of a salt and a hash of this algorithm",
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
    let vhosts = problems_of(&node, &json!({"vhosts": [{"name": "new"}]}));
    let expected =
        "vhosts[0] 'new': there is no such vhost, and a running broker cannot be given one";
    assert_eq!(vhosts, [expected]);
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
fn pol_01_imported_policies_are_for_what_was_there_and_what_comes_with_them() {
    let node = node();
    let import = |entries: Json| {
        importing::import(&node, &definitions(&file(&entries)))
            .unwrap()
            .0
    };
    import(
        json!({"queues": [{"name": "old", "vhost": "/", "durable": true, "arguments": {"x-max-length": 9}}]}),
    );
    let report = import(json!({
        "policies": [
            {"vhost": "/", "name": "short", "pattern": "", "priority": 1,
             "definition": {"max-length": 5, "ha-mode": "all", "federation-upstream": "far", "flavour": "sour"}},
            {"vhost": "/", "name": "weaker", "pattern": "", "definition": {"max-length": 1}},
        ],
        "parameters": [{"vhost": "/", "component": "operator_policy", "name": "cap",
                        "value": {"pattern": "^new", "definition": {"max-length": 3}}}],
        "queues": [{"name": "new", "vhost": "/", "durable": true}],
    }));
    let vhost = node.vhost("/").unwrap();
    let length_max = |name: &str| {
        let queue = vhost.topology().queue(name.as_bytes()).cloned().unwrap();
        queue.arguments().length_max
    };
    assert_eq!((length_max("old"), length_max("new")), (Some(5), Some(3)));
    assert_eq!(report.policies, 3);
    let named: Vec<_> = report
        .not_honoured
        .iter()
        .map(ToString::to_string)
        .collect();
    let short = "policies[0] 'short' in vhost '/' definition";
    let expected = [
        format!("{short}.ha-mode: there is nothing for this policy key to decide on one node"),
        format!("{short}.federation-upstream: this policy key has no effect here"),
        format!("{short}.flavour: there is no such policy key here"),
    ];
    assert_eq!(sorted(named), sorted(expected));
    let exported = importing::export(&node);
    assert_eq!(exported.policies.len(), 3);
    import(
        json!({"policies": [{"vhost": "/", "name": "short", "pattern": "^nothing$", "definition": {"max-length": 5}}]}),
    );
    assert_eq!(length_max("old"), Some(1), "the other one now");
}

#[test]
fn a_policy_that_says_what_it_may_not_keeps_the_file_out() {
    let node = node();
    let found = problems_of(
        &node,
        &json!({
            "policies": [
                {"vhost": "/", "name": "a", "pattern": "(", "definition": {"overflow": "away"}},
                {"vhost": "/", "name": "b", "pattern": "", "definition": {"max-length": "five", "expires": 0}},
                {"vhost": "/", "name": "c", "pattern": "", "apply-to": "stones",
                 "definition": {"ha-mode": "all", "ha-params": 1}},
                {"vhost": "/", "name": "d", "pattern": "", "definition": {"max-length": 5}},
                {"vhost": "/", "name": "none", "pattern": "", "definition": {}},
            ],
            "parameters": [{"vhost": "/", "component": "operator_policy", "name": "e",
                            "value": {"pattern": "",
                                      "definition": {"dead-letter-exchange": "x", "message-ttl": -1}}}],
        }),
    );
    let expected = [
        "policies[0] 'a' in vhost '/': pattern should be regular expression but is invalid: '(': ",
        "policies[0] 'a' in vhost '/': definition.overflow: <<\"away\">> is not a valid overflow value",
        "policies[1] 'b' in vhost '/': definition.expires: 0 is not a valid queue expiry",
        "policies[1] 'b' in vhost '/': definition.max-length: <<\"five\">> is not a valid maximum length",
        "policies[2] 'c' in vhost '/': apply-to: expected one of all, queues, classic_queues, quorum_queues, \
         streams, exchanges; found 'stones'",
        "policies[2] 'c' in vhost '/': definition.ha-mode: ha-mode=\"all\" does not take parameters",
        "policies[4] 'none' in vhost '/': no policy provided",
        "parameters[0] 'e' in vhost '/': value.definition.message-ttl: -1 is not a valid message TTL",
        "parameters[0] 'e' in vhost '/': value.definition.dead-letter-exchange: \
         [{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for expected in expected {
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{expected} in {found:#?}"
        );
    }
    let found = problems_of(
        &node,
        &json!({"parameters": [
            {"vhost": "/", "component": "operator_policy", "name": "e", "value": {"priority": "high"}},
        ]}),
    );
    let expected = [
        "parameters[0] 'e' in vhost '/' value: pattern is missing",
        "parameters[0] 'e' in vhost '/' value: priority: expected a whole number, found a string",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_policy_of_which_nothing_is_known_is_reported_and_left_out() {
    let node = node();
    let read = definitions(&file(&json!({
        "policies": [
            {"vhost": "/", "name": "p", "pattern": "", "definition": {"shards-per-node": 2}},
            {"vhost": "/", "name": "q", "pattern": "", "definition": {"max-length": 2}},
        ],
    })));
    let (report, _) = importing::import(&node, &read).unwrap();
    let named = report.not_honoured.iter().map(ToString::to_string);
    let expected = [
        "policies[0] 'p' in vhost '/': it has no key that is known here",
        "policies[0] 'p' in vhost '/' definition.shards-per-node: there is no such policy key here",
    ];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    let exported = importing::export(&node).policies;
    let names: Vec<_> = exported.iter().map(|one| &*one.name).collect();
    assert_eq!((names, report.policies), (vec!["q"], 1));
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
    import(json!({"queues": [{"name": "q", "vhost": "shop", "durable": true}]}));
    let exported = importing::export(&node);
    let types = |name: &str| {
        let vhost = exported.vhosts.iter().find(|one| one.name == name).unwrap();
        vhost.default_queue_type.clone()
    };
    assert_eq!(
        (types("shop"), types("/")),
        (Some("quorum".to_owned()), None)
    );
    let queue = exported.queues.iter().find(|one| one.name == "q").unwrap();
    let queue_type = queue.arguments.view().get("x-queue-type");
    assert_eq!(
        queue_type,
        Some(leveret_protocol::Value::LongStr(b"quorum"))
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

fn any_argument() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1.0e9..1.0e9).prop_map(Json::from),
        "\\PC{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn any_arguments() -> impl Strategy<Value = Json> {
    prop::collection::btree_map("k[a-z]{1,3}", any_argument(), 0..3)
        .prop_map(|map| Json::Object(map.into_iter().collect()))
}

prop_compose! {
    fn any_file()(
        queues in prop::collection::btree_map("[a-zé\"\\\\]{1,4}", (any::<bool>(), any::<bool>(), any_arguments()), 0..5),
        exchanges in prop::collection::btree_map("[a-z]{1,4}", (0..4_usize, any::<bool>(), any::<bool>(), any_arguments()), 0..4),
        bindings in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>(), "[a-z.#*]{0,5}", any_arguments()), 0..8),
        users in prop::collection::btree_map("[a-z]{1,5}", (prop::collection::vec("[a-z]{1,3}", 0..3), prop::option::of(0..9_u32), any::<bool>()), 0..4),
        limits in prop::option::of(0..9_u32),
        policies in prop::collection::btree_map("[a-zé\"\\\\]{1,4}", any_policy(), 0..6),
        description in "\\PC{0,9}",
    ) -> Json {
        let vhost = |at: usize| ["/", "shop"][at % 2];
        let kinds = ["direct", "fanout", "topic", "headers"];
        let queue_names: Vec<_> = queues.keys().cloned().collect();
        let exchange_names: Vec<_> = exchanges.keys().cloned().collect();
        let mut file = json!({
            "vhosts": [{"name": "/", "description": description, "tags": []},
                       {"name": "shop", "metadata": {"description": "", "tags": "a, b"}}],
        });
        file["queues"] = queues.iter().enumerate().map(|(at, (name, (durable, auto_delete, arguments)))| json!({
            "name": name, "vhost": vhost(at), "durable": durable, "auto_delete": auto_delete, "arguments": arguments,
        })).collect();
        file["exchanges"] = exchanges.iter().enumerate().map(|(at, (name, (kind, durable, internal, arguments)))| json!({
            "name": name, "vhost": vhost(at), "type": kinds[*kind], "durable": durable, "auto_delete": false,
            "internal": internal, "arguments": arguments,
        })).collect();
        file["bindings"] = bindings.iter().filter_map(|(from, to, to_exchange, key, arguments)| {
            let from = (!exchange_names.is_empty()).then(|| from.index(exchange_names.len()))?;
            let names = if *to_exchange { &exchange_names } else { &queue_names };
            let to = (!names.is_empty()).then(|| to.index(names.len()))?;
            (from % 2 == to % 2).then(|| json!({
                "source": exchange_names[from], "vhost": vhost(from), "destination": names[to],
                "destination_type": if *to_exchange { "exchange" } else { "queue" },
                "routing_key": key, "arguments": arguments,
            }))
        }).collect();
        file["users"] = users.iter().map(|(name, (tags, max, has_password))| json!({
            "name": name, "tags": tags, "limits": max.map(|max| json!({"max-channels": max})).unwrap_or_else(|| json!({})),
            "password": if *has_password { "hush" } else { "" },
        })).collect();
        file["permissions"] = users.keys().map(|name| json!({
            "user": name, "vhost": "shop", "configure": "", "write": "^x", "read": ".*",
        })).collect();
        let of_operators = policies.iter().filter(|(_, one)| one.is_operator).map(|(name, one)| {
            json!({"vhost": one.vhost, "component": "operator_policy", "name": name, "value": one.rule()})
        });
        let limits = limits.map(|max| json!({"vhost": "shop", "component": "vhost-limits", "name": "limits",
                                             "value": {"max-queues": max}}));
        file["parameters"] = of_operators.chain(limits).collect();
        file["policies"] = policies.iter().filter(|(_, one)| !one.is_operator).map(|(name, one)| {
            let mut policy = one.rule();
            (policy["vhost"], policy["name"]) = (json!(one.vhost), json!(name));
            policy
        }).collect();
        file
    }
}

/// A policy without its name.
#[derive(Clone, Debug)]
struct AnyPolicy {
    vhost: &'static str,
    is_operator: bool,
    pattern: &'static str,
    apply_to: &'static str,
    priority: i64,
    definition: Vec<(&'static str, Json)>,
}

impl AnyPolicy {
    /// What it says, as an entry of policies and the value of a parameter say it.
    fn rule(&self) -> Json {
        let entries = self.definition.iter().cloned();
        let definition: serde_json::Map<_, _> = entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        json!({"pattern": self.pattern, "apply-to": self.apply_to, "priority": self.priority,
               "definition": definition})
    }
}

/// Keys of every shape of value, those that operator policies have first.
fn any_definition(is_operator: bool) -> impl Strategy<Value = Vec<(&'static str, Json)>> {
    let all = vec![
        ("max-length", json!(0)),
        ("max-length-bytes", json!(i64::MAX)),
        ("message-ttl", json!(1)),
        ("expires", json!(60_000)),
        ("overflow", json!("reject-publish")),
        ("delivery-limit", json!(7)),
        ("target-group-size", json!(3)),
        ("dead-letter-exchange", json!("dé\"ad")),
        ("dead-letter-routing-key", json!("")),
        ("alternate-exchange", json!("x")),
        ("consumer-timeout", json!(0)),
        ("queue-leader-locator", json!("balanced")),
        ("federation-upstream", json!("far")),
        ("max-age", json!("1D")),
    ];
    let having = if is_operator { 7 } else { all.len() };
    let mirroring = prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![("ha-mode", json!("all"))]),
        1 => Just(vec![("ha-mode", json!("exactly")), ("ha-params", json!(2))]),
        1 => Just(vec![("ha-mode", json!("nodes")), ("ha-params", json!(["rabbit@one", "é"]))]),
    ];
    let chosen = prop::sample::subsequence(all[..having].to_vec(), 1..=having);
    (chosen, mirroring).prop_map(|(mut chosen, mirroring)| {
        chosen.extend(mirroring);
        chosen
    })
}

fn any_policy() -> impl Strategy<Value = AnyPolicy> {
    let patterns = ["", "^[a-c]", "b$", "\\."];
    let apply_to = crate::core::policy::ApplyTo::EVERY.map(|one| one.as_str());
    let rest = (
        prop::sample::select(vec!["/", "shop"]),
        prop::sample::select(patterns.to_vec()),
        prop::sample::select(apply_to.to_vec()),
        prop_oneof![-2..3_i64, any::<i64>()],
    );
    let defined =
        any::<bool>().prop_flat_map(|is_operator| (Just(is_operator), any_definition(is_operator)));
    (rest, defined).prop_map(
        |((vhost, pattern, apply_to, priority), (is_operator, definition))| AnyPolicy {
            vhost,
            is_operator,
            pattern,
            apply_to,
            priority,
            definition,
        },
    )
}

/// The keys that a report of this file names: those that decide nothing on one node.
fn keys_without_effect(file: &Json) -> usize {
    let applied = [
        "max-length",
        "max-length-bytes",
        "message-ttl",
        "expires",
        "overflow",
        "delivery-limit",
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "alternate-exchange",
        "consumer-timeout",
    ];
    let entries = ["/policies", "/parameters"]
        .into_iter()
        .flat_map(|at| file.pointer(at).unwrap().as_array().unwrap());
    let definitions =
        entries.filter_map(|one| one.get("definition").or(one.pointer("/value/definition")));
    let keys = definitions.flat_map(|one| one.as_object().unwrap().keys());
    keys.filter(|key| !applied.contains(&key.as_str())).count()
}

/// A node without users or vhosts of its own.
fn empty_node() -> Node {
    let config = Config::from_toml("users = []\nvhosts = [{ name = 'shop' }]");
    Node::new(config.unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_imported_and_exported_is_the_same_when_it_is_imported_and_exported_again(file in any_file()) {
        let read = definitions(&file.to_string());
        let once = empty_node();
        let (report, _) = importing::import(&once, &read).unwrap();
        prop_assert_eq!(report.not_honoured.len(), keys_without_effect(&file), "{:?}", report.not_honoured);
        prop_assert_eq!(report.policies, read.policies.len());
        prop_assert_eq!(report.queues, read.queues.len());
        prop_assert_eq!(report.exchanges, read.exchanges.len());
        let exported = written(&importing::export(&once));
        let again = definitions(&exported);
        let twice = empty_node();
        importing::import(&twice, &again).unwrap();
        prop_assert_eq!(&written(&importing::export(&twice)), &exported);
        // What is there already changes nothing.
        let (report, _) = importing::import(&twice, &again).unwrap();
        prop_assert_eq!((report.exchanges, report.queues, report.bindings), (0, 0, 0));
        prop_assert_eq!(&written(&importing::export(&twice)), &exported);
        // Nothing was lost on the way in: entry by entry, the export says what the file said.
        for section in ["queues", "exchanges", "policies", "parameters"] {
            let said: Json = serde_json::from_str(&exported).unwrap();
            for entry in file[section].as_array().unwrap() {
                let same = said[section].as_array().unwrap().iter().any(|one| {
                    entry.as_object().unwrap().iter().all(|(key, value)| one.get(key) == Some(value))
                });
                prop_assert!(same, "{} lacks {}", exported, entry);
            }
        }
    }

    #[test]
    fn no_json_makes_reading_or_trying_it_panic(
        sections in prop::collection::btree_map(
            prop::sample::select(vec![
                "users", "vhosts", "permissions", "topic_permissions", "parameters", "global_parameters",
                "policies", "exchanges", "queues", "bindings", "original_vhost_name", "limits", "metadata",
                "rabbitmq_definition_format",
            ]),
            prop_oneof![any_argument(), prop::collection::vec(any_fields(), 0..3).prop_map(Json::from)],
            0..6,
        )
    ) {
        let file = Json::Object(sections.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        if let Ok(read) = Definitions::from_json(&file.to_string(), "/") {
            let _ = dry_run(&read, &Config::default());
            written(&read);
        }
    }

    #[test]
    fn no_text_makes_reading_it_panic(text in "[\\[\\]{}\":,a-z0-9.\\\\-]{0,40}") {
        let _ = Definitions::from_json(&text, "/");
    }
}

/// An entry whose fields have the names of fields and sometimes the right types.
fn any_fields() -> impl Strategy<Value = Json> {
    let keys = vec![
        "name",
        "vhost",
        "user",
        "source",
        "destination",
        "destination_type",
        "routing_key",
        "arguments",
        "type",
        "durable",
        "auto_delete",
        "internal",
        "component",
        "value",
        "pattern",
        "definition",
        "priority",
        "apply-to",
        "tags",
        "limits",
        "metadata",
        "password",
        "password_hash",
        "configure",
        "write",
        "read",
        "exchange",
        "default_queue_type",
    ];
    let texts = prop::sample::select(vec![
        "",
        "/",
        "q",
        "amq.direct",
        "amq.headers",
        "direct",
        "queue",
        "exchange",
        "vhost-limits",
        "operator_policy",
        "guest",
        "(",
        "AAAAAA==",
        "quorum",
        "stream",
    ]);
    let value = prop_oneof![texts.prop_map(Json::from), any_argument()];
    prop::collection::btree_map(prop::sample::select(keys), value, 0..12).prop_map(|map| {
        Json::Object(
            map.into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    })
}
