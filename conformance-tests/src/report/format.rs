//! The forms in which a report can be had.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::Report;

/// A form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[default]
    Pretty,
    /// For programs: the full form, of which all others are made.
    Json,
    /// For CI servers.
    Junit,
    /// For test harnesses: TAP 14.
    Tap,
    /// For a page.
    Markdown,
}

/// A word that is the name of no form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pretty,
        Self::Json,
        Self::Junit,
        Self::Tap,
        Self::Markdown,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Markdown => "markdown",
        }
    }

    /// The report in this form. It ends with a line feed.
    #[must_use]
    pub fn write(self, report: &Report) -> String {
        match self {
            Self::Pretty => report.to_pretty(),
            Self::Json => report.to_json(),
            Self::Junit => report.to_junit(),
            Self::Tap => report.to_tap(),
            Self::Markdown => report.to_markdown(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.name() == word)
            .ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Format::ALL.map(Format::name).join(", ");
        write!(out, "{:?} is no format; there are {names}", self.0)
    }
}

impl Error for UnknownFormat {}
