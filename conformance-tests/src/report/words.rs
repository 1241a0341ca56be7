//! The words for what stands in the registry.

use crate::registry::{Follows, Needs};
use crate::restart::Stop;

pub(crate) fn follows_word(follows: Follows) -> &'static str {
    match follows {
        Follows::Both => "both",
        Follows::V3 => "3.x",
        Follows::V4 => "4.x",
    }
}

/// What a test needs, in the order of the fields of [`Needs`].
pub(crate) fn need_words(needs: &Needs) -> Vec<&'static str> {
    let needed = [
        (needs.raw, "raw"),
        (needs.fixtures, "fixtures"),
        (needs.quorum_queues, "quorum_queues"),
        (needs.stream_queues, "stream_queues"),
        (needs.mechanism.is_some(), "mechanism"),
        (needs.restart == Some(Stop::Clean), "restart"),
        (needs.restart == Some(Stop::Crash), "crash"),
        (needs.operator, "operator"),
        (needs.alarms, "alarms"),
        (needs.management, "management"),
    ];
    let needed = needed.into_iter().filter(|(is_needed, _)| *is_needed);
    needed.map(|(_, word)| word).collect()
}
