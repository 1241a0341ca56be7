//! AMQP 0-9-1 on bytes: frames, methods, field tables and the server side of a connection.
//!
//! Sans-IO: nothing here opens a socket, reads a clock, locks or spawns. Bytes and moments come in,
//! events and bytes go out, so every rule can be tested with a byte string.
//!
//! | module | what it is |
//! |---|---|
//! | [`framer`] | cuts frames out of a buffer without copying |
//! | [`method`] | every class and method, from one table |
//! | [`content`], [`outline`] | content headers and the basic properties, in full and at a glance |
//! | [`value`] | strings, field tables and arrays |
//! | [`parse`], [`encode`] | the primitive types |
//! | [`reply`] | reply codes and [`Fault`] |
//! | [`server`], [`heartbeat`] | the server side of a connection, as a machine |
//! | [`client`] | what a raw client needs: frames out of received bytes, content into frames |
//!
//! What it is not: it knows no exchange, queue or message; that is the broker's core.

pub mod client;
pub mod content;
pub mod encode;
pub mod framer;
pub mod heartbeat;
pub mod method;
pub mod outline;
pub mod parse;
pub mod reply;
pub mod server;
pub mod value;

pub use content::{ContentHeader, Properties};
pub use method::Method;
pub use outline::{DIRECT_REPLY_QUEUE, Outline};
pub use parse::Malformed;
pub use reply::{Fault, MethodId, ReplyCode};
pub use value::{Array, ArrayBuf, LongStr, ShortStr, Table, TableBuf, Value};

/// The eight bytes with which a client opens a connection, and with which a server answers those who
/// speak something else (PROTO-01, PROTO-04).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
