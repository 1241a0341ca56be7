//! A page: what was held against what, the sections, what failed with its frames, and what was left out why.
//!
//! Invariant: whatever a broker sent is text on the page. It closes no table, no fence and no line, and is
//! no markup.

use std::fmt::Write as _;

use super::grouped::{self, Group, ids_of};
use super::printable::line as safe;
use super::sections::{Sections, StatusCounts};
use super::{Id, Outcome, Report};

/// Characters that GitHub's Markdown takes for markup within a line. An underscore within a word, as in the
/// names of tests, is none.
const MARKUP: &str = "\\`*[]|~#$";

pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    write_sections(&mut text, report);
    write_failures(&mut text, report);
    write_variants(&mut text, report);
    write_groups(
        &mut text,
        "Skipped",
        &grouped::skipped(&report.tests),
        ids_of,
    );
    write_groups(
        &mut text,
        "Not run",
        &grouped::not_run(&report.tests),
        ids_of,
    );
    let untestable = grouped::untestable(&report.ids);
    write_groups(&mut text, "Not testable from outside", &untestable, |ids| {
        names(ids)
    });
    text
}

fn head(text: &mut String, report: &Report) {
    let Report { suite, broker, .. } = report;
    let _ = writeln!(text, "# {}\n", escaped(&broker.name()));
    let _ = writeln!(text, "| | |\n|---|---|");
    let mut row = |key: &str, value: &str| {
        let _ = writeln!(text, "| {key} | {} |", escaped(value));
    };
    row("suite", &format!("{} {}", suite.name, suite.version));
    row("broker", &broker.name());
    row("platform", &broker.platform);
    row("profile", &report.profile);
    row("tests", &report.to_line());
    row("jobs", &report.jobs.to_string());
    row("started", &report.started);
    row("took", &format!("{} s", report.took_ms / 1000));
    if let Some(reason) = &report.ended_early {
        row("ended early", reason);
    }
}

fn write_sections(text: &mut String, report: &Report) {
    let sections = Sections::of(report);
    let _ = writeln!(text, "\n## Sections\n");
    let _ = writeln!(text, "IDs by what their tests came to.\n");
    let _ = writeln!(
        text,
        "| section | passed | failed | skipped | not run | untestable | not selected |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    for (name, counts) in &sections.0 {
        write_section(text, name, counts);
    }
    write_section(text, "all", &sections.total());
}

fn write_section(text: &mut String, name: &str, counts: &StatusCounts) {
    let StatusCounts {
        passed,
        failed,
        skipped,
        not_run,
        untestable,
        not_selected,
    } = counts;
    let _ = writeln!(
        text,
        "| {} | {passed} | {failed} | {skipped} | {not_run} | {untestable} | {not_selected} |",
        escaped(name)
    );
}

fn write_failures(text: &mut String, report: &Report) {
    let mut is_first = true;
    for test in &report.tests {
        let Outcome::Failed { message, details } = &test.outcome else {
            continue;
        };
        if std::mem::take(&mut is_first) {
            let _ = writeln!(text, "\n## Failed");
        }
        let _ = writeln!(text, "\n### {}\n", escaped(&test.name()));
        let _ = writeln!(text, "{}\n", escaped(&test.rule));
        // Indented text is code, and unlike a fence nothing in a line can end it.
        for line in std::iter::once(message).chain(details) {
            let _ = writeln!(text, "    {}", safe(line));
        }
    }
}

fn write_variants(text: &mut String, report: &Report) {
    let shown = report.tests.iter().flat_map(|test| match &test.outcome {
        Outcome::Passed { variants } => variants.as_slice(),
        _ => &[],
    });
    let mut lines: Vec<String> = Vec::new();
    for variant in shown {
        let reason = variant.reason.as_deref().unwrap_or_default();
        let (id, name) = (escaped(&variant.id), escaped(&variant.name));
        let line = format!(
            "- {id} {name}: {} {}",
            escaped(&variant.behaviour),
            escaped(reason)
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(text, "\n## Accepted variants\n\n{}", lines.join("\n"));
    }
}

fn write_groups<T>(
    text: &mut String,
    title: &str,
    groups: &[Group<'_, T>],
    names: impl Fn(&[T]) -> String,
) {
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n");
    for (reason, group) in groups {
        let _ = writeln!(text, "- {}: {}", escaped(reason), escaped(&names(group)));
    }
}

fn names(ids: &[&Id]) -> String {
    let ids: Vec<&str> = ids.iter().map(|id| id.id.as_str()).collect();
    ids.join(", ")
}

/// Text in one line that is nothing but text.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in safe(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            _ if MARKUP.contains(character) => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::printable::is_obeyed;
    use super::super::testing::{failed, hostile, passed, report, skipped};
    use super::super::{Outcome, ShownVariant, Status};
    use super::*;

    #[test]
    fn the_page_has_counts_failures_and_reasons() {
        let mut accepted = passed("QUEUE-04");
        let variant = ShownVariant {
            id: "QUEUE-04".to_owned(),
            name: "late".to_owned(),
            behaviour: "It counts late.".to_owned(),
            reason: Some("As RabbitMQ does.".to_owned()),
        };
        accepted.outcome = Outcome::Passed {
            variants: vec![variant],
        };
        let mut report = report(vec![
            failed("EXCH-01", "expected a, but b came"),
            skipped("QUEUE-02", "no fixtures"),
            skipped("QUEUE-03", "no fixtures"),
            accepted,
            passed("QUEUE-05"),
        ]);
        if let Some(id) = report.ids.last_mut() {
            id.status = Status::Untestable;
            id.reason = Some("needs a cluster".to_owned());
        }
        let page = write(&report);
        for part in [
            "# RabbitMQ 3.10.8\n",
            "| tests | 2 passed, 1 failed, 2 skipped |\n",
            "| EXCH | 0 | 1 | 0 | 0 | 0 | 0 |\n| QUEUE | 1 | 0 | 2 | 0 | 1 | 0 |\n\
             | all | 1 | 1 | 2 | 0 | 1 | 0 |\n",
            "### EXCH-01 some_test\n\nSomething holds.\n\n    expected a, but b came\n    ← a frame\n",
            "## Accepted variants\n\n- QUEUE-04 late: It counts late. As RabbitMQ does.\n",
            "## Skipped\n\n- no fixtures: QUEUE-02, QUEUE-03\n",
            "## Not testable from outside\n\n- needs a cluster: QUEUE-05\n",
        ] {
            assert!(page.contains(part), "{part} is missing from\n{page}");
        }
    }

    #[test]
    fn a_broker_writes_no_markup() {
        let mut report = report(vec![
            failed("QUEUE-01", &hostile()),
            skipped("QUEUE-02", &hostile()),
        ]);
        report.broker.product = hostile();
        let page = write(&report);
        assert!(
            !page
                .chars()
                .any(|character| character != '\n' && is_obeyed(character))
        );
        let row = page.lines().find(|line| line.starts_with("| broker |"));
        let row = row.unwrap_or_default().replace("\\|", "");
        assert_eq!(row.matches('|').count(), 3, "{row}");
        let outside_of_code = page.lines().filter(|line| !line.starts_with("    "));
        assert!(!outside_of_code.clone().any(|line| line.contains("<b>")));
        assert!(!page.contains("\n| a | b |"), "{page}");
    }
}
