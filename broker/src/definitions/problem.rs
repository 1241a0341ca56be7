//! What keeps definitions from being imported: every culprit at once.

use std::fmt;

use thiserror::Error;

/// The most problems that are kept; of further ones only the number is. A file of the wrong kind has one
/// for each of its thousands of entries.
pub const PROBLEMS_MAX: usize = 100;

/// One thing in definitions that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The culprit, for instance `queues[3] 'orders' in vhost '/'`, with its file in front if it came
    /// from one.
    pub at: String,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.at, self.text)
    }
}

/// Definitions that cannot be imported. Nothing of them was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct DefinitionsError {
    /// The problems in the order of the file, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl DefinitionsError {
    /// How many problems there are in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }
}

impl fmt::Display for DefinitionsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        let plural = if count == 1 { "" } else { "s" };
        write!(out, "definitions not imported, {count} problem{plural}")?;
        match self.problems.first() {
            Some(first) if count > 1 => write!(out, ", the first: {first}"),
            Some(only) => write!(out, ": {only}"),
            None => Ok(()),
        }
    }
}

/// Problems that are being collected.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, at: impl fmt::Display, text: impl Into<String>) {
        if self.found.len() >= PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        let (at, text) = (at.to_string(), text.into());
        self.found.push(Problem { at, text });
    }

    /// Counts problems that nobody has kept.
    pub(super) fn add_uncounted(&mut self, more: usize) {
        self.more += more;
    }

    /// # Errors
    /// If there is any.
    pub(crate) fn verdict(self) -> Result<(), DefinitionsError> {
        match self.found.is_empty() {
            true => Ok(()),
            false => Err(DefinitionsError {
                problems: self.found,
                more: self.more,
            }),
        }
    }
}
