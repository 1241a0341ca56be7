//! Runs tests side by side, each with its own deadline, and collects the verdicts. Those that restart
//! the broker or raise its alarms, which disturbs everybody else, come last and one by one.
//!
//! Invariant: never more than the chosen number of tests at once, and every test ends: its deadline
//! and the clean-up's bound it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::profile::Variant;
use crate::registry::{Check, Rule, Running, registered};
use crate::restart::Stop;
use crate::target::Target;
use crate::trial::Trial;

/// Which tests run, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// IDs, sections or names; empty means all.
    pub only: Vec<String>,
    /// How many tests run at once, at least one.
    pub jobs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            // Tests wait far more than they work.
            jobs: 8,
        }
    }
}

impl Options {
    /// The tests that these options select.
    pub fn selected(&self) -> impl Iterator<Item = &'static Rule> {
        let is_meant = |rule: &Rule| self.only.iter().any(|word| rule.is_meant_by(word));
        registered().filter(move |rule| self.only.is_empty() || is_meant(rule))
    }
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker does as the rule says.
    Passed,
    /// It does not.
    Failed(Failure),
    /// It was not asked, for this reason.
    Skipped(String),
}

/// A test that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which.
    pub rule: &'static Rule,
    /// How.
    pub verdict: Verdict,
    /// How long it took, without the wait for its turn.
    pub took: Duration,
    /// Which of the rule's variants the broker showed, as far as the test noticed.
    pub shown: Vec<Variant>,
}

/// All verdicts of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// In the order in which the tests ended.
    pub finished: Vec<Finished>,
}

impl Summary {
    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed))
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    /// How many were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped(_)))
    }

    fn count(&self, is_counted: impl Fn(&Verdict) -> bool) -> usize {
        let verdicts = self.finished.iter().map(|finished| &finished.verdict);
        verdicts.filter(|verdict| is_counted(verdict)).count()
    }
}

/// Runs the selected tests and reports each as it ends.
pub async fn run(
    target: Arc<Target>,
    options: &Options,
    mut report: impl FnMut(&Finished),
) -> Summary {
    let mut summary = Summary::default();
    let mut end = |finished| {
        report(&finished);
        summary.finished.push(finished);
    };
    let (alone, together): (Vec<_>, Vec<_>) =
        options.selected().partition(|rule| rule.runs_alone());
    run_together(together, &target, options.jobs, &mut end).await;
    for rule in alone {
        end(run_one(rule, Arc::clone(&target)).await);
    }
    summary
}

async fn run_together(
    rules: Vec<&'static Rule>,
    target: &Arc<Target>,
    jobs: usize,
    end: &mut impl FnMut(Finished),
) {
    let mut running = JoinSet::new();
    let mut waiting = rules.into_iter();
    loop {
        while running.len() < jobs.max(1) {
            let Some(rule) = waiting.next() else { break };
            running.spawn(run_one(rule, Arc::clone(target)));
        }
        match running.join_next().await {
            None => return,
            Some(Ok(finished)) => end(finished),
            // `run_one` turns a test's panic into a verdict and is never cancelled.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Why a test cannot run against this target, if so.
#[must_use]
pub fn reason_to_skip(rule: &Rule, target: &Target) -> Option<String> {
    match rule.check {
        Check::Untestable(reason) => Some(format!("not testable from outside: {reason}")),
        Check::Test(_) if target.profile().not_applicable(rule.id).is_some() => {
            let reason = target.profile().not_applicable(rule.id);
            let (name, reason) = (target.profile().name(), reason.unwrap_or_default());
            Some(format!("not applicable in profile {name}: {reason}"))
        }
        Check::Test(_) if rule.needs.fixtures && !target.has_fixtures_ready() => {
            Some("the target has no fixtures".to_owned())
        }
        Check::Test(_) if rule.needs.quorum_queues && !target.has_quorum_queues() => {
            Some("the target has no quorum queues".to_owned())
        }
        Check::Test(_) if rule.needs.stream_queues && !target.has_stream_queues() => {
            Some("stream queues are not available".to_owned())
        }
        Check::Test(_) if rule.needs.management && target.management().is_none() => {
            Some("no management access is given".to_owned())
        }
        Check::Test(_) => target
            .profile()
            .other_version(rule)
            .or_else(|| unless_operated(rule, target))
            .or_else(|| unless_offered(rule.needs.restart?, target))
            .or_else(|| unless_logs_in_with(rule.needs.mechanism?, target)),
    }
}

fn unless_operated(rule: &Rule, target: &Target) -> Option<String> {
    let duty = rule.needs.duty?;
    match target.has_operator_for(duty) {
        true => None,
        false => Some(format!("no operator is given who {duty}")),
    }
}

fn unless_logs_in_with(mechanism: &str, target: &Target) -> Option<String> {
    let is_offered = target.offers_mechanism(mechanism);
    (!is_offered).then(|| format!("the target does not offer the mechanism {mechanism}"))
}

fn unless_offered(stop: Stop, target: &Target) -> Option<String> {
    let command = match stop {
        _ if target.can_restart(stop) => return None,
        Stop::Clean => "no command restarts the target",
        Stop::Crash => "no command crashes and restarts the target",
    };
    Some(command.to_owned())
}

/// Runs one test, with its deadline and its clean-up.
pub async fn run_one(rule: &'static Rule, target: Arc<Target>) -> Finished {
    let done = |verdict, took, shown| Finished {
        rule,
        verdict,
        took,
        shown,
    };
    let test = match (reason_to_skip(rule, &target), rule.check) {
        (None, Check::Test(test)) => test,
        (reason, _) => {
            let reason = reason.unwrap_or_default();
            return done(Verdict::Skipped(reason), Duration::ZERO, Vec::new());
        }
    };
    let _turn = match rule.lock {
        Some(name) => Some(target.lock(name).await),
        None => None,
    };
    let since = Instant::now();
    let trial = Arc::new(Trial::new(target, rule));
    let outcome = run_bounded(rule, test, &trial).await;
    let verdict = outcome.map_or_else(Verdict::Failed, |()| Verdict::Passed);
    done(verdict, since.elapsed(), trial.shown())
}

async fn run_bounded(
    rule: &'static Rule,
    test: fn(&Trial) -> Running<'_>,
    trial: &Arc<Trial>,
) -> Result<(), Failure> {
    // A task of its own, so that a panic stays in the test and the clean-up still happens.
    let mut task = tokio::spawn({
        let trial = Arc::clone(trial);
        async move { test(&trial).await }
    });
    let outcome = match tokio::time::timeout(rule.deadline, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Failure::new(format!("the test panicked: {panic}"))),
        Err(_) => {
            task.abort();
            let _ = task.await;
            Err(Failure::new(format!("not done in {:?}", rule.deadline)))
        }
    };
    let declared = trial.expect_declared_variants();
    outcome.and(declared).and(trial.clean_up().await)
}
