//! The mutations by what they are about.

pub mod broker;
pub mod connection;
pub mod delivery;
pub mod messages;
pub mod objects;
pub mod queues;
