//! [`PolicyValue`]: what one key of a policy's definition says.
//!
//! What it is not: JSON. It has the shapes that some key accepts; everything else is kept as text, so
//! that whoever wrote it can be told.

use leveret_protocol::Value;

use crate::core::erlang_text::term;

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyValue {
    /// A whole number.
    Number(i64),
    /// A string.
    Text(Box<str>),
    /// True or false.
    Bool(bool),
    /// A list; only `ha-params` takes one.
    List(Vec<Self>),
    /// What no key takes, as it was written: a fraction, an object, null.
    Other(Box<str>),
}

impl PolicyValue {
    /// The number, if it is one and not negative.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as RabbitMQ prints it in its reasons.
    pub(super) fn to_term(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => term(&Value::LongStr(text.as_bytes())),
            Self::Bool(flag) => flag.to_string(),
            Self::List(values) => {
                let terms: Vec<_> = values.iter().map(Self::to_term).collect();
                format!("[{}]", terms.join(","))
            }
            Self::Other(written) => written.to_string(),
        }
    }
}

impl From<i64> for PolicyValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for PolicyValue {
    fn from(text: &str) -> Self {
        Self::Text(Box::from(text))
    }
}

impl From<String> for PolicyValue {
    fn from(text: String) -> Self {
        Self::Text(text.into_boxed_str())
    }
}

impl From<bool> for PolicyValue {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
