//! Every registered test as a test of cargo's, so that a failure is seen by its ID and
//! `cargo test -p leveret-conformance --test conformance QUEUE-05` runs one.
//!
//! The broker is the one at `AMQP_URL`, or else a Leveret in this process.

mod in_process;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use leveret_conformance::runner::{reason_to_skip, run_one};
use leveret_conformance::{Options, Rule, Target, Verdict, registered};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};

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
    let runtime = Runtime::new()?;
    // Listing must not need a broker.
    if arguments.list {
        let trials = registered().map(|rule| Trial::test(rule.name(), || Ok(())));
        return Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code());
    }
    let (uri, broker) = match std::env::var("AMQP_URL") {
        Ok(uri) => (uri, None),
        Err(_) => {
            let (uri, broker) = runtime.block_on(in_process::start())?;
            (uri, Some(broker))
        }
    };
    let target = Arc::new(runtime.block_on(Target::connect(&uri))?);
    let trials = registered().map(|rule| trial(rule, &target, runtime.handle()));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(broker) = broker {
        runtime.block_on(in_process::stop(broker));
    }
    Ok(conclusion.exit_code())
}

fn trial(rule: &'static Rule, target: &Arc<Target>, runtime: &Handle) -> Trial {
    let skipped = reason_to_skip(rule, target).is_some();
    let (target, runtime) = (Arc::clone(target), runtime.clone());
    let test = move || match runtime.block_on(run_one(rule, target)).verdict {
        Verdict::Failed(failure) => Err(Failed::from(failure.to_string())),
        Verdict::Passed | Verdict::Skipped(_) => Ok(()),
    };
    Trial::test(rule.name(), test).with_ignored_flag(skipped)
}
