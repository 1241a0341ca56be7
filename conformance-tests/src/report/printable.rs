//! Makes text of a broker safe to print: a terminal obeys what stands between its letters.
//!
//! Invariant: what comes out has no control character but the line feeds that were asked for, and none that
//! changes the direction in which a terminal writes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text in one line; what could be obeyed is shown as `\u{1b}`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed)
}

/// The same for text of several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_obeyed(character))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' if is_escaped(character) => shown.push_str("\\n"),
            '\r' if is_escaped(character) => shown.push_str("\\r"),
            '\t' if is_escaped(character) => shown.push_str("\\t"),
            _ if is_escaped(character) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal does something else with this character than to show it.
pub(crate) fn is_obeyed(character: char) -> bool {
    let changes_direction = matches!(character,
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_a_line = matches!(character, '\u{2028}' | '\u{2029}');
    // Noncharacters, which XML does not have either.
    let is_nothing = matches!(character, '\u{fffe}' | '\u{ffff}' | '\u{feff}');
    character.is_control() || changes_direction || ends_a_line || is_nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        let hostile = "a\x1b[2J\u{9b}31m\x07\u{202e}b\rc\nd\x7f";
        assert_eq!(
            line(hostile),
            r"a\u{1b}[2J\u{9b}31m\u{7}\u{202e}b\rc\nd\u{7f}"
        );
        assert_eq!(lines("a\nb\tc"), "a\nb\\tc");
    }

    #[test]
    fn other_text_stays_as_it_is() {
        assert!(matches!(line("queue 'größe' → ✓"), Cow::Borrowed(_)));
    }
}
