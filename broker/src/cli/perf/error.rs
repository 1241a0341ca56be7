//! What keeps a case from ending with figures.

use std::io;

use thiserror::Error;

/// Why there are no figures. Every variant names whose fault it is.
#[derive(Debug, Error)]
pub(in crate::cli) enum PerfError {
    /// The URI cannot be used.
    #[error("option --uri {uri}: {why}")]
    Uri { uri: String, why: &'static str },
    /// Options that do not go together.
    #[error("option {option}: {why}")]
    Option { option: &'static str, why: String },
    /// No connection at all.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    /// The connection broke.
    #[error("connection to {address}: {source}")]
    Socket { address: String, source: io::Error },
    /// The broker ended the socket without a word, as RabbitMQ does after a bad protocol header.
    #[error("{address} ended the connection while {awaited} was awaited")]
    Ended { address: String, awaited: String },
    /// The broker closed the connection or the channel and said why.
    #[error("{address} closed the {what}: {code} {text}")]
    Closed {
        address: String,
        what: &'static str,
        code: u16,
        text: String,
    },
    /// A queue that is to be measured holds what somebody else published.
    #[error(
        "{address}: queue {queue} holds {messages} messages already; \
         choose another --prefix, or consume them first with --publishers 0"
    )]
    NotEmpty {
        address: String,
        queue: String,
        messages: u32,
    },
    /// The broker cancelled a consumer.
    #[error("{address} cancelled the consumer of {queue}")]
    Cancelled { address: String, queue: String },
    /// The broker said something that has no place here.
    #[error("{address}: {why}")]
    Protocol { address: String, why: String },
    /// The broker is silent.
    #[error("{address}: nothing came for {seconds} s while {awaited} was awaited{blocked}")]
    Silent {
        address: String,
        seconds: u64,
        awaited: String,
        blocked: String,
    },
    /// Time is up.
    #[error("{address}: time is up after {seconds} s: {progress}")]
    Deadline {
        address: String,
        seconds: u64,
        progress: String,
    },
    /// A backlog that is not what was asked for.
    #[error("{address} refused {nacked} of {messages} messages (basic.nack)")]
    Refused {
        address: String,
        nacked: u64,
        messages: u64,
    },
    /// The file of the disk case.
    #[error("{file}: {source}")]
    File { file: String, source: io::Error },
    /// The system gives no thread.
    #[error("cannot start a thread for a connection: {0}")]
    Thread(io::Error),
    /// A task of the tool itself broke down.
    #[error("a part of the load generator broke down: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Somebody wants to stop before there are figures.
    #[error("stopped by {0}")]
    Interrupted(&'static str),
}
