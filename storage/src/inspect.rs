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
use crate::read::check_owner;
use crate::record::Record;
use crate::records::Kind;
use crate::recovery::{self, Mode, footer_of, guess, trailer_of};
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
    let looked = look(disk, &mut report)?;
    walk(disk, &looked, &mut report, &mut |_| {})?;
    Ok(report)
}

/// Shows everything: the catalog, the logs, then the messages by segment.
///
/// # Errors
/// As [`verify`].
pub fn dump(disk: &dyn Disk, show: &mut dyn FnMut(Item<'_>)) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let looked = look(disk, &mut report)?;
    let ledger = &looked.ledger;
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
    walk(disk, &looked, &mut report, show)?;
    report
        .damage
        .iter()
        .for_each(|damage| show(Item::Damage(damage)));
    Ok(report)
}

fn live(log: &LogState) -> u64 {
    log.runs.iter().map(|run| run.live).sum()
}

/// What opening the store would make of it.
struct Looked {
    ledger: Ledger,
    store_id: [u8; 16],
    replay_from: u64,
}

fn look(disk: &dyn Disk, report: &mut Report) -> Result<Looked, OpenError> {
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
    Ok(Looked {
        ledger: opened.ledger,
        store_id: opened.superblock.store_id,
        replay_from: opened.replay_from,
    })
}

fn walk(
    disk: &dyn Disk,
    looked: &Looked,
    report: &mut Report,
    show: &mut dyn FnMut(Item<'_>),
) -> Result<(), OpenError> {
    let names = disk
        .list()
        .map_err(|error| OpenError::io(disk, "", error))?;
    let ids = names
        .iter()
        .filter_map(|name| SegmentId::from_file_name(name));
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    for id in ids {
        if let Err(error) = walk_segment(disk, looked, id, report, show) {
            tell(report, id, (0, 0), error.to_string());
        }
    }
    Ok(())
}

/// Adds damage, unless opening has told of it.
fn tell(report: &mut Report, id: SegmentId, bytes: (u64, u64), what: String) {
    let file = id.file_name();
    let is_known = |damage: &Damage| damage.file == file && damage.bytes.0 == bytes.0;
    if !report.damage.iter().any(is_known) {
        report.damage.push(Damage {
            file,
            bytes,
            what,
            ..Damage::default()
        });
    }
}

fn walk_segment(
    disk: &dyn Disk,
    looked: &Looked,
    id: SegmentId,
    report: &mut Report,
    show: &mut dyn FnMut(Item<'_>),
) -> io::Result<()> {
    let name = id.file_name();
    let file = disk.open(&name)?;
    let len = file.len()?;
    check_owner(&*file, id, looked.store_id)?;
    let footer_at = trailer_of(&*file, id, len)?.map(|(at, _)| at);
    report.segments += 1;
    report.bytes += len;
    let to = footer_at.unwrap_or(len);
    let must_be_full = id.number < looked.replay_from || id.generation > 0;
    if (must_be_full || footer_at.is_some()) && footer_of(&*file, id)?.is_none() {
        tell(report, id, (to, len), "its index is damaged".to_owned());
    }
    let is_current = looked.ledger.segment_id(id.number) == id;
    let mut span = Span {
        file: &*file,
        id,
        from: HEADER_LEN.min(to),
        to,
    };
    loop {
        let end = scan(span, |record, at| {
            if is_current {
                show_message(&looked.ledger, id, &name, record, at, show);
            }
            Ok(())
        })?;
        let Some(flaw) = end.flaw else {
            return Ok(());
        };
        let next = find_record(Span {
            from: end.at + 8,
            ..span
        })?;
        // What ends a segment that is not full was looked at by opening.
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
