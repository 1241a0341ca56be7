//! Leveret: an AMQP 0-9-1 broker, as a library.

pub mod core;
