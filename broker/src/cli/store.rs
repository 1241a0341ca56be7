//! `leveret store verify` and `leveret store dump`.
//!
//! What it is not: a repair. Both only read, also beside a running broker; then what they see may be in
//! the middle of a change.

use std::io::{self, Write};
use std::path::Path;

use leveret::durable::describe::{self, Names};
use leveret_storage::disk::RealDisk;
use leveret_storage::inspect::{self, Item, Report};

use super::Fatal;

/// Reads everything and prints what is damaged, one line each.
///
/// # Errors
/// The directory cannot be read, or is damaged.
pub(super) fn verify(directory: &Path) -> Result<(), Fatal> {
    let disk = RealDisk::open_read_only(directory)?;
    let report = inspect::verify(&disk)?;
    let names = Names::of(&report.catalog);
    print(|out| {
        for damage in &report.damage {
            let logs = damage.logs.iter().map(|log| names.log(*log));
            let concerned = logs.collect::<Vec<_>>().join(", ");
            let concerned = if concerned.is_empty() {
                String::new()
            } else {
                format!(" ({concerned})")
            };
            writeln!(out, "damaged: {damage}{concerned}")?;
        }
        for note in &report.notes {
            writeln!(out, "note: {note}")?;
        }
        write_summary(out, directory, &report)
    })?;
    verdict(directory, &report)
}

/// Prints the catalog, the logs and the heads of all messages, one line each.
///
/// # Errors
/// The directory cannot be read, or is damaged.
pub(super) fn dump(directory: &Path) -> Result<(), Fatal> {
    let disk = RealDisk::open_read_only(directory)?;
    // Names come from the catalog as a whole, so it is read before anything is shown.
    let names = Names::of(&inspect::verify(&disk)?.catalog);
    let mut report = Ok(Report::default());
    print(|out| {
        let mut written = Ok(());
        report = inspect::dump(&disk, &mut |item| {
            if written.is_ok() {
                written = writeln!(out, "{}", line(&names, &item));
            }
        });
        written
    })?;
    verdict(directory, &report?)
}

fn line(names: &Names, item: &Item<'_>) -> String {
    match item {
        Item::Catalog { key, value } => names.entry(key, value),
        Item::Log {
            id,
            next_index,
            messages,
            body_bytes,
        } => format!(
            "log {}: {}, {messages} messages, {body_bytes} body bytes, next index {next_index}",
            id.0,
            names.log(*id)
        ),
        Item::Message {
            log,
            index,
            time_ms,
            file,
            offset,
            bytes,
        } => format!(
            "message {index} of {}, stored at {time_ms} ms, {file} offset {offset}: {}",
            names.log(*log),
            describe::message(bytes)
        ),
        Item::Damage(damage) => format!("damaged: {damage}"),
    }
}

fn write_summary(out: &mut dyn Write, directory: &Path, report: &Report) -> io::Result<()> {
    let end = match report.clean {
        true => "closed in good order",
        false => "not closed in good order, which the next start mends",
    };
    writeln!(
        out,
        "{}: {} logs, {} messages, {} segments, {} bytes read, {end}",
        directory.display(),
        report.logs,
        report.messages,
        report.segments,
        report.bytes,
    )
}

fn verdict(directory: &Path, report: &Report) -> Result<(), Fatal> {
    match report.damage.len() {
        0 => Ok(()),
        count => Err(Fatal::Damaged {
            directory: directory.display().to_string(),
            count,
        }),
    }
}

fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Fatal> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    written.map_err(Fatal::Output)
}
