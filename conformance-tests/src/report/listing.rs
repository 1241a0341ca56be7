//! What the suite could ask, without a broker: the tests and rules that options select.

use serde::Serialize;

use super::json::to_json;
use super::words::{follows_word, need_words};
use super::{FORMAT, Format};
use crate::registry::{Check, Rule};
use crate::selection::{Options, SelectionError};

/// The selected tests, and the rules among them that cannot be tested.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    format: u32,
    tests: Vec<Listed>,
}

#[derive(Clone, Debug, Serialize)]
struct Listed {
    id: &'static str,
    also: &'static [&'static str],
    title: &'static str,
    rule: &'static str,
    follows: &'static str,
    needs: Vec<&'static str>,
    deadline_ms: u128,
    /// Why the rule cannot be tested from outside, if so.
    untestable: Option<&'static str>,
}

/// A form that a listing does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoListing(Format);

impl Listing {
    /// What these options select.
    ///
    /// # Errors
    /// A word means nothing, or nothing is left.
    pub fn of(options: &Options) -> Result<Self, SelectionError> {
        options.expect_known_words()?;
        let tests: Vec<_> = options.selected().map(Listed::of).collect();
        match tests.is_empty() {
            true => Err(SelectionError::Nothing),
            false => Ok(Self {
                format: FORMAT,
                tests,
            }),
        }
    }

    /// The listing as a text that ends with a line feed: a line for each test, a JSON object or a table.
    ///
    /// # Errors
    /// The form is one of verdicts.
    pub fn write(&self, format: Format) -> Result<String, NoListing> {
        match format {
            Format::Pretty => Ok(self.tests.iter().map(Listed::line).collect()),
            Format::Json => Ok(to_json(self)),
            Format::Junit | Format::Tap | Format::Markdown => Err(NoListing(format)),
        }
    }
}

impl Listed {
    fn of(rule: &'static Rule) -> Self {
        Self {
            id: rule.id,
            also: rule.also,
            title: rule.title,
            rule: rule.rule,
            follows: follows_word(rule.follows),
            needs: need_words(&rule.needs),
            deadline_ms: rule.deadline.as_millis(),
            untestable: match rule.check {
                Check::Untestable(reason) => Some(reason),
                Check::Test(_) => None,
            },
        }
    }

    fn line(&self) -> String {
        let Self {
            id, title, rule, ..
        } = self;
        let why_not = self.untestable.map(|reason| format!(" ({reason})"));
        format!("{id} {title}: {rule}{}\n", why_not.unwrap_or_default())
    }
}

impl std::fmt::Display for NoListing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "a list has no {} form; there are pretty and json",
            self.0
        )
    }
}

impl std::error::Error for NoListing {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn queue() -> Listing {
        let options = Options {
            only: vec!["QUEUE".to_owned()],
            ..Options::default()
        };
        Listing::of(&options).unwrap()
    }

    #[test]
    fn a_list_is_of_what_is_selected() {
        let text = queue().write(Format::Pretty).unwrap();
        assert!(
            text.contains("QUEUE-05 ") && !text.contains("EXCH-05 "),
            "{text}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&queue().write(Format::Json).unwrap()).unwrap();
        let tests = json["tests"].as_array().unwrap();
        assert_eq!(tests.len(), text.lines().count());
        assert!(
            tests
                .iter()
                .all(|test| test["rule"].as_str().unwrap().len() > 5)
        );
    }

    #[test]
    fn a_list_has_no_verdicts() {
        assert!(queue().write(Format::Junit).is_err());
    }
}
