//! What may stand on the command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use leveret_conformance::{Format, Options, Profile, profile};

/// Behind the options in the help.
const EXIT_CODES: &str = "\
Exit codes:
  0  something ran, and all that ran passed
  1  a test failed, or the run ended early, or everything was skipped
  2  nothing could be done: an unknown word, no broker at the address, a file that cannot be written";

/// Holds an AMQP 0-9-1 broker against the rules that RabbitMQ's clients rely on.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) broker: Broker,
    /// What to hold the broker against where brokers differ: rabbitmq-3.10, rabbitmq-3.13, rabbitmq-4,
    /// spec, or a file whose name ends in .toml
    #[arg(long, value_name = "NAME|FILE", env = "LEVERET_PROFILE", default_value = profile::DEFAULT, value_parser = Profile::find)]
    pub(crate) profile: Profile,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    pub(crate) outlet: Outlet,
    /// End the run after so many seconds; tests that run by then clean up
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) time_limit: Option<u64>,
    /// List the tests and run none
    #[arg(long)]
    pub(crate) list: bool,
}

/// What else can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare brokers by their JSON reports: a page with one column for each
    Compare(Compared),
    /// Write a JSON report in another form
    Show(Shown),
}

/// The report that is shown.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// A report that --format json has written
    #[arg(value_name = "REPORT")]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) outlet: Outlet,
}

/// The reports that are compared.
#[derive(Debug, Args)]
pub(crate) struct Compared {
    /// Reports that --format json has written, one for each broker
    #[arg(required = true, value_name = "REPORT")]
    pub(crate) reports: Vec<PathBuf>,
    /// Write the page to this file instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The broker, and what somebody can do to it.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// The broker and the user, for instance amqp://guest:guest@127.0.0.1:5672/%2f
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        required_unless_present = "list"
    )]
    pub(crate) uri: Option<String>,
    /// The broker's HTTP API, for instance http://guest:guest@127.0.0.1:15672/; without it the tests that
    /// need it are skipped
    #[arg(
        long,
        value_name = "URL",
        env = "LEVERET_MANAGEMENT_URL",
        hide_env_values = true
    )]
    pub(crate) management: Option<String>,
    /// A shell command that stops the broker in order and starts it again on its data; without it the
    /// tests that need it are skipped
    #[arg(long, value_name = "COMMAND", env = "LEVERET_RESTART_COMMAND")]
    pub(crate) restart_command: Option<String>,
    /// The same, but one that kills the broker
    #[arg(long, value_name = "COMMAND", env = "LEVERET_CRASH_COMMAND")]
    pub(crate) crash_command: Option<String>,
    /// A shell command that does what an operator does: it is called with `raise-alarm` or
    /// `clear-alarm` and `memory` or `disk`; without it the tests that need it are skipped
    #[arg(long, value_name = "COMMAND", env = "LEVERET_OPERATOR_COMMAND")]
    pub(crate) operator_command: Option<String>,
}

/// Which tests, and how many at once.
#[derive(Debug, Args)]
struct Selection {
    /// Run only these: IDs, sections or test names, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these out: IDs, sections or test names, separated by commas
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    skip: Vec<String>,
    /// How many tests run at once
    #[arg(long, default_value_t = Options::default().jobs)]
    jobs: usize,
}

/// Where the report goes.
#[derive(Debug, Args)]
pub(crate) struct Outlet {
    /// The form of the report
    #[arg(long, default_value_t = Format::default(), value_parser = format_parser())]
    pub(crate) format: Format,
    /// Write the report to this file instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn options(&self) -> Options {
        let Selection { only, skip, jobs } = &self.selection;
        Options {
            only: only.clone(),
            skip: skip.clone(),
            jobs: *jobs,
        }
    }
}

/// Has the help name the forms.
fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|word| word.parse::<Format>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn parsed(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("leveret-conformance").chain(words.split(' ')))
    }

    #[test]
    fn the_arguments_contradict_each_other_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_are_separated_by_commas() {
        let arguments = parsed("--list --only DLX,QOS-02 --skip DLX-01 --format tap").unwrap();
        let options = arguments.options();
        assert_eq!((options.only.len(), options.skip.len()), (2, 1));
        assert_eq!(arguments.outlet.format, Format::Tap);
    }

    #[test]
    fn comparing_needs_reports_and_no_broker() {
        assert!(parsed("compare").is_err());
        let arguments = parsed("compare a.json b.json --output page.md").unwrap();
        let Some(Command::Compare(compared)) = arguments.command else {
            unreachable!("another command");
        };
        assert_eq!(compared.reports.len(), 2);
    }

    #[test]
    fn showing_needs_one_report() {
        assert!(parsed("show").is_err());
        let arguments = parsed("show a.json --format markdown --output a.md").unwrap();
        let Some(Command::Show(shown)) = arguments.command else {
            unreachable!("another command");
        };
        assert_eq!(shown.outlet.format, Format::Markdown);
    }

    #[test]
    fn an_unknown_form_is_answered_with_those_that_exist() {
        let refused = parsed("--list --format yaml").unwrap_err().to_string();
        assert!(
            refused.contains("markdown") && refused.contains("junit"),
            "{refused}"
        );
    }
}
