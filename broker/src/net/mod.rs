//! Sockets: where clients come from.

pub(crate) mod listener;
