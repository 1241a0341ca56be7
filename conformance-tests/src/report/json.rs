//! The full form, and the only one that can be read back.
//!
//! Invariant: the text has no character that a terminal obeys; JSON has escapes for all of them.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::printable::is_obeyed;
use super::{FORMAT, Report};

/// Why a text is not a report.
#[derive(Debug)]
pub enum ReadError {
    /// It is not JSON, or something is missing.
    Malformed(serde_json::Error),
    /// It is of this newer form.
    Newer(u32),
}

/// The one field that every form has.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

pub(super) fn read(text: &str) -> Result<Report, ReadError> {
    let Versioned { format } = serde_json::from_str(text).map_err(ReadError::Malformed)?;
    match format {
        FORMAT => serde_json::from_str(text).map_err(ReadError::Malformed),
        newer => Err(ReadError::Newer(newer)),
    }
}

/// Any value as JSON, indented, with a line feed at the end.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    // Only a map whose keys are no texts, or a `Serialize` that fails by itself, could be refused.
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut text = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character {
            // Outside of texts there is no other character that a terminal obeys.
            '\n' => text.push('\n'),
            _ if is_obeyed(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            _ => text.push(character),
        }
    }
    text.push('\n');
    text
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(out, "it is not a report: {error}"),
            Self::Newer(form) => {
                write!(
                    out,
                    "it is a report of format {form}, and {FORMAT} is the one that is known"
                )
            }
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Newer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::{failed, hostile, passed, report};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let written = report(vec![passed("QUEUE-01"), failed("QUEUE-02", &hostile())]);
        assert_eq!(Report::from_json(&written.to_json()).unwrap(), written);
    }

    #[test]
    fn nothing_is_left_for_a_terminal_to_obey() {
        let text = report(vec![failed("QUEUE-02", &hostile())]).to_json();
        assert!(
            !text
                .chars()
                .any(|character| character != '\n' && is_obeyed(character))
        );
        assert!(text.contains("\\u001b") && text.contains("\\u009b") && text.contains("\\u202e"));
    }

    #[test]
    fn another_form_is_refused_by_its_number() {
        let text = report(Vec::new())
            .to_json()
            .replace("\"format\": 1", "\"format\": 2");
        let refused = Report::from_json(&text).unwrap_err().to_string();
        assert!(refused.contains("format 2"), "{refused}");
        let refused = Report::from_json("{\"format\": 1}")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("suite"), "{refused}");
    }

    #[test]
    fn the_form_is_what_is_documented() {
        let text = report(vec![failed("QUEUE-02", "no")]).to_json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let test = value.pointer("/tests/0").unwrap();
        assert_eq!(test["verdict"], "failed");
        assert_eq!(test["message"], "no");
        assert_eq!(test["details"][0], "← a frame");
        assert_eq!(value["ids"][0]["id"], "QUEUE-02");
        assert_eq!(value["ids"][0]["status"], "failed");
    }
}
