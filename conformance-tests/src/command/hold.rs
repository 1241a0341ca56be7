//! One run against one broker.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use leveret_conformance::{
    Failure, Management, OperatorCommand, Options, Report, RestartCommands, Target, run_watched,
};
use tokio::runtime::Runtime;

use super::arguments::{Arguments, Broker};
use super::progress::Bar;
use super::signals::reason_to_stop;
use super::{NOT_CONFORMANT, Refusal, output};

pub(super) fn carry_out(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let options = arguments.options();
    options.tests()?;
    let file = arguments.outlet.output.as_deref();
    let runtime = Runtime::new()?;
    let held = runtime.block_on(hold(arguments, &options));
    // The resolver may still wait for an answer about a host that nobody knows.
    runtime.shutdown_background();
    let report = held?;
    output::write(file, &arguments.outlet.format.write(&report))?;
    if let Some(file) = file {
        output::tell(&format!(
            "{}; the report is in {}",
            report.to_line(),
            file.display()
        ));
    }
    Ok(exit_code(&report))
}

async fn hold(arguments: &Arguments, options: &Options) -> Result<Report, Refusal> {
    let time_limit = arguments.time_limit.map(Duration::from_secs);
    let stop = reason_to_stop(time_limit);
    let target = target(arguments)
        .await
        .map_err(|failure| Refusal(failure.text().to_owned()))?;
    output::expect_writable(arguments.outlet.output.as_deref())?;
    let mut bar = Bar::new();
    let report = run_watched(target, options, stop, |progress| bar.show(progress)).await;
    bar.clear();
    Ok(report?)
}

async fn target(arguments: &Arguments) -> Result<Target, Failure> {
    let Broker {
        uri,
        management,
        restart_command,
        crash_command,
        operator_command,
    } = &arguments.broker;
    let restart = RestartCommands {
        clean: restart_command.clone(),
        crash: crash_command.clone(),
    };
    let uri = uri.as_deref().unwrap_or_default();
    let mut target = Target::connect(uri)
        .await?
        .with_profile(arguments.profile.clone())
        .with_restart(Arc::new(restart));
    // Asked before a command is, being faster.
    if let Some(url) = management {
        target = target.with_management(Management::connect(url).await?);
    }
    if let Some(command) = operator_command.clone() {
        target = target.with_operator(Arc::new(OperatorCommand(command)));
    }
    Ok(target)
}

fn exit_code(report: &Report) -> ExitCode {
    match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_CONFORMANT),
    }
}
