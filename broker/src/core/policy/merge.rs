//! What a queue's or an exchange's arguments and its policies come to together.
//!
//! ```text
//!   a limit       the smallest of argument, policy and operator policy      (LEN-10, POL-02)
//!   a choice      the argument's, else the operator policy's, else the policy's (DLX-24, AE-07)
//! ```
//!
//! What it is not: who a policy is for, or what it may say.

use super::Settings;
use crate::core::EXPIRY_MS_MAX;
use crate::core::queue::Overflow;
use crate::core::queue::arguments::{QueueArguments, overflow_from_name};

impl QueueArguments {
    /// What these arguments, as they were declared, come to under policies. What no policy can say stays.
    #[must_use]
    pub fn under(self, settings: &Settings) -> Self {
        // Unlike arguments, policies may name any time; one beyond ten years is as good as ten.
        let time_ms = |key| settings.number(key).map(|ms| ms.min(EXPIRY_MS_MAX));
        let number = |key| settings.number(key);
        let text = |key| settings.text(key).map(|text| Box::from(text.as_bytes()));
        Self {
            message_ttl_ms: least(self.message_ttl_ms, time_ms("message-ttl")),
            expires_ms: least(self.expires_ms, time_ms("expires")),
            length_max: least(self.length_max, number("max-length")),
            length_bytes_max: least(self.length_bytes_max, number("max-length-bytes")),
            overflow: self.overflow.or_else(|| overflow(settings)),
            consumer_timeout_ms: shorter_timeout(
                self.consumer_timeout_ms,
                number("consumer-timeout"),
            ),
            dead_letter_exchange: self
                .dead_letter_exchange
                .or_else(|| text("dead-letter-exchange")),
            dead_letter_routing_key: self
                .dead_letter_routing_key
                .or_else(|| text("dead-letter-routing-key")),
            delivery_limit: least(self.delivery_limit, number("delivery-limit")),
            asks_at_least_once: self.asks_at_least_once.or_else(|| at_least_once(settings)),
            ..self
        }
    }
}

/// The alternate exchange that policies name; an argument overrides it (AE-07).
pub(crate) fn alternate_exchange(settings: &Settings) -> Option<&str> {
    settings.text("alternate-exchange")
}

fn least(one: Option<u64>, another: Option<u64>) -> Option<u64> {
    one.into_iter().chain(another).min()
}

fn at_least_once(settings: &Settings) -> Option<bool> {
    Some(settings.text("dead-letter-strategy")? == "at-least-once")
}

/// Zero is for ever, which is no shorter than anything.
fn shorter_timeout(one: Option<u64>, another: Option<u64>) -> Option<u64> {
    let timeouts = one.into_iter().chain(another);
    timeouts.min_by_key(|timeout_ms| timeout_ms.checked_sub(1).unwrap_or(u64::MAX))
}

fn overflow(settings: &Settings) -> Option<Overflow> {
    overflow_from_name(settings.text("overflow")?.as_bytes())
}
