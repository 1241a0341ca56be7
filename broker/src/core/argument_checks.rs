//! The checks that arguments of queues and of consumers have in common, and how a failed one is told.
//!
//! A check says only *why* a value is wrong; [`Culprit`] adds whose argument it was and makes the
//! [`Fault`]. Arguments that nobody knows are never looked at (QARG-13, CONS-11).

use leveret_protocol::{Fault, ReplyCode, Table, Value};

use crate::core::erlang_text::{pair, string};
use crate::core::queue::arguments::QueueType;

/// The longest time to live or expiry: ten years, as RabbitMQ has it (QARG-02, PUB-05).
pub const EXPIRY_MS_MAX: u64 = 315_360_000_000;

/// Why a value was refused, in RabbitMQ's words.
pub(crate) type Why = String;

/// Judges one argument's value; the whole table is there for arguments that need one another.
pub(crate) type Check = fn(&Value<'_>, Table<'_>) -> Result<(), Why>;

/// The queue whose declaration or consumer has the arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Culprit<'a> {
    pub(crate) queue: &'a str,
    pub(crate) vhost: &'a str,
}

impl Culprit<'_> {
    /// Runs the checks in their order; the first that fails speaks.
    pub(crate) fn check<'c>(
        self,
        table: Table<'_>,
        checks: impl IntoIterator<Item = &'c (&'c str, Check)>,
    ) -> Result<(), Fault> {
        for (key, check) in checks {
            if let Some(value) = table.get(key) {
                check(&value, table).map_err(|why| self.invalid(key, &why))?;
            }
        }
        Ok(())
    }

    /// A value that the argument cannot have.
    fn invalid(self, key: &str, why: &str) -> Fault {
        precondition_failed(format!("invalid arg '{key}' for {self}: {why}"))
    }

    /// An argument that only other types of queue know (QARG-12).
    pub(crate) fn not_for_type(self, key: &str, queue_type: QueueType) -> Fault {
        let module = queue_type.module_name();
        precondition_failed(format!(
            "invalid arg '{key}' for {self} of queue type {module}"
        ))
    }
}

impl std::fmt::Display for Culprit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "queue '{}' in vhost '{}'", self.queue, self.vhost)
    }
}

/// A 406 with this explanation.
pub(crate) fn precondition_failed(explanation: String) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, explanation)
}

/// Any value will do.
pub(crate) fn anything(_: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    Ok(())
}

/// QARG-01
pub(crate) fn integer(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    as_integer(value).map(drop)
}

/// QARG-09, CONS-12
pub(crate) fn boolean(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    match value {
        Value::Bool(_) => Ok(()),
        other => Err(unacceptable_type(other)),
    }
}

/// QARG-04
pub(crate) fn not_negative(value: &Value<'_>, _: Table<'_>) -> Result<(), Why> {
    as_unsigned(value).map(drop)
}

/// The number of any integer type.
pub(crate) fn as_integer(value: &Value<'_>) -> Result<i64, Why> {
    value.as_integer().ok_or_else(|| {
        let text = format!("expected integer, got {}", value.type_name());
        string(text.as_bytes())
    })
}

/// The number of any integer type, if it is not negative.
pub(crate) fn as_unsigned(value: &Value<'_>) -> Result<u64, Why> {
    let number = as_integer(value)?;
    u64::try_from(number).map_err(|_| pair("value_negative", number))
}

/// The bytes of a long string; a byte array is refused.
pub(crate) fn as_text<'a>(value: &Value<'a>) -> Result<&'a [u8], Why> {
    value.as_long_str().ok_or_else(|| unacceptable_type(value))
}

/// The reason for a value of the wrong type.
pub(crate) fn unacceptable_type(value: &Value<'_>) -> Why {
    pair("unacceptable_type", value.type_name())
}
