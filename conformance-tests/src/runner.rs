//! Runs one test: whether it can run at all, its turn, its deadline, its clean-up and its verdict.
//!
//! What it is not: a whole run is [`crate::run()`].
//!
//! Invariant: every test ends: its deadline and the clean-up's bound it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::interruption::Interrupted;
use crate::profile::Variant;
use crate::registry::{Check, Rule, Running};
use crate::restart::Stop;
use crate::target::Target;
use crate::trial::Trial;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker does as the rule says.
    Passed,
    /// It does not.
    Failed(Failure),
    /// It was not asked, since something is missing that the test needs, or the rule does not concern it.
    Skipped(String),
    /// It was not asked to the end, since the run ended early, for this reason.
    NotRun(String),
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
    run_one_until(rule, target, Interrupted::never()).await
}

/// The same, but when the run ends early the test does so too, and cleans up.
pub(crate) async fn run_one_until(
    rule: &'static Rule,
    target: Arc<Target>,
    mut interrupted: Interrupted,
) -> Finished {
    let test = match (reason_to_skip(rule, &target), rule.check) {
        (None, Check::Test(test)) => test,
        (reason, _) => {
            let reason = reason.unwrap_or_default();
            return Finished::without_a_run(rule, Verdict::Skipped(reason));
        }
    };
    let _turn = tokio::select! {
        turn = turn(rule, &target) => turn,
        reason = interrupted.reason() => {
            return Finished::without_a_run(rule, Verdict::NotRun(reason));
        }
    };
    let since = Instant::now();
    let trial = Arc::new(Trial::new(target, rule));
    let verdict = run_bounded(rule, test, &trial, interrupted).await;
    Finished {
        rule,
        verdict,
        took: since.elapsed(),
        shown: trial.shown(),
    }
}

impl Finished {
    pub(crate) fn without_a_run(rule: &'static Rule, verdict: Verdict) -> Self {
        Self {
            rule,
            verdict,
            took: Duration::ZERO,
            shown: Vec::new(),
        }
    }
}

async fn turn(rule: &Rule, target: &Target) -> Option<OwnedMutexGuard<()>> {
    match rule.lock {
        Some(name) => Some(target.lock(name).await),
        None => None,
    }
}

async fn run_bounded(
    rule: &'static Rule,
    test: fn(&Trial) -> Running<'_>,
    trial: &Arc<Trial>,
    mut interrupted: Interrupted,
) -> Verdict {
    // A task of its own, so that a panic stays in the test and the clean-up still happens.
    let mut task = tokio::spawn({
        let trial = Arc::clone(trial);
        async move { test(&trial).await }
    });
    let outcome = tokio::select! {
        ended = &mut task => ended
            .unwrap_or_else(|panic| Err(Failure::new(format!("the test panicked: {panic}")))),
        () = tokio::time::sleep(rule.deadline) => {
            cancel(task).await;
            Err(Failure::new(format!("not done in {:?}", rule.deadline)))
        }
        reason = interrupted.reason() => {
            cancel(task).await;
            // Whether the clean-up of half a test succeeds says nothing about the rule.
            let _ = trial.clean_up().await;
            return Verdict::NotRun(reason);
        }
    };
    let declared = trial.expect_declared_variants();
    let outcome = outcome.and(declared).and(trial.clean_up().await);
    outcome.map_or_else(Verdict::Failed, |()| Verdict::Passed)
}

/// Ends a test where it stands, and waits until it lets go of what it holds.
async fn cancel<T>(task: JoinHandle<T>) {
    task.abort();
    let _ = task.await;
}
