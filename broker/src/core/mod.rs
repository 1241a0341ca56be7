//! The routing core: exchanges, bindings, queues and messages.
//!
//! Every rule of routing and queueing lives here, in plain machines: no task, no socket, no clock.
//! Time comes in as a [`Moment`]; what must happen elsewhere goes out as an effect. The only locks
//! are those of [`queue::shared`] and of the vhost, each held for one batch or one declaration.
//!
//! What it is not: it knows nothing of frames, channels or delivery tags (see `amqp`).

pub(crate) mod argument_checks;
pub mod binding;
pub mod consumer_arguments;
pub mod dead_letter;
pub mod deduplication;
pub mod delay;
pub mod delivery_count;
pub mod direct_reply;
pub mod effects;
pub mod equivalence;
mod erlang_text;
pub mod exchange;
pub mod handed_down;
pub mod message;
pub mod moment;
pub mod permission;
pub mod policy;
pub mod publishing;
pub mod queue;
pub mod queue_handle;
mod released;
pub mod reserve;
pub mod route;
pub mod route_cache;
pub mod stored_message;
mod tally;
pub mod topology;
pub mod vhost;

pub use argument_checks::EXPIRY_MS_MAX;
pub use message::{Message, MessageParts, Usual};
pub use moment::Moment;
