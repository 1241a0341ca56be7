//! Lays several sources of configuration over each other.
//!
//! ```text
//!   document (file) ──┐
//!   value (variable) ─┼─▶ each: TOML → ranges → types      any refusal names its own layer
//!   value (option) ───┘                │
//!                                      ▼  later layers win, tables are merged key by key
//!                            one table → Config → check     a refusal names the layer of the key
//! ```
//!
//! What it is not: a reader of files, variables or arguments; it is handed their text.
//!
//! Invariant: every value of the result comes from the last layer that has its key, or from the
//! defaults.

use toml::{Table, Value};

use super::error::Problem;
use super::key::{Key, keys};
use super::{Config, ConfigError, Origin, check, locate};

/// Sources of one configuration, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    layers: Vec<Layer>,
}

impl Layers {
    /// No source yet: [`Layers::build`] gives the default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a whole TOML document. `name` is the file it was read from, for errors.
    ///
    /// # Errors
    /// The first thing in this document that is not TOML, not a key or not a value of its key.
    pub fn push_document(&mut self, name: Option<&str>, text: &str) -> Result<(), ConfigError> {
        let place = Place::Document(name.map(str::to_owned));
        self.push(place, text.to_owned())
    }

    /// Adds one key, written as a dotted path, with its value in TOML. Where the key holds a string
    /// the quotes may be left out, and a list of strings may be written with commas.
    ///
    /// # Errors
    /// The key does not exist, or this is not a value of it.
    pub fn push_value(
        &mut self,
        origin: Origin,
        path: &str,
        value: &str,
    ) -> Result<(), ConfigError> {
        let Some(key) = keys().into_iter().find(|key| key.path == path) else {
            let problem = Problem::new(path, "there is no such key");
            return Err(ConfigError::new(Some(origin), problem));
        };
        let document = document_of(&key, value);
        self.push(Place::Value(origin), document)
    }

    /// Puts all sources together.
    ///
    /// # Errors
    /// The first thing that is not allowed in the whole, for instance a permission on a vhost that
    /// does not exist.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let mut merged = Table::new();
        for layer in &self.layers {
            merge(&mut merged, layer.table.clone());
        }
        let config = self.typed(merged)?;
        check::check(&config).map_err(|problem| self.located(problem))?;
        Ok(config)
    }

    /// An error about a key that something other than this module refuses, named with the place
    /// the key was written.
    #[must_use]
    pub fn refuse(&self, path: &str, value: &str, allowed: &str) -> ConfigError {
        self.located(Problem::value(path, value, allowed))
    }

    fn push(&mut self, place: Place, text: String) -> Result<(), ConfigError> {
        let layer = Layer::new(place, text)?;
        self.layers.push(layer);
        Ok(())
    }

    /// Every layer had the right types, so the merged table has them too; should that not hold,
    /// it is still an error and not a panic.
    fn typed(&self, merged: Table) -> Result<Config, ConfigError> {
        let config = merged.try_into::<Config>();
        config.map_err(|error| self.located(Problem::new("", error.message())))
    }

    fn located(&self, problem: Problem) -> ConfigError {
        let places = self.layers.iter().map(|layer| {
            let (depth, position) = locate::position_of(&layer.text, &problem.key);
            (depth, layer, position)
        });
        let last_deepest = places.max_by_key(|(depth, ..)| *depth);
        let found = last_deepest.filter(|(depth, ..)| *depth > 0);
        let origin = found.map(|(_, layer, position)| layer.origin(position));
        ConfigError::new(origin, problem)
    }
}

/// One source that has been checked by itself. The text of a value is a document of one key.
#[derive(Clone, Debug)]
struct Layer {
    place: Place,
    text: String,
    table: Table,
}

#[derive(Clone, Debug)]
enum Place {
    Document(Option<String>),
    Value(Origin),
}

impl Layer {
    fn new(place: Place, text: String) -> Result<Self, ConfigError> {
        let parsed = toml::from_str::<Table>(&text);
        let layer = Self {
            place,
            table: parsed.as_ref().cloned().unwrap_or_default(),
            text,
        };
        if let Err(error) = parsed {
            return Err(layer.syntax_error(&error));
        }
        layer.check()?;
        Ok(layer)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check::ranges(&self.table).map_err(|problem| {
            let (_, position) = locate::position_of(&self.text, &problem.key);
            ConfigError::new(Some(self.origin(position)), problem)
        })?;
        let typed = toml::from_str::<Config>(&self.text);
        typed.map(drop).map_err(|error| self.type_error(&error))
    }

    fn syntax_error(&self, error: &toml::de::Error) -> ConfigError {
        let position = error.span().map_or(0, |span| span.start);
        let problem = Problem::new("", format!("this is not TOML: {}", error.message()));
        ConfigError::new(Some(self.origin(position)), problem)
    }

    fn type_error(&self, error: &toml::de::Error) -> ConfigError {
        let position = error.span().map_or(0, |span| span.start);
        let path = locate::path_at(&self.text, position).unwrap_or_default();
        let text = explain(&path, error.message());
        ConfigError::new(Some(self.origin(position)), Problem::new(path, text))
    }

    fn origin(&self, position: usize) -> Origin {
        let line = locate::line_at(&self.text, position);
        match &self.place {
            Place::Document(None) => Origin::Text { line },
            Place::Document(Some(name)) => Origin::File {
                name: name.clone(),
                line,
            },
            Place::Value(origin) => origin.clone(),
        }
    }
}

/// Rust's words in an error of the deserialiser, and an operator's.
const WORDS: [(&str, &str); 10] = [
    ("u32", "a whole number from 0 to 4294967295"),
    ("a sequence", "a list"),
    ("struct VhostConfig", "a table"),
    ("struct UserKeys", "a table"),
    ("struct PermissionConfig", "a table"),
    ("struct TopicPermissionConfig", "a table"),
    ("struct LogConfig", "a table"),
    ("struct StorageConfig", "a table"),
    ("struct Identity", "a table"),
    ("struct Capabilities", "a table"),
];

/// Says in an operator's words what the deserialiser says in Rust's, and keeps quiet about values
/// that may be a password.
fn explain(path: &str, message: &str) -> String {
    let Some((value, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let word = WORDS.iter().find(|(rust, _)| *rust == expected);
    let expected = word.map_or(expected, |(_, word)| *word);
    if value.starts_with("unknown field ") {
        return format!("there is no such key, expected {expected}");
    }
    if may_be_secret(path) {
        return format!("this value is not allowed, expected {expected}");
    }
    format!("{} is not allowed, expected {expected}", bare(value))
}

/// The value without what the deserialiser says about it.
fn bare(value: &str) -> &str {
    const BEFORE: [&str; 3] = ["invalid type: ", "invalid value: ", "unknown variant "];
    let mut stripped = BEFORE
        .iter()
        .filter_map(|before| value.strip_prefix(before));
    let value = stripped.next().unwrap_or(value);
    value.strip_suffix(" is not allowed").unwrap_or(value)
}

fn may_be_secret(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    matches!(last, "password" | "password_hash" | "default_pass") || last.starts_with("users")
}

/// The document that has nothing but this key.
fn document_of(key: &Key, text: &str) -> String {
    let mut names = key.path.rsplit('.');
    let innermost = names.next().unwrap_or_default();
    let table = |name: &str, value| Table::from_iter([(name.to_owned(), value)]);
    let innermost = table(innermost, key.value_of(text));
    let document = names.fold(innermost, |inner, name| table(name, Value::Table(inner)));
    document.to_string()
}

fn merge(below: &mut Table, above: Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}
