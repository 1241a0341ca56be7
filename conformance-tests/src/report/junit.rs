//! JUnit's XML as CI servers read it: a suite for each section, a case for each test.
//!
//! A test that the end of the run came before is an `error`, as it is neither passed nor meant to be left
//! out.
//!
//! Invariant: the text is well formed whatever a broker sent. Characters that XML does not have are shown
//! as `\u{1b}`.

use std::fmt::Write as _;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::printable::{line, lines};
use super::{Counts, Outcome, Report, Test};
use crate::registry::section_of;

/// Spaces of one level.
const INDENT: usize = 2;

type Xml = Writer<Vec<u8>>;

pub(super) fn write(report: &Report) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', INDENT);
    // A Vec takes everything.
    let _ = write_document(&mut xml, report);
    let mut text = String::from_utf8_lossy(&xml.into_inner()).into_owned();
    text.push('\n');
    text
}

fn write_document(xml: &mut Xml, report: &Report) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let sections = report
        .tests
        .chunk_by(|one, next| section_of(&one.id) == section_of(&next.id));
    let counts = attributes(&report.summary);
    xml.create_element("testsuites")
        .with_attribute(("name", line(&report.suite.name).as_ref()))
        .with_attributes(counts.iter().map(|(key, value)| (*key, value.as_str())))
        .with_attribute(("time", seconds(report.took_ms).as_str()))
        .write_inner_content(|xml| {
            for tests in sections {
                write_section(xml, report, tests)?;
            }
            Ok(())
        })?;
    Ok(())
}

/// The number of tests, and of those that did not pass; skipped ones have passed in no sense.
fn attributes(counts: &Counts) -> [(&'static str, String); 4] {
    let Counts {
        passed,
        failed,
        skipped,
        not_run,
    } = counts;
    [
        ("tests", (passed + failed + skipped + not_run).to_string()),
        ("failures", failed.to_string()),
        ("errors", not_run.to_string()),
        ("skipped", skipped.to_string()),
    ]
}

fn write_section(xml: &mut Xml, report: &Report, tests: &[Test]) -> io::Result<()> {
    let name = tests.first().map_or("", |test| section_of(&test.id));
    let counts = attributes(&Counts::of(tests));
    let took_ms = tests.iter().map(|test| test.took_ms).sum();
    xml.create_element("testsuite")
        .with_attribute(("name", line(name).as_ref()))
        .with_attributes(counts.iter().map(|(key, value)| (*key, value.as_str())))
        .with_attribute(("time", seconds(took_ms).as_str()))
        // The schema that is in use has no room for a time zone.
        .with_attribute((
            "timestamp",
            line(report.started.trim_end_matches('Z')).as_ref(),
        ))
        .write_inner_content(|xml| {
            write_properties(xml, report)?;
            tests
                .iter()
                .try_for_each(|test| write_case(xml, name, test))
        })?;
    Ok(())
}

fn write_properties(xml: &mut Xml, report: &Report) -> io::Result<()> {
    let properties = [
        ("suite.version", report.suite.version.clone()),
        ("broker", report.broker.name()),
        ("broker.platform", report.broker.platform.clone()),
        ("broker.address", report.broker.address.clone()),
        ("profile", report.profile.clone()),
    ];
    xml.create_element("properties")
        .write_inner_content(|xml| {
            for (name, value) in &properties {
                xml.create_element("property")
                    .with_attribute(("name", *name))
                    .with_attribute(("value", line(value).as_ref()))
                    .write_empty()?;
            }
            Ok(())
        })?;
    Ok(())
}

fn write_case(xml: &mut Xml, section: &str, test: &Test) -> io::Result<()> {
    let case = xml
        .create_element("testcase")
        .with_attribute(("classname", line(section).as_ref()))
        .with_attribute(("name", line(&test.name()).as_ref()))
        .with_attribute(("time", seconds(test.took_ms).as_str()));
    match &test.outcome {
        Outcome::Passed { .. } => case.write_empty()?,
        outcome => case.write_inner_content(|xml| write_outcome(xml, test, outcome))?,
    };
    Ok(())
}

fn write_outcome(xml: &mut Xml, test: &Test, outcome: &Outcome) -> io::Result<()> {
    match outcome {
        Outcome::Passed { .. } => {}
        Outcome::Skipped { reason } => {
            xml.create_element("skipped")
                .with_attribute(("message", line(reason).as_ref()))
                .write_empty()?;
        }
        Outcome::NotRun { reason } => {
            xml.create_element("error")
                .with_attribute(("message", format!("not run: {}", line(reason)).as_str()))
                .write_empty()?;
        }
        Outcome::Failed { message, details } => {
            let text = told(test, message, details);
            xml.create_element("failure")
                .with_attribute(("message", line(message).as_ref()))
                .write_text_content(BytesText::new(&text))?;
        }
    }
    Ok(())
}

fn told(test: &Test, message: &str, details: &[String]) -> String {
    let mut text = format!("{}\n{}", line(&test.rule), lines(message));
    for detail in details {
        let _ = write!(text, "\n{}", line(detail));
    }
    text
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use roxmltree::{Document, Node};

    use super::super::printable::is_obeyed;
    use super::super::testing::{failed, hostile, not_run, passed, report, skipped};
    use super::*;

    fn named<'d>(document: &'d Document<'_>, name: &str) -> Vec<Node<'d, 'd>> {
        let is_named = |node: &Node<'_, '_>| node.has_tag_name(name);
        document.descendants().filter(is_named).collect()
    }

    #[test]
    fn a_parser_finds_each_test_in_its_section() {
        let text = write(&report(vec![
            passed("QUEUE-01"),
            failed("QUEUE-02", "expected a, but b came"),
            skipped("EXCH-01", "no fixtures"),
            not_run("EXCH-02", "interrupted"),
        ]));
        let document = Document::parse(&text).unwrap();
        let root = document.root_element();
        let root =
            ["tests", "failures", "errors", "skipped", "time"].map(|key| root.attribute(key));
        assert_eq!(root, ["4", "1", "1", "1", "12.345"].map(Some));
        let suites: Vec<_> = named(&document, "testsuite")
            .iter()
            .map(|suite| ["name", "tests", "failures"].map(|key| suite.attribute(key).unwrap()))
            .collect();
        assert_eq!(suites, [["QUEUE", "2", "1"], ["EXCH", "2", "0"]]);
        let cases = named(&document, "testcase");
        assert_eq!(cases[1].attribute("name"), Some("QUEUE-02 some_test"));
        assert_eq!(cases[1].attribute("classname"), Some("QUEUE"));
        let failure = named(&document, "failure")[0];
        assert_eq!(failure.attribute("message"), Some("expected a, but b came"));
        let told = "Something holds.\nexpected a, but b came\n← a frame";
        assert_eq!(failure.text(), Some(told));
        assert_eq!(
            named(&document, "skipped")[0].attribute("message"),
            Some("no fixtures")
        );
        let error = named(&document, "error")[0].attribute("message");
        assert_eq!(error, Some("not run: interrupted"));
    }

    #[test]
    fn it_is_well_formed_whatever_a_broker_sent() {
        let mut report = report(vec![
            failed("QUEUE-01", &hostile()),
            skipped("QUEUE-02", &hostile()),
            not_run("QUEUE-03", &hostile()),
        ]);
        report.broker.product = hostile();
        report.broker.platform = hostile();
        let text = write(&report);
        let document = Document::parse(&text).unwrap();
        assert_eq!(named(&document, "testcase").len(), 3);
        let message = named(&document, "failure")[0].attribute("message").unwrap();
        assert!(
            message.contains("]]> <b>&amp;\"'") && message.contains("\\u{1b}[2J"),
            "{message}"
        );
        assert!(
            !text
                .chars()
                .any(|character| character != '\n' && is_obeyed(character))
        );
    }
}
