//! The arguments of `leveret perf` without a case, and of `leveret perf ping`.
//!
//! Invariant: whatever passes `check` has an end and needs bounded memory.

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::super::PerfError;
use super::super::arguments::{
    BrokerArguments, CONNECTIONS_MAX, IN_FLIGHT_MAX, QUEUES_MAX, SECONDS, SECONDS_MAX, SIZE_MAX,
    check_prefix, refuse,
};
use super::topology::Topology;

/// Messages per second of one publisher; a socket takes a few millions.
const RATE_MAX: i64 = 10_000_000;
/// Pings per second: each is a round trip, of which nobody makes more.
const PING_RATE_MAX: i64 = 100_000;
/// Bytes of the bodies of all publishers together: each holds at least one message, ready to send.
const BODIES_MAX: u64 = 1 << 30;
/// Deliveries that a consumer may have unacknowledged unless told otherwise.
const PREFETCH: u16 = 1000;

/// How messages find their queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ExchangeType {
    /// The default exchange: the routing key is the queue's name.
    #[default]
    Default,
    Direct,
    Topic,
    /// Every message to every queue.
    Fanout,
    Headers,
}

impl ExchangeType {
    /// AMQP's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
        }
    }
}

/// How deliveries are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledge {
    /// By the broker itself.
    Auto,
    /// Each by itself.
    Each,
    /// So many at once.
    Every(u16),
}

impl Acknowledge {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "each" => Ok(Self::Each),
            number => match number.parse() {
                Ok(0) | Err(_) => Err("expected auto, each, or a number of 1 to 65535".to_owned()),
                Ok(count) => Ok(Self::Every(count)),
            },
        }
    }

    /// As it is given.
    pub(super) fn text(self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Each => "each".to_owned(),
            Self::Every(count) => count.to_string(),
        }
    }

    /// How many deliveries one acknowledgement covers, if there are any.
    fn count(self) -> Option<u16> {
        match self {
            Self::Auto => None,
            Self::Each => Some(1),
            Self::Every(count) => Some(count),
        }
    }
}

/// `leveret perf`: publishers and consumers at once.
#[derive(Clone, Debug, Args)]
pub(in crate::cli::perf) struct Load {
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    /// Publishing connections; 0 consumes what queues hold that are there already
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(0..=CONNECTIONS_MAX))]
    pub(super) publishers: u32,
    /// Consuming connections, which share the queues; 0 only publishes
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(0..=CONNECTIONS_MAX))]
    pub(super) consumers: u32,
    /// Queues, which publishers and consumers share: a publisher of several uses them in turn (with a
    /// fanout exchange each queue gets every message)
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u32).range(1..=QUEUES_MAX))]
    pub(super) queues: u32,
    /// Bytes of each message's body; end-to-end latency is measured from 8 on
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = value_parser!(u64).range(0..=SIZE_MAX as u64))]
    pub(super) size: u64,
    /// Messages per second of each publisher [default: as fast as the broker takes them]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=RATE_MAX))]
    pub(super) rate: Option<u32>,
    /// Unconfirmed messages that each publisher may have; 0 publishes without confirms
    #[arg(long, value_name = "WINDOW", default_value_t = 0, value_parser = value_parser!(u32).range(0..=IN_FLIGHT_MAX))]
    pub(super) confirm: u32,
    /// auto (by the broker), each (one by one), or a number of deliveries to acknowledge at once
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = Acknowledge::parse)]
    pub(super) ack: Acknowledge,
    /// Unacknowledged deliveries that each consumer may have; 0 means no limit [default: 1000]
    #[arg(long, value_name = "COUNT")]
    prefetch: Option<u16>,
    /// Persistent messages (delivery mode 2) in durable queues
    #[arg(long)]
    pub(super) persistent: bool,
    /// Publish through an exchange of this type
    #[arg(long, value_name = "TYPE", value_enum, default_value_t)]
    pub(super) exchange_type: ExchangeType,
    /// Bindings of a direct, topic or headers exchange, each with a pattern of its own and all used in
    /// turn, spread over the queues [default: one per queue]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=QUEUES_MAX))]
    pub(super) bindings: Option<u32>,
    /// Give messages a content type, a headers table, a message ID and a timestamp
    #[arg(long)]
    pub(super) properties: bool,
    /// How long to measure [default: 10, or as long as --messages takes]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    duration: Option<u64>,
    /// End after this many messages of all publishers together, once they are confirmed and delivered
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub(super) messages: Option<u64>,
    /// Run this long before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=SECONDS_MAX as u64))]
    warmup: u64,
    #[command(flatten)]
    pub(super) progress: ProgressArguments,
    /// Queues are named PREFIX-0, PREFIX-1, ..., an exchange PREFIX-TYPE
    #[arg(long, default_value = "leveret-perf")]
    pub(super) prefix: String,
    /// Leave the queues, their messages and the exchange there
    #[arg(long)]
    pub(super) keep: bool,
}

/// What is shown while a case runs.
#[derive(Clone, Debug, Args)]
pub(super) struct ProgressArguments {
    /// Time between the lines on standard error that tell the progress
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// No such lines
    #[arg(long)]
    pub(super) quiet: bool,
}

impl ProgressArguments {
    /// Time between two lines.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval)
    }
}

impl Load {
    /// How long to measure at most.
    pub(super) fn duration(&self) -> Duration {
        let unless_told = match self.messages {
            Some(_) => SECONDS_MAX.unsigned_abs(),
            None => SECONDS,
        };
        Duration::from_secs(self.duration.unwrap_or(unless_told))
    }

    /// How long to run before measuring.
    pub(super) fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup)
    }

    /// How many unacknowledged deliveries a consumer may have; zero means no limit.
    pub(super) fn prefetch(&self) -> u16 {
        self.prefetch.unwrap_or(PREFETCH)
    }

    /// Whether bodies have room for a stamp that somebody here reads.
    pub(super) fn measures_latency(&self) -> bool {
        self.publishers > 0 && self.consumers > 0 && self.size >= super::clock::STAMP_LEN as u64
    }

    /// How many threads it takes.
    pub(super) fn connections(&self) -> usize {
        self.publishers as usize + self.consumers as usize
    }

    /// After how many deliveries the run is complete.
    pub(super) fn deliveries(&self, topology: &Topology) -> Option<u64> {
        let copies = match self.publishers {
            0 => 1,
            _ => topology.copies(),
        };
        match (self.messages, self.consumers) {
            (None, _) => None,
            (Some(_), 0) => Some(0),
            (Some(messages), _) => Some(messages.saturating_mul(copies)),
        }
    }

    /// Whether the options go together.
    ///
    /// # Errors
    /// They do not; the error names the one that does not fit.
    pub(super) fn check(&self) -> Result<(), PerfError> {
        check_prefix(&self.prefix)?;
        if self.publishers == 0 && self.consumers == 0 {
            let why = "0 and --consumers 0 leave nothing to do".to_owned();
            return Err(refuse("--publishers", why));
        }
        self.check_publishing()?;
        self.check_consuming()?;
        self.check_bindings()?;
        if self.messages.is_some() && self.warmup > 0 {
            let why = "--messages counts all of them, so none may pass before".to_owned();
            return Err(refuse("--warmup", why));
        }
        Ok(())
    }

    fn check_publishing(&self) -> Result<(), PerfError> {
        let bodies = self.size.saturating_mul(u64::from(self.publishers));
        if bodies > BODIES_MAX {
            let why = format!(
                "{} bytes for each of {} publishers need more than 1 GiB",
                self.size, self.publishers
            );
            return Err(refuse("--size", why));
        }
        let publishing = [
            ("--rate", self.rate.is_some()),
            ("--confirm", self.confirm > 0),
            ("--persistent", self.persistent),
            ("--properties", self.properties),
            (
                "--exchange-type",
                self.exchange_type != ExchangeType::Default,
            ),
            ("--bindings", self.bindings.is_some()),
        ];
        let given = publishing.iter().find(|(_, given)| *given);
        match given {
            Some((option, _)) if self.publishers == 0 => {
                let why = "with --publishers 0 nothing is published".to_owned();
                Err(refuse(option, why))
            }
            _ => Ok(()),
        }
    }

    fn check_consuming(&self) -> Result<(), PerfError> {
        let count = self.ack.count();
        if self.consumers == 0 && count.is_some() {
            let why = "with --consumers 0 nothing is acknowledged".to_owned();
            return Err(refuse("--ack", why));
        }
        if self.prefetch.is_some() && count.is_none() {
            let why = "with --ack auto nothing is ever unacknowledged".to_owned();
            return Err(refuse("--prefetch", why));
        }
        let prefetch = self.prefetch();
        match count {
            Some(count) if prefetch != 0 && count > prefetch => {
                let why = format!("{count} deliveries never come with --prefetch {prefetch}");
                Err(refuse("--ack", why))
            }
            _ => Ok(()),
        }
    }

    fn check_bindings(&self) -> Result<(), PerfError> {
        let Some(bindings) = self.bindings else {
            return Ok(());
        };
        let why = match self.exchange_type {
            ExchangeType::Default => "the default exchange has none of its own".to_owned(),
            ExchangeType::Fanout => "a fanout exchange has one per queue".to_owned(),
            _ if bindings < self.queues => {
                format!(
                    "{bindings} leave some of {} queues without one",
                    self.queues
                )
            }
            _ => return Ok(()),
        };
        Err(refuse("--bindings", why))
    }
}

/// `leveret perf ping`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli::perf) struct Ping {
    #[command(flatten)]
    pub(in crate::cli::perf) broker: BrokerArguments,
    /// Messages per second, as far as the round trips allow
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = value_parser!(u32).range(1..=PING_RATE_MAX))]
    pub(super) rate: u32,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS, value_parser = value_parser!(u64).range(1..=SECONDS_MAX as u64))]
    duration: u64,
    /// Bytes of each message's body
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = value_parser!(u64).range(0..=SIZE_MAX as u64))]
    pub(super) size: u64,
    #[command(flatten)]
    pub(super) progress: ProgressArguments,
}

impl Ping {
    /// How long to measure.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::super::super::arguments::{Perf, PerfCommand};
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        perf: Perf,
    }

    fn parse(line: &str) -> Result<Perf, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let parsed = Line::try_parse_from(std::iter::once("perf").chain(words));
        parsed
            .map(|line| line.perf)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn load(line: &str) -> Load {
        let parsed = parse(line).unwrap();
        assert!(parsed.case.is_none());
        parsed.load
    }

    #[test]
    fn a_case_takes_no_options_of_the_general_one() {
        assert!(matches!(
            parse("ping --rate 5").unwrap().case,
            Some(PerfCommand::Ping(_))
        ));
        let error = parse("--rate 5 ping").unwrap_err();
        assert!(error.contains("cannot be used with"), "{error}");
    }

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        for (line, option) in [
            ("--publishers 1001", "--publishers"),
            ("--queues 0", "--queues"),
            ("--rate 0", "--rate"),
            ("--confirm 1000001", "--confirm"),
            ("--ack 0", "--ack"),
            ("--ack never", "--ack"),
            ("--ack 65536", "--ack"),
            ("--exchange-type x-random", "--exchange-type"),
            ("--bindings 0", "--bindings"),
            ("--duration 86401", "--duration"),
            ("--messages 0", "--messages"),
            ("--interval 0", "--interval"),
            ("--format xml", "--format"),
            ("ping --rate 0", "--rate"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(option), "{line}: {error}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused_by_name() {
        for (line, message) in [
            ("--publishers 0 --consumers 0", "option --publishers: 0 and"),
            (
                "--publishers 0 --rate 5",
                "option --rate: with --publishers 0",
            ),
            ("--publishers 0 --confirm 5", "option --confirm: with"),
            (
                "--publishers 0 --exchange-type topic",
                "option --exchange-type: with",
            ),
            (
                "--consumers 0 --ack each",
                "option --ack: with --consumers 0",
            ),
            ("--prefetch 5", "option --prefetch: with --ack auto"),
            (
                "--ack 6 --prefetch 5",
                "option --ack: 6 deliveries never come",
            ),
            (
                "--ack 1001",
                "option --ack: 1001 deliveries never come with --prefetch 1000",
            ),
            ("--bindings 5", "option --bindings: the default exchange"),
            (
                "--bindings 5 --exchange-type fanout",
                "option --bindings: a fanout",
            ),
            (
                "--bindings 5 --queues 6 --exchange-type topic",
                "option --bindings: 5 leave some of 6 queues",
            ),
            (
                "--warmup 1 --messages 5",
                "option --warmup: --messages counts",
            ),
            (
                "--size 134217728 --publishers 9",
                "option --size: 134217728 bytes",
            ),
        ] {
            let error = load(line).check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    #[test]
    fn options_that_go_together_are_taken() {
        for line in [
            "",
            "--publishers 0 --consumers 3 --ack each",
            "--consumers 0 --confirm 100 --persistent --properties",
            "--ack 2000 --prefetch 0",
            "--bindings 10000 --exchange-type topic --queues 10",
            "--warmup 1 --duration 5 --rate 1000",
        ] {
            load(line).check().unwrap();
        }
    }

    #[test]
    fn it_ends_after_ten_seconds_or_with_the_last_message() {
        assert_eq!(load("").duration().as_secs(), 10);
        assert_eq!(load("--messages 5").duration().as_secs(), 86_400);
        assert_eq!(load("--messages 5 --duration 3").duration().as_secs(), 3);
    }

    #[test]
    fn the_last_message_is_the_last_copy() {
        let deliveries = |line: &str| {
            let load = load(line);
            load.deliveries(&Topology::of(&load))
        };
        assert_eq!(deliveries("--queues 3"), None);
        assert_eq!(deliveries("--messages 5 --queues 3"), Some(5));
        let fanout = "--messages 5 --queues 3 --exchange-type fanout";
        assert_eq!(deliveries(fanout), Some(15));
        assert_eq!(deliveries("--messages 5 --consumers 0"), Some(0));
        assert_eq!(deliveries("--messages 5 --publishers 0"), Some(5));
    }
}
