//! Makes a [`Report`] of the verdicts of a run.

use std::time::{Duration, SystemTime};

use super::words::{follows_word, need_words};
use super::{Broker, Counts, FORMAT, Outcome, Report, Selection, ShownVariant, Suite, Test, ids};
use crate::profile::{Profile, Variant};
use crate::registry::{IDS, Rule, registered};
use crate::runner::{Finished, Verdict};
use crate::selection::Options;
use crate::target::Target;

/// Under which circumstances the verdicts came about.
pub(crate) struct Setting<'r> {
    pub(crate) options: &'r Options,
    pub(crate) target: &'r Target,
    pub(crate) started: SystemTime,
    pub(crate) took: Duration,
    pub(crate) ended_early: Option<String>,
}

impl Report {
    /// The report of these verdicts, which may be in any order.
    pub(crate) fn new(setting: &Setting<'_>, finished: &[Finished]) -> Self {
        let profile = setting.target.profile();
        let tests = in_order(finished, profile);
        let rules: Vec<_> = registered().collect();
        Self {
            format: FORMAT,
            suite: suite(),
            broker: broker(setting.target),
            profile: profile.name().to_owned(),
            selection: selection(setting.options),
            jobs: setting.options.jobs,
            started: humantime::format_rfc3339_seconds(setting.started).to_string(),
            took_ms: milliseconds(setting.took),
            ended_early: setting.ended_early.clone(),
            summary: Counts::of(&tests),
            ids: ids::statuses(IDS.lines(), &rules, &tests),
            tests,
        }
    }
}

/// The tests in the order in which they are registered.
fn in_order(finished: &[Finished], profile: &Profile) -> Vec<Test> {
    let is_of = |rule: &Rule, finished: &Finished| {
        finished.rule.id == rule.id && finished.rule.title == rule.title
    };
    registered()
        .filter_map(|rule| finished.iter().find(|finished| is_of(rule, finished)))
        .map(|finished| test(finished, profile))
        .collect()
}

fn suite() -> Suite {
    Suite {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn broker(target: &Target) -> Broker {
    let broker = target.broker();
    Broker {
        address: target.address(),
        product: broker.text("product"),
        version: broker.text("version"),
        platform: broker.text("platform"),
    }
}

fn selection(options: &Options) -> Selection {
    Selection {
        only: options.only.clone(),
        skip: options.skip.clone(),
    }
}

fn test(finished: &Finished, profile: &Profile) -> Test {
    let rule = finished.rule;
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Test {
        id: rule.id.to_owned(),
        also: owned(rule.also),
        title: rule.title.to_owned(),
        rule: rule.rule.to_owned(),
        follows: follows_word(rule.follows).to_owned(),
        needs: owned(&need_words(&rule.needs)),
        outcome: outcome(finished, profile),
        took_ms: milliseconds(finished.took),
    }
}

fn outcome(finished: &Finished, profile: &Profile) -> Outcome {
    match &finished.verdict {
        Verdict::Passed => Outcome::Passed {
            variants: finished
                .shown
                .iter()
                .map(|shown| variant(shown, profile))
                .collect(),
        },
        Verdict::Failed(failure) => Outcome::Failed {
            message: failure.text().to_owned(),
            details: failure.notes().to_vec(),
        },
        Verdict::Skipped(reason) => Outcome::Skipped {
            reason: reason.clone(),
        },
        Verdict::NotRun(reason) => Outcome::NotRun {
            reason: reason.clone(),
        },
    }
}

fn variant(shown: &Variant, profile: &Profile) -> ShownVariant {
    ShownVariant {
        id: shown.id.to_owned(),
        name: shown.name.to_owned(),
        behaviour: shown.behaviour.to_owned(),
        reason: profile.reason(shown.id).map(str::to_owned),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Counts {
    /// The counts of these tests.
    pub(crate) fn of<'t>(tests: impl IntoIterator<Item = &'t Test>) -> Self {
        let mut counts = Self::default();
        for test in tests {
            *counts.place(&test.outcome) += 1;
        }
        counts
    }

    fn place(&mut self, outcome: &Outcome) -> &mut usize {
        match outcome {
            Outcome::Passed { .. } => &mut self.passed,
            Outcome::Failed { .. } => &mut self.failed,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::NotRun { .. } => &mut self.not_run,
        }
    }
}
