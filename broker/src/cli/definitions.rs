//! `leveret definitions export` and `leveret definitions check`.
//!
//! What it is not: an import into a running broker; definitions come in at its start, by the key
//! `load_definitions`.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use leveret::Config;
use leveret::definitions::{DefinitionsError, dry_run, load, of_configuration};
use leveret_storage::disk::RealDisk;
use leveret_storage::inspect;

use super::Fatal;
use super::one_line::line_by_line;

/// Writes the definitions that `serve` would begin with.
///
/// # Errors
/// The data directory or the definitions to be imported cannot be read, or the output not be written.
pub(super) fn export(config: &Config, output: Option<&Path>) -> Result<(), Fatal> {
    let catalog = match &config.data_dir {
        Some(directory) => inspect::verify(&RealDisk::open_read_only(directory)?)?.catalog,
        None => Vec::new(),
    };
    let definitions = of_configuration(config, &catalog)?;
    let text = definitions.to_json(&config.identity.product, &config.identity.version);
    let text = line_by_line(&text);
    match output {
        None => io::stdout()
            .write_all(text.as_bytes())
            .map_err(Fatal::Output),
        Some(file) => fs::write(file, text).map_err(|source| Fatal::Write {
            file: file.display().to_string(),
            source,
        }),
    }
}

/// Prints what importing would do into a broker that has nothing, a line for each thing that would have
/// no effect.
///
/// # Errors
/// Something stands against importing it; every such thing is a line.
pub(super) fn check(file: &Path) -> Result<(), Fatal> {
    let config = Config::default();
    let tried = load(file, &config.default_vhost).and_then(|read| dry_run(&read, &config));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match &tried {
        Ok(report) => report
            .not_honoured
            .iter()
            .try_for_each(|one| writeln!(out, "not honoured: {one}"))
            .and_then(|()| writeln!(out, "{report}")),
        Err(error) => print_problems(&mut out, error),
    };
    written.and_then(|()| out.flush()).map_err(Fatal::Output)?;
    match tried {
        Ok(_) => Ok(()),
        Err(error) => Err(Fatal::Refused {
            file: file.display().to_string(),
            count: error.count(),
        }),
    }
}

fn print_problems(out: &mut impl io::Write, error: &DefinitionsError) -> io::Result<()> {
    for problem in &error.problems {
        writeln!(out, "problem: {problem}")?;
    }
    match error.more {
        0 => Ok(()),
        more => writeln!(out, "problem: and {more} more"),
    }
}
