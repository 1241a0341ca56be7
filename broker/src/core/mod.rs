//! The routing core: exchanges, bindings, queues and messages.
//!
//! Every rule of routing and queueing lives here, in plain machines: no task, no socket, no clock.
//! Time comes in as a [`Moment`]; what must happen elsewhere goes out as an effect. The only locks
//! are those of [`queue::shared`] and of the vhost, each held for one batch or one declaration.
//!
//! What it is not: it knows nothing of frames, channels or delivery tags (see `amqp`).

pub mod binding;
pub mod exchange;
pub mod message;
pub mod moment;
pub mod permission;
pub mod queue;
pub mod queue_handle;
pub mod route;
pub mod route_cache;
pub mod topology;
pub mod vhost;

pub use message::{Body, Message, MessageParts};
pub use moment::Moment;
