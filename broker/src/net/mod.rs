//! Sockets: where clients come from, and which runtime serves them.

pub(crate) mod arrival;
pub(crate) mod listener;
pub(crate) mod peer;
pub mod proxy_protocol;
pub(crate) mod workers;
