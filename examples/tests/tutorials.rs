//! Runs each tutorial as its program would and looks at what came out.
//!
//! The tutorials' files are compiled into this test, so what is tested is what is read.

#![allow(clippy::unwrap_used)]

mod broker;

#[allow(dead_code)] // Here and below: nobody calls the tutorial's `main`.
#[path = "../confirms.rs"]
pub mod confirms;
#[allow(dead_code)]
#[path = "../publish_subscribe.rs"]
pub mod publish_subscribe;
#[allow(dead_code)]
#[path = "../routing.rs"]
pub mod routing;
#[allow(dead_code)]
#[path = "../rpc.rs"]
pub mod rpc;
#[allow(dead_code)]
#[path = "../topics.rs"]
pub mod topics;
#[allow(dead_code)]
#[path = "../work_queue.rs"]
pub mod work_queue;

use broker::with_broker;
use tokio::try_join;

#[tokio::test]
async fn work_queue_gives_each_task_to_exactly_one_worker() {
    let all_done = with_broker(work_queue::run).await.unwrap();

    let mut tasks: Vec<_> = all_done.iter().map(|done| done.task.as_str()).collect();
    tasks.sort_unstable();
    let mut published = work_queue::TASKS.to_vec();
    published.sort_unstable();
    assert_eq!(tasks, published);
}

/// Dealt out in turn, without regard to who is busy, the worker with the long task would get five
/// of the nine tasks.
#[tokio::test]
async fn work_queue_gives_the_idle_worker_what_the_busy_one_cannot_do() {
    let all_done = with_broker(work_queue::run).await.unwrap();

    let done_by = |worker| all_done.iter().filter(|done| done.worker == worker).count();
    let long_task = |done: &&work_queue::Done| done.task == work_queue::TASKS[0];
    let busy = all_done.iter().find(long_task).unwrap().worker;
    let [first, second] = work_queue::WORKERS;
    let idle = if busy == first { second } else { first };
    assert!(done_by(busy) < done_by(idle), "{all_done:?}");
}

#[tokio::test]
async fn publish_subscribe_gives_every_line_to_every_subscriber_in_order() {
    let mut received = with_broker(publish_subscribe::run).await.unwrap();

    received.sort_by_key(|received| received.subscriber);
    let subscribers: Vec<_> = received
        .iter()
        .map(|received| received.subscriber)
        .collect();
    assert_eq!(subscribers, ["alerting", "archive", "screen"]);
    for received in received {
        // Not among them: "is anybody there?", published before anybody was.
        assert_eq!(
            received.lines,
            [
                "starting",
                "listening on port 80",
                "disk almost full",
                "stopping"
            ],
            "{}",
            received.subscriber
        );
    }
}

#[tokio::test]
async fn routing_gives_each_subscriber_only_its_severities() {
    let received = with_broker(routing::run).await.unwrap();

    let lines = |subscriber: &str| {
        let of_subscriber = |received: &&routing::Received| received.subscriber == subscriber;
        pairs(&received.iter().find(of_subscriber).unwrap().lines)
    };
    assert_eq!(received.len(), 3);
    assert_eq!(
        lines("screen"),
        [
            ("info", "starting"),
            ("warning", "disk 90 % full"),
            ("error", "disk full"),
            ("info", "stopping"),
            ("error", "stopped with unsaved data"),
        ]
    );
    assert_eq!(
        lines("log file"),
        [
            ("warning", "disk 90 % full"),
            ("error", "disk full"),
            ("error", "stopped with unsaved data"),
        ]
    );
    assert_eq!(
        lines("pager"),
        [
            ("error", "disk full"),
            ("error", "stopped with unsaved data"),
        ]
    );
}

#[tokio::test]
async fn topics_give_each_subscriber_what_its_patterns_match_and_only_once() {
    let received = with_broker(topics::run).await.unwrap();

    let events = |subscriber: &str| {
        let of_subscriber = |received: &&topics::Received| received.subscriber == subscriber;
        pairs(&received.iter().find(of_subscriber).unwrap().events)
    };
    assert_eq!(received.len(), 3);
    assert_eq!(
        events("caretaker"),
        [
            ("oslo", "good morning"),
            ("oslo.door.info", "opened"),
            ("oslo.power.critical", "power cut"),
            ("oslo.power.generator.critical", "out of fuel"),
            ("oslo.power.critical", "batteries empty, good night"),
        ]
    );
    assert_eq!(
        events("electrician"),
        [
            ("bergen.power.info", "back on mains"),
            ("oslo.power.critical", "power cut"),
            ("oslo.power.critical", "batteries empty, good night"),
        ]
    );
    assert_eq!(
        events("duty engineer"),
        [
            ("oslo.power.critical", "power cut"),
            ("bergen.door.critical", "forced open"),
            ("oslo.power.critical", "batteries empty, good night"),
        ]
    );
}

#[tokio::test]
async fn rpc_gives_each_concurrent_caller_its_own_answer() {
    for way in [rpc::Replies::OwnQueue, rpc::Replies::Direct] {
        let mut answers = with_broker(async |uri: &str| rpc::run(uri, way).await)
            .await
            .unwrap();
        answers.sort_unstable();
        expect_all_answers(&answers);
    }
}

#[track_caller]
fn expect_all_answers(answers: &[(String, String)]) {
    assert_eq!(
        pairs(answers),
        [
            ("1001", "7 x 11 x 13"),
            ("12", "2 x 2 x 3"),
            ("65536", ["2"; 16].join(" x ").as_str()),
            ("91", "7 x 13"),
            ("97", "97"),
            ("99999820000081", "9999991 x 9999991"),
            ("a dozen", "not a number from 2 to 100000000000000"),
        ]
    );
}

#[tokio::test]
async fn confirms_come_for_every_message_and_the_unroutable_one_is_returned() {
    let outcome = with_broker(confirms::run).await.unwrap();

    assert_eq!(outcome.one_by_one, 250);
    assert_eq!(outcome.in_batches, 250);
    assert_eq!(outcome.in_a_window, 250);
    assert_eq!(outcome.in_queue, 750);
    let returned = outcome.returned;
    assert_eq!(returned.reply_code, 312);
    assert_eq!(returned.reply_text.as_str(), "NO_ROUTE");
    assert_eq!(returned.exchange.as_str(), "");
    assert!(
        returned
            .routing_key
            .as_str()
            .starts_with("tutorial.nowhere.")
    );
    assert_eq!(returned.data, b"message 0");
}

/// On one broker, at the same time: nobody may meet another's queues, exchanges or messages.
#[tokio::test]
async fn tutorials_do_not_disturb_each_other() {
    let two_of_each = async |uri: &str| {
        try_join!(
            work_queue::run(uri),
            work_queue::run(uri),
            publish_subscribe::run(uri),
            publish_subscribe::run(uri),
            rpc::run(uri, rpc::Replies::OwnQueue),
            rpc::run(uri, rpc::Replies::Direct),
            confirms::run(uri),
            confirms::run(uri),
        )
    };
    let (tasks, more_tasks, lines, more_lines, answers, more_answers, confirms, more_confirms) =
        with_broker(two_of_each).await.unwrap();

    assert_eq!([tasks.len(), more_tasks.len()], [9, 9]);
    for received in lines.iter().chain(&more_lines) {
        assert_eq!(received.lines, publish_subscribe::LINES);
    }
    assert_eq!([answers.len(), more_answers.len()], [7, 7]);
    assert_eq!([confirms.in_queue, more_confirms.in_queue], [750, 750]);
}

fn pairs(of_strings: &[(String, String)]) -> Vec<(&str, &str)> {
    of_strings
        .iter()
        .map(|(left, right)| (left.as_str(), right.as_str()))
        .collect()
}
