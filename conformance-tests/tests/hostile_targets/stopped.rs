//! A run that is ended early by whoever started it.

use std::time::Duration;

use leveret::Broker;
use leveret_conformance::Report;
use tokio::process::Command;

use crate::command::{self, Ended};
use crate::peers::{Front, Loss, leveret};

/// Tests of these sections run for seconds, and declare queues.
const SECTIONS: &str = "QUEUE,EXCH,BIND,CONN,TTL,EXP";
/// Connections by which tests run for certain; the suite needs five before its first.
const CONNECTIONS: usize = 40;
/// How long it may take to clean up after the tests that run just then.
const BOUND: Duration = Duration::from_secs(30);

async fn interrupted(signal: &str) -> (Report, Vec<String>) {
    let (broker_address, broker) = leveret().await;
    let mut front = Front::before(broker_address, Loss::None, 0).await;
    let uri = format!("amqp://guest:guest@{}/%2f", front.address);
    let child = command::start(&["--uri", &uri, "--only", SECTIONS, "--format", "json"]);
    front.await_connections(CONNECTIONS).await;
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill")
        .args([signal, &id])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    let Ended { code, out, err } = command::end(child, BOUND).await;
    let left = left_behind(&broker);
    broker.shutdown(Duration::from_secs(1)).await;
    assert_eq!(code, Some(1), "{err}");
    (Report::from_json(&out).unwrap(), left)
}

/// The queues and exchanges that tests have named.
fn left_behind(broker: &Broker) -> Vec<String> {
    let definitions = broker.definitions();
    let queues = definitions.queues.into_iter().map(|queue| queue.name);
    let exchanges = definitions
        .exchanges
        .into_iter()
        .map(|exchange| exchange.name);
    let names = queues.chain(exchanges).map(|name| name.to_string());
    names.filter(|name| name.starts_with("lc-")).collect()
}

#[tokio::test]
async fn an_interrupt_is_answered_with_a_report_and_a_clean_broker() {
    for (signal, reason) in [("-INT", "interrupted"), ("-TERM", "asked to end")] {
        let (report, left) = interrupted(signal).await;
        assert_eq!(report.ended_early.as_deref(), Some(reason));
        assert!(
            report.passed() > 0 && report.not_run() > 0,
            "{}",
            report.to_line()
        );
        assert_eq!(report.failed(), 0, "{}", report.to_pretty());
        assert_eq!(left, Vec::<String>::new());
    }
}
