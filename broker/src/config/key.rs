//! The list of all keys, read off the default configuration, so that it cannot fall behind.

use toml::{Table, Value};

use super::Config;

/// One key that can be set by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The dotted path, for instance `log.level`.
    pub path: String,
    /// Its value in the default configuration.
    pub default: Value,
}

impl Key {
    /// Turns the text of an environment variable or a command line option into a value.
    ///
    /// The text is TOML. Where the key holds a string the quotes may be left out, and a list of
    /// strings may be written with commas. What is neither stays a string for the check to refuse.
    pub(super) fn value_of(&self, text: &str) -> Value {
        match &self.default {
            Value::String(_) => string(text),
            _ if self.holds_strings() => strings(text),
            _ => text
                .parse()
                .unwrap_or_else(|_| Value::String(text.to_owned())),
        }
    }

    fn holds_strings(&self) -> bool {
        // Lists of tables that are empty by default are written as TOML, which is tried first.
        let items = self.default.as_array();
        items.is_some_and(|items| items.iter().all(Value::is_str))
    }
}

/// Every key of a configuration, in the order of their paths.
#[must_use]
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    collect("", default_table(), &mut keys);
    keys
}

/// The default configuration serialises by construction: it holds strings, small numbers and
/// tables only. Were that ever to change, the list of keys would be empty and its test fail.
fn default_table() -> Table {
    Table::try_from(Config::default()).unwrap_or_default()
}

fn collect(prefix: &str, table: Table, keys: &mut Vec<Key>) {
    for (name, value) in table {
        let path = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => collect(&format!("{path}."), inner, keys),
            default => keys.push(Key { path, default }),
        }
    }
}

fn string(text: &str) -> Value {
    match text.parse() {
        Ok(value @ Value::String(_)) => value,
        _ => Value::String(text.to_owned()),
    }
}

fn strings(text: &str) -> Value {
    match text.parse() {
        Ok(value @ Value::Array(_)) => value,
        _ => comma_separated(text),
    }
}

fn comma_separated(text: &str) -> Value {
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}
