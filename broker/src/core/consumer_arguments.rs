//! The arguments of `basic.consume` on a classic queue (CONS-10 to CONS-12).
//!
//! What it is not: the consumer itself; see [`queue`](crate::core::queue).

use leveret_protocol::{Fault, Table};

use crate::core::argument_checks::{Check, Culprit, boolean, integer};
use crate::core::queue::arguments::QueueType;

/// What a consumer's arguments come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerArguments {
    /// `x-priority`; 0 when absent, higher is served first, negatives are allowed (CPRIO-02).
    pub priority: i64,
}

impl ConsumerArguments {
    /// Judges the arguments of a consumer of a classic queue.
    ///
    /// # Errors
    /// 406 for a value of the wrong type and for an argument that only streams know.
    pub fn check(table: Table<'_>, queue: &str, vhost: &str) -> Result<Self, Fault> {
        let culprit = Culprit { queue, vhost };
        culprit.check(table, CHECKS)?;
        if let Some(key) = STREAM_ONLY.iter().find(|key| table.get(key).is_some()) {
            return Err(culprit.not_for_type(key, QueueType::Classic));
        }
        let priority = table.get("x-priority").and_then(|v| v.as_integer());
        Ok(Self {
            priority: priority.unwrap_or_default(),
        })
    }
}

/// In the order in which RabbitMQ checks them.
const CHECKS: &[(&str, Check)] = &[
    ("x-priority", integer),
    ("x-cancel-on-ha-failover", boolean),
];

const STREAM_ONLY: &[&str] = &[
    "x-stream-offset",
    "x-stream-filter",
    "x-stream-match-unfiltered",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leveret_protocol::{TableBuf, Value};

    fn check(entries: &[(&str, Value<'_>)]) -> Result<ConsumerArguments, String> {
        let table = TableBuf::from_entries(entries.iter().copied());
        ConsumerArguments::check(table.view(), "q", "/").map_err(|fault| fault.reply_text())
    }

    #[test]
    fn cons_10_priority_is_an_integer_of_any_type() {
        assert_eq!(
            check(&[("x-priority", Value::LongStr(b"1"))]).unwrap_err(),
            "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \
             \"expected integer, got longstr\""
        );
        assert_eq!(
            check(&[("x-priority", Value::I8(-3))]).unwrap().priority,
            -3
        );
        assert_eq!(check(&[]).unwrap().priority, 0);
    }

    #[test]
    fn cons_11_stream_arguments_are_refused_and_unknown_ones_ignored() {
        assert_eq!(
            check(&[("x-stream-offset", Value::LongStr(b"first"))]).unwrap_err(),
            "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost '/' of \
             queue type rabbit_classic_queue"
        );
        assert!(check(&[("x-foo", Value::Void)]).is_ok());
    }

    #[test]
    fn cons_10_values_are_judged_before_keys() {
        let both = [
            ("x-stream-offset", Value::I8(1)),
            ("x-priority", Value::LongStr(b"1")),
        ];
        assert!(check(&both).unwrap_err().contains("x-priority"));
    }

    #[test]
    fn cons_12_cancel_on_ha_failover_is_a_boolean() {
        let key = "x-cancel-on-ha-failover";
        assert!(check(&[(key, Value::Bool(true))]).is_ok());
        assert_eq!(
            check(&[(key, Value::I32(1))]).unwrap_err(),
            "PRECONDITION_FAILED - invalid arg 'x-cancel-on-ha-failover' for queue 'q' in vhost \
             '/': {unacceptable_type,signedint}"
        );
    }
}
