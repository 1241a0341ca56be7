//! The log of the binary, on standard error: standard output is for what a command prints.

use std::io::IsTerminal as _;

use leveret::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

use super::one_line::OneLine;

/// The levels that may stand alone in a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const ALLOWED: &str =
    "off, error, warn, info, debug, trace, or a filter such as \"info,leveret::net=debug\"";

/// Reads a filter.
///
/// # Errors
/// What would be allowed, when this is none.
pub(super) fn filter(text: &str) -> Result<EnvFilter, String> {
    if !names_levels(text) {
        return Err(ALLOWED.to_owned());
    }
    EnvFilter::try_new(text).map_err(|_| ALLOWED.to_owned())
}

/// Installs the log. When the process has one already, that one stays.
pub(super) fn install(config: &LogConfig) {
    let filter = filter(&config.level).unwrap_or_default();
    let is_coloured = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || OneLine::new(std::io::stderr(), is_coloured))
        .with_ansi(is_coloured);
    let _ = match config.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// The filter language takes a misspelt level for the name of a module, which would silence the
/// log; a module has to be followed by its level here. A filter with a span (`[`) is left alone,
/// since commas inside it separate fields.
fn names_levels(text: &str) -> bool {
    let is_level = |part: &str| LEVELS.contains(&part.to_lowercase().as_str());
    let mut parts = text.split(',').map(str::trim);
    text.contains('[') || parts.all(|part| part.contains('=') || is_level(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_and_filters() {
        for text in [
            "info",
            "OFF",
            "warn,leveret::net=debug",
            "leveret[turn{id=1}]=trace",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_a_misspelt_level() {
        for text in ["verbose", "", "info,debgu", "leveret=loud"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
