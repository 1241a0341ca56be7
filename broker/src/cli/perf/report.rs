//! Figures as a table for people or as JSON for programs.
//!
//! ```text
//!   publish 127.0.0.1:5672
//!   publishers  queues  ...  messages_per_s  p50_us
//!            1    1000  ...           90412     861
//!
//!   {"case":"publish","target":"127.0.0.1:5672","publishers":1, ...}     one line per row
//! ```
//!
//! A row may also hold objects and lists of figures; only JSON shows those well.
//!
//! Invariants: every row has the same columns; names and units are the same in both forms.

use std::fmt::Write as _;
use std::time::Duration;

use super::arguments::Format;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Truth(bool),
    Count(u64),
    /// With so many decimals.
    Number(f64, usize),
    /// There is no such figure.
    Nothing,
    /// Figures that belong together.
    Object(Vec<(&'static str, Self)>),
    /// Objects in order.
    List(Vec<Self>),
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<bool> for Cell {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Microseconds with one decimal.
pub(super) fn micros(duration: Duration) -> Cell {
    Cell::Number(duration.as_secs_f64() * 1e6, 1)
}

/// A rate; zero if no time has passed.
pub(super) fn per_second(count: u64, elapsed: Duration) -> Cell {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    };
    Cell::Number(rate, 0)
}

/// The figures of one case.
#[derive(Debug)]
pub(super) struct Table {
    case: &'static str,
    target: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows; `target` is the address or folder that was measured.
    pub(super) fn new(case: &'static str, target: &str) -> Self {
        Self {
            case,
            target: target.to_owned(),
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Appends a row; the first one names the columns.
    pub(super) fn row<const N: usize>(&mut self, row: [(&'static str, Cell); N]) {
        self.columns = row.iter().map(|(name, _)| *name).collect();
        self.rows.push(row.map(|(_, cell)| cell).into());
    }

    /// The whole as text that ends with a line break.
    pub(super) fn text(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Text => self.aligned(),
        }
    }

    fn aligned(&self) -> String {
        let heads = self.columns.iter().map(|name| (*name).to_owned());
        let mut lines = vec![heads.collect::<Vec<_>>()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(plain).collect()));
        let widths = widths(&lines);
        let mut text = format!("{} {}\n", self.case, self.target);
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:>width$}"));
            text.push_str(&cells.collect::<Vec<_>>().join("  "));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut fields = vec![
                ("case", Cell::from(self.case)),
                ("target", Cell::from(self.target.as_str())),
            ];
            fields.extend(self.columns.iter().copied().zip(row.iter().cloned()));
            text.push_str(&json(&Cell::Object(fields)));
            text.push('\n');
        }
        text
    }
}

fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

fn plain(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Truth(true) => "yes".to_owned(),
        Cell::Truth(false) => "no".to_owned(),
        Cell::Count(count) => count.to_string(),
        Cell::Number(number, decimals) => format!("{number:.decimals$}"),
        Cell::Nothing => "-".to_owned(),
        nested => json(nested),
    }
}

/// A figure as JSON.
pub(super) fn json(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => quoted(text),
        Cell::Truth(truth) => truth.to_string(),
        Cell::Nothing => "null".to_owned(),
        Cell::Object(fields) => {
            let field = |(name, cell): &(&str, Cell)| format!("{}:{}", quoted(name), json(cell));
            let fields: Vec<_> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Cell::List(cells) => {
            let cells: Vec<_> = cells.iter().map(json).collect();
            format!("[{}]", cells.join(","))
        }
        Cell::Count(_) | Cell::Number(..) => plain(cell),
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("disk", "/a \"b\"\n");
        for (name, rate) in [("small", 5.25), ("very large", 1234.0)] {
            table.row([
                ("write", Cell::from(name)),
                ("ok", Cell::from(rate > 6.0)),
                ("per_s", Cell::Number(rate, 1)),
            ]);
        }
        table
    }

    #[test]
    fn columns_are_aligned_to_the_right() {
        let expected = [
            "     write   ok   per_s",
            "     small   no     5.2",
            "very large  yes  1234.0",
        ];
        let text = table().text(Format::Text);
        assert!(text.ends_with(&(expected.join("\n") + "\n")), "{text}");
    }

    #[test]
    fn json_is_one_object_per_line_with_escaped_text() {
        let text = table().text(Format::Json);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"case":"disk","target":"/a \"b\"\u000a","write":"small","ok":false,"per_s":5.2}"#,
                r#"{"case":"disk","target":"/a \"b\"\u000a","write":"very large","ok":true,"per_s":1234.0}"#,
            ]
        );
    }

    #[test]
    fn json_nests() {
        let band = |count| {
            Cell::Object(vec![
                ("to_us", Cell::Number(2.0, 1)),
                ("n", Cell::Count(count)),
            ])
        };
        let cell = Cell::Object(vec![
            ("none", Cell::Nothing),
            ("bands", Cell::List(vec![band(3), band(0)])),
        ]);
        let expected = r#"{"none":null,"bands":[{"to_us":2.0,"n":3},{"to_us":2.0,"n":0}]}"#;
        assert_eq!(json(&cell), expected);
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert_eq!(per_second(7, Duration::ZERO), Cell::Number(0.0, 0));
        assert_eq!(
            per_second(7, Duration::from_millis(500)),
            Cell::Number(14.0, 0)
        );
    }
}
