//! A run that is ended early by whoever started it.

use std::time::Duration;

use leveret::Broker;
use leveret_conformance::Report;
use tokio::process::Command;

use crate::command::{self, Ended};
use crate::peers::leveret;

/// A test that is over in an instant, and one that holds durable queues for seconds; in this order.
const TESTS: &str = "EXCH-05,each_use_begins_it_anew";
/// In the names of the queues of the latter.
const SLOW_ID: &str = "exp-02";
/// How long it may take until these queues are there, and to clean up after that.
const BOUND: Duration = Duration::from_secs(30);
/// How long a broker that has no such queue yet is left alone. It tells nobody when it gets one.
const PAUSE: Duration = Duration::from_millis(10);

async fn interrupted(signal: &str) -> (Report, Vec<String>) {
    let (address, broker) = leveret().await;
    let uri = format!("amqp://guest:guest@{address}/%2f");
    let arguments = [
        "--uri", &uri, "--only", TESTS, "--jobs", "1", "--format", "json",
    ];
    let child = command::start(&arguments);
    let holds_queues = await_slow_queues(&broker);
    tokio::time::timeout(BOUND, holds_queues).await.unwrap();
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await;
    assert!(sent.unwrap().success());
    let Ended { code, out, err } = command::end(child, BOUND).await;
    let left = left_behind(&broker);
    broker.shutdown(Duration::from_secs(1)).await;
    assert_eq!(code, Some(1), "{err}");
    (Report::from_json(&out).unwrap(), left)
}

async fn await_slow_queues(broker: &Broker) {
    while !left_behind(broker)
        .iter()
        .any(|name| name.contains(SLOW_ID))
    {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The durable queues that tests have named.
fn left_behind(broker: &Broker) -> Vec<String> {
    let queues = broker.definitions().queues.into_iter();
    let names = queues.map(|queue| queue.name.to_string());
    names.filter(|name| name.starts_with("lc-")).collect()
}

#[tokio::test]
async fn an_interrupt_is_answered_with_a_report_and_a_clean_broker() {
    for (signal, reason) in [("-INT", "interrupted"), ("-TERM", "asked to end")] {
        let (report, left) = interrupted(signal).await;
        assert_eq!(report.ended_early.as_deref(), Some(reason));
        assert!(report.passed() > 0, "{}", report.to_line());
        assert_eq!(
            (report.failed(), report.not_run()),
            (0, 1),
            "{}",
            report.to_pretty()
        );
        assert_eq!(left, Vec::<String>::new());
    }
}
