//! Can these tests fail? Each mutation makes a broker that is wrong in one way, and the test that it names has
//! to notice; the same test passes through a proxy that changes nothing, which shows that it is the mutation
//! that was noticed.
//!
//! `MUTATIONS.md` is the list, made from the table; a test here fails while the two differ. Run with
//! `UPDATE_MUTATIONS=1` to write it anew.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

#[path = "../conformance/in_process.rs"]
mod in_process;
mod list;
mod mutation;
mod mutations;
mod proxy;
mod target;
mod wire;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use leveret_conformance::runner::run_one;
use leveret_conformance::{Rule, Verdict, registered};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};

use mutation::{How, Mutation};
use target::WrongBroker;

/// How many wrong brokers run at once: they wait far more than they work.
const JOBS: usize = 12;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(JOBS));
    let runtime = Runtime::new().unwrap();
    let mut trials = list::trials();
    trials.extend(mutation::all().map(|mutation| caught(mutation, runtime.handle())));
    trials.extend(controlled().map(|rule| control(rule, runtime.handle())));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The tests that some mutation names, each once.
fn controlled() -> impl Iterator<Item = &'static Rule> {
    let named = mutation::all().map(|mutation| (mutation.test_name(), rule_of(mutation)));
    let named: BTreeMap<_, _> = named.collect();
    named.into_values().flatten()
}

fn rule_of(mutation: &Mutation) -> Option<&'static Rule> {
    registered().find(|rule| rule.name() == mutation.test_name())
}

fn caught(mutation: &'static Mutation, runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    let name = format!("{}: {}", mutation.test_name(), mutation.wrong);
    Trial::test(name, move || {
        let rule = rule_of(mutation).ok_or("there is no such test")?;
        let verdict = runtime.block_on(verdict(rule, mutation.how))?;
        match verdict {
            Verdict::Failed(failure) if is_by_chance(&failure.to_string()) => {
                Err(format!("noticed by chance only: {failure}").into())
            }
            Verdict::Failed(_) => Ok(()),
            other => Err(Failed::from(format!("not noticed: {other:?}"))),
        }
    })
}

/// A deadline, or a clean-up that went wrong, would come with many another fault.
fn is_by_chance(failure: &str) -> bool {
    failure.starts_with("not done in") || failure.starts_with("clean-up")
}

fn control(rule: &'static Rule, runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    Trial::test(
        format!("{} passes when nothing is wrong", rule.name()),
        move || {
            match runtime.block_on(verdict(rule, How::Frames(wire::Wire::pass)))? {
                Verdict::Passed => Ok(()),
                // A right Leveret has no streams; a wrong one has classic queues of that name.
                Verdict::Skipped(_) if rule.needs.stream_queues => Ok(()),
                other => Err(Failed::from(format!("{other:?}"))),
            }
        },
    )
}

async fn verdict(rule: &'static Rule, how: How) -> Result<Verdict, Failed> {
    let broker = WrongBroker::start(rule, how).await;
    let broker = broker.map_err(|error| Failed::from(error.to_string()))?;
    let finished = run_one(rule, Arc::clone(&broker.target)).await;
    broker
        .stop()
        .await
        .map_err(|error| Failed::from(error.to_string()))?;
    Ok(finished.verdict)
}
