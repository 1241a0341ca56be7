//! A page that compares brokers: the IDs by section, one column for each report.
//!
//! ```text
//!   | | broker | … |         | ID | 1 | 2 |          1. why
//!   a number for each  ─▶    a line for each ID  ─▶  a note for whatever did not simply pass
//! ```
//!
//! What it is not: it runs nothing, and judges no difference.
//!
//! Invariant: the same reports in the same order give the same page, byte for byte.

use std::fmt::Write as _;

use crate::registry::section_of;
use crate::report::markdown::escaped;
use crate::report::{Id, Outcome, Report, Status, StatusCounts};

/// The page of these reports, one column each, in their order.
#[must_use]
pub fn compatibility_page(reports: &[Report]) -> String {
    let ids = all_ids(reports);
    let mut notes = Notes::default();
    let mut text = String::from("# Compatibility\n");
    write_brokers(&mut text, reports);
    write_legend(&mut text);
    for section in ids.chunk_by(|one, next| section_of(one) == section_of(next)) {
        write_section(&mut text, reports, section, &mut notes);
    }
    notes.write(&mut text);
    text
}

/// Every ID that a report knows: those of the first in their order, and what only later ones know behind
/// the last of its section.
fn all_ids(reports: &[Report]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for id in reports.iter().flat_map(|report| &report.ids) {
        if all.contains(&id.id.as_str()) {
            continue;
        }
        let section = section_of(&id.id);
        let last = all.iter().rposition(|known| section_of(known) == section);
        all.insert(last.map_or(all.len(), |at| at + 1), &id.id);
    }
    all
}

fn write_brokers(text: &mut String, reports: &[Report]) {
    let _ = writeln!(
        text,
        "\n| | broker | platform | profile | suite | IDs passed | failed | skipped |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
    for (at, report) in reports.iter().enumerate() {
        let counts = StatusCounts::of(report.ids.iter().map(|id| id.status));
        let StatusCounts {
            passed,
            failed,
            skipped,
            ..
        } = counts;
        let (broker, profile) = (escaped(&report.broker.name()), escaped(&report.profile));
        let suite = escaped(&report.suite.version);
        let platform = escaped(&report.broker.platform);
        let number = at + 1;
        let _ = writeln!(
            text,
            "| {number} | {broker} | {platform} | {profile} | {suite} | {passed} | {failed} | {skipped} |"
        );
    }
}

fn write_legend(text: &mut String) {
    let marks = [
        Status::Passed,
        Status::Failed,
        Status::Skipped,
        Status::NotRun,
        Status::Untestable,
        Status::NotSelected,
    ];
    let marks = marks.map(|status| format!("{} {}", mark(status), word(status)));
    let _ = writeln!(
        text,
        "\n{}. The raised numbers are notes, at the end.",
        marks.join(" · ")
    );
}

fn mark(status: Status) -> &'static str {
    match status {
        Status::Passed => "✓",
        Status::Failed => "✗",
        Status::Skipped => "–",
        Status::NotRun => "?",
        Status::Untestable => "○",
        Status::NotSelected => "…",
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
        Status::NotRun => "not run, the run ended early",
        Status::Untestable => "not testable from outside",
        Status::NotSelected => "not selected",
    }
}

fn write_section(text: &mut String, reports: &[Report], ids: &[&str], notes: &mut Notes) {
    let name = ids.first().map_or("", |id| section_of(id));
    let counts: Vec<_> = reports
        .iter()
        .map(|report| count_text(report, ids))
        .collect();
    let _ = writeln!(text, "\n## {}: {}\n", escaped(name), counts.join(" · "));
    let numbers: String = (1..=reports.len())
        .map(|number| format!(" {number} |"))
        .collect();
    let _ = writeln!(text, "| ID |{numbers}");
    let _ = writeln!(text, "|---|{}", "---|".repeat(reports.len()));
    for id in ids {
        let cells: String = reports
            .iter()
            .map(|report| cell(report, id, notes))
            .collect();
        let _ = writeln!(text, "| {} |{cells}", escaped(id));
    }
}

/// `9/10`: so many passed of those that were chosen.
fn count_text(report: &Report, ids: &[&str]) -> String {
    let statuses = ids
        .iter()
        .filter_map(|id| find(report, id))
        .map(|id| id.status);
    let counts = StatusCounts::of(statuses);
    format!("{}/{}", counts.passed, counts.tested())
}

fn cell(report: &Report, id: &str, notes: &mut Notes) -> String {
    let Some(id) = find(report, id) else {
        return format!(" {} |", mark(Status::NotSelected));
    };
    match note(report, id) {
        None => format!(" {} |", mark(id.status)),
        Some(note) => format!(" {}{} |", mark(id.status), raised(notes.number(note))),
    }
}

/// A number as a footnote has it.
fn raised(number: usize) -> String {
    let raised = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = number.to_string();
    let digits = digits.chars().filter_map(|digit| digit.to_digit(10));
    digits
        .filter_map(|digit| raised.get(digit as usize))
        .collect()
}

fn find<'r>(report: &'r Report, id: &str) -> Option<&'r Id> {
    report.ids.iter().find(|known| known.id == id)
}

fn note(report: &Report, id: &Id) -> Option<String> {
    match id.status {
        Status::Failed => failure(report, &id.id),
        Status::Passed => id.reason.clone().or_else(|| variant(report, &id.id)),
        _ => id.reason.clone(),
    }
}

fn failure(report: &Report, id: &str) -> Option<String> {
    let own = report
        .tests
        .iter()
        .filter(|test| test.id == id || test.also.iter().any(|also| also == id));
    let mut messages = own.filter_map(|test| match &test.outcome {
        Outcome::Failed { message, .. } => Some(format!("{}: {message}", test.name())),
        _ => None,
    });
    messages.next()
}

/// Which accepted variant the broker showed.
fn variant(report: &Report, id: &str) -> Option<String> {
    let variants = report.tests.iter().flat_map(|test| match &test.outcome {
        Outcome::Passed { variants } => variants.as_slice(),
        _ => &[],
    });
    let mut own = variants.filter(|variant| variant.id == id);
    own.next()
        .map(|variant| format!("{}: {}", variant.name, variant.behaviour))
}

/// The notes, each once, numbered in the order in which they are first needed.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, note: String) -> usize {
        let known = self.0.iter().position(|known| *known == note);
        known.map_or_else(
            || {
                self.0.push(note);
                self.0.len()
            },
            |at| at + 1,
        )
    }

    fn write(&self, text: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n## Notes\n");
        for (at, note) in self.0.iter().enumerate() {
            let _ = writeln!(text, "{}. {}", at + 1, escaped(note));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{failed, hostile, passed, report, skipped};

    #[test]
    fn each_broker_has_a_column_and_each_reason_a_note() {
        let first = report(vec![
            passed("EXCH-01"),
            skipped("QUEUE-01", "no fixtures"),
            skipped("QUEUE-02", "no fixtures"),
        ]);
        let mut second = report(vec![
            failed("EXCH-01", "expected a, but b came"),
            passed("EXCH-02"),
            passed("QUEUE-01"),
        ]);
        second.broker.product = "Leveret".to_owned();
        let expected = "# Compatibility

| | broker | platform | profile | suite | IDs passed | failed | skipped |
|---|---|---|---|---|---|---|---|
| 1 | RabbitMQ 3.10.8 | Erlang/OTP 25 | rabbitmq-3.13 | 0.1.0 | 1 | 0 | 2 |
| 2 | Leveret 3.10.8 | Erlang/OTP 25 | rabbitmq-3.13 | 0.1.0 | 2 | 1 | 0 |

✓ passed · ✗ failed · – skipped · ? not run, the run ended early · ○ not testable from outside · \
… not selected. The raised numbers are notes, at the end.

## EXCH: 1/1 · 1/2

| ID | 1 | 2 |
|---|---|---|
| EXCH-01 | ✓ | ✗¹ |
| EXCH-02 | … | ✓ |

## QUEUE: 0/2 · 1/1

| ID | 1 | 2 |
|---|---|---|
| QUEUE-01 | –² | ✓ |
| QUEUE-02 | –² | … |

## Notes

1. EXCH-01 some_test: expected a, but b came
2. no fixtures
";
        assert_eq!(compatibility_page(&[first, second]), expected);
    }

    #[test]
    fn what_a_broker_sent_stays_in_its_note() {
        let page = compatibility_page(&[report(vec![failed("EXCH-01", &hostile())])]);
        let last = page.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("1. EXCH-01") && last.contains("&lt;b>"),
            "{page}"
        );
        assert!(!page.contains('\x1b'));
    }
}
