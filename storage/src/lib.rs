//! An append-only segment store for message queues.
//!
//! One [`Store`] owns a data directory. Any number of *logs*, one per queue, share one *journal*: a
//! sequence of segment files to which everything is appended, so that one write and one sync commit
//! the work of all queues together. Message records stay where they were written and are read from
//! there; nothing is written twice.
//!
//! ```text
//!  queue 7 ──┐ Records            ┌──────── committer ────────┐
//!  queue 9 ──┼─ submit ─▶ pending ─▶ segment file, one pwrite ─▶ fdatasync ─▶ Commits ─▶ bells
//!  catalog ──┘  (a memcpy)        └──▶ ledger: what lives where ┘
//!                                          │ at every full segment
//!                                          ▼
//!                                     checkpoint ─▶ whole segments reclaimed, sparse ones compacted
//! ```
//!
//! * [`Records`] gathers what one call to a queue changes; [`Store::submit`] appends it. That never
//!   touches the disk and cannot fail.
//! * [`Commits`] is the only source of confirms: an [`Epoch`] that it has reached is on disk.
//! * [`Store::read`] reads messages back without any lock of a queue.
//! * [`disk::Disk`] is the only way to the disk; [`disk::fake`] can crash.
//!
//! The byte-exact format is in `storage/docs/format.md`.
//!
//! What it is not: it knows no AMQP. A message is bytes, a catalog entry is a key and a value.

mod active;
mod checkpoint;
mod checksum;
mod codec;
mod commits;
mod committer;
mod compact;
pub mod disk;
mod error;
mod held;
mod ids;
pub mod inspect;
mod journal;
mod keeper;
mod ledger;
mod options;
mod ranges;
mod read;
mod record;
mod records;
mod recovery;
mod scan;
mod segment;
mod store;
mod superblock;

pub use commits::{CommitBell, CommitState, Commits};
pub use error::OpenError;
pub use held::{CommitHere, Held};
pub use ids::{Epoch, LogId};
pub use options::{
    Damage, Read, Recovered, RecoveredLog, Run, StoreOptions, StoreStatus, StoredMessage, Sync,
};
pub use records::{CatalogChange, NewMessage, Records, Settled};
pub use store::Store;

/// The version of everything in a data directory. A store of a later version is refused.
pub const FORMAT_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
