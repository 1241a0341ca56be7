//! `leveret config check` and `leveret config print`.

use std::io::{self, Write as _};
use std::path::Path;

use leveret::Config;
use leveret::config::Password;

use super::Fatal;
use super::sources::Sources;

/// Says that a file is allowed.
///
/// # Errors
/// It cannot be read or holds something that is not allowed.
pub(super) fn check(file: &Path) -> Result<(), Fatal> {
    Sources::of_file(file)?.config()?;
    write(&format!("{}: ok\n", file.display()))
}

/// Prints a configuration as TOML.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print(config: &Config) -> Result<(), Fatal> {
    let text = toml::to_string(config).map_err(|error| Fatal::Output(io::Error::other(error)))?;
    let mask = Password::MASK;
    write(&format!("# Passwords are shown as {mask}.\n{text}"))
}

/// Writes to standard output.
///
/// # Errors
/// It cannot be written to.
pub(super) fn write(text: &str) -> Result<(), Fatal> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    written.and_then(|()| output.flush()).map_err(Fatal::Output)
}
