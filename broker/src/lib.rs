//! Leveret: an AMQP 0-9-1 broker, as a library.
//!
//! The binary of the same name adds a command line and a log to what is here; it uses nothing that
//! an application which embeds a broker could not use.

pub mod access;
pub mod broker;
pub mod config;
pub mod core;

pub use broker::{Broker, ListenError, StartError};
pub use config::Config;
