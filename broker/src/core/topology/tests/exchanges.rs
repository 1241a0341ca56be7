//! Declaring and deleting exchanges, by rule.

use super::*;
use leveret_protocol::Value;

fn declare(topology: &Topology, request: ExchangeDeclare<'_>) -> Result<Planned<Standing>, Fault> {
    topology.plan_declare_exchange(&request, &mut allow)
}

fn delete(topology: &Topology, name: &str, if_unused: bool) -> Result<Planned<Standing>, Fault> {
    topology.plan_delete_exchange(&ExchangeDelete { name, if_unused }, &mut allow)
}

#[test]
fn exch_01_predeclared_exchanges() {
    let topology = topology();
    let names: Vec<_> = topology
        .exchanges()
        .iter()
        .map(|x| (x.spec().name.to_string(), x.spec().kind.name))
        .collect();
    let expected = [
        ("", "direct"),
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
        ("amq.rabbitmq.trace", "topic"),
    ];
    assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert!(topology.exchanges().iter().all(|x| x.spec().durable));
    let again = ExchangeDeclare {
        durable: true,
        ..exchange("amq.direct", "direct")
    };
    assert_eq!(
        declare(&topology, again),
        Ok(Planned::Answer(Standing::Recorded))
    );
}

#[test]
fn exch_03_and_04_the_type_is_checked_first() {
    let topology = topology();
    let text = "PRECONDITION_FAILED - unknown exchange type 'x-nope'";
    for name in ["e", "", "amq.new"] {
        let mut asked = Asked::new("");
        let request = exchange(name, "x-nope");
        let plan = topology.plan_declare_exchange(&request, &mut |p, r| asked.answer(p, r));
        assert_eq!(refusal(plan), text);
        assert!(asked.questions.is_empty());
    }
    assert!(refusal(declare(&topology, exchange("e", "Fanout"))).contains("unknown"));
}

#[test]
fn exch_05_and_20_the_default_exchange_is_not_to_be_declared() {
    let topology = topology();
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";
    assert_eq!(refusal(declare(&topology, exchange("", "direct"))), text);
    assert_eq!(
        refusal(declare(&topology, exchange("\r\n", "direct"))),
        text
    );
    assert_eq!(refusal(topology.check_exchange("").map(|_| ())), text);
    assert_eq!(refusal(delete(&topology, "", false)), text);
}

#[test]
fn exch_06_reserved_names_come_after_permissions() {
    let topology = topology();
    assert_eq!(
        refusal(declare(&topology, exchange("amq.mine", "direct"))),
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"
    );
    let mut asked = Asked::new("Exchange amq.mine");
    let request = exchange("amq.mine", "direct");
    let plan = topology.plan_declare_exchange(&request, &mut |p, r| asked.answer(p, r));
    assert_eq!(refusal(plan), "ACCESS_REFUSED - refused");
}

#[test]
fn exch_07_and_08_passive_looks_only_for_existence() {
    let mut topology = topology();
    topology.add_exchange(exchange("e", "topic"));
    assert_eq!(
        topology.check_exchange("e").unwrap().spec().kind.name,
        "topic"
    );
    assert!(topology.check_exchange("\ne").is_ok());
    for missing in ["f", "amq.f"] {
        assert_eq!(
            refusal(topology.check_exchange(missing).map(|_| ())),
            format!("NOT_FOUND - no exchange '{missing}' in vhost '/'")
        );
    }
}

#[test]
fn exch_09_to_13_what_differs_is_named_in_order() {
    let mut topology = topology();
    topology.add_exchange(exchange("e", "direct"));
    let same = exchange("e", "direct");
    assert_eq!(
        declare(&topology, same),
        Ok(Planned::Answer(Standing::Transient))
    );
    let differs = |request, argument, received, current| {
        assert_eq!(
            refusal(declare(&topology, request)),
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange 'e' in vhost '/': \
                 received '{received}' but current is '{current}'"
            )
        );
    };
    let internal = ExchangeDeclare {
        internal: true,
        ..same
    };
    let auto_delete = ExchangeDeclare {
        auto_delete: true,
        ..internal
    };
    let durable = ExchangeDeclare {
        durable: true,
        ..auto_delete
    };
    let kind = ExchangeDeclare {
        kind: "fanout",
        ..durable
    };
    differs(internal, "internal", "true", "false");
    differs(auto_delete, "auto_delete", "true", "false");
    differs(durable, "durable", "true", "false");
    differs(kind, "type", "fanout", "direct");
}

#[test]
fn exch_14_only_the_alternate_is_compared_of_the_arguments() {
    let mut topology = topology();
    let a = with_alternate("a").with("other", Value::I32(1));
    let with = |name: &'static str, arguments| ExchangeDeclare {
        arguments,
        ..exchange(name, "direct")
    };
    let same = with_alternate("a");
    topology.add_exchange(with("e", a.view()));
    topology.add_exchange(exchange("plain", "direct"));
    assert_eq!(
        declare(&topology, with("e", same.view())),
        Ok(Planned::Answer(Standing::Transient))
    );
    let check = |request, said: &str| {
        let text = refusal(declare(&topology, request));
        let rest = text.split_once("in vhost '/': ").unwrap().1;
        assert_eq!(rest, said, "{text}");
    };
    let b = with_alternate("b");
    check(with("e", b.view()), "received 'b' but current is 'a'");
    check(
        exchange("e", "direct"),
        "received none but current is the value 'a' of type 'longstr'",
    );
    check(
        with("plain", b.view()),
        "received the value 'b' of type 'longstr' but current is none",
    );
    let number = TableBuf::new().with("alternate-exchange", Value::I32(7));
    check(with("e", number.view()), "received '7' but current is 'a'");
}

#[test]
fn exch_15_an_alternate_is_named_by_a_string() {
    let number = TableBuf::new().with("alternate-exchange", Value::I32(7));
    let request = ExchangeDeclare {
        arguments: number.view(),
        ..exchange("e", "direct")
    };
    assert_eq!(
        refusal(declare(&topology(), request)),
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'e' \
         in vhost '/'"
    );
}

#[test]
fn exch_18_deletion_takes_the_bindings_of_both_sides() {
    let mut topology = topology();
    for name in ["a", "b", "c"] {
        topology.add_exchange(exchange(name, "fanout"));
    }
    topology.add_queue(queue("q"));
    topology.add_binding(to_exchange("a", "b", "ab"));
    topology.add_binding(to_exchange("b", "c", "bc"));
    topology.add_binding(to_queue("b", "q", "bq"));
    topology.add_binding(to_queue("c", "q", "cq"));
    let gone = topology.drop_exchange("b");
    assert_eq!(
        gone,
        ["-exchange b", "-binding bq", "-binding bc", "-binding ab"]
    );
    assert_eq!(topology.bindings().iter().count(), 1);
    assert_eq!(topology.routed("c", ""), ["q"]);
    assert!(topology.routed("a", "").is_empty());
    topology.add_exchange(exchange("b", "topic"));
    assert!(topology.routed("b", "").is_empty());
}

#[test]
fn exch_19_deleting_what_is_missing_is_done_already() {
    for if_unused in [false, true] {
        assert_eq!(
            delete(&topology(), "none", if_unused),
            Ok(Planned::Answer(Standing::Recorded))
        );
    }
}

#[test]
fn exch_21_system_exchanges_stay_whoever_asks() {
    let topology = topology();
    for name in ["amq.direct", "amq.missing"] {
        let mut asked = Asked::new("");
        let request = ExchangeDelete {
            name,
            if_unused: false,
        };
        let plan = topology.plan_delete_exchange(&request, &mut |p, r| asked.answer(p, r));
        assert_eq!(
            refusal(plan),
            format!(
                "ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed"
            )
        );
        assert!(asked.questions.is_empty());
    }
}

#[test]
fn exch_22_and_23_in_use_means_as_a_source() {
    let mut topology = topology();
    topology.add_exchange(exchange("a", "fanout"));
    topology.add_exchange(exchange("b", "fanout"));
    topology.add_binding(to_exchange("a", "b", ""));
    assert_eq!(
        refusal(delete(&topology, "a", true)),
        "PRECONDITION_FAILED - exchange 'a' in vhost '/' in use"
    );
    assert!(matches!(
        delete(&topology, "b", true),
        Ok(Planned::Apply(_))
    ));
    assert!(matches!(
        delete(&topology, "a", false),
        Ok(Planned::Apply(_))
    ));
}

fn auto_delete(name: &str) -> ExchangeDeclare<'_> {
    ExchangeDeclare {
        auto_delete: true,
        ..exchange(name, "fanout")
    }
}

#[test]
fn exch_25_the_last_binding_as_a_source_takes_the_exchange() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    topology.add_queue(queue("r"));
    topology.add_exchange(exchange("to", "fanout"));
    for name in ["by-unbind", "by-queue", "by-exchange", "never"] {
        topology.add_exchange(auto_delete(name));
    }
    topology.add_binding(to_queue("by-unbind", "q", "1"));
    topology.add_binding(to_queue("by-unbind", "q", "2"));
    topology.add_binding(to_queue("by-queue", "r", "3"));
    topology.add_binding(to_queue("by-queue", "r", "4"));
    topology.add_binding(to_exchange("by-exchange", "to", "5"));
    assert_eq!(
        topology.take_binding(to_queue("by-unbind", "q", "1")),
        ["-binding 1"]
    );
    assert_eq!(
        topology.take_binding(to_queue("by-unbind", "q", "2")),
        ["-binding 2", "-exchange by-unbind"]
    );
    assert_eq!(
        topology.drop_queue("r"),
        ["-queue r", "-binding 3", "-binding 4", "-exchange by-queue"]
    );
    assert_eq!(
        topology.drop_exchange("to"),
        ["-exchange to", "-binding 5", "-exchange by-exchange"]
    );
    assert!(topology.check_exchange("never").is_ok());
}

#[test]
fn exch_26_being_unbound_as_a_destination_deletes_nothing() {
    let mut topology = topology();
    topology.add_exchange(exchange("a", "fanout"));
    topology.add_exchange(auto_delete("b"));
    topology.add_binding(to_exchange("a", "b", ""));
    topology.take_binding(to_exchange("a", "b", ""));
    topology.add_binding(to_exchange("a", "b", ""));
    topology.drop_exchange("a");
    assert!(topology.check_exchange("b").is_ok());
}

#[test]
fn exch_27_auto_delete_cascades() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    for name in ["a", "b", "c"] {
        topology.add_exchange(auto_delete(name));
    }
    topology.add_binding(to_exchange("a", "b", "ab"));
    topology.add_binding(to_exchange("b", "c", "bc"));
    topology.add_binding(to_queue("c", "q", "cq"));
    assert_eq!(
        topology.drop_queue("q"),
        [
            "-queue q",
            "-binding cq",
            "-exchange c",
            "-binding bc",
            "-exchange b",
            "-binding ab",
            "-exchange a"
        ]
    );
}

#[test]
fn exch_27_a_cascade_of_thousands_needs_no_stack() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    let names: Vec<_> = (0..5000).map(|n| format!("e{n}")).collect();
    names
        .iter()
        .for_each(|name| topology.add_exchange(auto_delete(name)));
    for pair in names.windows(2) {
        topology.add_binding(to_exchange(&pair[0], &pair[1], ""));
    }
    topology.add_binding(to_queue(&names[4999], "q", ""));
    assert_eq!(topology.routed("e0", ""), ["q"]);
    topology.drop_queue("q");
    assert_eq!(topology.exchanges().len(), PREDECLARED.len());
    assert_eq!(topology.bindings().iter().count(), 0);
}

#[test]
fn exch_28_internal_exchanges_are_not_published_to() {
    let mut topology = topology();
    topology.add_exchange(ExchangeDeclare {
        internal: true,
        ..exchange("e", "fanout")
    });
    let text = |name: &[u8]| refusal(topology.exchange_for_publish(name).map(|_| ()));
    assert_eq!(
        text(b"e"),
        "ACCESS_REFUSED - cannot publish to internal exchange 'e' in vhost '/'"
    );
    assert!(text(b"amq.rabbitmq.trace").contains("internal"));
    assert_eq!(text(b"none"), "NOT_FOUND - no exchange 'none' in vhost '/'");
    assert!(text(b"\xff").starts_with("NOT_FOUND"));
    assert!(topology.exchange_for_publish(b"").is_ok());
}

#[test]
fn exch_29_line_breaks_are_taken_out_of_names() {
    let mut topology = topology();
    topology.add_exchange(exchange("p\r\nx", "direct"));
    assert!(topology.exchange(b"px").is_some());
    assert_eq!(
        declare(&topology, exchange("px", "direct")),
        Ok(Planned::Answer(Standing::Transient))
    );
    topology.add_exchange(exchange("nul \0 / é", "direct"));
    assert_eq!(topology.drop_exchange("\npx").len(), 1);
    assert!(
        topology.exchange_for_publish(b"p\r\nx").is_err(),
        "publishing takes the name as it is (TABLE-11)"
    );
}

#[test]
fn perm_09_and_12_questions_come_in_order_and_only_when_needed() {
    let mut topology = topology();
    let arguments = with_alternate("alt");
    let request = ExchangeDeclare {
        arguments: arguments.view(),
        ..exchange("e", "direct")
    };
    let mut asked = Asked::new("");
    let plan = topology.plan_declare_exchange(&request, &mut |p, r| asked.answer(p, r));
    topology.run(plan);
    let create = ["Exchange e", "DivertingExchange e", "AlternateExchange alt"];
    assert_eq!(asked.questions, create);
    let mut asked = Asked::new("");
    let _ = topology.plan_declare_exchange(&request, &mut |p, r| asked.answer(p, r));
    assert_eq!(asked.questions, create[..1]);
}

#[test]
fn ids_are_never_used_again() {
    let mut topology = topology();
    topology.add_exchange(exchange("e", "direct"));
    let first = topology.check_exchange("e").unwrap().spec().id;
    topology.drop_exchange("e");
    topology.add_exchange(exchange("e", "direct"));
    assert!(topology.check_exchange("e").unwrap().spec().id > first);
}

/// A command planned before something else was applied: it must not resurrect or hit anything.
#[test]
fn commands_that_come_too_late_change_nothing() {
    let mut topology = topology();
    topology.add_exchange(exchange("e", "direct"));
    topology.add_queue(queue("q"));
    let bind = topology.plan_bind(&to_queue("e", "q", "k"), &mut allow);
    let bind_gone = topology.plan_bind(&to_queue("amq.fanout", "q", "k"), &mut allow);
    let twice = topology.plan_declare_queue(&queue("r"), &mut allow);
    topology.add_queue(queue("r"));
    topology.drop_exchange("e");
    topology.add_exchange(exchange("e", "direct"));
    assert!(topology.run(bind).is_empty());
    assert!(topology.run(twice).is_empty());
    topology.drop_queue("q");
    assert!(topology.run(bind_gone).is_empty());
    assert_eq!(topology.bindings().iter().count(), 0);
    assert!(topology.routed("e", "k").is_empty());
}
