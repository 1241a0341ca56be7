//! [`OneLine`]: an event of the log in the form for people, on one line whatever is in it.
//!
//! Names that strangers choose come into the log: of users, of vhosts, in the text of a fault. One with the end
//! of a line in it could look like a line that the broker has written, and one with the codes of a terminal could
//! paint over others. So control characters are shown and not sent.
//!
//! What it is not: needed for JSON, whose strings escape them.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format that it wraps, with colours if the log is a terminal.
pub(super) struct OneLine {
    format: Format,
    has_colours: bool,
}

impl OneLine {
    pub(super) fn new(has_colours: bool) -> Self {
        let format = Format::default().with_ansi(has_colours);
        Self {
            format,
            has_colours,
        }
    }
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        escape(line.trim_end_matches('\n'), self.has_colours, &mut to)?;
        to.write_char('\n')
    }
}

/// Writes control characters as Rust does in a string. The codes that begin with ESC are the format's own where
/// there are colours: in what it is given it has escaped them.
fn escape(line: &str, has_colours: bool, to: &mut impl fmt::Write) -> fmt::Result {
    let is_shown = |one: char| one.is_control() && !(has_colours && one == '\u{1b}');
    let mut rest = line;
    while let Some(at) = rest.find(is_shown) {
        let (before, from) = rest.split_at(at);
        to.write_str(before)?;
        let mut characters = from.chars();
        if let Some(control) = characters.next() {
            write!(to, "{}", control.escape_default())?;
        }
        rest = characters.as_str();
    }
    to.write_str(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn escaped(line: &str, has_colours: bool) -> String {
        let mut out = String::new();
        escape(line, has_colours, &mut out).unwrap();
        out
    }

    #[test]
    fn control_characters_are_shown_and_everything_else_is_left_alone() {
        let line = "a\nb\r\t\u{0}\u{7f}\u{9b}ü\u{1b}[31m";
        let shown = "a\\nb\\r\\t\\u{0}\\u{7f}\\u{9b}ü\\u{1b}[31m";
        assert_eq!(escaped(line, false), shown);
        assert_eq!(escaped("", false), "");
    }

    #[test]
    fn colours_stay_where_there_are_any() {
        assert_eq!(escaped("\u{1b}[31ma\nb", true), "\u{1b}[31ma\\nb");
    }
}
