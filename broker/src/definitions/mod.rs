//! Definitions: users, vhosts, permissions, policies, queues, exchanges and bindings as RabbitMQ writes
//! them down in JSON, from 3.8 on.
//!
//! ```text
//!   text ─▶ read ─▶ Definitions ─▶ check ─▶ accounts (users, vhosts)     all judged first,
//!           fields                     └──▶ topology (a copy of each vhost)   then all applied
//!           arguments                                  │
//!                                                      ▼
//!   text ◀─ write ◀─ Definitions ◀─ export          Report: what was not honoured, and why
//! ```
//!
//! What it is not: a keeper of state. What is imported becomes users, queues and so on like any other.
//!
//! Invariants: whatever the text, reading it does not panic; nothing is applied unless all of it can be;
//! what was read and is not honoured is in the [`Report`] by its name. What is exported and imported
//! again is exported equal.

mod accounts;
mod arguments;
mod check;
mod document;
mod entry;
mod export;
mod import;
mod load;
mod offline;
mod passwords;
mod policies;
mod problem;
mod read;
mod report;
mod scratch;
mod write;

pub use document::{
    BindingDefinition, Definitions, ExchangeDefinition, LimitsDefinition, PermissionDefinition,
    Place, PolicyDefinition, QueueDefinition, TopicPermissionDefinition, UserDefinition,
    VhostDefinition,
};
pub use load::{DEFINITIONS_BYTES_MAX, load};
pub use offline::{OfflineError, dry_run, of_configuration};
pub use problem::{DefinitionsError, PROBLEMS_MAX, Problem};
pub use report::{NotHonoured, Report};

pub(crate) use accounts::Accounts;
pub(crate) use check::check;
pub(crate) use export::export;
pub(crate) use import::{Imported, check_topologies, import_all};
pub(crate) use offline::salt;
pub(crate) use problem::Problems;

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
