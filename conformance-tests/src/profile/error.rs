//! What is wrong with a profile, and where.

use std::error::Error;
use std::fmt;

/// A profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The file, or the name of a profile that comes with the suite.
    pub file: String,
    /// Counted from 1; none where the fault is what is missing.
    pub line: Option<usize>,
    /// The key with its value as it stands there, for instance `id = "ERR-03"`.
    pub key: Option<String>,
    /// What is wrong, in one sentence.
    pub problem: String,
}

impl ProfileError {
    pub(super) fn of_file(file: &str, problem: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            key: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "profile {}", self.file)?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(out, ": {key}")?;
        }
        write!(out, ": {}", self.problem)
    }
}

impl Error for ProfileError {}
