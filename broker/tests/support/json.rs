//! Reads JSON, strictly, for tests of what programs are to read.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Truth(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// The one value that a text is.
    pub fn of(text: &str) -> Self {
        let mut rest = text;
        let value = value(&mut rest);
        assert_eq!(rest.trim(), "", "after the value in {text}");
        value
    }

    #[track_caller]
    pub fn at(&self, name: &str) -> &Self {
        match self {
            Self::Object(fields) => fields.get(name).unwrap_or_else(|| panic!("no {name}")),
            other => panic!("{name} of {other:?}"),
        }
    }

    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        match self.at(name) {
            Self::Number(number) => *number,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        match self.at(name) {
            Self::Text(text) => text,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[track_caller]
    pub fn list(&self, name: &str) -> &[Self] {
        match self.at(name) {
            Self::List(values) => values,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Object(fields) => fields.keys().map(String::as_str).collect(),
            other => panic!("names of {other:?}"),
        }
    }
}

fn value(rest: &mut &str) -> Json {
    *rest = rest.trim_start();
    match rest.chars().next().unwrap() {
        '{' => {
            let mut fields = BTreeMap::new();
            separated(rest, '}', |rest| {
                let name = string(rest);
                eat(rest, ':');
                let twice = fields.insert(name, value(rest));
                assert_eq!(twice, None, "a field that is there twice");
            });
            Json::Object(fields)
        }
        '[' => {
            let mut values = Vec::new();
            separated(rest, ']', |rest| values.push(value(rest)));
            Json::List(values)
        }
        '"' => Json::Text(string(rest)),
        _ => word(rest),
    }
}

fn separated(rest: &mut &str, end: char, mut one: impl FnMut(&mut &str)) {
    *rest = &rest[1..];
    if rest.trim_start().starts_with(end) {
        return eat(rest, end);
    }
    loop {
        one(rest);
        match rest.trim_start().starts_with(',') {
            true => eat(rest, ','),
            false => return eat(rest, end),
        }
    }
}

#[track_caller]
fn eat(rest: &mut &str, wanted: char) {
    let after = rest.trim_start().strip_prefix(wanted);
    *rest = after.unwrap_or_else(|| panic!("no {wanted} before {rest}"));
}

fn string(rest: &mut &str) -> String {
    eat(rest, '"');
    let (text, after) = rest.split_once('"').unwrap();
    assert!(!text.contains('\\'), "no test needs escapes: {text}");
    *rest = after;
    text.to_owned()
}

fn word(rest: &mut &str) -> Json {
    let end = rest.find([',', '}', ']', '\n']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    match word {
        "null" => Json::Null,
        "true" => Json::Truth(true),
        "false" => Json::Truth(false),
        number => Json::Number(number.parse().unwrap()),
    }
}
