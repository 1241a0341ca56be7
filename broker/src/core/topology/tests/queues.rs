//! Declaring, finding and deleting queues, by rule.

use super::*;
use leveret_protocol::Value;

const LOCKED: &str = "cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be \
                      originally declared on another connection or the exclusive property value does \
                      not match that of the original declaration.";

fn declare(
    topology: &Topology,
    request: QueueDeclare<'_>,
) -> Result<Planned<Arc<QueueHandle>>, Fault> {
    topology.plan_declare_queue(&request, &mut allow)
}

fn is_known(topology: &Topology, request: QueueDeclare<'_>) -> bool {
    matches!(declare(topology, request), Ok(Planned::Answer(_)))
}

fn delete(topology: &Topology, name: &str, who: ConnectionId) -> Result<bool, Fault> {
    let found = topology.check_delete_queue(name, who, &mut allow)?;
    Ok(found.is_some())
}

fn exclusive(name: &str) -> QueueDeclare<'_> {
    QueueDeclare {
        exclusive: true,
        ..queue(name)
    }
}

/// RESOURCE_LOCKED with the one text that there is, cut as every text is (ERR-03).
fn is_locked<T: std::fmt::Debug>(result: Result<T, Fault>) {
    let fault = result.unwrap_err();
    assert_eq!(fault.code, ReplyCode::ResourceLocked);
    assert_eq!(fault.explanation, LOCKED);
}

#[test]
fn queue_02_and_09_redeclaring_finds_the_queue() {
    let mut topology = topology();
    let made = topology.add_queue(queue("q"));
    match declare(&topology, queue("q")).unwrap() {
        Planned::Answer(found) => assert!(Arc::ptr_eq(&made, &found)),
        Planned::Apply(command) => panic!("{command:?}"),
    }
    assert!(Arc::ptr_eq(
        &made,
        &topology.check_queue("q", OTHER).unwrap()
    ));
}

#[test]
fn queue_05_and_table_12_a_nameless_queue_is_named_by_the_server() {
    let mut topology = topology();
    let plan = declare(&topology, queue("\r\n"));
    assert_eq!(topology.run(plan), ["+queue amq.gen-1"]);
    assert!(topology.check_queue("amq.gen-1", OTHER).is_ok());
}

#[test]
fn queue_06_and_08_passive_wants_a_queue() {
    for name in ["", "none", "amq.none"] {
        assert_eq!(
            refusal(topology().check_queue(name, ME)),
            format!("NOT_FOUND - no queue '{name}' in vhost '/'")
        );
    }
}

#[test]
fn queue_07_reserved_names_come_before_permission_and_existence() {
    let mut topology = topology();
    let plan = declare(&topology, queue(""));
    topology.run(plan);
    let mut asked = Asked::new("");
    let request = queue("amq.gen-1");
    let plan = topology.plan_declare_queue(&request, &mut |p, r| asked.answer(p, r));
    assert_eq!(
        refusal(plan),
        "ACCESS_REFUSED - queue name 'amq.gen-1' contains reserved prefix 'amq.*'"
    );
    assert!(asked.questions.is_empty());
}

#[test]
fn queue_11_12_and_14_what_differs_is_named_in_order() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    let auto_delete = QueueDeclare {
        auto_delete: true,
        ..queue("q")
    };
    let durable = QueueDeclare {
        durable: true,
        ..auto_delete
    };
    for (request, argument) in [(auto_delete, "auto_delete"), (durable, "durable")] {
        assert_eq!(
            refusal(declare(&topology, request)),
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'q' in vhost '/': \
                 received 'true' but current is 'false'"
            )
        );
    }
}

#[test]
fn queue_13_and_excl_07_exclusive_must_be_the_same_and_comes_first() {
    let mut topology = topology();
    topology.add_queue(exclusive("mine"));
    is_locked(declare(&topology, queue("mine")));
    is_locked(declare(
        &topology,
        QueueDeclare {
            auto_delete: true,
            ..queue("mine")
        },
    ));
    topology.drop_queue("mine");
    topology.add_queue(queue("mine"));
    is_locked(declare(&topology, exclusive("mine")));
}

#[test]
fn queue_20_deleting_what_is_missing_is_done_already() {
    assert_eq!(delete(&topology(), "none", ME), Ok(false));
}

#[test]
fn queue_29_names_are_any_bytes_without_line_breaks() {
    let mut topology = topology();
    topology.add_queue(queue("z\nq"));
    assert!(topology.queue_for(b"zq", ME).is_ok());
    assert_eq!(
        refusal(topology.queue_for(b"z\nq", ME)),
        "NOT_FOUND - no queue 'z\nq' in vhost '/'",
        "get, consume and purge take the name as it is (TABLE-11)"
    );
    assert!(topology.check_queue("\rzq", ME).is_ok());
    assert_eq!(delete(&topology, "z\r\nq", ME), Ok(true));
    topology.add_queue(queue("a b/\0é"));
    assert_eq!(topology.routed("", "a b/\0é"), ["a b/\0é"]);
}

#[test]
fn queue_30_a_full_vhost_takes_no_new_queue() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    let limited = |name, max| QueueDeclare {
        queues_max: Some(max),
        ..queue(name)
    };
    assert_eq!(
        refusal(declare(&topology, limited("r", 1))),
        "PRECONDITION_FAILED - cannot declare queue 'r': queue limit in vhost '/' (1) is reached"
    );
    assert!(is_known(&topology, limited("q", 1)));
    assert!(declare(&topology, limited("r", 2)).is_ok());
}

#[test]
fn a_full_vhost_takes_no_new_exchange_and_no_new_binding() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    topology.add_exchange(exchange("x", "direct"));
    topology.add_binding(to_queue("x", "q", "a"));
    topology.set_limits(TopologyLimits {
        exchanges_max: Some(8),
        bindings_max: Some(1),
    });
    assert_eq!(
        refusal(topology.plan_declare_exchange(&exchange("y", "direct"), &mut allow)),
        "PRECONDITION_FAILED - cannot declare exchange 'y': exchange limit in vhost '/' (8) is reached"
    );
    assert_eq!(
        refusal(topology.plan_bind(&to_queue("x", "q", "b"), &mut allow)),
        "PRECONDITION_FAILED - cannot bind: binding limit in vhost '/' (1) is reached"
    );
    let again = topology.plan_bind(&to_queue("x", "q", "a"), &mut allow);
    assert!(
        matches!(again, Ok(Planned::Answer(_))),
        "it is there already"
    );
    topology.drop_queue("q");
    topology.add_queue(queue("q"));
    let freed = topology.plan_bind(&to_queue("x", "q", "b"), &mut allow);
    assert!(matches!(freed, Ok(Planned::Apply(_))), "{freed:?}");
}

#[test]
fn queue_34_and_exch_32_every_queue_is_reachable_by_its_name() {
    let mut topology = topology();
    topology.add_queue(queue("q"));
    assert_eq!(topology.routed("", "q"), ["q"]);
    topology.drop_queue("q");
    assert!(topology.routed("", "q").is_empty());
}

#[test]
fn excl_03_and_06_another_connections_queue_is_locked() {
    let mut topology = topology();
    topology.add_queue(exclusive("mine"));
    let theirs = |request: QueueDeclare<'static>| QueueDeclare {
        connection: OTHER,
        ..request
    };
    is_locked(declare(&topology, theirs(queue("mine"))));
    is_locked(declare(&topology, theirs(exclusive("mine"))));
    is_locked(topology.check_queue("mine", OTHER));
    is_locked(topology.queue_for(b"mine", OTHER));
    is_locked(delete(&topology, "mine", OTHER));
    assert_eq!(delete(&topology, "mine", ME), Ok(true));
    assert!(topology.queue_for(b"mine", ME).is_ok());
}

#[test]
fn excl_04_anyone_may_publish_to_an_exclusive_queue() {
    let mut topology = topology();
    topology.add_queue(exclusive("mine"));
    assert_eq!(topology.routed("", "mine"), ["mine"]);
}

#[test]
fn excl_05_an_exclusive_queue_is_never_durable() {
    let mut topology = topology();
    let durable = QueueDeclare {
        durable: true,
        ..exclusive("mine")
    };
    assert!(!topology.add_queue(durable).spec().durable);
    assert!(is_known(&topology, durable) && is_known(&topology, exclusive("mine")));
}

#[test]
fn excl_02_a_connection_finds_its_own_queues() {
    let mut topology = topology();
    let names = |topology: &Topology| -> Vec<_> {
        let queues = topology.exclusive_queues(ME);
        queues.iter().map(|q| q.name().to_string()).collect()
    };
    for name in ["b", "a", "c"] {
        topology.add_queue(exclusive(name));
    }
    topology.add_queue(queue("shared"));
    topology.add_queue(QueueDeclare {
        connection: OTHER,
        ..exclusive("theirs")
    });
    topology.drop_queue("a");
    assert_eq!(names(&topology), ["b", "c"]);
    topology.drop_queue("b");
    topology.drop_queue("c");
    assert!(topology.exclusive.keys().eq([&OTHER]));
}

#[test]
fn perm_03_08_and_17_questions_come_in_order_and_before_the_lock() {
    let mut topology = topology();
    let arguments = TableBuf::new().with("x-dead-letter-exchange", Value::LongStr(b"dlx"));
    let request = QueueDeclare {
        arguments: arguments.view(),
        ..exclusive("mine")
    };
    let mut asked = Asked::new("");
    let plan = topology.plan_declare_queue(&request, &mut |p, r| asked.answer(p, r));
    topology.run(plan);
    let create = [
        "Queue mine",
        "DeadLetteringQueue mine",
        "DeadLetterExchange dlx",
    ];
    assert_eq!(asked.questions, create);
    let mut asked = Asked::new("Queue mine");
    let theirs = QueueDeclare {
        connection: OTHER,
        ..request
    };
    let plan = topology.plan_declare_queue(&theirs, &mut |p, r| asked.answer(p, r));
    assert_eq!(refusal(plan), "ACCESS_REFUSED - refused");
    let mut asked = Asked::new("Queue none");
    let found = topology.check_delete_queue("none", ME, &mut |p, r| asked.answer(p, r));
    assert_eq!(refusal(found), "ACCESS_REFUSED - refused", "403 before ok");
}

#[test]
fn qarg_07_and_15_a_dead_letter_exchange_is_named_by_a_string() {
    let arguments = TableBuf::new().with("x-dead-letter-exchange", Value::I32(1));
    let request = QueueDeclare {
        arguments: arguments.view(),
        ..queue("q")
    };
    assert_eq!(
        refusal(declare(&topology(), request)),
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' \
         in vhost '/'"
    );
}

#[test]
fn qarg_30_and_36_arguments_are_judged_once_and_compared_ever_after() {
    let mut topology = topology();
    let ttl = |value| TableBuf::new().with("x-message-ttl", value);
    let (valid, invalid) = (ttl(Value::I32(100)), ttl(Value::I32(-1)));
    let with = |name: &'static str, arguments| QueueDeclare {
        arguments,
        ..queue(name)
    };
    let text = |topology: &Topology, request| refusal(declare(topology, request));
    assert!(text(&topology, with("q", invalid.view())).contains("invalid arg 'x-message-ttl'"));
    topology.add_queue(with("q", valid.view()));
    assert_eq!(
        text(&topology, with("q", invalid.view())),
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': \
         received '-1' but current is '100'"
    );
    let wrong_flag = QueueDeclare {
        durable: true,
        ..with("q", invalid.view())
    };
    assert!(
        text(&topology, wrong_flag).contains("'durable'"),
        "QUEUE-14"
    );
    let long = ttl(Value::I64(100));
    assert!(is_known(&topology, with("q", long.view())));
}

#[test]
fn a_queue_that_left_is_gone_for_good() {
    let mut topology = topology();
    let old = topology.add_queue(queue("q"));
    assert!(!old.is_gone());
    topology.drop_queue("q");
    let new = topology.add_queue(queue("q"));
    assert!(old.is_gone() && !new.is_gone());
    assert!(old.id() < new.id());
}
