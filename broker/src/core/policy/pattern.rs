//! [`NamePattern`]: which names a policy is for.
//!
//! RabbitMQ's patterns are PCRE and match anywhere in a name unless they are anchored; the empty pattern
//! matches every name. These run in time linear in the name, so that no name makes a pattern slow. The
//! price is look-around and back-references, but for the one that operators do use: a look-ahead right
//! at the beginning, as in `^(?!amq\.).*`, is taken apart into two patterns.
//!
//! Invariant: a compiled pattern takes no more than [`COMPILED_BYTES_MAX`].

use regex::{Regex, RegexBuilder};

/// Longest pattern in bytes. Lists of names joined by `|` stay far below.
const PATTERN_BYTES_MAX: usize = 16_384;

/// Most memory in bytes one compiled pattern may take, so that nested repetitions such as
/// `(a{100}){100}` are refused rather than built.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// How a look-ahead begins that forbids what follows it.
const FORBIDS: &str = "^(?!";

/// A compiled pattern. Two are equal if they are written alike.
#[derive(Clone, Debug)]
pub struct NamePattern {
    written: Box<str>,
    wanted: Regex,
    forbidden: Option<Regex>,
}

impl NamePattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn new(written: &str) -> Result<Self, String> {
        if written.len() > PATTERN_BYTES_MAX {
            return Err(format!("it is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let (forbidden, wanted) = match taken_apart(written) {
            Some((forbidden, rest)) => (Some(compile(&forbidden)?), compile(&rest)?),
            None => (None, compile(written)?),
        };
        Ok(Self {
            written: Box::from(written),
            wanted,
            forbidden,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the pattern matches this name.
    pub fn matches(&self, name: &str) -> bool {
        let is_forbidden = |pattern: &Regex| pattern.is_match(name);
        !self.forbidden.as_ref().is_some_and(is_forbidden) && self.wanted.is_match(name)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for NamePattern {}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("it takes more than {COMPILED_BYTES_MAX} bytes when it is compiled")
        }
        // The parser draws a picture of several lines; the last one says what is wrong.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    })
}

/// `^(?!FORBIDDEN)REST` as `^(?:FORBIDDEN)` and `^(?:REST)`. Not when REST has alternatives of its own,
/// for then the look-ahead belongs to the first of them only.
fn taken_apart(pattern: &str) -> Option<(String, String)> {
    let inside = pattern.strip_prefix(FORBIDS)?;
    let end = end_of_group(inside)?;
    let (forbidden, rest) = (inside.get(..end)?, inside.get(end + 1..)?);
    let stands_alone = !has_alternatives(rest);
    stands_alone.then(|| (format!("^(?:{forbidden})"), format!("^(?:{rest})")))
}

/// Where the group ends whose beginning lies before the text.
fn end_of_group(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    outside_classes(text).find_map(|(at, byte)| {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return Some(at),
            b')' => depth -= 1,
            _ => {}
        }
        None
    })
}

fn has_alternatives(text: &str) -> bool {
    let mut depth = 0_usize;
    outside_classes(text).any(|(_, byte)| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'|' && depth == 0
    })
}

/// The bytes that are neither escaped nor in brackets.
fn outside_classes(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut is_escaped, mut in_class) = (false, false);
    text.bytes().enumerate().filter(move |(_, byte)| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match byte {
            b'\\' => is_escaped = true,
            b'[' => in_class = true,
            b']' => in_class = false,
            _ => return !in_class,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matching(pattern: &str, names: &[&'static str]) -> Vec<&'static str> {
        let pattern = NamePattern::new(pattern).unwrap();
        let matching = names.iter().filter(|name| pattern.matches(name));
        matching.copied().collect()
    }

    #[test]
    fn pol_01_a_pattern_matches_anywhere_and_the_empty_one_everything() {
        let names = ["", "a", "xax", "b"];
        assert_eq!(matching("a", &names), ["a", "xax"]);
        assert_eq!(matching("^a$", &names), ["a"]);
        assert_eq!(matching("", &names), names);
    }

    #[test]
    fn pol_01_a_look_ahead_at_the_beginning_is_understood() {
        let names = ["amq.gen-1", "amqp", "orders", "tmp.x", "o)|"];
        assert_eq!(
            matching(r"^(?!amq\.).*", &names),
            ["amqp", "orders", "tmp.x", "o)|"]
        );
        assert_eq!(matching(r"^(?!(amq|tmp)\.)o", &names), ["orders", "o)|"]);
        assert_eq!(matching(r"^(?!o[)]\||tmp)(o|t)", &names), ["orders"]);
    }

    #[test]
    fn what_cannot_be_matched_in_linear_time_is_refused() {
        for pattern in ["(", "(?<=a)b", r"(a)\1", "^(?!a)b|c", "^(?!a", "x(?!a)"] {
            assert!(NamePattern::new(pattern).is_err(), "{pattern}");
        }
        let repetitions = NamePattern::new("(((a{100}){100}){100}){100}");
        assert!(repetitions.unwrap_err().contains("takes more than"));
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        assert!(NamePattern::new(&long).unwrap_err().contains("longer"));
    }
}
