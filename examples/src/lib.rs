//! What the six tutorials share: where the broker is, names nobody else uses, and a `Result`.
//!
//! It is not a client library and hides nothing of lapin: each tutorial opens its own connection
//! and declares its own queues and exchanges, so that it can be read and copied on its own.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};

use lapin::message::Delivery;
use lapin::types::ShortString;

/// What a tutorial's functions return: lapin's errors and the tutorial's own in one box.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The broker's URI: `AMQP_URL` if it is set, otherwise [`DEFAULT_URI`].
pub fn broker_uri() -> String {
    std::env::var("AMQP_URL").unwrap_or_else(|_| DEFAULT_URI.to_owned())
}

/// `prefix` followed by 16 hexadecimal digits that differ from call to call and run to run.
///
/// Queues and exchanges live in the broker, where every program sees them. A real application
/// agrees on fixed names; a tutorial must not meet yesterday's queue, or its neighbour's.
pub fn unique_name(prefix: &str) -> ShortString {
    // The library keys each `RandomState` differently: enough for a name, not for a secret.
    let suffix = RandomState::new().hash_one(prefix);
    format!("{prefix}.{suffix:016x}").into()
}

/// The message's body as text; bytes that are not UTF-8 show as `�`.
pub fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.data).into_owned()
}

/// The default user on this machine's default port; `%2f` is the virtual host `/`.
pub const DEFAULT_URI: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_names_keep_the_prefix_and_differ() {
        let (first, second) = (unique_name("tasks"), unique_name("tasks"));
        assert!(first.as_str().starts_with("tasks."), "{first}");
        assert_ne!(first, second);
    }
}
