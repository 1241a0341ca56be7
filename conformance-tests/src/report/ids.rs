//! What the tests of each ID came to together.
//!
//! Invariant: no ID is missing, and none counts as passed of which nothing was shown.

use super::{Id, Outcome, Status, Test};
use crate::registry::{Check, Rule};

/// One entry for each ID, in their order.
pub(crate) fn statuses<'i>(
    ids: impl Iterator<Item = &'i str>,
    rules: &[&Rule],
    tests: &[Test],
) -> Vec<Id> {
    ids.map(|id| entry(id, rules, tests)).collect()
}

fn entry(id: &str, rules: &[&Rule], tests: &[Test]) -> Id {
    let own: Vec<_> = tests.iter().filter(|test| shows(test, id)).collect();
    let (status, reason) = match own.is_empty() {
        true => untested(id, rules),
        false => of_tests(&own),
    };
    Id {
        id: id.to_owned(),
        status,
        reason,
    }
}

fn shows(test: &Test, id: &str) -> bool {
    test.id == id || test.also.iter().any(|also| also == id)
}

fn untested(id: &str, rules: &[&Rule]) -> (Status, Option<String>) {
    let mut own = rules
        .iter()
        .filter(|rule| rule.ids().any(|shown| shown == id))
        .peekable();
    if own.peek().is_none() {
        return (Status::Untestable, Some("there is no test yet".to_owned()));
    }
    let reasons: Option<Vec<_>> = own.map(|rule| untestable_reason(rule)).collect();
    match reasons {
        Some(reasons) => (Status::Untestable, Some(reasons.join("; "))),
        None => (Status::NotSelected, None),
    }
}

fn untestable_reason(rule: &Rule) -> Option<&'static str> {
    match rule.check {
        Check::Untestable(reason) => Some(reason),
        Check::Test(_) => None,
    }
}

fn of_tests(own: &[&Test]) -> (Status, Option<String>) {
    let any = |is_meant: fn(&Outcome) -> bool| own.iter().any(|test| is_meant(&test.outcome));
    let without_run: Vec<_> = own
        .iter()
        .filter_map(|test| reason(&test.outcome))
        .collect();
    let why = || without_run.first().map(|reason| (*reason).to_owned());
    if any(|outcome| matches!(outcome, Outcome::Failed { .. })) {
        (Status::Failed, None)
    } else if any(|outcome| matches!(outcome, Outcome::NotRun { .. })) {
        (Status::NotRun, why())
    } else if any(|outcome| matches!(outcome, Outcome::Passed { .. })) {
        let (skipped, all) = (without_run.len(), own.len());
        let why = why().map(|reason| format!("{skipped} of {all} tests skipped: {reason}"));
        (Status::Passed, why)
    } else {
        (Status::Skipped, why())
    }
}

fn reason(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Passed { .. } | Outcome::Failed { .. } => None,
        Outcome::Skipped { reason } | Outcome::NotRun { reason } => Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failed, not_run, passed, skipped};
    use super::*;

    const UNTESTABLE: Rule = Rule::untestable("QUEUE-09", "", "needs a cluster");
    const TESTABLE: Rule = Rule::test("QUEUE-08", "t", "", |_| Box::pin(async { Ok(()) }));

    fn status_of(id: &str, tests: &[Test]) -> (Status, Option<String>) {
        let entry = entry(id, &[&UNTESTABLE, &TESTABLE], tests);
        (entry.status, entry.reason)
    }

    #[test]
    fn the_worst_test_of_an_id_counts() {
        let tests = [
            passed("QUEUE-01"),
            failed("QUEUE-01", "no"),
            skipped("QUEUE-01", "why"),
        ];
        assert_eq!(status_of("QUEUE-01", &tests).0, Status::Failed);
        let tests = [passed("QUEUE-01"), not_run("QUEUE-01", "gone")];
        let gone = (Status::NotRun, Some("gone".to_owned()));
        assert_eq!(status_of("QUEUE-01", &tests), gone);
        assert_eq!(
            status_of("QUEUE-01", &[passed("QUEUE-01")]),
            (Status::Passed, None)
        );
    }

    #[test]
    fn what_was_skipped_is_not_passed_or_says_so() {
        let some = status_of(
            "QUEUE-01",
            &[passed("QUEUE-01"), skipped("QUEUE-01", "why")],
        );
        assert_eq!(
            some,
            (Status::Passed, Some("1 of 2 tests skipped: why".to_owned()))
        );
        let all = status_of("QUEUE-01", &[skipped("QUEUE-01", "why")]);
        assert_eq!(all, (Status::Skipped, Some("why".to_owned())));
    }

    #[test]
    fn a_test_counts_for_all_that_it_shows() {
        let mut test = failed("QUEUE-01", "no");
        test.also.push("QUEUE-02".to_owned());
        assert_eq!(status_of("QUEUE-02", &[test]).0, Status::Failed);
    }

    #[test]
    fn an_id_without_a_test_says_why() {
        let untestable = (Status::Untestable, Some("needs a cluster".to_owned()));
        assert_eq!(status_of("QUEUE-09", &[]), untestable);
        assert_eq!(status_of("QUEUE-08", &[]), (Status::NotSelected, None));
        assert_eq!(status_of("QUEUE-77", &[]).0, Status::Untestable);
    }
}
