//! What is wrong with a configuration, and where that came from.

use std::fmt;

use thiserror::Error;

/// The first thing in a configuration that is not allowed. One line: origin, key, value and what
/// would be allowed. A password is never part of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    origin: Option<Origin>,
    key: String,
    text: String,
}

impl ConfigError {
    pub(super) fn new(origin: Option<Origin>, problem: Problem) -> Self {
        Self {
            origin,
            key: problem.key,
            text: problem.text,
        }
    }

    /// Where the culprit was written, unless it was put into a [`super::Config`] by hand.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The culprit, for instance `users[0].permissions[1].read`; empty when the document is not
    /// TOML at all.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(out, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.text)
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line, counted from 1, of a document that has no name.
    Text {
        /// The line.
        line: usize,
    },
    /// A line, counted from 1, of a file.
    File {
        /// The file as the user named it.
        name: String,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// An option of a command line.
    CommandLine {
        /// The option as the user knows it, for instance `--listen`.
        option: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line } => write!(out, "line {line}"),
            Self::File { name, line } => write!(out, "{name}:{line}"),
            Self::Environment { variable } => write!(out, "environment variable {variable}"),
            Self::CommandLine { option } => write!(out, "option {option}"),
        }
    }
}

/// A key and what is wrong with it, before it is known where the key was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) key: String,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
        }
    }

    /// The usual sentence: this value, but one of those would be allowed.
    pub(super) fn value(
        key: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        Self::new(key, format!("{value} is not allowed, expected {allowed}"))
    }
}
