//! Finds lines for keys and keys for positions in a TOML document.
//!
//! A path is written as an operator would say it: `log.level`, `users[0].permissions[1].read`.
//! The document has been parsed before; of one that cannot be, nothing is found.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The line, counted from 1, of a byte position.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    let before = text.bytes().take(position);
    before.filter(|byte| *byte == b'\n').count() + 1
}

/// How many steps of `path` the document has, and the position of the last of them.
pub(super) fn position_of(text: &str, path: &str) -> (usize, usize) {
    let Ok(document) = DeTable::parse(text) else {
        return (0, 0);
    };
    let mut found = (0, 0);
    let mut here = Some(DeValue::Table(document.into_inner()));
    for (depth, step) in steps(path).enumerate() {
        let Some(next) = here.and_then(|value| descend(value, step)) else {
            break;
        };
        found = (depth + 1, next.span().start);
        here = Some(next.into_inner());
    }
    found
}

/// The path of the innermost key whose name or value covers `position`.
pub(super) fn path_at(text: &str, position: usize) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    path_in_table("", document.get_ref(), position)
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    let steps = path.split(['.', '[']);
    steps.map(|step| step.trim_end_matches(']'))
}

fn descend<'i>(value: DeValue<'i>, step: &str) -> Option<Spanned<DeValue<'i>>> {
    match value {
        DeValue::Table(mut table) => table.remove(step),
        DeValue::Array(items) => items.into_iter().nth(step.parse().ok()?),
        _ => None,
    }
}

fn path_in_table(prefix: &str, table: &DeTable<'_>, position: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let path = format!("{prefix}{}", name.get_ref());
        let inner = path_in_value(&path, value.get_ref(), position);
        let covered = covers(name.span(), position) || covers(value.span(), position);
        inner.or_else(|| covered.then_some(path))
    })
}

fn path_in_value(path: &str, value: &DeValue<'_>, position: usize) -> Option<String> {
    match value {
        DeValue::Table(table) => path_in_table(&format!("{path}."), table, position),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let path = format!("{path}[{index}]");
            let inner = path_in_value(&path, item.get_ref(), position);
            inner.or_else(|| covers(item.span(), position).then_some(path))
        }),
        _ => None,
    }
}

fn covers(span: Range<usize>, position: usize) -> bool {
    span.contains(&position)
}
