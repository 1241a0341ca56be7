//! Policies and operator policies of definitions, imported into a node.

#![allow(clippy::unwrap_used)]

use serde_json::{Value as Json, json};

use super::tests::{definitions, file, node, problems_of, sorted};
use crate::importing;

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
