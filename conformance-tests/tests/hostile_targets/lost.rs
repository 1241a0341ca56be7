//! A broker that is lost in the middle of a run.

use std::time::Duration;

use leveret_conformance::Report;

use crate::command::{Ended, run};
use crate::peers::{Front, Loss, leveret};

/// How many connections go well. The suite needs five before its first test.
const CONNECTIONS: usize = 60;
/// Sections of more than a hundred tests that need nothing but connections.
const SECTIONS: &str = "QUEUE,EXCH,BIND,CHAN";
/// How long a run may take that finds out that the broker is gone: what runs takes its deadline of 10 s and
/// its clean-up's, three attempts 10 s each. A run that does not find out takes minutes.
const BOUND: Duration = Duration::from_secs(75);

async fn report_of_lost(loss: Loss) -> Report {
    let (broker_address, broker) = leveret().await;
    let front = Front::before(broker_address, loss, CONNECTIONS).await;
    let uri = format!("amqp://guest:guest@{}/%2f", front.address);
    let arguments = ["--uri", &uri, "--only", SECTIONS, "--format", "json"];
    let Ended { code, out, err } = run(&arguments, BOUND).await;
    broker.shutdown(Duration::from_secs(1)).await;
    assert_eq!(code, Some(1), "{err}");
    Report::from_json(&out).unwrap()
}

fn expect_cut_off(report: &Report) {
    let reason = report.ended_early.as_deref().unwrap_or_default();
    assert!(
        reason.contains("is gone") && reason.contains(&report.broker.address),
        "{reason}"
    );
    assert!(report.passed() > 0, "none passed before");
    assert!(report.failed() > 0, "none failed by the loss");
    assert!(report.not_run() > 50, "{} were not run", report.not_run());
}

#[tokio::test]
async fn the_rest_is_not_run_when_the_broker_dies() {
    expect_cut_off(&report_of_lost(Loss::Dies).await);
}

#[tokio::test]
async fn the_rest_is_not_run_when_the_broker_hangs() {
    expect_cut_off(&report_of_lost(Loss::Hangs).await);
}
