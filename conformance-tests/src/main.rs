//! The command `leveret-conformance`: holds a broker against the rules and says where it differs.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use leveret_conformance::{
    Finished, Management, OperatorCommand, Options, Profile, ProfileError, RestartCommands,
    Summary, Target, Verdict, run,
};

/// Holds an AMQP 0-9-1 broker against the rules that RabbitMQ's clients rely on.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The broker and the user, for instance amqp://guest:guest@127.0.0.1:5672/%2f
    #[arg(long, env = "AMQP_URL", required_unless_present = "list")]
    uri: Option<String>,
    /// What to hold the broker against where brokers differ: rabbitmq-3.10, rabbitmq-3.13, rabbitmq-4,
    /// spec, or a file whose name ends in .toml
    #[arg(long, env = "LEVERET_PROFILE", value_parser = profile,
        default_value = leveret_conformance::profile::DEFAULT)]
    profile: Profile,
    /// Run only these: IDs, sections or test names, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many tests run at once
    #[arg(long, default_value_t = Options::default().jobs)]
    jobs: usize,
    /// A shell command that stops the broker in order and starts it again on its data; without it the
    /// tests that need it are skipped
    #[arg(long, value_name = "COMMAND", env = "LEVERET_RESTART_COMMAND")]
    restart_command: Option<String>,
    /// The same, but one that kills the broker
    #[arg(long, value_name = "COMMAND", env = "LEVERET_CRASH_COMMAND")]
    crash_command: Option<String>,
    /// A shell command that does what an operator does: it is called with `raise-alarm` or
    /// `clear-alarm` and `memory` or `disk`; without it the tests that need it are skipped
    #[arg(long, value_name = "COMMAND", env = "LEVERET_OPERATOR_COMMAND")]
    operator_command: Option<String>,
    /// The broker's HTTP API, for instance http://guest:guest@127.0.0.1:15672/; without it the tests that
    /// need it are skipped
    #[arg(long, value_name = "URL", env = "LEVERET_MANAGEMENT_URL")]
    management: Option<String>,
    /// List the tests and run none
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        only: arguments.only,
        jobs: arguments.jobs,
    };
    if options.selected().next().is_none() {
        eprintln!("no test is called {}", options.only.join(" or "));
        return ExitCode::FAILURE;
    }
    match arguments.uri {
        Some(uri) if !arguments.list => {
            let restart = RestartCommands {
                clean: arguments.restart_command,
                crash: arguments.crash_command,
            };
            let operator = arguments.operator_command.map(OperatorCommand);
            let operators = (operator, arguments.management);
            hold(&uri, arguments.profile, restart, operators, &options).await
        }
        _ => list(&options),
    }
}

fn profile(word: &str) -> Result<Profile, ProfileError> {
    Profile::find(word)
}

fn list(options: &Options) -> ExitCode {
    for rule in options.selected() {
        println!("{}: {}", rule.name(), rule.rule);
    }
    ExitCode::SUCCESS
}

async fn hold(
    uri: &str,
    profile: Profile,
    restart: RestartCommands,
    (operator, management): (Option<OperatorCommand>, Option<String>),
    options: &Options,
) -> ExitCode {
    let mut target = match Target::connect(uri).await {
        Ok(target) => target.with_restart(Arc::new(restart)).with_profile(profile),
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(url) = management {
        target = match Management::connect(&url).await {
            Ok(management) => target.with_management(management),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        };
    }
    if let Some(operator) = operator {
        target = target.with_operator(Arc::new(operator));
    }
    let summary = run(Arc::new(target), options, print_unless_passed).await;
    print_summary(&summary);
    match summary.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print_unless_passed(finished: &Finished) {
    let name = finished.rule.name();
    match &finished.verdict {
        Verdict::Passed => {}
        Verdict::Failed(failure) => println!("FAILED {name}: {failure}"),
        Verdict::Skipped(reason) => println!("skipped {name}: {reason}"),
    }
}

fn print_summary(summary: &Summary) {
    let (passed, failed) = (summary.passed(), summary.failed());
    println!(
        "{passed} passed, {failed} failed, {} skipped",
        summary.skipped()
    );
}
