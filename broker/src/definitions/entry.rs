//! [`Entry`]: one object of a file of definitions, whose fields are taken out one by one.
//!
//! Every wrong field is noted and something harmless is given in its place, so that one reading finds
//! all of them. Fields that nobody took are noted in the report when the entry has been read.

use std::collections::BTreeSet;

use leveret_protocol::TableBuf;
use serde_json::{Map, Value as Json};

use super::arguments::table_of;
use super::document::Place;
use super::problem::Problems;
use super::report::NotHonoured;

pub(super) type Object = Map<String, Json>;

/// What is noted while reading.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) problems: Problems,
    pub(super) not_honoured: Vec<NotHonoured>,
}

impl Notes {
    pub(super) fn not_honoured(&mut self, what: impl ToString, reason: &str) {
        self.not_honoured.push(NotHonoured {
            what: what.to_string(),
            reason: reason.to_owned(),
        });
    }
}

/// One object and where it stands.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) at: String,
    fields: &'a Object,
    taken: BTreeSet<&'static str>,
    pub(super) notes: &'a mut Notes,
}

impl<'a> Entry<'a> {
    /// The entry at this path, called by its name and vhost as far as they can be read.
    pub(super) fn new(path: &str, fields: &'a Object, notes: &'a mut Notes) -> Self {
        Self {
            at: label(path, fields),
            fields,
            taken: BTreeSet::new(),
            notes,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place(self.at.clone())
    }

    /// The field, noted as one that is known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Json> {
        self.taken.insert(key);
        self.fields.get(key)
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.notes.problems.add(&self.at, text);
    }

    fn expected(&mut self, key: &str, what: &str, found: &Json) {
        let found = kind_of(found);
        self.problem(format!("{key}: expected {what}, found {found}"));
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, key: &'static str) -> String {
        match self.take(key) {
            None => {
                self.problem(format!("{key} is missing"));
                String::new()
            }
            Some(value) => self.text_of(key, value),
        }
    }

    /// A text, or this if it is not there.
    pub(super) fn text_or(&mut self, key: &'static str, default: &str) -> String {
        match self.take(key) {
            None | Some(Json::Null) => default.to_owned(),
            Some(value) => self.text_of(key, value),
        }
    }

    fn text_of(&mut self, key: &str, value: &Json) -> String {
        match value {
            Json::String(text) => text.clone(),
            other => {
                self.expected(key, "a string", other);
                String::new()
            }
        }
    }

    /// A truth value, or this if it is not there.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.flag_if_told(key).unwrap_or(default)
    }

    /// A truth value, if it is there.
    pub(super) fn flag_if_told(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key) {
            None | Some(Json::Null) => None,
            Some(Json::Bool(flag)) => Some(*flag),
            Some(other) => {
                self.expected(key, "true or false", other);
                None
            }
        }
    }

    /// A whole number, or this if it is not there.
    pub(super) fn integer(&mut self, key: &'static str, default: i64) -> i64 {
        match self.take(key) {
            None | Some(Json::Null) => default,
            Some(value) => value.as_i64().unwrap_or_else(|| {
                self.expected(key, "a whole number", value);
                default
            }),
        }
    }

    /// Tags: a list of strings, or one string with commas.
    pub(super) fn tags(&mut self, key: &'static str) -> Vec<String> {
        let value = self.take(key);
        self.tags_of(key, value)
    }

    pub(super) fn tags_of(&mut self, key: &str, value: Option<&Json>) -> Vec<String> {
        match value {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::String(text)) => {
                let tags = text.split(',').map(str::trim);
                tags.filter(|tag| !tag.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            Some(Json::Array(items)) => items.iter().map(|item| self.text_of(key, item)).collect(),
            Some(other) => {
                self.expected(key, "a list of strings", other);
                Vec::new()
            }
        }
    }

    /// An object; some exports write one as a list of pairs, and an empty one as an empty list.
    pub(super) fn object(&mut self, key: &'static str) -> Object {
        let Some(value) = self.take(key).filter(|value| !value.is_null()) else {
            return Object::new();
        };
        object_like(value).unwrap_or_else(|| {
            self.expected(key, "an object", value);
            Object::new()
        })
    }

    /// A field table.
    pub(super) fn table(&mut self, key: &'static str) -> TableBuf {
        let object = self.object(key);
        table_of(&object).unwrap_or_else(|error| {
            self.problem(format!("{key}: {error}"));
            TableBuf::new()
        })
    }

    /// A limit out of several; a negative one is none.
    pub(super) fn limit(&mut self, limits: &Object, key: &'static str) -> Option<u32> {
        let value = limits.get(key).filter(|value| !value.is_null())?;
        match value.as_i64() {
            Some(number) if number < 0 => None,
            Some(number) if u32::try_from(number).is_ok() => u32::try_from(number).ok(),
            _ => {
                self.expected(key, "a whole number up to 4294967295", value);
                None
            }
        }
    }

    /// Notes what is in `object` beside these keys.
    pub(super) fn unknown_in(&mut self, what: &str, object: &Object, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&&***key)) {
            let what = format!("{} {what} '{key}'", self.at);
            self.notes.not_honoured(what, "it is not known here");
        }
    }

    /// Notes every field that nobody took.
    pub(super) fn finish(self) {
        for key in self
            .fields
            .keys()
            .filter(|key| !self.taken.contains(&***key))
        {
            let what = format!("{} field '{key}'", self.at);
            self.notes.not_honoured(what, "it is not known here");
        }
    }
}

/// An object, or a list of pairs of a name and a value.
pub(super) fn object_like(value: &Json) -> Option<Object> {
    match value {
        Json::Object(object) => Some(object.clone()),
        Json::Array(pairs) => pairs.iter().map(pair).collect(),
        _ => None,
    }
}

fn pair(value: &Json) -> Option<(String, Json)> {
    match value.as_array()?.as_slice() {
        [Json::String(key), value] => Some((key.clone(), value.clone())),
        _ => None,
    }
}

pub(super) fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

fn label(path: &str, fields: &Object) -> String {
    let text = |key: &str| fields.get(key).and_then(Json::as_str);
    let mut label = path.to_owned();
    if let Some(name) = text("name").or_else(|| text("user")) {
        label = format!("{label} '{name}'");
    } else if let (Some(from), Some(to)) = (text("source"), text("destination")) {
        label = format!("{label} from '{from}' to '{to}'");
    }
    match text("vhost") {
        Some(vhost) => format!("{label} in vhost '{vhost}'"),
        None => label,
    }
}
