//! Which tests a run is about, and how many of them run at once.
//!
//! What it is not: whether a selected test can run against a certain target is for
//! [`crate::runner::reason_to_skip`] to say.

use std::error::Error;
use std::fmt;

use crate::registry::{Check, Rule, registered};

/// Which tests run, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// IDs, sections or names; empty means all.
    pub only: Vec<String>,
    /// IDs, sections or names that are left out of those.
    pub skip: Vec<String>,
    /// How many tests run at once, at least one.
    pub jobs: usize,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectionError {
    /// A word that is no ID, no section and no test's name.
    Unknown(String),
    /// Nothing is left of what the words select, or it cannot be tested from outside.
    Nothing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            skip: Vec::new(),
            // Tests wait far more than they work.
            jobs: 8,
        }
    }
}

impl Options {
    /// Everything that these options select, whether it can be tested or not.
    pub fn selected(&self) -> impl Iterator<Item = &'static Rule> {
        let is_left_out = |rule: &Rule| is_meant(rule, &self.skip);
        registered()
            .filter(|rule| self.only.is_empty() || is_meant(rule, &self.only))
            .filter(move |rule| !is_left_out(rule))
    }

    /// The tests to run.
    ///
    /// # Errors
    /// A word means nothing, or there is no test among what is selected.
    pub fn tests(&self) -> Result<Vec<&'static Rule>, SelectionError> {
        self.expect_known_words()?;
        let is_test = |rule: &&Rule| matches!(rule.check, Check::Test(_));
        let tests: Vec<_> = self.selected().filter(is_test).collect();
        match tests.is_empty() {
            true => Err(SelectionError::Nothing),
            false => Ok(tests),
        }
    }

    /// Checks that every word means something; a word that is mistyped would select nothing, or leave
    /// nothing out.
    ///
    /// # Errors
    /// The first word that does not.
    pub fn expect_known_words(&self) -> Result<(), SelectionError> {
        let means_something = |word: &str| registered().any(|rule| rule.is_meant_by(word));
        let mut words = self.only.iter().chain(&self.skip);
        match words.find(|word| !means_something(word)) {
            None => Ok(()),
            Some(word) => Err(SelectionError::Unknown(word.clone())),
        }
    }
}

fn is_meant(rule: &Rule, words: &[String]) -> bool {
    words.iter().any(|word| rule.is_meant_by(word))
}

impl fmt::Display for SelectionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(
                out,
                "{word:?} is no ID (QUEUE-05), no section (QUEUE) and no test's name; --list shows them all"
            ),
            Self::Nothing => out.write_str("there is no test among what is selected"),
        }
    }
}

impl Error for SelectionError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn options(only: &[&str], skip: &[&str]) -> Options {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Options {
            only: words(only),
            skip: words(skip),
            ..Options::default()
        }
    }

    #[test]
    fn what_is_skipped_is_left_out_of_what_is_meant() {
        let all = options(&["QUEUE"], &[]).tests().unwrap();
        let fewer = options(&["queue"], &["QUEUE-05"]).tests().unwrap();
        assert!(all.iter().any(|rule| rule.id == "QUEUE-05"));
        assert!(
            fewer
                .iter()
                .all(|rule| rule.ids().all(|id| id != "QUEUE-05"))
        );
        assert!(!fewer.is_empty() && fewer.len() < all.len());
        let others = options(&[], &["QUEUE"]).tests().unwrap();
        assert!(others.iter().all(|rule| rule.section() != "QUEUE"));
    }

    #[test]
    fn an_unknown_word_is_named_wherever_it_stands() {
        let unknown = |word: &str| Err(SelectionError::Unknown(word.to_owned()));
        assert_eq!(
            options(&["QUEUE", "QUE"], &[]).tests().map(drop),
            unknown("QUE")
        );
        assert_eq!(
            options(&[], &["QUEUE-5"]).tests().map(drop),
            unknown("QUEUE-5")
        );
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        let nothing = options(&["QUEUE-05"], &["QUEUE"]).tests();
        assert_eq!(nothing.map(drop), Err(SelectionError::Nothing));
    }
}
