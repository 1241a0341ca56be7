//! How the author of a broker calls the suite from tests of their own: a broker on a free port, a target, a
//! run, and an assertion that shows the report.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use leveret::{Broker, Config};
use leveret_conformance::{
    Options, Profile, Progress, Report, SelectionError, Target, run, run_watched,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Whatever starts the broker; here it is one within the process.
async fn start() -> Result<(String, Broker)> {
    let broker = Broker::start(Config::default())?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = broker.listen(any_port).await?;
    Ok((format!("amqp://guest:guest@{address}/%2f"), broker))
}

fn only(words: &[&str]) -> Options {
    Options {
        only: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn my_broker_conforms() -> Result<()> {
    let (uri, broker) = start().await?;
    let target = Target::connect(&uri).await?;
    let target = target.with_profile(Profile::named("rabbitmq-3.13")?);
    let report = run(target, &only(&["QUEUE", "EXCH-05"])).await?;
    assert_eq!(report.failed(), 0, "{}", report.to_pretty());
    assert!(report.passed() > 20, "{}", report.to_pretty());
    broker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_what_was_held_against_what() -> Result<()> {
    let (uri, broker) = start().await?;
    let target = Target::connect(&uri).await?;
    let address = target.address();
    let report = run(target, &only(&["QUEUE-05", "QUEUE-30"])).await?;
    assert_eq!(report.broker.address, address);
    assert_eq!(report.profile, "rabbitmq-3.13");
    assert!(!report.broker.version.is_empty() && report.started.ends_with('Z'));
    // This broker has no fixtures.
    assert!(
        report.skipped() > 0 && report.is_success(),
        "{}",
        report.to_pretty()
    );
    assert_eq!(Report::from_json(&report.to_json())?, report);
    broker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_test_by_test_and_a_run_can_be_ended() -> Result<()> {
    let (uri, broker) = start().await?;
    let target = Arc::new(Target::connect(&uri).await?);
    let (mut selected, mut ended) = (0, 0);
    let options = only(&["QUEUE"]);
    let pending = std::future::pending();
    let watched = run_watched(
        Arc::clone(&target),
        &options,
        pending,
        |progress| match progress {
            Progress::Selected(tests) => selected = tests,
            Progress::Ended(_) => ended += 1,
            Progress::Started(_) | Progress::EndsEarly(_) => {}
        },
    );
    let report = watched.await?;
    assert_eq!((selected, ended), (report.tests.len(), report.tests.len()));

    let at_once = std::future::ready("it is enough".to_owned());
    let report = run_watched(target, &options, at_once, |_| {}).await?;
    assert_eq!(report.ended_early.as_deref(), Some("it is enough"));
    assert!(report.not_run() > 0 && !report.is_success());
    assert_eq!(report.tests.len(), selected);
    broker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_means_nothing_is_an_error_and_no_empty_success() -> Result<()> {
    let (uri, broker) = start().await?;
    let target = Target::connect(&uri).await?;
    let refused = run(target, &only(&["QEUE"])).await;
    assert_eq!(
        refused.err(),
        Some(SelectionError::Unknown("QEUE".to_owned()))
    );
    broker.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
