//! What the type of a queue asks of its declaration and deletion, and the type of those that name none.

use super::*;
use crate::core::queue::arguments::QueueType;
use crate::core::vhost::Vhost;
use leveret_protocol::Value;

fn typed(name: &str) -> TableBuf {
    TableBuf::new().with("x-queue-type", Value::LongStr(name.as_bytes()))
}

fn said(topology: &Topology, request: QueueDeclare<'_>) -> String {
    refusal(topology.plan_declare_queue(&request, &mut allow))
}

#[test]
fn qq_01_a_quorum_queue_is_durable_shared_and_stays() {
    let (topology, quorum) = (topology(), typed("quorum"));
    let fits = QueueDeclare {
        durable: true,
        arguments: quorum.view(),
        ..queue("q")
    };
    assert!(topology.plan_declare_queue(&fits, &mut allow).is_ok());
    let of = |property| {
        format!("PRECONDITION_FAILED - invalid property '{property}' for queue 'q' in vhost '/'")
    };
    let transient = QueueDeclare {
        durable: false,
        ..fits
    };
    assert_eq!(said(&topology, transient), of("non-durable"));
    let exclusive = QueueDeclare {
        exclusive: true,
        ..fits
    };
    assert_eq!(said(&topology, exclusive), of("exclusive-owner"));
    let auto_delete = QueueDeclare {
        auto_delete: true,
        ..exclusive
    };
    assert_eq!(said(&topology, auto_delete), of("auto-delete"));
}

#[test]
fn qq_02_a_quorum_queue_has_a_name_of_its_own() {
    let (topology, quorum) = (topology(), typed("quorum"));
    let nameless = QueueDeclare {
        durable: true,
        arguments: quorum.view(),
        ..queue("")
    };
    assert_eq!(
        said(&topology, nameless),
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    );
}

#[test]
fn a_stream_is_refused_and_nothing_is_left_of_it() {
    let (topology, stream) = (topology(), typed("stream"));
    let request = QueueDeclare {
        durable: true,
        arguments: stream.view(),
        ..queue("q")
    };
    assert_eq!(
        said(&topology, request),
        "NOT_IMPLEMENTED - queue type 'stream' of queue 'q' in vhost '/' is not available"
    );
    assert!(topology.queue(b"q").is_none());
}

#[test]
fn qarg_35_queues_that_can_be_are_of_the_vhosts_type() {
    let vhost = Vhost::new("/", counting());
    vhost.set_default_queue_type(QueueType::Quorum);
    let durable = |name| QueueDeclare {
        durable: true,
        ..queue(name)
    };
    let kinds = [
        (durable("durable"), QueueType::Quorum),
        (queue("transient"), QueueType::Classic),
        (
            QueueDeclare {
                exclusive: true,
                ..durable("exclusive")
            },
            QueueType::Classic,
        ),
        (
            QueueDeclare {
                auto_delete: true,
                ..durable("auto-delete")
            },
            QueueType::Classic,
        ),
    ];
    for (request, kind) in kinds {
        let (declared, _) = vhost.declare_queue(&request, &mut allow).unwrap();
        assert_eq!(declared.queue_type(), kind, "{}", request.name);
        assert!(
            vhost.declare_queue(&request, &mut allow).is_ok(),
            "once more"
        );
    }
    let classic = typed("classic");
    let request = QueueDeclare {
        arguments: classic.view(),
        ..durable("classic")
    };
    let (declared, _) = vhost.declare_queue(&request, &mut allow).unwrap();
    assert_eq!(declared.queue_type(), QueueType::Classic);
}

#[test]
fn qarg_35_the_vhosts_type_counts_when_a_queue_is_declared_again() {
    let vhost = Vhost::new("/", counting());
    let request = QueueDeclare {
        durable: true,
        ..queue("q")
    };
    vhost.declare_queue(&request, &mut allow).unwrap();
    vhost.set_default_queue_type(QueueType::Quorum);
    let again = vhost.declare_queue(&request, &mut allow);
    assert_eq!(
        refusal(again),
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received \
         the value 'quorum' of type 'longstr' but current is none"
    );
    let (quorum, classic) = (typed("quorum"), typed("classic"));
    let request = QueueDeclare {
        arguments: quorum.view(),
        ..request
    };
    assert!(vhost.declare_queue(&request, &mut allow).is_err());
    let request = QueueDeclare {
        arguments: classic.view(),
        ..request
    };
    assert!(vhost.declare_queue(&request, &mut allow).is_ok());
}

#[test]
fn qq_09_a_quorum_queue_is_deleted_without_conditions() {
    let (vhost, quorum) = (Vhost::new("/", counting()), typed("quorum"));
    let request = QueueDeclare {
        durable: true,
        arguments: quorum.view(),
        ..queue("q")
    };
    vhost.declare_queue(&request, &mut allow).unwrap();
    let delete = |if_unused, if_empty| {
        let conditions = DeleteConditions {
            if_unused,
            if_empty,
        };
        vhost.delete_queue("q", ME, conditions, &mut allow)
    };
    for (if_unused, if_empty, flag) in [
        (true, false, "if-unused"),
        (false, true, "if-empty"),
        (true, true, "if-unused"),
    ] {
        assert_eq!(
            refusal(delete(if_unused, if_empty)),
            format!(
                "NOT_IMPLEMENTED - cannot delete queue 'q' in vhost '/'. queue.delete operations with \
                 {flag} flag set are not supported by quorum queues"
            )
        );
    }
    assert!(delete(false, false).is_ok());
}
