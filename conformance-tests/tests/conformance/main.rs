//! Every registered test as a test of cargo's, so that a failure is seen by its ID and
//! `cargo test -p leveret-conformance --test conformance QUEUE-05` runs one.
//!
//! The broker is the one at `AMQP_URL`, or else a Leveret in this process. A test that restarts the
//! broker or raises its alarms gets a Leveret of its own; at `AMQP_URL`, where there is only one, such
//! tests come after all others and one by one.
//!
//! A Leveret is held against a profile of its own, a broker at `AMQP_URL` against that of
//! `LEVERET_PROFILE`. With `LEVERET_REPORT=FILE` the suite runs as its command does, against one Leveret in
//! this process, and writes its report to the file.

mod in_process;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use leveret_conformance::runner::{reason_to_skip, run_one};
use leveret_conformance::{
    Format, Management, OperatorCommand, Options, Profile, RestartCommands, Rule, Target, Verdict,
    profile, registered,
};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};

/// Where the JSON report is to be written that is asked for instead of a list of tests.
const REPORT_VARIABLE: &str = "LEVERET_REPORT";

/// What a Leveret is held against.
const PROFILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/conformance/leveret.toml"
);

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::from_args();
    let jobs = Options::default().jobs;
    arguments.test_threads = arguments.test_threads.or(Some(jobs));
    // Listing must not need a broker.
    if arguments.list {
        let trials = registered().map(|rule| Trial::test(rule.name(), || Ok(())));
        return Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code());
    }
    let runtime = Runtime::new()?;
    if let Some(file) = std::env::var_os(REPORT_VARIABLE) {
        return runtime.block_on(report_of_leveret(&PathBuf::from(file)));
    }
    match std::env::var("AMQP_URL") {
        Ok(uri) => hold_stranger(&uri, arguments, &runtime),
        Err(_) => hold_leveret(&arguments, &runtime),
    }
}

/// One run as the command does it, against one Leveret that keeps its data.
async fn report_of_leveret(file: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let (uri, broker) = in_process::Restartable::start().await?;
    let target = Target::connect(&uri).await?;
    let target = target
        .with_restart(broker.clone())
        .with_operator(broker.clone());
    let report = leveret_conformance::run(target, &Options::default()).await?;
    broker.stop().await?;
    std::fs::write(file, Format::Json.write(&report))?;
    println!("{}", report.to_line());
    Ok(match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn hold_leveret(arguments: &Arguments, runtime: &Runtime) -> Result<ExitCode, Box<dyn Error>> {
    let (uri, broker) = runtime.block_on(in_process::start())?;
    let target = runtime.block_on(Target::connect(&uri))?;
    let operator = Arc::new(in_process::Operated(broker.clone()));
    let target = target.with_profile(Profile::read(PROFILE)?);
    let target = Arc::new(target.with_operator(operator));
    let trials = registered().map(|rule| match rule.runs_alone() {
        true => trial_with_own_broker(rule, runtime.handle()),
        false => trial(rule, &target, runtime.handle()),
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    runtime.block_on(in_process::stop(broker));
    Ok(conclusion.exit_code())
}

fn hold_stranger(
    uri: &str,
    mut arguments: Arguments,
    runtime: &Runtime,
) -> Result<ExitCode, Box<dyn Error>> {
    let commands = Arc::new(RestartCommands::from_environment());
    let target = runtime.block_on(Target::connect(uri))?;
    let word = std::env::var("LEVERET_PROFILE").unwrap_or_else(|_| profile::DEFAULT.to_owned());
    let mut target = target
        .with_restart(commands)
        .with_profile(Profile::find(&word)?);
    if let Some(management) = runtime.block_on(Management::from_environment())? {
        target = target.with_management(management);
    }
    if let Some(operator) = OperatorCommand::from_environment() {
        target = target.with_operator(Arc::new(operator));
    }
    let target = Arc::new(target);
    let (alone, together): (Vec<_>, Vec<_>) = registered().partition(|rule| rule.runs_alone());
    let trials = |rules: Vec<&'static Rule>| {
        let trial = |rule| trial(rule, &target, runtime.handle());
        rules.into_iter().map(trial).collect()
    };
    let together = libtest_mimic::run(&arguments, trials(together));
    arguments.test_threads = Some(1);
    let alone = libtest_mimic::run(&arguments, trials(alone));
    Ok(match together.has_failed() {
        true => together.exit_code(),
        false => alone.exit_code(),
    })
}

fn trial(rule: &'static Rule, target: &Arc<Target>, runtime: &Handle) -> Trial {
    let skipped = reason_to_skip(rule, target).is_some();
    let (target, runtime) = (Arc::clone(target), runtime.clone());
    let test = move || outcome(runtime.block_on(run_one(rule, target)).verdict);
    Trial::test(rule.name(), test).with_ignored_flag(skipped)
}

fn trial_with_own_broker(rule: &'static Rule, runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    let test = move || match runtime.block_on(verdict_of_own_broker(rule)) {
        Ok(verdict) => outcome(verdict),
        Err(error) => Err(Failed::from(error.to_string())),
    };
    Trial::test(rule.name(), test)
}

async fn verdict_of_own_broker(rule: &'static Rule) -> Result<Verdict, Box<dyn Error>> {
    let (uri, broker) = in_process::Restartable::start().await?;
    let target = Target::connect(&uri).await?;
    let target = target
        .with_profile(Profile::read(PROFILE)?)
        .with_restart(broker.clone())
        .with_operator(broker.clone());
    let finished = run_one(rule, Arc::new(target)).await;
    broker.stop().await?;
    Ok(finished.verdict)
}

fn outcome(verdict: Verdict) -> Result<(), Failed> {
    match verdict {
        Verdict::Failed(failure) => Err(Failed::from(failure.to_string())),
        Verdict::NotRun(reason) => Err(Failed::from(reason)),
        Verdict::Passed | Verdict::Skipped(_) => Ok(()),
    }
}
