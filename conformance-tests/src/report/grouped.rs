//! Tests that did not run, by their reason, so that a reason stands once.

use super::{Id, Outcome, Status, Test};

/// A reason, and whatever has it.
pub(super) type Group<'r, T> = (&'r str, Vec<T>);

/// Skipped tests by reason, in the order in which the reasons first come.
pub(super) fn skipped(tests: &[Test]) -> Vec<Group<'_, &Test>> {
    by_reason(tests.iter().filter_map(|test| match &test.outcome {
        Outcome::Skipped { reason } => Some((reason.as_str(), test)),
        _ => None,
    }))
}

/// Tests that the end of the run came before, likewise.
pub(super) fn not_run(tests: &[Test]) -> Vec<Group<'_, &Test>> {
    by_reason(tests.iter().filter_map(|test| match &test.outcome {
        Outcome::NotRun { reason } => Some((reason.as_str(), test)),
        _ => None,
    }))
}

/// Untestable IDs, likewise.
pub(super) fn untestable(ids: &[Id]) -> Vec<Group<'_, &Id>> {
    by_reason(ids.iter().filter_map(|id| match id.status {
        Status::Untestable => Some((id.reason.as_deref().unwrap_or_default(), id)),
        _ => None,
    }))
}

fn by_reason<'r, T>(all: impl Iterator<Item = (&'r str, T)>) -> Vec<Group<'r, T>> {
    let mut groups: Vec<Group<'r, T>> = Vec::new();
    for (reason, one) in all {
        match groups.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, group)) => group.push(one),
            None => groups.push((reason, vec![one])),
        }
    }
    groups
}

/// The IDs of tests, each once.
pub(super) fn ids_of(tests: &[&Test]) -> String {
    let mut ids: Vec<&str> = tests.iter().map(|test| test.id.as_str()).collect();
    ids.dedup();
    ids.join(", ")
}
