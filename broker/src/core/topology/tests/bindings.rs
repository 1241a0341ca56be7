//! Binding and unbinding, by rule.

use super::*;
use leveret_protocol::Value;

const NO_DEFAULT: &str = "ACCESS_REFUSED - operation not permitted on the default exchange";

fn bind(topology: &Topology, request: BindRequest<'_>) -> Result<Planned<Standing>, Fault> {
    topology.plan_bind(&request, &mut allow)
}

fn unbind(topology: &Topology, request: BindRequest<'_>) -> Result<Planned<Standing>, Fault> {
    topology.plan_unbind(&request, &mut allow)
}

fn small() -> Topology {
    let mut topology = topology();
    topology.add_exchange(exchange("d", "direct"));
    topology.add_exchange(exchange("f", "fanout"));
    topology.add_queue(queue("q"));
    topology
}

#[test]
fn bind_01_and_12_binding_twice_is_binding_once() {
    let mut topology = small();
    for request in [to_queue("d", "q", "k"), to_exchange("d", "f", "k")] {
        topology.add_binding(request);
        assert_eq!(
            bind(&topology, request),
            Ok(Planned::Answer(Standing::Transient))
        );
    }
    assert_eq!(topology.bindings().iter().count(), 2);
    assert_eq!(topology.take_binding(to_exchange("d", "f", "k")).len(), 1);
    assert_eq!(topology.take_binding(to_queue("d", "q", "k")).len(), 1);
    assert!(topology.routed("d", "k").is_empty());
}

#[test]
fn bind_02_and_09_arguments_make_another_binding() {
    let mut topology = small();
    let int = TableBuf::new().with("n", Value::I32(2));
    let long = TableBuf::new().with("n", Value::I64(2));
    let with = |table: &'static str, arguments| BindRequest {
        arguments,
        ..to_queue("d", "q", table)
    };
    topology.add_binding(with("k", int.view()));
    topology.add_binding(to_queue("d", "q", "k"));
    assert!(topology.take_binding(with("k", long.view())).is_empty());
    assert!(topology.take_binding(with("other", int.view())).is_empty());
    assert_eq!(topology.take_binding(with("k", int.view())), ["-binding k"]);
    assert_eq!(topology.routed("d", "k"), ["q"]);
    assert_eq!(topology.take_binding(to_queue("d", "q", "k")).len(), 1);
    assert!(topology.routed("d", "k").is_empty());
}

#[test]
fn bind_04_and_13_missing_ends_are_named_the_source_first() {
    let topology = small();
    let no_exchange = |name| format!("NOT_FOUND - no exchange '{name}' in vhost '/'");
    let text = |request| refusal(bind(&topology, request));
    assert_eq!(
        text(to_queue("d", "x", "")),
        "NOT_FOUND - no queue 'x' in vhost '/'"
    );
    assert_eq!(text(to_queue("x", "q", "")), no_exchange("x"));
    assert_eq!(text(to_queue("x", "y", "")), no_exchange("x"));
    assert_eq!(text(to_exchange("x", "y", "")), no_exchange("x"));
    assert_eq!(text(to_exchange("d", "y", "")), no_exchange("y"));
}

#[test]
fn bind_05_and_exch_31_the_default_exchange_is_bound_to_nothing() {
    let topology = small();
    for request in [
        to_queue("", "q", ""),
        to_queue("", "missing", ""),
        to_exchange("", "d", ""),
        to_exchange("d", "", ""),
    ] {
        assert_eq!(refusal(bind(&topology, request)), NO_DEFAULT);
        assert_eq!(refusal(unbind(&topology, request)), NO_DEFAULT);
    }
}

#[test]
fn bind_10_unbinding_what_is_missing_is_done_already() {
    let topology = small();
    for request in [
        to_queue("d", "q", "k"),
        to_queue("x", "q", "k"),
        to_queue("d", "x", "k"),
        to_exchange("d", "x", "k"),
        to_exchange("x", "d", "k"),
    ] {
        assert_eq!(
            unbind(&topology, request),
            Ok(Planned::Answer(Standing::Recorded))
        );
    }
}

#[test]
fn bind_11_another_connections_queue_is_locked_if_there_is_something_to_do() {
    let mut topology = small();
    topology.add_queue(QueueDeclare {
        exclusive: true,
        ..queue("mine")
    });
    let mine = to_queue("d", "mine", "k");
    let theirs = BindRequest {
        connection: OTHER,
        ..mine
    };
    let code = |result: Result<Planned<Standing>, Fault>| result.unwrap_err().code;
    assert_eq!(code(bind(&topology, theirs)), ReplyCode::ResourceLocked);
    assert_eq!(
        unbind(&topology, theirs),
        Ok(Planned::Answer(Standing::Recorded))
    );
    topology.add_binding(mine);
    assert_eq!(code(unbind(&topology, theirs)), ReplyCode::ResourceLocked);
    assert_eq!(topology.take_binding(mine).len(), 1);
}

#[test]
fn bind_16_deleting_a_queue_deletes_its_bindings() {
    let mut topology = small();
    topology.add_queue(queue("r"));
    for request in [
        to_queue("d", "q", "1"),
        to_queue("f", "q", "2"),
        to_queue("d", "r", "1"),
    ] {
        topology.add_binding(request);
    }
    assert_eq!(
        topology.drop_queue("q"),
        ["-queue q", "-binding 1", "-binding 2"]
    );
    assert_eq!(topology.routed("d", "1"), ["r"]);
    topology.add_queue(queue("q"));
    assert_eq!(
        topology.routed("d", "1"),
        ["r"],
        "the new queue is another one"
    );
}

#[test]
fn bind_18_arguments_are_judged_before_the_lock() {
    let mut topology = small();
    topology.add_exchange(exchange("h", "headers"));
    topology.add_queue(QueueDeclare {
        exclusive: true,
        ..queue("mine")
    });
    let wrong = TableBuf::new().with("x-match", Value::LongStr(b"foo"));
    let request = |source, queue| BindRequest {
        arguments: wrong.view(),
        connection: OTHER,
        ..to_queue(source, queue, "")
    };
    let code = |source, queue| bind(&topology, request(source, queue)).unwrap_err().code;
    assert_eq!(code("h", "mine"), ReplyCode::PreconditionFailed);
    assert_eq!(code("h", "missing"), ReplyCode::NotFound);
    assert_eq!(
        code("d", "mine"),
        ReplyCode::ResourceLocked,
        "direct does not care"
    );
}

#[test]
fn bind_19_line_breaks_are_taken_out_of_names_but_not_of_keys() {
    let mut topology = small();
    topology.add_binding(to_queue("d\r", "\nq", "k\n"));
    assert_eq!(topology.routed("d", "k\n"), ["q"]);
    assert!(topology.routed("d", "k").is_empty());
    assert_eq!(
        topology.take_binding(to_queue("\nd", "q\r", "k\n")).len(),
        1
    );
}

#[test]
fn perm_06_07_and_13_questions_come_in_order_and_before_existence() {
    let topology = small();
    let questions = |request, refused| {
        let mut asked = Asked::new(refused);
        let _ = topology.plan_bind(&request, &mut |p, r| asked.answer(p, r));
        let bind = std::mem::take(&mut asked.questions);
        let _ = topology.plan_unbind(&request, &mut |p, r| asked.answer(p, r));
        assert_eq!(asked.questions, bind);
        bind
    };
    assert_eq!(
        questions(to_queue("none", "missing", "k"), ""),
        ["DestinationQueue missing", "Source none"]
    );
    assert_eq!(
        questions(to_exchange("d", "f", "k"), ""),
        ["DestinationExchange f", "Source d"]
    );
    assert_eq!(
        questions(to_queue("amq.topic", "q", "a.b"), ""),
        [
            "DestinationQueue q",
            "Source amq.topic",
            "BindingKey a.b on amq.topic"
        ]
    );
    assert_eq!(
        questions(to_queue("d", "q", "k"), "DestinationQueue q"),
        ["DestinationQueue q"]
    );
}
