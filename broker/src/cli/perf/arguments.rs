//! The arguments of `leveret perf`.
//!
//! clap judges each value alone; what must fit together is judged by the `check` functions here.
//!
//! Invariant: whatever passes needs bounded memory: every number has a greatest value, and what is
//! unconfirmed at once has a greatest size in bytes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::PerfError;
use super::load::{Load, Ping};

/// Connections of one kind; each holds buffers of a few hundred KiB.
pub(super) const CONNECTIONS_MAX: i64 = 1_000;
/// Queues; ten times what any published figure uses.
pub(super) const QUEUES_MAX: i64 = 100_000;
/// Bytes of one message: RabbitMQ 3.13's own greatest size.
pub(super) const SIZE_MAX: i64 = 128 << 20;
/// Messages that one publisher may have unconfirmed; each holds a moment in memory.
pub(super) const IN_FLIGHT_MAX: i64 = 1_000_000;
/// A day: long enough for any measurement, and the reason why all of them end.
pub(super) const SECONDS_MAX: i64 = 86_400;
/// How long `publish` publishes unless told otherwise.
pub(super) const SECONDS: u64 = 10;
/// How large a backlog `fill` makes unless told otherwise.
const FILL_MESSAGES: u64 = 1_000_000;

/// How figures are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and bars for people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// `leveret perf`: load in general, or a special case.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Perf {
    #[command(subcommand)]
    pub(super) case: Option<PerfCommand>,
    #[command(flatten)]
    pub(super) load: Load,
}

/// A special case. Its figures are one table, or with `--format json` one JSON object per line.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PerfCommand {
    /// Publish to an own queue and wait for the message, one at a time: the latency of a quiet
    /// connection, whatever others do to the broker
    Ping(Ping),
    /// Publish with confirms: rate and confirm latency. Declares durable queues and deletes them
    Publish(Publish),
    /// Leave a backlog of persistent messages in durable queues
    Fill(Fill),
    /// Consume a backlog until the queues are empty
    Drain(Drain),
    /// Wait until a broker serves and its queues are there
    Wait(Wait),
    /// Measure how fast a disk makes writes last: the limit of any durable broker on it
    Disk(Disk),
}

impl PerfCommand {
    /// How the figures are wanted.
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Ping(ping) => ping.broker.format,
            Self::Publish(publish) => publish.broker.format,
            Self::Fill(fill) => fill.broker.format,
            Self::Drain(drain) => drain.broker.format,
            Self::Wait(wait) => wait.broker.format,
            Self::Disk(disk) => disk.format,
        }
    }
}

/// Which broker, and how the figures are wanted.
#[derive(Clone, Debug, Args)]
pub(super) struct BrokerArguments {
    /// The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST
    #[arg(long, env = "AMQP_URL", hide_env_values = true, default_value = super::uri::DEFAULT)]
    pub(super) uri: String,
    /// Longest silence of the broker before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

impl BrokerArguments {
    /// The longest that one wait for the broker may last.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// How messages are published.
#[derive(Clone, Debug, Args)]
pub(super) struct LoadArguments {
    /// Bytes of each message's body
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = value_parser!(u64).range(0..=SIZE_MAX as u64))]
    pub(super) size: u64,
    /// Publishing connections
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) publishers: u32,
    /// Queues, which get the messages in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..=QUEUES_MAX))]
    pub(super) queues: u32,
    /// Unconfirmed messages that each publisher may have
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=IN_FLIGHT_MAX))]
    pub(super) in_flight: u32,
}

/// `leveret perf publish`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Publish {
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    #[command(flatten)]
    pub(super) load: LoadArguments,
    /// How long to publish [default: 10, or as long as --messages takes]
    #[arg(long, value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    seconds: Option<u64>,
    /// How many messages to publish
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// Publish persistent messages (delivery mode 2)
    #[arg(long)]
    pub(super) persistent: bool,
    /// Queues are named PREFIX-0, PREFIX-1, ...
    #[arg(long, default_value = "leveret-perf-publish")]
    pub(super) prefix: String,
    /// Leave the queues and their messages there
    #[arg(long)]
    pub(super) keep: bool,
}

impl Publish {
    /// How long publishing may go on.
    pub(super) fn duration(&self) -> Duration {
        let unless_told = match self.messages {
            Some(_) => SECONDS_MAX.unsigned_abs(),
            None => SECONDS,
        };
        Duration::from_secs(self.seconds.unwrap_or(unless_told))
    }

    /// Whether the options go together.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check(&self) -> Result<(), PerfError> {
        check_prefix(&self.prefix)
    }
}

/// `leveret perf fill`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Fill {
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    #[command(flatten)]
    pub(super) load: LoadArguments,
    /// Size of the backlog
    #[arg(long, value_name = "COUNT", default_value_t = FILL_MESSAGES, value_parser = value_parser!(u64).range(1..))]
    pub(super) messages: u64,
    /// Give up after this time
    #[arg(long, default_value_t = 3600, value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    pub(super) seconds: u64,
    /// Queues are named PREFIX-0, PREFIX-1, ...
    #[arg(long, default_value = "leveret-perf-backlog")]
    pub(super) prefix: String,
}

impl Fill {
    /// Whether the options go together.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check(&self) -> Result<(), PerfError> {
        check_prefix(&self.prefix)
    }
}

/// `leveret perf drain`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Drain {
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    /// Consuming connections, which share the queues
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) consumers: u32,
    /// Queues to consume from
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..=QUEUES_MAX))]
    pub(super) queues: u32,
    /// Acknowledge this many deliveries at once; 0 consumes with automatic acknowledgement
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(super) ack_every: u16,
    /// Unacknowledged deliveries that each consumer may have; 0 means no limit
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(super) prefetch: u16,
    /// Give up after this time
    #[arg(long, default_value_t = 3600, value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    pub(super) seconds: u64,
    /// Queues are named PREFIX-0, PREFIX-1, ...
    #[arg(long, default_value = "leveret-perf-backlog")]
    pub(super) prefix: String,
    /// Delete the queues once they are empty
    #[arg(long)]
    pub(super) delete: bool,
}

impl Drain {
    /// Whether the options go together.
    ///
    /// # Errors
    /// A consumer would wait for deliveries that its prefetch holds back.
    pub(super) fn check(&self) -> Result<(), PerfError> {
        check_prefix(&self.prefix)?;
        if self.prefetch != 0 && self.ack_every > self.prefetch {
            let why = format!(
                "{} deliveries never come with --prefetch {}",
                self.ack_every, self.prefetch
            );
            return Err(refuse("--ack-every", why));
        }
        Ok(())
    }
}

/// `leveret perf wait`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Wait {
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    /// Queues that must be there; 0 waits for the broker alone
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(0..=QUEUES_MAX))]
    pub(super) queues: u32,
    /// Give up after this time
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    pub(super) seconds: u64,
    /// Queues are named PREFIX-0, PREFIX-1, ...
    #[arg(long, default_value = "leveret-perf-backlog")]
    pub(super) prefix: String,
}

/// `leveret perf disk`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Disk {
    /// Folder on the disk to measure; a file is made there and removed
    pub(super) directory: PathBuf,
    /// Bytes of the smallest write
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = value_parser!(u64).range(1..=DISK_SIZE_MAX))]
    pub(super) size: u64,
    /// How long each row is measured
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(1..=600))]
    pub(super) seconds: u64,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The smallest write of the disk case must leave the larger ones something to be larger than.
const DISK_SIZE_MAX: u64 = 1 << 20;

/// Room for the number after the prefix; a queue's name has 255 bytes at most (FRAME-06).
const PREFIX_LEN_MAX: usize = 240;

/// Whether queues can be named after a prefix.
///
/// # Errors
/// It is empty or too long.
pub(super) fn check_prefix(prefix: &str) -> Result<(), PerfError> {
    match prefix.len() {
        1..=PREFIX_LEN_MAX => Ok(()),
        len => {
            let why = format!("expected 1 to {PREFIX_LEN_MAX} bytes, not {len}");
            Err(refuse("--prefix", why))
        }
    }
}

/// An error for an option that does not go with another.
pub(super) fn refuse(option: &'static str, why: String) -> PerfError {
    PerfError::Option { option, why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: PerfCommand,
    }

    fn parse(line: &str) -> Result<PerfCommand, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let parsed = Line::try_parse_from(std::iter::once("perf").chain(words));
        parsed
            .map(|line| line.command)
            .map_err(|error| error.to_string())
    }

    fn drain(line: &str) -> Drain {
        match parse(line).unwrap() {
            PerfCommand::Drain(drain) => drain,
            other => panic!("{other:?}"),
        }
    }

    fn publish(line: &str) -> Publish {
        match parse(line).unwrap() {
            PerfCommand::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused_by_name() {
        for (line, option) in [
            ("publish --publishers 0", "--publishers"),
            ("publish --queues 100001", "--queues"),
            ("publish --in-flight 0", "--in-flight"),
            ("publish --in-flight 1000001", "--in-flight"),
            ("publish --size 134217729", "--size"),
            ("publish --seconds 0", "--seconds"),
            ("publish --messages 0", "--messages"),
            ("fill --seconds 86401", "--seconds"),
            ("drain --consumers 1001", "--consumers"),
            ("drain --prefetch 65536", "--prefetch"),
            ("disk . --size 0", "--size"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(option), "{line}: {error}");
        }
    }

    #[test]
    fn publishing_ends_after_ten_seconds_or_with_the_last_message() {
        assert_eq!(publish("publish").duration().as_secs(), 10);
        let day = publish("publish --messages 5").duration();
        assert_eq!(day.as_secs(), 86_400);
        let told = publish("publish --messages 5 --seconds 3").duration();
        assert_eq!(told.as_secs(), 3);
    }

    #[test]
    fn acknowledging_more_than_the_prefetch_lets_through_is_refused() {
        let error = drain("drain --ack-every 11 --prefetch 10")
            .check()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "option --ack-every: 11 deliveries never come with --prefetch 10"
        );
        assert!(drain("drain --ack-every 10 --prefetch 10").check().is_ok());
        assert!(drain("drain --ack-every 11 --prefetch 0").check().is_ok());
    }

    #[test]
    fn a_prefix_leaves_room_for_the_number() {
        let long = "p".repeat(PREFIX_LEN_MAX);
        assert!(publish(&format!("publish --prefix {long}")).check().is_ok());
        let error = publish(&format!("publish --prefix {long}p")).check();
        assert!(error.unwrap_err().to_string().contains("not 241"));
    }
}
