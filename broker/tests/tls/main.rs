//! AMQP over TLS as a client sees it: versions, certificates by name, client certificates and the logins
//! that they are good for, files that are read again, and what attackers do with a handshake.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod attacks;
mod authority;
mod bench;
mod handshakes;
mod logins;
mod process;
#[path = "../support/mod.rs"]
mod support;
