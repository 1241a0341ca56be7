//! Reports for the tests of what is made of them.

use super::{Broker, Counts, FORMAT, Outcome, Report, Selection, Suite, Test, ids};

/// A run against some broker that gave these verdicts; the IDs are those of the tests.
pub(crate) fn report(tests: Vec<Test>) -> Report {
    let mut known: Vec<&str> = tests.iter().map(|test| test.id.as_str()).collect();
    known.dedup();
    Report {
        format: FORMAT,
        suite: Suite {
            name: "leveret-conformance".to_owned(),
            version: "0.1.0".to_owned(),
        },
        broker: Broker {
            address: "127.0.0.1:5672".to_owned(),
            product: "RabbitMQ".to_owned(),
            version: "3.10.8".to_owned(),
            platform: "Erlang/OTP 25".to_owned(),
        },
        profile: "rabbitmq-3.13".to_owned(),
        selection: Selection::default(),
        jobs: 8,
        started: "2026-01-02T03:04:05Z".to_owned(),
        took_ms: 12_345,
        ended_early: None,
        summary: Counts::of(&tests),
        ids: ids::statuses(known.into_iter(), &[], &tests),
        tests,
    }
}

/// What a broker could send to whoever reads a report of it.
pub(crate) fn hostile() -> String {
    let marks = "]]> <b>&amp;\"' | ` # \\ --- ... \u{fffe}\u{0}\x1b[2J\u{9b}31m\u{202e}";
    format!("{marks}\nok 2 - forged\n  ...\nBail out!\r\n| a | b |")
}

pub(crate) fn passed(id: &str) -> Test {
    test(
        id,
        Outcome::Passed {
            variants: Vec::new(),
        },
    )
}

pub(crate) fn failed(id: &str, message: &str) -> Test {
    let (message, details) = (message.to_owned(), vec!["← a frame".to_owned()]);
    test(id, Outcome::Failed { message, details })
}

pub(crate) fn skipped(id: &str, reason: &str) -> Test {
    let reason = reason.to_owned();
    test(id, Outcome::Skipped { reason })
}

pub(crate) fn not_run(id: &str, reason: &str) -> Test {
    let reason = reason.to_owned();
    test(id, Outcome::NotRun { reason })
}

fn test(id: &str, outcome: Outcome) -> Test {
    Test {
        id: id.to_owned(),
        also: Vec::new(),
        title: "some_test".to_owned(),
        rule: "Something holds.".to_owned(),
        follows: "both".to_owned(),
        needs: vec!["raw".to_owned()],
        outcome,
        took_ms: 12,
    }
}
