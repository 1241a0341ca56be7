//! What one user may do in one vhost.
//!
//! Patterns are regular expressions that run in time linear in the name, so a pattern cannot be
//! made slow by a name. Look-around and back-references do not exist for that reason.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::topics::TopicPermissions;
use super::variables::filled_in;

/// Longest pattern in bytes. Lists of names joined by `|` stay far below.
pub const PATTERN_BYTES_MAX: usize = 16_384;

/// Most memory in bytes one compiled pattern may take, so that nested repetitions such as
/// `(a{100}){100}` are refused rather than built.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The permissions of one user on one vhost.
#[derive(Clone, Debug)]
pub struct Permissions {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
    topics: TopicPermissions,
}

impl Permissions {
    /// Compiles the three patterns; an error comes with the name of the permission.
    pub(super) fn new(
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<Self, (&'static str, PatternError)> {
        let compile =
            |permission, pattern| Pattern::new(pattern).map_err(|error| (permission, error));
        Ok(Self {
            configure: compile("configure", configure)?,
            write: compile("write", write)?,
            read: compile("read", read)?,
            topics: TopicPermissions::default(),
        })
    }

    /// Allows nothing: no exchange and no queue goes by the empty name, which is all that these match.
    #[must_use]
    pub fn nothing() -> Arc<Self> {
        let nothing = || Pattern(None);
        Arc::new(Self {
            configure: nothing(),
            write: nothing(),
            read: nothing(),
            topics: TopicPermissions::default(),
        })
    }

    pub(super) fn with_topics(self, topics: TopicPermissions) -> Self {
        Self { topics, ..self }
    }

    /// Whether there is anything to be asked about the keys of this exchange (PERM-14).
    #[must_use]
    pub fn limits_topics_of(&self, exchange: &str) -> bool {
        self.topics.knows(exchange)
    }

    /// Whether this exchange, which is a topic exchange, may be published to with this key (PERM-13).
    #[must_use]
    pub fn may_write_topic(&self, exchange: &str, key: &[u8]) -> bool {
        self.topics.may_write(exchange, key)
    }

    /// Whether this exchange, which is a topic exchange, may be bound from with this key (PERM-13).
    #[must_use]
    pub fn may_read_topic(&self, exchange: &str, key: &[u8]) -> bool {
        self.topics.may_read(exchange, key)
    }

    /// Whether this exchange or queue may be declared and deleted (PERM-03, PERM-05).
    #[must_use]
    pub fn may_configure(&self, name: &str) -> bool {
        self.configure.matches(name)
    }

    /// Whether this exchange may be published to, this queue be bound (PERM-06, PERM-10).
    #[must_use]
    pub fn may_write(&self, name: &str) -> bool {
        self.write.matches(name)
    }

    /// Whether this queue may be consumed from, this exchange be bound from (PERM-06, PERM-10).
    #[must_use]
    pub fn may_read(&self, name: &str) -> bool {
        self.read.matches(name)
    }
}

/// The name of an exchange in permissions and in what is said about them: the default exchange
/// goes by `amq.default` there (PERM-02).
#[must_use]
pub fn permission_name(exchange: &str) -> &str {
    if exchange.is_empty() {
        "amq.default"
    } else {
        exchange
    }
}

/// A compiled permission pattern. It matches anywhere in a name unless it is anchored; the empty
/// pattern matches the empty name only.
#[derive(Clone, Debug)]
pub struct Pattern(Option<Regex>);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is too long, too large or no regular expression.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        let compiled = RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES_MAX)
            .build();
        compiled.map(|regex| Self(Some(regex))).map_err(refused)
    }

    /// Compiles a pattern for the keys of a topic exchange, in which `{username}` and `{vhost}` stand for these
    /// names.
    ///
    /// # Errors
    /// As [`Pattern::new`], and a variable where a name cannot stand for itself.
    pub fn of_keys(pattern: &str, user: &str, vhost: &str) -> Result<Self, PatternError> {
        Self::new(&filled_in(pattern, user, vhost)?)
    }

    /// Whether the pattern matches this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match &self.0 {
            Some(regex) => regex.is_match(name),
            None => name.is_empty(),
        }
    }
}

/// What a pattern would have to be. Reads on from "expected".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// `{username}` or `{vhost}` where the name would be taken apart.
    #[error("no variable within a class or right behind a backslash")]
    Variable,
    /// Its repetitions multiply beyond what is worth building.
    #[error("a pattern that takes at most {COMPILED_BYTES_MAX} bytes when it is compiled")]
    TooLarge,
    /// No regular expression, or one with look-around or back-references.
    #[error("a regular expression ({reason})")]
    Syntax {
        /// What the parser says, in one line.
        reason: String,
    },
}

fn refused(error: regex::Error) -> PatternError {
    match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        other => PatternError::Syntax {
            reason: last_line(&other.to_string()),
        },
    }
}

/// The parser draws a picture of several lines; the last one says what is wrong.
fn last_line(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}
