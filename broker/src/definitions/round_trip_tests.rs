//! Reading, importing into a node and writing: proptest over generated definitions, and over no definitions.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::tests::{definitions, written};
use super::*;
use crate::config::Config;
use crate::importing;
use crate::node::Node;

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
    let definitions = entries.filter_map(|one| {
        let inner = one.pointer("/value/definition");
        one.get("definition").or(inner)
    });
    let keys = definitions.flat_map(|one| one.as_object().unwrap().keys());
    keys.filter(|key| !applied.contains(&key.as_str())).count()
}

/// A node without users.
fn empty_node() -> Node {
    let config = Config::from_toml("default_user = ''");
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
