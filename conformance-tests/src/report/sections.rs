//! The IDs of a report, counted by section.

use super::{Id, Report, Status};
use crate::registry::section_of;

/// How many IDs of a section came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusCounts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) not_run: usize,
    pub(crate) untestable: usize,
    pub(crate) not_selected: usize,
}

/// The sections in the order of the list of IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sections<'r>(pub(crate) Vec<(&'r str, StatusCounts)>);

impl<'r> Sections<'r> {
    pub(crate) fn of(report: &'r Report) -> Self {
        let by_section = report
            .ids
            .chunk_by(|one, next| section_of(&one.id) == section_of(&next.id));
        Self(by_section.filter_map(section).collect())
    }

    pub(crate) fn total(&self) -> StatusCounts {
        let counts = self.0.iter().map(|(_, counts)| *counts);
        counts.fold(StatusCounts::default(), StatusCounts::plus)
    }
}

fn section(ids: &[Id]) -> Option<(&str, StatusCounts)> {
    let name = section_of(&ids.first()?.id);
    Some((name, StatusCounts::of(ids.iter().map(|id| id.status))))
}

impl StatusCounts {
    pub(crate) fn of(statuses: impl Iterator<Item = Status>) -> Self {
        let mut counts = Self::default();
        for status in statuses {
            *counts.place(status) += 1;
        }
        counts
    }

    /// Those of which a test was chosen.
    pub(crate) fn tested(&self) -> usize {
        self.passed + self.failed + self.skipped + self.not_run
    }

    fn place(&mut self, status: Status) -> &mut usize {
        match status {
            Status::Passed => &mut self.passed,
            Status::Failed => &mut self.failed,
            Status::Skipped => &mut self.skipped,
            Status::NotRun => &mut self.not_run,
            Status::Untestable => &mut self.untestable,
            Status::NotSelected => &mut self.not_selected,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            not_run: self.not_run + other.not_run,
            untestable: self.untestable + other.untestable,
            not_selected: self.not_selected + other.not_selected,
        }
    }
}
