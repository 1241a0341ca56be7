//! Looking into a data directory without changing it, also into a damaged one.
//!
//! [`verify`] reads every byte that the store relies on and says what is not right; [`dump`] shows
//! every message and every entry of the catalog.
//!
//! What it is not: a repair. Nothing is written.

use std::io;

use crate::disk::Disk;
use crate::ledger::{Ledger, LogState};
use crate::options::Damage;
use crate::record::Record;
use crate::records::Kind;
use crate::recovery::{self, Mode, guess, trailer_of};
use crate::scan::{Span, find_record, scan};
use crate::segment::{HEADER_LEN, SegmentId};
use crate::{LogId, OpenError};

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is not right. Empty is good news.
    pub damage: Vec<Damage>,
    /// What opening the store would mend by itself, as after any crash.
    pub notes: Vec<String>,
    /// True if the store was closed in good order.
    pub clean: bool,
    /// Segment files that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Logs.
    pub logs: u64,
    /// Messages that are stored and not settled.
    pub messages: u64,
    /// The catalog, in the order of its keys, so that logs can be given names.
    pub catalog: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One thing in a store.
#[derive(Debug)]
pub enum Item<'a> {
    /// An entry of the catalog.
    Catalog {
        /// Its key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// A log.
    Log {
        /// Which.
        id: LogId,
        /// The index that its next message gets at least.
        next_index: u64,
        /// Messages that are not settled.
        messages: u64,
        /// The sum of their body bytes.
        body_bytes: u64,
    },
    /// A message that is not settled.
    Message {
        /// Its log.
        log: LogId,
        /// Its place there.
        index: u64,
        /// When it was stored, in milliseconds since 1970.
        time_ms: u64,
        /// Its file.
        file: &'a str,
        /// Where its record begins there.
        offset: u64,
        /// What was stored.
        bytes: &'a [u8],
    },
    /// Something that is not right.
    Damage(&'a Damage),
}

/// Reads everything and says what is not right.
///
/// # Errors
/// When there is no store, or one of a later version, or not even its beginning can be read.
pub fn verify(disk: &dyn Disk) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let ledger = look(disk, &mut report)?;
    walk(disk, &ledger, &mut report, &mut |_| {})?;
    Ok(report)
}

/// Shows everything: the catalog, the logs, then the messages by segment.
///
/// # Errors
/// As [`verify`].
pub fn dump(disk: &dyn Disk, show: &mut dyn FnMut(Item<'_>)) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let ledger = look(disk, &mut report)?;
    for (key, value) in &ledger.catalog {
        show(Item::Catalog { key, value });
    }
    let mut logs: Vec<_> = ledger.logs.iter().collect();
    logs.sort_unstable_by_key(|(id, _)| **id);
    for (id, log) in logs {
        show(Item::Log {
            id: *id,
            next_index: log.next_index,
            messages: live(log),
            body_bytes: log.body_bytes,
        });
    }
    walk(disk, &ledger, &mut report, show)?;
    report
        .damage
        .iter()
        .for_each(|damage| show(Item::Damage(damage)));
    Ok(report)
}

fn live(log: &LogState) -> u64 {
    log.runs.iter().map(|run| run.live).sum()
}

fn look(disk: &dyn Disk, report: &mut Report) -> Result<Ledger, OpenError> {
    let superblock = recovery::superblock(disk, None)?;
    let opened = recovery::open(disk, superblock, Mode::LookOnly)?;
    report.damage = opened.damage;
    report.notes = opened.notes;
    report.clean = opened.clean;
    report.logs = opened.ledger.logs.len() as u64;
    report.messages = opened.ledger.logs.values().map(live).sum();
    let catalog = opened.ledger.catalog.iter();
    report.catalog = catalog
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(opened.ledger)
}

fn walk(
    disk: &dyn Disk,
    ledger: &Ledger,
    report: &mut Report,
    show: &mut dyn FnMut(Item<'_>),
) -> Result<(), OpenError> {
    for number in ledger.segments.keys() {
        let id = ledger.segment_id(*number);
        match walk_segment(disk, ledger, id, report, show) {
            Ok(()) => {}
            // Opening has said already that it is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io(disk, &id.file_name(), error)),
        }
    }
    Ok(())
}

fn walk_segment(
    disk: &dyn Disk,
    ledger: &Ledger,
    id: SegmentId,
    report: &mut Report,
    show: &mut dyn FnMut(Item<'_>),
) -> io::Result<()> {
    let name = id.file_name();
    let file = disk.open(&name)?;
    let len = file.len()?;
    let footer_at = trailer_of(&*file, id, len)?.map(|(at, _)| at);
    report.segments += 1;
    report.bytes += len;
    let to = footer_at.unwrap_or(len);
    let mut span = Span {
        file: &*file,
        id,
        from: HEADER_LEN.min(to),
        to,
    };
    loop {
        let end = scan(span, |record, at| {
            show_message(ledger, id, &name, record, at, show);
            Ok(())
        })?;
        let Some(flaw) = end.flaw else {
            return Ok(());
        };
        let next = find_record(Span {
            from: end.at + 8,
            ..span
        })?;
        // What follows the last record of a segment that is not full was told when it was opened.
        let was_told = report
            .damage
            .iter()
            .any(|damage| damage.file == name && damage.bytes.0 == end.at);
        if (footer_at.is_some() || next.is_some()) && !was_told {
            let (log, guess) = guess(&*file, end.at);
            report.damage.push(Damage {
                file: name.clone(),
                bytes: (end.at, next.unwrap_or(to)),
                logs: log.into_iter().collect(),
                what: format!("{}{guess}", flaw.as_str()),
            });
        }
        let Some(next) = next else {
            return Ok(());
        };
        span.from = next;
    }
}

fn show_message(
    ledger: &Ledger,
    id: SegmentId,
    file: &str,
    record: &Record<'_>,
    offset: u64,
    show: &mut dyn FnMut(Item<'_>),
) {
    let runs = ledger.logs.get(&record.log).map(|log| &log.runs);
    let run = runs.and_then(|runs| runs.iter().find(|run| run.segment == id.number));
    let is_live = run.is_some_and(|run| !run.settled.contains(record.index));
    if record.kind == Kind::Message && is_live {
        show(Item::Message {
            log: record.log,
            index: record.index,
            time_ms: record.time_ms,
            file,
            offset,
            bytes: record.payload,
        });
    }
}
