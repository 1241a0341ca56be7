//! The parts of the broker that the benches measure, each as a round of [`MESSAGES`] messages.
//!
//! Both benches run the same rounds: `instructions` counts what the processor executes, `wall_time`
//! takes the time. A round is the same work every time it is run: one thread, no socket, no random
//! number, and no decision that hangs on a clock.
//!
//! What it is not: the load of a user. That is `leveret perf`.

mod log;
mod messages;
mod protocol;
mod queue;
mod route;
mod session;

/// Messages in every round, so that a figure for one message is a thousandth of it.
pub const MESSAGES: usize = 1000;

/// Rounds before the first that counts: buffers have grown, routes are remembered.
const WARM_UP_ROUNDS: usize = 3;

/// Something that is measured.
pub trait Part {
    /// Makes ready what the next round uses up; not measured. Once more before a round changes nothing.
    fn prepare(&mut self) {}

    /// One round.
    fn round(&mut self);
}

/// Makes a part.
pub type Make = fn() -> Box<dyn Part>;

/// Every part by its name.
pub const PARTS: &[(&str, Make)] = &[
    ("frames_cut", protocol::frames_cut),
    ("publishes_read", protocol::publishes_read),
    ("properties_parse", protocol::properties_parse),
    ("acks_parse", protocol::acks_parse),
    ("delivers_write", protocol::delivers_write),
    ("route_cached", route::cached),
    ("route_direct", route::direct),
    ("route_fanout_10", route::fanout_10),
    ("route_topic_1000", route::topic_1_000),
    ("route_topic_10000", route::topic_10_000),
    ("queue_auto_ack", queue::auto_ack),
    ("queue_ack", queue::ack),
    ("log_append_16", log::append_16),
    ("log_append_1024", log::append_1024),
    ("session_16_auto_ack", session::auto_ack_16),
    ("session_16_ack", session::ack_16),
    ("session_16_properties", session::properties_16),
    ("session_16_confirm", session::confirm_16),
    ("session_1024_auto_ack", session::auto_ack_1024),
    ("session_fanout_10", session::fanout_10),
];

/// The part of this name, warm and ready for a round.
///
/// # Panics
/// There is no part of this name.
pub fn warm(name: &str) -> Box<dyn Part> {
    let known = PARTS.iter().find(|(known, _)| *known == name);
    let (_, make) = known.unwrap_or_else(|| panic!("no part is named {name}"));
    let mut part = make();
    for _ in 0..WARM_UP_ROUNDS {
        part.prepare();
        part.round();
    }
    part.prepare();
    part
}
