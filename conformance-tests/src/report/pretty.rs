//! The form for a terminal: what failed with its last frames, why tests were skipped, and the counts.

use std::fmt::Write as _;

use super::grouped::{self, Group, ids_of};
use super::printable::line as safe;
use super::{Counts, Outcome, Report, Test};

pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    for test in &report.tests {
        write_failure(&mut text, test);
    }
    write_groups(&mut text, "skipped", &grouped::skipped(&report.tests));
    write_groups(&mut text, "not run", &grouped::not_run(&report.tests));
    if let Some(reason) = &report.ended_early {
        let _ = writeln!(text, "the run ended early: {}", safe(reason));
    }
    let _ = writeln!(text, "{}", line(report));
    text
}

fn head(text: &mut String, report: &Report) {
    let (broker, profile) = (&report.broker, safe(&report.profile));
    let (name, address) = (broker.name(), safe(&broker.address));
    let platform = safe(&broker.platform);
    let _ = writeln!(
        text,
        "{} ({platform}) at {address}, profile {profile}",
        safe(&name)
    );
}

fn write_failure(text: &mut String, test: &Test) {
    let Outcome::Failed { message, details } = &test.outcome else {
        return;
    };
    let _ = writeln!(text, "FAILED {}: {}", safe(&test.name()), safe(message));
    let _ = writeln!(text, "    {}", safe(&test.rule));
    for line in details {
        let _ = writeln!(text, "    {}", safe(line));
    }
}

fn write_groups(text: &mut String, word: &str, groups: &[Group<'_, &Test>]) {
    for (reason, tests) in groups {
        let _ = writeln!(text, "{word}, {}: {}", safe(reason), safe(&ids_of(tests)));
    }
}

/// How many tests came to what, in one line.
pub(super) fn line(report: &Report) -> String {
    let Counts {
        passed,
        failed,
        skipped,
        not_run,
    } = report.summary;
    let not_run = match not_run {
        0 => String::new(),
        number => format!(", {number} not run"),
    };
    format!("{passed} passed, {failed} failed, {skipped} skipped{not_run}")
}

#[cfg(test)]
mod tests {
    use super::super::printable::is_obeyed;
    use super::super::testing::{failed, hostile, not_run, passed, report, skipped};
    use super::*;

    #[test]
    fn a_failure_comes_with_its_rule_and_frames_and_a_reason_stands_once() {
        let report = report(vec![
            passed("QUEUE-01"),
            failed("QUEUE-02", "expected a, but b came"),
            skipped("QUEUE-03", "no fixtures"),
            skipped("QUEUE-04", "no fixtures"),
            not_run("QUEUE-05", "interrupted"),
        ]);
        let expected = "RabbitMQ 3.10.8 (Erlang/OTP 25) at 127.0.0.1:5672, profile rabbitmq-3.13
FAILED QUEUE-02 some_test: expected a, but b came
    Something holds.
    ← a frame
skipped, no fixtures: QUEUE-03, QUEUE-04
not run, interrupted: QUEUE-05
1 passed, 1 failed, 2 skipped, 1 not run
";
        assert_eq!(write(&report), expected);
    }

    #[test]
    fn nothing_of_a_broker_reaches_the_terminal_raw() {
        let mut report = report(vec![
            failed("QUEUE-02", &hostile()),
            skipped("QUEUE-03", &hostile()),
        ]);
        report.broker.product = hostile();
        report.ended_early = Some(hostile());
        let text = write(&report);
        assert!(
            !text
                .chars()
                .any(|character| character != '\n' && is_obeyed(character))
        );
        assert!(!text.contains("\nok 2"), "{text}");
    }
}
