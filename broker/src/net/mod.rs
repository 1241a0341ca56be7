//! Sockets: where clients come from, and which runtime serves them.

pub(crate) mod listener;
pub(crate) mod peer;
pub(crate) mod workers;
