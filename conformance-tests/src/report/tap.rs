//! TAP 14: <https://testanything.org/tap-version-14-specification.html>.
//!
//! ```text
//! TAP version 14
//! 1..2
//! ok 1 - QUEUE-01 new_queue_is_empty
//! not ok 2 - QUEUE-02 …
//!   ---
//!   message: "expected …, but … came"
//!   ...
//! ```
//!
//! Invariant: whatever a broker sent stays within its line; it can forge neither a test nor the end of a
//! diagnostic.

use std::fmt::Write as _;

use super::json::to_json;
use super::printable::line as safe;
use super::{Outcome, Report, Test};

pub(super) fn write(report: &Report) -> String {
    let mut text = String::from("TAP version 14\n");
    let _ = writeln!(text, "1..{}", report.tests.len());
    let name = report.broker.name();
    let _ = writeln!(text, "# {}, profile {}", safe(&name), safe(&report.profile));
    for (at, test) in report.tests.iter().enumerate() {
        write_test(&mut text, at + 1, test);
    }
    if let Some(reason) = &report.ended_early {
        let _ = writeln!(text, "Bail out! {}", safe(reason));
    }
    text
}

fn write_test(text: &mut String, number: usize, test: &Test) {
    let name = escaped(&test.name());
    match &test.outcome {
        Outcome::Passed { .. } => {
            let _ = writeln!(text, "ok {number} - {name}");
        }
        Outcome::Skipped { reason } => {
            let _ = writeln!(text, "ok {number} - {name} # SKIP {}", escaped(reason));
        }
        Outcome::Failed { message, details } => {
            let _ = writeln!(text, "not ok {number} - {name}");
            write_diagnostic(text, test, message, details);
        }
        Outcome::NotRun { reason } => {
            let _ = writeln!(text, "not ok {number} - {name}");
            write_diagnostic(text, test, &format!("not run: {reason}"), &[]);
        }
    }
}

fn write_diagnostic(text: &mut String, test: &Test, message: &str, details: &[String]) {
    let _ = writeln!(text, "  ---");
    let _ = writeln!(text, "  rule: {}", quoted(&test.rule));
    let _ = writeln!(text, "  message: {}", quoted(message));
    let _ = writeln!(text, "  duration_ms: {}", test.took_ms);
    if !details.is_empty() {
        let _ = writeln!(text, "  details:");
    }
    for line in details {
        let _ = writeln!(text, "    - {}", quoted(line));
    }
    let _ = writeln!(text, "  ...");
}

/// A text in which `#` starts no directive.
fn escaped(text: &str) -> String {
    safe(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// A scalar of YAML; every text of JSON is one.
fn quoted(text: &str) -> String {
    to_json(&text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::printable::is_obeyed;
    use super::super::testing::{failed, hostile, not_run, passed, report, skipped};
    use super::*;

    /// What a harness reads, by the grammar: version, plan, test points with their diagnostics, comments,
    /// bail out. Anything else is an error.
    #[derive(Debug, Default, PartialEq)]
    struct Harness {
        planned: usize,
        points: Vec<(bool, String, Option<String>)>,
        diagnostics: Vec<Vec<String>>,
        bailed_out: Option<String>,
    }

    fn read(text: &str) -> Harness {
        let mut lines = text.lines();
        let mut read = Harness::default();
        assert_eq!(lines.next(), Some("TAP version 14"));
        read.planned = lines
            .next()
            .unwrap()
            .strip_prefix("1..")
            .unwrap()
            .parse()
            .unwrap();
        while let Some(line) = lines.next() {
            if let Some(reason) = line.strip_prefix("Bail out! ") {
                read.bailed_out = Some(reason.to_owned());
            } else if line == "  ---" {
                let block = lines.by_ref().take_while(|line| *line != "  ...");
                read.diagnostics.push(block.map(str::to_owned).collect());
            } else if !line.starts_with("# ") {
                read.points.push(point(line, read.points.len() + 1));
            }
        }
        read
    }

    fn point(line: &str, number: usize) -> (bool, String, Option<String>) {
        let (is_ok, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("ok ").unwrap()),
        };
        let rest = rest.strip_prefix(&format!("{number} - ")).unwrap();
        let (mut name, mut directive, mut is_escaped) = (String::new(), None, false);
        for (at, character) in rest.char_indices() {
            match character {
                '\\' if !is_escaped => is_escaped = true,
                '#' if !is_escaped => {
                    directive = Some(rest[at + 1..].trim().to_owned());
                    break;
                }
                _ => {
                    name.push(character);
                    is_escaped = false;
                }
            }
        }
        (is_ok, name.trim().to_owned(), directive)
    }

    #[test]
    fn a_harness_reads_what_came_of_each_test() {
        let report = report(vec![
            passed("QUEUE-01"),
            failed("QUEUE-02", "expected a, but b came"),
            skipped("QUEUE-03", "no fixtures"),
            not_run("QUEUE-04", "interrupted"),
        ]);
        let read = read(&write(&report));
        let names: Vec<_> = read
            .points
            .iter()
            .map(|(ok, name, _)| (*ok, name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (true, "QUEUE-01 some_test"),
                (false, "QUEUE-02 some_test"),
                (true, "QUEUE-03 some_test"),
                (false, "QUEUE-04 some_test"),
            ]
        );
        assert_eq!(read.planned, 4);
        assert_eq!(read.points[2].2.as_deref(), Some("SKIP no fixtures"));
        assert_eq!(
            read.diagnostics[0][1],
            "  message: \"expected a, but b came\""
        );
        assert_eq!(read.diagnostics[0][4], "    - \"← a frame\"");
        assert_eq!(
            read.diagnostics[1][1],
            "  message: \"not run: interrupted\""
        );
        assert_eq!(read.bailed_out, None);
    }

    #[test]
    fn a_broker_can_forge_nothing() {
        let mut report = report(vec![
            failed("QUEUE-01", &hostile()),
            skipped("QUEUE-02", &hostile()),
        ]);
        report.broker.product = hostile();
        report.ended_early = Some("gone".to_owned());
        let text = write(&report);
        let read = read(&text);
        assert_eq!(
            (read.planned, read.points.len(), read.diagnostics.len()),
            (2, 2, 1)
        );
        assert!(!read.points[0].0 && read.points[1].0);
        assert_eq!(read.bailed_out.as_deref(), Some("gone"));
        assert!(
            !text
                .chars()
                .any(|character| character != '\n' && is_obeyed(character))
        );
        // YAML's double-quoted scalars are JSON's texts, and give back what came.
        let message = read.diagnostics[0][1].strip_prefix("  message: ").unwrap();
        assert_eq!(serde_json::from_str::<String>(message).unwrap(), hostile());
    }
}
