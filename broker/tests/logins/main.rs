//! Logins from outside: what strangers may send, what they can find out, and what many of them hold up.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod dialogue;
mod hashes;
mod opening;
mod refusals;
mod storms;
#[path = "../support/mod.rs"]
mod support;
