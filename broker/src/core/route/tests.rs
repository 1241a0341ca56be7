//! Routing over bindings between exchanges and alternates, by rule.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::core::permission::{Part, Resource};
use crate::core::policy::{ApplyTo, Policy, PolicyKind};
use crate::core::topology::tests::{
    exchange, queue, refusal, to_exchange, to_queue, topology, with_alternate,
};
use crate::core::topology::{Command, ExchangeDeclare};
use leveret_protocol::{TableBuf, Value};

/// Exchanges f1, f2, f3 (fanout), d1, d2, d3 (direct), queues q1, q2, q3.
fn small() -> Topology {
    let mut topology = topology();
    for name in ["f1", "f2", "f3"] {
        topology.add_exchange(exchange(name, "fanout"));
    }
    for name in ["d1", "d2", "d3"] {
        topology.add_exchange(exchange(name, "direct"));
    }
    for name in ["q1", "q2", "q3"] {
        topology.add_queue(queue(name));
    }
    topology
}

fn add_with_alternate(topology: &mut Topology, name: &str, alternate: &str) {
    let arguments = with_alternate(alternate);
    topology.add_exchange(ExchangeDeclare {
        arguments: arguments.view(),
        ..exchange(name, "direct")
    });
}

fn targets(topology: &Topology, exchange: &str, keys: &[&str]) -> Targets {
    let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
    let routing = Routing {
        routing_keys: &keys,
        headers: None,
        ..Routing::default()
    };
    topology.route(exchange.as_bytes(), &routing).unwrap()
}

fn names(targets: &Targets) -> Vec<&str> {
    targets
        .queues()
        .iter()
        .map(|queue| &**queue.name())
        .collect()
}

#[test]
fn route_03_and_bind_03_a_queue_is_found_once() {
    let mut topology = small();
    topology.add_binding(to_queue("d1", "q2", "a"));
    topology.add_binding(to_queue("d1", "q2", "b"));
    topology.add_binding(to_queue("d1", "q1", "b"));
    topology.add_binding(to_exchange("d1", "f1", "a"));
    topology.add_binding(to_queue("f1", "q2", ""));
    assert_eq!(
        names(&targets(&topology, "d1", &["a", "b", "a"])),
        ["q1", "q2"]
    );
    assert_eq!(
        names(&targets(&topology, "", &["q3", "q1", "q3", "no"])),
        ["q1", "q3"]
    );
}

#[test]
fn pub_01_a_missing_exchange_is_no_exchange() {
    let topology = small();
    let routing = Routing {
        routing_keys: &[b"q1"],
        headers: None,
        ..Routing::default()
    };
    assert_eq!(topology.route(b"none", &routing).unwrap_err(), NoExchange);
    assert_eq!(topology.route(b"\xff", &routing).unwrap_err(), NoExchange);
    assert_eq!(
        refusal(topology.route_publish(b"none", &routing)),
        "NOT_FOUND - no exchange 'none' in vhost '/'"
    );
}

#[test]
fn exch_28_internal_exchanges_are_reached_by_every_other_way() {
    let mut topology = small();
    topology.add_exchange(ExchangeDeclare {
        internal: true,
        ..exchange("i", "fanout")
    });
    topology.add_binding(to_queue("i", "q1", ""));
    topology.add_binding(to_exchange("f1", "i", ""));
    add_with_alternate(&mut topology, "a", "i");
    assert_eq!(topology.routed("f1", ""), ["q1"]);
    assert_eq!(topology.routed("a", ""), ["q1"]);
    assert_eq!(topology.routed("i", ""), ["q1"], "a dead letter's way");
    let routing = Routing {
        routing_keys: &[b""],
        headers: None,
        ..Routing::default()
    };
    assert!(topology.route_publish(b"f1", &routing).is_ok());
    assert!(refusal(topology.route_publish(b"i", &routing)).contains("internal"));
}

#[test]
fn bind_14_cycles_are_walked_once() {
    let mut topology = small();
    for (source, destination) in [("f1", "f2"), ("f2", "f3"), ("f3", "f1"), ("f1", "f1")] {
        topology.add_binding(to_exchange(source, destination, ""));
    }
    topology.add_binding(to_queue("f3", "q1", ""));
    for start in ["f1", "f2", "f3"] {
        assert_eq!(topology.routed(start, ""), ["q1"]);
    }
}

#[test]
fn ae_01_what_matches_nothing_goes_to_the_alternate() {
    let mut topology = small();
    add_with_alternate(&mut topology, "a", "f1");
    topology.add_binding(to_queue("a", "q1", "known"));
    topology.add_binding(to_queue("f1", "q2", ""));
    assert_eq!(topology.routed("a", "known"), ["q1"]);
    assert_eq!(topology.routed("a", "unknown"), ["q2"]);
    assert_eq!(
        names(&targets(&topology, "a", &["unknown", "known"])),
        ["q1"]
    );
}

#[test]
fn ae_03_a_missing_alternate_is_no_route() {
    let mut topology = small();
    add_with_alternate(&mut topology, "a", "late");
    assert!(topology.routed("a", "k").is_empty());
    topology.add_exchange(exchange("late", "fanout"));
    topology.add_binding(to_queue("late", "q1", ""));
    assert_eq!(topology.routed("a", "k"), ["q1"]);
}

#[test]
fn ae_04_chains_are_followed_and_cycles_end() {
    let mut topology = small();
    for (name, alternate) in [("a", "b"), ("b", "c"), ("c", "a"), ("self", "self")] {
        add_with_alternate(&mut topology, name, alternate);
    }
    assert!(topology.routed("a", "k").is_empty());
    assert!(topology.routed("self", "k").is_empty());
    topology.add_binding(to_queue("c", "q1", "k"));
    assert_eq!(topology.routed("a", "k"), ["q1"]);
}

#[test]
fn ae_05_alternates_are_for_every_hop_and_exchanges_are_destinations() {
    let mut topology = small();
    add_with_alternate(&mut topology, "a", "f1");
    topology.add_binding(to_queue("f1", "q1", ""));
    topology.add_binding(to_exchange("f2", "a", ""));
    assert_eq!(topology.routed("f2", "k"), ["q1"], "the alternate of a hop");
    topology.add_binding(to_exchange("a", "d1", "k"));
    assert!(topology.routed("a", "k").is_empty(), "d1 leads nowhere");
    topology.add_binding(to_exchange("a", "a", "self"));
    assert!(topology.routed("a", "self").is_empty(), "seen before");
}

#[test]
fn ae_06_the_default_exchange_is_no_use_as_an_alternate() {
    let mut topology = small();
    add_with_alternate(&mut topology, "a", "");
    assert!(topology.routed("a", "q1").is_empty());
}

fn alternate_policy(pattern: &str, alternate: &str) -> Arc<Policy> {
    let definition = [("alternate-exchange", alternate)];
    let kind = PolicyKind::User;
    Arc::new(Policy::new(kind, "p", pattern, ApplyTo::Exchanges, 0, definition).unwrap())
}

#[test]
fn ae_07_a_policy_sets_an_alternate_and_an_argument_overrides_it() {
    let mut topology = small();
    topology.add_binding(to_queue("f1", "q1", ""));
    topology.add_binding(to_queue("f2", "q2", ""));
    add_with_alternate(&mut topology, "a", "f1");
    topology.apply(Command::SetPolicy(alternate_policy("^(a|d1)$", "f2")));
    assert_eq!(topology.routed("d1", "k"), ["q2"]);
    assert_eq!(topology.routed("a", "k"), ["q1"]);
    topology.apply(Command::ClearPolicy(PolicyKind::User, "p".into()));
    assert!(topology.routed("d1", "k").is_empty());
    topology.apply(Command::SetPolicy(alternate_policy("", "f2")));
    assert!(
        topology.routed("", "missing").is_empty(),
        "the default one has none"
    );
}

#[test]
fn ae_08_declaring_an_alternate_asks_three_questions() {
    let topology = small();
    let arguments = with_alternate("");
    let request = ExchangeDeclare {
        arguments: arguments.view(),
        ..exchange("a", "direct")
    };
    let mut asked = Vec::new();
    let plan = topology.plan_declare_exchange(&request, &mut |part, resource| {
        let Resource::Exchange(name) = resource else {
            panic!("{resource:?}");
        };
        asked.push((part, name.to_owned()));
        Ok(())
    });
    assert!(plan.is_ok());
    let expected = [
        (Part::Exchange, "a".to_owned()),
        (Part::DivertingExchange, "a".to_owned()),
        (Part::AlternateExchange, String::new()),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn route_with_headers() {
    let mut topology = small();
    topology.add_exchange(exchange("h", "headers"));
    let red = TableBuf::new().with("colour", Value::LongStr(b"red"));
    let request = crate::core::topology::BindRequest {
        arguments: red.view(),
        ..to_queue("h", "q1", "")
    };
    topology.add_binding(request);
    let routing = Routing {
        routing_keys: &[b""],
        headers: Some(red.view()),
        ..Routing::default()
    };
    let found = topology.route(b"h", &routing).unwrap();
    assert_eq!(names(&found), ["q1"]);
    assert!(!found.may_be_kept(), "the headers decide");
}

/// An answer stays valid exactly until something on its path changes.
#[test]
fn answers_know_when_they_are_stale() {
    type Act = fn(&mut Topology);
    let setup: Act = |topology| {
        add_with_alternate(topology, "a", "f1");
        topology.add_binding(to_exchange("f1", "d1", ""));
        topology.add_binding(to_queue("d1", "q1", "k"));
        topology.add_binding(to_queue("d1", "q2", "k"));
        topology.add_binding(to_queue("d2", "q3", "k"));
    };
    let unrelated: [Act; 5] = [
        |t| drop(t.add_queue(queue("q4"))),
        |t| t.add_exchange(exchange("f4", "fanout")),
        |t| t.add_binding(to_queue("d2", "q1", "k")),
        |t| drop(t.drop_queue("q3")),
        |t| drop(t.drop_exchange("d2")),
    ];
    for act in unrelated {
        let mut topology = small();
        setup(&mut topology);
        let found = targets(&topology, "a", &["k"]);
        assert!(found.may_be_kept());
        act(&mut topology);
        assert!(found.is_valid());
    }
    let related: [Act; 8] = [
        |t| t.add_binding(to_queue("a", "q3", "k")),
        |t| t.add_binding(to_queue("d1", "q3", "k")),
        |t| drop(t.take_binding(to_queue("d1", "q1", "k"))),
        |t| drop(t.take_binding(to_exchange("f1", "d1", ""))),
        |t| drop(t.drop_queue("q1")),
        |t| drop(t.drop_exchange("a")),
        |t| drop(t.drop_exchange("d1")),
        |t| {
            t.apply(Command::SetPolicy(alternate_policy("^d1$", "f1")));
        },
    ];
    for (number, act) in related.into_iter().enumerate() {
        let mut topology = small();
        setup(&mut topology);
        let found = targets(&topology, "a", &["k"]);
        assert_eq!(names(&found), ["q1", "q2"]);
        act(&mut topology);
        assert!(!found.is_valid(), "change {number}");
    }
}

#[test]
fn answers_by_name_are_stale_when_the_queue_is_gone() {
    let mut topology = small();
    let found = targets(&topology, "", &["q1"]);
    assert!(found.may_be_kept());
    topology.add_queue(queue("another"));
    topology.drop_queue("q2");
    assert!(found.is_valid());
    topology.drop_queue("q1");
    assert!(!found.is_valid());
}

#[test]
fn some_answers_are_for_one_message() {
    let mut topology = small();
    topology.add_binding(to_queue("f1", "q1", ""));
    assert!(!targets(&topology, "f1", &["a", "b"]).may_be_kept());
    assert!(!targets(&topology, "", &["q1", "q2"]).may_be_kept());
    assert!(!targets(&topology, "", &["none"]).may_be_kept());
    assert!(!targets(&topology, "f2", &["a"]).may_be_kept(), "no queue");
    // The other branch may gain queues without any exchange on the path changing.
    add_with_alternate(&mut topology, "a", "late");
    topology.add_binding(to_exchange("f1", "a", ""));
    let found = targets(&topology, "f1", &["a"]);
    assert_eq!(names(&found), ["q1"]);
    assert!(!found.may_be_kept());
}

#[test]
fn very_wide_answers_are_not_kept() {
    let mut topology = small();
    for n in 0..=KEPT_QUEUES_MAX {
        let name = format!("wide{n}");
        topology.add_queue(queue(&name));
        topology.add_binding(to_queue("f1", &name, ""));
    }
    let found = targets(&topology, "f1", &[""]);
    assert_eq!(found.queues().len(), KEPT_QUEUES_MAX + 1);
    assert!(!found.may_be_kept());
}

/// The same commands give the same state, whatever the seeds of the hash maps.
#[test]
fn applying_is_deterministic() {
    let run = || {
        let mut topology = small();
        let mut changes = Vec::new();
        for (source, queue) in [("f1", "q3"), ("f1", "q1"), ("d1", "q2"), ("f2", "q2")] {
            for key in ["z", "a", "m"] {
                topology.add_binding(to_queue(source, queue, key));
            }
        }
        topology.add_binding(to_exchange("f1", "f2", ""));
        changes.extend(topology.drop_exchange("f1"));
        changes.extend(topology.drop_queue("q2"));
        let bindings: Vec<_> = topology.bindings().iter().cloned().collect();
        let exchanges: Vec<_> = topology
            .exchanges()
            .iter()
            .map(|x| x.spec().clone())
            .collect();
        (changes, bindings, exchanges)
    };
    assert_eq!(run(), run());
}
