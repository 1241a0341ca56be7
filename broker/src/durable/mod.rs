//! What outlives a restart: the catalog of durable things and the way between queues and the store.
//!
//! ```text
//!   Vhost ── Applied ──▶ StoreSink ── catalog::changes ──▶ Store        a change is taken down
//!   Store ── Recovered ──▶ restore ──▶ Topology, make_queue            a broker starts
//!   Queue ── Load ──▶ Loads ──▶ the loader's thread ──▶ Queue::loaded   a backlog comes back
//! ```
//!
//! What it is not: the store itself (`leveret-storage`), or the rules of queues.

pub mod account;
mod bytes;
pub mod catalog;
pub mod describe;
pub mod health;
pub(crate) mod keeping;
pub(crate) mod loader;
mod policy;
pub mod restore;
pub(crate) mod sink;
pub(crate) mod start;

pub use health::{Health, Problem};
pub use keeping::KeepError;
