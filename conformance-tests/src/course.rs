//! The course of a whole run: tests side by side, then those that need the broker for themselves one by one.
//!
//! ```text
//!   options ─▶ tests ─▶ together (jobs at once) ─▶ alone (one by one) ─▶ Report
//!                            │ one fails
//!                            ▼
//!                    does the broker still serve? ─ no ─▶ the rest is not run
//! ```
//!
//! What it is not: how one test runs is in [`crate::runner`].
//!
//! Invariants: never more than the chosen number of tests at once. Every selected test has exactly one
//! verdict in the end, also when the run ends early. A run against a broker that dies takes as long as the
//! tests that run just then, and not a deadline for each of the others.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::interruption::Interruption;
use crate::registry::Rule;
use crate::report::{Report, Setting};
use crate::runner::{Finished, Verdict, reason_to_skip, run_one_until};
use crate::selection::{Options, SelectionError};
use crate::target::Target;

/// How often a broker may fail to serve a new connection, after a test has failed, until it counts as gone.
/// One failure may be the test's doing: it has just shut down what it did not like.
const ATTEMPTS_MAX: usize = 3;

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'p> {
    /// This many tests are going to end.
    Selected(usize),
    /// One has started, or waits for its turn.
    Started(&'static Rule),
    /// One has ended.
    Ended(&'p Finished),
    /// The run ends early, for this reason; what runs cleans up.
    EndsEarly(&'p str),
}

/// Holds the target against every rule that is selected, and reports.
///
/// The target may be a [`Target`] or an `Arc` of one. A test that fails is in the report and is no error.
///
/// ```no_run
/// # use leveret_conformance::{Options, Target, run};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let target = Target::connect("amqp://guest:guest@127.0.0.1:5672/%2f").await?;
/// let report = run(target, &Options::default()).await?;
/// assert_eq!(report.failed(), 0, "{}", report.to_pretty());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The options select no test.
pub async fn run(
    target: impl Into<Arc<Target>>,
    options: &Options,
) -> Result<Report, SelectionError> {
    run_watched(target, options, std::future::pending(), |_| {}).await
}

/// The same, telling what happens as it happens, until `stop` is ready with the reason for an early end. The
/// tests that run by then are ended where they stand and clean up; those that have not started do not.
///
/// # Errors
/// The options select no test.
pub async fn run_watched(
    target: impl Into<Arc<Target>>,
    options: &Options,
    stop: impl Future<Output = String>,
    watch: impl FnMut(Progress<'_>),
) -> Result<Report, SelectionError> {
    let (started, since) = (SystemTime::now(), Instant::now());
    let (alone, together): (Vec<_>, Vec<_>) = options
        .tests()?
        .into_iter()
        .partition(|rule| rule.runs_alone());
    let mut course = Course::new(target.into(), watch);
    (course.watch)(Progress::Selected(alone.len() + together.len()));
    let mut stop = std::pin::pin!(stop);
    course.run(together, options.jobs, stop.as_mut()).await;
    course.run(alone, 1, stop.as_mut()).await;
    let setting = Setting {
        options,
        target: &course.target,
        started,
        took: since.elapsed(),
        ended_early: course.interruption.reason(),
    };
    Ok(Report::new(&setting, &course.finished))
}

/// A run while it happens.
struct Course<W> {
    target: Arc<Target>,
    watch: W,
    interruption: Interruption,
    running: JoinSet<Finished>,
    finished: Vec<Finished>,
}

impl<W: FnMut(Progress<'_>)> Course<W> {
    fn new(target: Arc<Target>, watch: W) -> Self {
        Self {
            target,
            watch,
            interruption: Interruption::new(),
            running: JoinSet::new(),
            finished: Vec::new(),
        }
    }

    async fn run(
        &mut self,
        rules: Vec<&'static Rule>,
        jobs: usize,
        mut stop: Pin<&mut impl Future<Output = String>>,
    ) {
        let mut waiting = rules.into_iter();
        loop {
            self.start(&mut waiting, jobs);
            let ended = match self.interruption.reason() {
                Some(_) => self.running.join_next().await,
                None => tokio::select! {
                    ended = self.running.join_next() => ended,
                    reason = stop.as_mut() => {
                        self.end_early(reason);
                        continue;
                    }
                },
            };
            match ended {
                None => return,
                Some(Ok(finished)) => self.judge(finished, stop.as_mut()).await,
                // `run_one` turns a test's panic into a verdict and is never cancelled.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    /// Starts as many tests as may run, or passes over all of them when the run ends early.
    fn start(&mut self, waiting: &mut impl Iterator<Item = &'static Rule>, jobs: usize) {
        if let Some(reason) = self.interruption.reason() {
            for rule in waiting {
                self.pass_over(rule, &reason);
            }
            return;
        }
        while self.running.len() < jobs.max(1) {
            let Some(rule) = waiting.next() else { return };
            (self.watch)(Progress::Started(rule));
            let (target, interrupted) = (Arc::clone(&self.target), self.interruption.listen());
            self.running.spawn(run_one_until(rule, target, interrupted));
        }
    }

    fn pass_over(&mut self, rule: &'static Rule, reason: &str) {
        let skipped = reason_to_skip(rule, &self.target).map(Verdict::Skipped);
        let verdict = skipped.unwrap_or_else(|| Verdict::NotRun(reason.to_owned()));
        self.end(Finished::without_a_run(rule, verdict));
    }

    fn end(&mut self, finished: Finished) {
        (self.watch)(Progress::Ended(&finished));
        self.finished.push(finished);
    }

    fn end_early(&mut self, reason: String) {
        (self.watch)(Progress::EndsEarly(&reason));
        self.interruption.call(reason);
    }

    /// Takes a verdict in, and finds out after a failure whether there is a broker left.
    async fn judge(&mut self, finished: Finished, stop: Pin<&mut impl Future<Output = String>>) {
        let has_failed = matches!(finished.verdict, Verdict::Failed(_));
        self.end(finished);
        if !has_failed || self.interruption.reason().is_some() {
            return;
        }
        let reason = tokio::select! {
            gone = gone(&self.target) => gone.map(|failure| gone_text(&self.target, &failure)),
            reason = stop => Some(reason),
        };
        if let Some(reason) = reason {
            self.end_early(reason);
        }
    }
}

fn gone_text(target: &Target, failure: &Failure) -> String {
    let address = target.address();
    format!(
        "the broker at {address} is gone, it failed to serve {ATTEMPTS_MAX} times: {}",
        failure.text()
    )
}

/// Why the broker does not serve any more, if so.
async fn gone(target: &Target) -> Option<Failure> {
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        match target.expect_serving().await {
            Ok(_) => return None,
            Err(failure) => last = Some(failure),
        }
        target.pause_before_another_attempt().await;
    }
    last
}
