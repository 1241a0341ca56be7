//! `headers`: a message goes where its headers match the binding's arguments (HEADERS-01..12).
//!
//! A binding's table is compiled once, when the binding is made; bindings with equal tables share one
//! matcher. A message's headers are sorted once, and then looked up by binary search.
//!
//! Values are compared, not wire types (HEADERS-06): every integer width is one type, and so are long
//! strings and byte arrays; but an integer never equals a double (HEADERS-07). A timestamp equals the
//! integer of its seconds (HEADERS-08, TABLE-13). What is nested in arrays and tables is compared with
//! its types.

use std::collections::HashMap;

use leveret_protocol::{Fault, ReplyCode, ShortStr, Table, TableBuf, Value};

use super::{DestinationCounts, Destinations, Exchange, Routing};
use crate::core::binding::Binding;
use crate::core::erlang_text;

/// The argument that says how to match.
const MATCH_KEY: &str = "x-match";

/// Matchers by the arguments they were compiled from.
#[derive(Debug, Default)]
pub(super) struct Headers {
    by_arguments: HashMap<TableBuf, Bound>,
}

#[derive(Debug)]
struct Bound {
    matcher: Matcher,
    destinations: DestinationCounts,
}

impl Exchange for Headers {
    fn bind(&mut self, binding: &Binding) {
        let arguments = binding.arguments();
        let bound = self
            .by_arguments
            .entry(arguments.clone())
            .or_insert_with(|| Bound {
                matcher: Matcher::compile(arguments.view()),
                destinations: DestinationCounts::default(),
            });
        bound.destinations.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        if let Some(bound) = self.by_arguments.get_mut(binding.arguments()) {
            bound.destinations.remove(binding.destination());
            if bound.destinations.is_empty() {
                self.by_arguments.remove(binding.arguments());
            }
        }
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        let headers = Sorted::new(routing.headers.unwrap_or_default());
        for bound in self.by_arguments.values() {
            if bound.matcher.matches(&headers) {
                found.extend_from(&bound.destinations);
            }
        }
    }
}

/// Judges the arguments of a binding to a headers exchange (HEADERS-09).
pub(super) fn check_binding(arguments: Table<'_>) -> Result<(), Fault> {
    match arguments.get(MATCH_KEY) {
        None => Ok(()),
        Some(Value::LongStr(word)) if Rule::of(word).is_some() => Ok(()),
        Some(word @ Value::LongStr(_)) => Err(invalid_binding(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            erlang_text::term(&word)
        ))),
        Some(value) => Err(invalid_binding(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            value.type_name(),
            erlang_text::term(&value)
        ))),
    }
}

fn invalid_binding(explanation: String) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, explanation)
}

/// How many of a binding's headers must match, and which of them count (HEADERS-01, HEADERS-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    all: bool,
    with_x: bool,
}

impl Rule {
    fn of(word: &[u8]) -> Option<Self> {
        let (all, with_x) = match word {
            b"all" => (true, false),
            b"any" => (false, false),
            b"all-with-x" => (true, true),
            b"any-with-x" => (false, true),
            _ => return None,
        };
        Some(Self { all, with_x })
    }

    fn counts(self, key: ShortStr<'_>) -> bool {
        key.0 != MATCH_KEY.as_bytes() && (self.with_x || !key.0.starts_with(b"x-"))
    }
}

/// One table of binding arguments, ready to be compared.
#[derive(Debug)]
struct Matcher {
    all: bool,
    /// Only the arguments that count.
    wanted: TableBuf,
}

impl Matcher {
    fn compile(arguments: Table<'_>) -> Self {
        let rule = arguments
            .get(MATCH_KEY)
            .and_then(|value| Rule::of(value.as_long_str()?))
            .unwrap_or(Rule {
                all: true,
                with_x: false,
            });
        let wanted = arguments.entries().filter(|(key, _)| rule.counts(*key));
        Self {
            all: rule.all,
            wanted: TableBuf::from_raw_entries(wanted),
        }
    }

    /// With nothing wanted, `all` matches everything and `any` nothing (HEADERS-03, HEADERS-04).
    fn matches(&self, headers: &Sorted<'_>) -> bool {
        let mut wanted = self.wanted.view().entries();
        let agrees = |(key, value)| headers.get(key).is_some_and(|sent| agree(value, sent));
        match self.all {
            true => wanted.all(agrees),
            false => wanted.any(agrees),
        }
    }
}

/// A message's headers, sorted by key; of several with one key, the last.
struct Sorted<'a>(Vec<(ShortStr<'a>, Value<'a>)>);

impl<'a> Sorted<'a> {
    fn new(headers: Table<'a>) -> Self {
        let mut entries: Vec<_> = headers.entries().collect();
        entries.reverse();
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by_key(|(key, _)| *key);
        Self(entries)
    }

    fn get(&self, key: ShortStr<'_>) -> Option<Value<'a>> {
        let at = self.0.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.0.get(at).map(|(_, value)| *value)
    }
}

/// True when a header that was sent satisfies the value wanted; void is content with anything
/// (HEADERS-05), and nothing else is content with void (HEADERS-12).
fn agree(wanted: Value<'_>, sent: Value<'_>) -> bool {
    if let (Some(wanted), Some(sent)) = (as_number(wanted), as_number(sent)) {
        return wanted == sent;
    }
    if let (Some(wanted), Some(sent)) = (as_float(wanted), as_float(sent)) {
        return wanted == sent;
    }
    match (wanted, sent) {
        (Value::Void, _) => true,
        (
            Value::LongStr(wanted) | Value::ByteArray(wanted),
            Value::LongStr(sent) | Value::ByteArray(sent),
        ) => wanted == sent,
        (wanted, sent) => same_structure(wanted, sent),
    }
}

fn as_number(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Timestamp(seconds) => Some(seconds.into()),
        other => other.as_integer().map(i128::from),
    }
}

fn as_float(value: Value<'_>) -> Option<f64> {
    match value {
        Value::F32(number) => Some(number.into()),
        Value::F64(number) => Some(number),
        _ => None,
    }
}

/// Equal in type and value, all the way down; how an equal value was written does not matter (`l` or
/// `L`, any byte for true). As deep as the tables may nest, and no deeper.
fn same_structure(one: Value<'_>, other: Value<'_>) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            pairwise(one.values(), other.values(), same_structure)
        }
        (Value::Table(one), Value::Table(other)) => pairwise(
            one.entries(),
            other.entries(),
            |(key, value), (key_2, value_2)| key == key_2 && same_structure(value, value_2),
        ),
        (one, other) => one == other,
    }
}

fn pairwise<A>(
    mut one: impl Iterator<Item = A>,
    mut other: impl Iterator<Item = A>,
    same: impl Fn(A, A) -> bool,
) -> bool {
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) => {
                if !same(one, other) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
