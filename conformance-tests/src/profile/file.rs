//! A profile's file as it is written: its shapes, and on which line something stands.
//!
//! What it is not: it knows no rules, so it cannot tell whether what is written is true.

use serde::Deserialize;
use toml::Spanned;

use super::Texts;
use super::error::ProfileError;

/// A file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    text: String,
    pub(super) written: Written,
}

/// What stands in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// Name or path of the profile that this one changes.
    pub(super) extends: Option<Spanned<String>>,
    pub(super) texts: Option<Texts>,
    /// `major.minor`
    pub(super) version: Option<Spanned<String>>,
    #[serde(default, rename = "rule")]
    pub(super) statements: Vec<Spanned<Statement>>,
}

/// A `[[rule]]`: what is said of one ID or of a section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    pub(super) id: Option<Spanned<String>>,
    pub(super) section: Option<Spanned<String>>,
    pub(super) accepts: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) not_applicable: Option<bool>,
    pub(super) reason: Option<Spanned<String>>,
}

impl File {
    pub(super) fn parse(name: &str, text: String) -> Result<Self, ProfileError> {
        let parsed = toml::from_str(&text);
        let written = parsed.map_err(|error: toml::de::Error| ProfileError {
            file: name.to_owned(),
            line: error.span().map(|span| line_of(&text, span.start)),
            key: None,
            problem: error.message().to_owned(),
        })?;
        Ok(Self {
            name: name.to_owned(),
            text,
            written,
        })
    }

    /// The error that something of this key and value is wrong.
    pub(super) fn error_at<T>(
        &self,
        key: &str,
        value: &Spanned<T>,
        problem: impl Into<String>,
    ) -> ProfileError {
        ProfileError {
            file: self.name.clone(),
            line: Some(self.line(value)),
            key: Some(format!("{key} = {}", self.as_written(value))),
            problem: problem.into(),
        }
    }

    /// The value as it stands there, as far as the end of the line.
    fn as_written<T>(&self, value: &Spanned<T>) -> &str {
        let written = self.text.get(value.span()).unwrap_or_default();
        written.lines().next().unwrap_or_default()
    }

    /// The error that a whole statement is wrong.
    pub(super) fn error_in(
        &self,
        statement: &Spanned<Statement>,
        problem: impl Into<String>,
    ) -> ProfileError {
        ProfileError {
            file: self.name.clone(),
            line: Some(self.line(statement)),
            key: Some("[[rule]]".to_owned()),
            problem: problem.into(),
        }
    }

    /// The line on which a value begins.
    pub(super) fn line<T>(&self, value: &Spanned<T>) -> usize {
        line_of(&self.text, value.span().start)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}
