//! The raw client: any bytes in any order, and nothing done behind the test's back.
//!
//! ```text
//!   connect ──▶ begin ──▶ log_in ──▶ tune ──▶ open_vhost ──▶ open_channel ──▶ …
//!      header→ ←start  start-ok→ ←tune  tune-ok→    open→ ←open-ok
//!   └──────────────── open ─────────────────────────────┘
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `socket` | bytes and frames in and out, with patience and a transcript |
//! | `handshake` | the steps above |
//! | `expect` | what may come next, and the failure if something else does |
//! | `variants` | likewise where the target's profile says which of several things |
//! | `operations` | channels, queues, exchanges and bindings: one line each, for short tests |
//! | `messaging` | publish, get, consume, settle and confirm, likewise |
//! | `settling` | many messages at once, what settles them, and transactions |
//! | `message` | a delivery, get or return with its content |
//!
//! What it is not: a client library. It answers closes while it expects them and skips heartbeats
//! unless told otherwise; apart from that nothing is sent that the test did not ask for.

mod expect;
mod handshake;
mod message;
mod messaging;
mod operations;
mod settling;
mod socket;
mod variants;

pub use expect::{Expected, Text};
pub use handshake::{Handshake, ServerStart};
pub use message::Message;
pub use operations::{DeclaredQueue, durable_queue, transient_exchange};
pub use socket::{End, Event, OwnedMethod, RawConnection, RawFrame};
