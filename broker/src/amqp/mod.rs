//! The front end for AMQP 0-9-1: one [`connection::ConnectionTask`] per socket.
//!
//! ```text
//!            socket                                                    queues
//!   read once ──▶ protocol machine ──▶ Session::on_event ──▶ Stage ──▶ offer (one lock per queue)
//!                                          │
//!                                          ├─ publish.rs   checks, routes, stages
//!                                          ├─ settle.rs    ack, nack, reject, recover
//!                                          ├─ consume.rs   consume, cancel, get
//!                                          ├─ pull.rs      messages for consumers
//!                                          ├─ replies.rs   direct reply-to
//!                                          ├─ delivery_timeout.rs  deliveries that nobody settles
//!                                          └─ handlers/    everything else, one file per class
//!   Commits ──▶ Mailbox ──▶ commits.rs: confirms, parking.rs: answers that waited for the store
//!   write once ◀── Outbox ◀── deliveries ◀── pull (one lock per queue) ◀── Mailbox ◀── rung
//! ```
//!
//! A connection runs in *turns*: read once, handle all that came, hand the staged messages to their
//! queues, pull for the consumers that were rung, write once. No lock is held over any of the I/O.
//!
//! Architecture invariant: only `connection.rs` knows of sockets and tasks; everything else here is
//! driven by plain calls with the time passed in.

mod authorization;
pub(crate) mod channel;
mod commits;
mod confirms;
pub(crate) mod connection;
mod consume;
mod deliver;
mod delivery_timeout;
mod handlers;
mod lockstep;
mod login;
pub(crate) mod mailbox;
mod outbox;
mod parking;
mod publish;
mod pull;
mod replies;
pub(crate) mod reply_box;
mod session;
mod settle;
mod stage;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod unacked;
mod uncommitted;
