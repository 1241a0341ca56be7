//! What a run found, as data, and the texts that are made of it.
//!
//! ```text
//!   Finished … ─▶ collect ─▶ Report ─┬▶ json       all of it, for programs; it can be read back
//!                              ▲     ├▶ junit      for CI servers
//!        ids  what each rule ──┘     ├▶ tap        for test harnesses
//!             of the list came to    ├▶ markdown   for a page
//!                                    └▶ pretty     for a terminal
//!                                          │
//!                                          ▼
//!                                      printable   no byte of a broker's reaches a terminal raw
//! ```
//!
//! What it is not: it decides no verdict, and does no I/O.
//!
//! Invariants: every text is made of a [`Report`] alone, so a report that was read back gives the same
//! texts. Whatever a broker sent stands in a `Report` as it came, and in no text.

mod collect;
mod format;
mod grouped;
mod ids;
mod json;
mod junit;
mod listing;
pub(crate) mod markdown;
mod pretty;
pub(crate) mod printable;
mod sections;
mod tap;
#[cfg(test)]
pub(crate) mod testing;
mod words;

use serde::{Deserialize, Serialize};

pub(crate) use collect::Setting;
pub use format::{Format, UnknownFormat};
pub use json::ReadError;
pub use listing::{Listing, NoListing};
pub(crate) use sections::StatusCounts;

/// The version of the JSON form. It grows when a field changes its meaning or goes away, and not when one
/// is added.
pub const FORMAT: u32 = 1;

/// A finished run. Its JSON form is described in `conformance-tests/reports/README.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// What held the broker against the rules.
    pub suite: Suite,
    /// What was held against them.
    pub broker: Broker,
    /// The name of the profile, or its path.
    pub profile: String,
    /// Which tests were chosen.
    pub selection: Selection,
    /// How many tests ran at once.
    pub jobs: usize,
    /// When the run started: RFC 3339, UTC, whole seconds.
    pub started: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why the run ended before all tests had run, if it did.
    pub ended_early: Option<String>,
    /// How many tests came to what.
    pub summary: Counts,
    /// The selected tests, in the order of the sections.
    pub tests: Vec<Test>,
    /// Every ID that the suite knows, in the order of its list.
    pub ids: Vec<Id>,
}

/// The suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The broker, as it describes itself in connection.start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// `host:port`.
    pub address: String,
    /// Its product; empty where it names none.
    pub product: String,
    /// Its version; empty where it names none.
    pub version: String,
    /// Its platform; empty where it names none.
    pub platform: String,
}

/// The words that chose the tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only these; all if there are none.
    pub only: Vec<String>,
    /// But not these.
    pub skip: Vec<String>,
}

/// How many came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The broker does as the rule says.
    pub passed: usize,
    /// It does not.
    pub failed: usize,
    /// Something is missing that the test needs, or the rule does not concern the broker.
    pub skipped: usize,
    /// The run ended before.
    pub not_run: usize,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The rule it shows.
    pub id: String,
    /// Further rules that it shows.
    pub also: Vec<String>,
    /// Its own name, unique within the ID.
    pub title: String,
    /// The rule in one line.
    pub rule: String,
    /// Which of RabbitMQ's generations behaves so: `both`, `3.x` or `4.x`.
    pub follows: String,
    /// What it needs beyond a broker and its URI, for instance `fixtures`.
    pub needs: Vec<String>,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took without the wait for its turn, in milliseconds.
    pub took_ms: u64,
}

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Outcome {
    /// The broker does as the rule says.
    Passed {
        /// The variants that the broker showed where the profile accepts several, or other ones than another
        /// profile.
        variants: Vec<ShownVariant>,
    },
    /// It does not.
    Failed {
        /// What was expected and what came.
        message: String,
        /// Further lines, for instance the last frames.
        details: Vec<String>,
    },
    /// Something is missing that the test needs, or the rule does not concern the broker.
    Skipped {
        /// Which.
        reason: String,
    },
    /// The run ended before the test did.
    NotRun {
        /// Why.
        reason: String,
    },
}

/// A variant that a broker showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownVariant {
    /// The rule.
    pub id: String,
    /// The variant's name.
    pub name: String,
    /// What the broker does.
    pub behaviour: String,
    /// Why the profile accepts it.
    pub reason: Option<String>,
}

/// One numbered rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// Its ID.
    pub id: String,
    /// What its tests came to.
    pub status: Status,
    /// Why it was not tested, or not by all of its tests.
    pub reason: Option<String>,
}

/// What the tests of an ID came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// None failed, at least one passed, and none was cut off by the end of the run.
    Passed,
    /// One failed.
    Failed,
    /// All were skipped.
    Skipped,
    /// The run ended before.
    NotRun,
    /// It cannot be shown from outside.
    Untestable,
    /// It was not chosen.
    NotSelected,
}

impl Report {
    /// How many tests passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.summary.passed
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.summary.failed
    }

    /// How many were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.summary.skipped
    }

    /// How many did not run, or not to their end, since the run ended before.
    #[must_use]
    pub fn not_run(&self) -> usize {
        self.summary.not_run
    }

    /// Whether something ran, all of it passed, and the run was not cut off.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let Counts {
            passed,
            failed,
            not_run,
            ..
        } = self.summary;
        passed > 0 && failed == 0 && not_run == 0 && self.ended_early.is_none()
    }

    /// Reads [`Report::to_json`]'s text back.
    ///
    /// # Errors
    /// It is not a report, or one of a newer form than [`FORMAT`].
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        json::read(text)
    }

    /// The full form, for programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_json(self)
    }

    /// JUnit's XML, for CI servers.
    #[must_use]
    pub fn to_junit(&self) -> String {
        junit::write(self)
    }

    /// TAP 14, for test harnesses.
    #[must_use]
    pub fn to_tap(&self) -> String {
        tap::write(self)
    }

    /// A page in Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::write(self)
    }

    /// For a terminal: what failed, what was skipped, and how many came to what.
    #[must_use]
    pub fn to_pretty(&self) -> String {
        pretty::write(self)
    }

    /// The last line of [`Report::to_pretty`].
    #[must_use]
    pub fn to_line(&self) -> String {
        pretty::line(self)
    }
}

/// A text in one line, in which whatever a terminal would obey is shown as `\\u{1b}`.
#[must_use]
pub fn one_line(text: &str) -> String {
    printable::line(text).into_owned()
}

impl Test {
    /// `EXCH-05 default_exchange_is_fixed`: its name in every report.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.id, self.title)
    }
}

impl Broker {
    /// Product and version, or that it does not say.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.product.is_empty(), self.version.is_empty()) {
            (true, _) => "a broker that does not name itself".to_owned(),
            (false, true) => self.product.clone(),
            (false, false) => format!("{} {}", self.product, self.version),
        }
    }
}
