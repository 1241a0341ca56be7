//! What a broker says about the connection or the channel itself, whenever it likes.
//!
//! What it is not: it reads no socket. Whoever does shows it every method.
//!
//! Invariant: a close becomes an error with the broker's own text; blocking is remembered until it
//! ends.

use std::io;

use leveret_protocol::method::channel::Method as Channel;
use leveret_protocol::method::connection::Method as Connection;
use leveret_protocol::{Method, ShortStr};

use super::PerfError;

/// What one broker has said, and under which name it appears in errors.
#[derive(Clone, Debug)]
pub(super) struct Notices {
    address: String,
    blocked: Option<String>,
}

impl Notices {
    /// Nothing has been said by the broker at an address.
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            blocked: None,
        }
    }

    /// The address as the caller gave it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Why publishers are held up, if they are.
    pub(super) fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Whether a method concerns the connection or channel itself and is dealt with here.
    ///
    /// # Errors
    /// It closes one of them.
    pub(super) fn take(&mut self, method: &Method<'_>) -> Result<bool, PerfError> {
        match method {
            Method::Connection(Connection::Close(close)) => {
                Err(self.closed("connection", close.reply_code, close.reply_text))
            }
            Method::Channel(Channel::Close(close)) => {
                Err(self.closed("channel", close.reply_code, close.reply_text))
            }
            Method::Connection(Connection::Blocked(blocked)) => {
                self.blocked = Some(blocked.reason.to_text().into_owned());
                Ok(true)
            }
            Method::Connection(Connection::Unblocked(_)) => {
                self.blocked = None;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn closed(&self, what: &'static str, code: u16, text: ShortStr<'_>) -> PerfError {
        PerfError::Closed {
            address: self.address.clone(),
            what,
            code,
            text: text.to_text().into_owned(),
        }
    }

    /// An error for what the broker said and should not have.
    pub(super) fn protocol(&self, why: impl std::fmt::Display) -> PerfError {
        PerfError::Protocol {
            address: self.address.clone(),
            why: why.to_string(),
        }
    }

    /// An error for a socket that fails.
    pub(super) fn broken(&self, source: io::Error) -> PerfError {
        PerfError::Socket {
            address: self.address.clone(),
            source,
        }
    }

    /// An error for a socket that ended.
    pub(super) fn ended(&self, awaited: &str) -> PerfError {
        PerfError::Ended {
            address: self.address.clone(),
            awaited: awaited.to_owned(),
        }
    }

    /// An error for a broker that said nothing for so long.
    pub(super) fn silent(&self, seconds: u64, awaited: &str) -> PerfError {
        let blocked = self.blocked.as_ref();
        PerfError::Silent {
            address: self.address.clone(),
            seconds,
            awaited: awaited.to_owned(),
            blocked: blocked.map_or_else(String::new, |reason| {
                format!("; it blocks publishers: {reason}")
            }),
        }
    }
}
