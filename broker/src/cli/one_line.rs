//! [`OneLine`]: keeps what clients say from colouring, erasing or forging lines of the log.
//!
//! Names, texts and errors of clients stand in events, and a client chooses them: with a line feed it
//! could begin a line of its own, with a control sequence erase one on somebody's terminal, and with a
//! change of direction make one read as another. Whatever moves a cursor or a direction is written as
//! JSON writes it, `\n` or `\u009b`, which leaves a line of JSON what it is.
//!
//! What it is not: a formatter. It looks at lines that are finished.
//!
//! Invariant: each write is one event, which is what `tracing_subscriber` does; its last line feed ends
//! the line and is the only one.

use std::fmt::Write as _;
use std::io;

/// Writes events to `out`, each as one line.
pub(super) struct OneLine<W> {
    out: W,
    /// True where the log itself is coloured: escapes stand for colours, and those in values were
    /// escaped when they were formatted.
    is_coloured: bool,
}

impl<W: io::Write> OneLine<W> {
    pub(super) fn new(out: W, is_coloured: bool) -> Self {
        Self { out, is_coloured }
    }
}

impl<W: io::Write> io::Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let end = &text[line.len()..];
        let line = on_one_line(line, self.is_coloured) + end;
        self.out.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Text of several lines, each of which stays one: what of a client's words is printed moves nothing.
pub(super) fn line_by_line(text: &str) -> String {
    let lines = text.split('\n').map(|line| on_one_line(line, false));
    lines.collect::<Vec<_>>().join("\n")
}

fn on_one_line(line: &str, is_coloured: bool) -> String {
    let mut out = String::with_capacity(line.len() + 1);
    for c in line.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x1b' if is_coloured => out.push(c),
            // All of them have four digits at most; a string takes whatever is written.
            c if moves(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Control characters, the separators of lines and paragraphs, and changes of direction.
fn moves(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn written(event: &str, is_coloured: bool) -> String {
        let mut out = Vec::new();
        let mut lines = OneLine::new(&mut out, is_coloured);
        lines.write_all(event.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let event = "INFO no queue 'a\r\nINFO forged\tb'\n";
        let line = "INFO no queue 'a\\r\\nINFO forged\\tb'\n";
        assert_eq!(written(event, false), line);
        assert_eq!(written("no end\nof line", false), "no end\\nof line");
    }

    #[test]
    fn nothing_moves_the_cursor_or_the_direction() {
        let event = "\x1b[2J\u{9b}31m\u{7f}\u{202e}\u{2028}é→\n";
        let line = "\\u001b[2J\\u009b31m\\u007f\\u202e\\u2028é→\n";
        assert_eq!(written(event, false), line);
    }

    #[test]
    fn colours_of_the_log_itself_stay() {
        assert_eq!(
            written("\x1b[32mINFO\x1b[0m a\nb\n", true),
            "\x1b[32mINFO\x1b[0m a\\nb\n"
        );
    }

    #[test]
    fn json_stays_json() {
        let event = "{\"message\":\"a\u{9b}\u{202e}b\"}\n";
        let line = written(event, false);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], "a\u{9b}\u{202e}b");
    }
}
