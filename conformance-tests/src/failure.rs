//! Why a test failed: what was expected, what came instead, and the bytes that tell.

use std::fmt::{self, Debug, Display, Write as _};

/// A failed expectation. The first line says what was expected and what came; the notes below it
/// say more, for instance the last frames on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
    notes: Vec<String>,
}

impl Failure {
    /// A failure that is told in one sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            notes: Vec::new(),
        }
    }

    /// The usual sentence.
    pub fn expected(what: impl Display, came: impl Display) -> Self {
        Self::new(format!("expected {what}, but {came} came"))
    }

    /// What was expected and what came, in one sentence. It may hold whatever a broker sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines below it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same failure with one more line below it.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.notes.push(line.into());
        self
    }

    /// The same failure with a word in front that says which of several steps it was.
    #[must_use]
    pub fn at(mut self, step: impl Display) -> Self {
        self.text = format!("{step}: {}", self.text);
        self
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)?;
        self.notes
            .iter()
            .try_for_each(|note| write!(out, "\n    {note}"))
    }
}

impl std::error::Error for Failure {}

impl From<lapin::Error> for Failure {
    fn from(error: lapin::Error) -> Self {
        Self::new(format!("the client reports: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("the socket reports: {error}"))
    }
}

/// Fails with `otherwise` unless the condition holds.
///
/// # Errors
/// The condition does not hold.
pub fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(otherwise))
    }
}

/// Fails unless what came is what was expected; `what` names it in the report.
///
/// # Errors
/// The two differ.
pub fn expect_eq<C: Debug + PartialEq<E>, E: Debug>(
    what: impl Display,
    came: C,
    expected: E,
) -> Result<(), Failure> {
    if came == expected {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{what}: expected {expected:?}, but {came:?} came"
    )))
}

/// Bytes as hexadecimal with their readable characters, cut where they get too long to read.
pub fn show_bytes(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 48;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let mut text = String::new();
    for byte in shown {
        let _ = write!(text, "{byte:02x} ");
    }
    let readable: String = shown
        .iter()
        .map(|byte| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        })
        .collect();
    let more = if bytes.len() > SHOWN_MAX { "…" } else { "" };
    format!("{} bytes: {text}{more}|{readable}{more}|", bytes.len())
}
