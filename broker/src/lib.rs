//! Leveret: an AMQP 0-9-1 broker, as a library.
//!
//! The binary of the same name adds a command line and a log to what is here; it uses nothing that
//! an application which embeds a broker could not use.
//!
//! | module | what it is |
//! |---|---|
//! | [`core`] | the routing core: exchanges, bindings, queues, messages; no I/O |
//! | `amqp` | the front end for AMQP 0-9-1: one task per connection |
//! | `net` | sockets, and the workers that serve them |
//! | [`proxy_protocol`] | what a proxy says of a client, as pure rules |
//! | `tls` | certificates, keys and who is asked for them; the feature `tls` |
//! | [`broker`] | [`Broker`]: start, listen, shut down |
//! | [`durable`] | what outlives a restart: the catalog, and the way to the store |
//! | [`definitions`] | users, vhosts, queues and so on as RabbitMQ's JSON, in and out |
//! | [`config`], [`access`] | what an operator decides: limits, identity, users |
//! | [`limits`] | the limits that only a measurement should change |

/// So that unit tests can share the raw client of the integration tests.
#[cfg(test)]
extern crate self as leveret;

pub mod access;
mod accounts;
mod alarm;
mod amqp;
#[cfg(feature = "bench-parts")]
#[doc(hidden)]
pub mod bench_parts;
pub mod broker;
mod clock;
pub mod config;
mod connections;
pub mod core;
pub mod definitions;
pub mod durable;
mod importing;
pub mod limits;
mod log_limit;
mod memory;
mod names;
mod net;
mod node;
mod timers;
#[cfg(feature = "tls")]
pub mod tls;
mod vhosts;

pub use access::AccountError;
pub use alarm::AlarmResource;
pub use broker::{
    Broker, ImportError, ListenError, NoPolicy, StartError, UserChange, VhostSettings,
};
pub use config::Config;
pub use core::policy::{ApplyTo, Policy, PolicyError, PolicyKind, PolicyValue};
pub use definitions::{Definitions, DefinitionsError, Report};
pub use durable::{Health, Problem};
pub use net::proxy_protocol;
pub use net::workers::Workers;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
