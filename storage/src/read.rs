//! Reading messages back.
//!
//! The ledger says where they lie; from then on only files are touched, so a reader holds up nobody.
//! What is read is checked: that the bytes are what was written, there, for this log and index.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::codec::{Malformed, Reader};
use crate::disk::{Disk, DiskFile, is_out_of_descriptors};
use crate::journal::lock;
use crate::ledger::{Ledger, LogRun, LogState};
use crate::ranges::Ranges;
use crate::record::Record;
use crate::records::{ALIGNMENT, Kind};
use crate::recovery::footer_of;
use crate::scan::{Span, find_record, scan};
use crate::segment::{
    HEADER_LEN, HeaderFlaw, INDEX_ENTRY_LEN, IndexEntry, SegmentId, check_header,
};
use crate::{LogId, Read, StoredMessage};

/// Open segment files that are kept for the next read.
const FILES_MAX: usize = 64;
/// Records closer together than this are read at once with what lies between.
const GAP_BYTES_MAX: u64 = 16 * 1024;
/// The most that is read at once, unless a single record is larger.
const SPAN_BYTES_MAX: u64 = 1 << 20;
/// A file may be compacted between being looked up and being opened; then it is looked up again.
const LOOKUPS_MAX: usize = 3;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) log: LogId,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

/// The reading end of a store.
#[derive(Debug)]
pub(crate) struct MessageReader {
    disk: Arc<dyn Disk>,
    ledger: Arc<Mutex<Ledger>>,
    store_id: [u8; 16],
    files: Mutex<Vec<(SegmentId, Arc<SegmentFile>)>>,
}

/// A segment file that is kept open.
#[derive(Debug)]
struct SegmentFile {
    file: Arc<dyn DiskFile>,
    /// Whether the checksum of its footer is right, once that was looked at.
    has_whole_footer: OnceLock<bool>,
}

/// One log's messages in one segment, as far as they are wanted.
struct Part {
    id: SegmentId,
    run: LogRun,
    /// The entries, if the segment is not full yet.
    entries: Option<Vec<IndexEntry>>,
    redelivered_below: u64,
    returns: Vec<(u64, u32)>,
}

impl MessageReader {
    pub(crate) fn new(disk: Arc<dyn Disk>, ledger: Arc<Mutex<Ledger>>, store_id: [u8; 16]) -> Self {
        let files = Mutex::default();
        Self {
            disk,
            ledger,
            store_id,
            files,
        }
    }

    /// Reads up to the limits, within one segment.
    pub(crate) fn read(&self, wanted: Wanted) -> Read {
        let mut lookups = 0;
        loop {
            lookups += 1;
            let Some(part) = self.locate(&wanted) else {
                return Read {
                    through: wanted.last,
                    ..Read::default()
                };
            };
            match self.read_part(&part, &wanted) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && lookups < LOOKUPS_MAX => {}
                Err(error) if is_out_of_descriptors(&error) => {
                    let (file, log) = (part.id.file_name(), wanted.log.0);
                    tracing::warn!(file, log, %error, "stored messages have to wait");
                    return Read {
                        try_again: true,
                        ..Read::default()
                    };
                }
                Err(error) => return unreadable(&part, &wanted, &error),
                Ok(read) => return read,
            }
        }
    }

    fn locate(&self, wanted: &Wanted) -> Option<Part> {
        let ledger = lock(&self.ledger);
        let log: &LogState = ledger.logs.get(&wanted.log)?;
        let at = log.runs.partition_point(|run| run.last < wanted.first);
        let run = log.runs.get(at).filter(|run| run.first <= wanted.last)?;
        let (first, last) = (wanted.first.max(run.first), wanted.last.min(run.last));
        let entries = (run.segment == ledger.active()).then(|| {
            let entries = ledger.active_entries(wanted.log, first, last);
            let live = entries
                .iter()
                .filter(|entry| !run.settled.contains(entry.index));
            live.take(wanted.messages_max).copied().collect()
        });
        let returns = log.returns.range(first..=last);
        Some(Part {
            id: ledger.segment_id(run.segment),
            entries,
            redelivered_below: log.redelivered_below,
            returns: returns.map(|(index, count)| (*index, *count)).collect(),
            run: LogRun {
                settled: run.settled.within(first, last),
                first,
                last,
                ..run.clone_without_settled()
            },
        })
    }

    fn read_part(&self, part: &Part, wanted: &Wanted) -> io::Result<Read> {
        let segment = self.file(part.id)?;
        let file = &segment.file;
        let mut entries = match &part.entries {
            Some(entries) => entries.clone(),
            None if segment.has_whole_footer(part.id)? => {
                index_from(&**file, part, wanted.messages_max)?
            }
            None => index_by_scan(&**file, part, wanted)?,
        };
        let is_cut_short = limit(&mut entries, wanted);
        let through = match entries.last() {
            Some(last) if is_cut_short => last.index,
            _ => part.run.last,
        };
        let mut read = Read {
            through,
            ..Read::default()
        };
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (span, others) = rest.split_at(together(rest));
            read_span(&**file, part, wanted.log, span, &mut read)?;
            rest = others;
        }
        Ok(read)
    }

    fn file(&self, id: SegmentId) -> io::Result<Arc<SegmentFile>> {
        // The list is whole whatever happened to whoever held it.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = files.iter().find(|(known, _)| *known == id) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&id.file_name())?;
        check_owner(&*file, id, self.store_id)?;
        let file = Arc::new(SegmentFile {
            file,
            has_whole_footer: OnceLock::new(),
        });
        if files.len() >= FILES_MAX {
            files.remove(0);
        }
        files.push((id, Arc::clone(&file)));
        Ok(file)
    }

    /// Lets go of files that are gone.
    pub(crate) fn forget_files(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = lock(&self.ledger);
        files.retain(|(id, _)| {
            ledger.segments.contains_key(&id.number) && ledger.segment_id(id.number) == *id
        });
    }
}

impl SegmentFile {
    fn has_whole_footer(&self, id: SegmentId) -> io::Result<bool> {
        if let Some(known) = self.has_whole_footer.get() {
            return Ok(*known);
        }
        let is_whole = footer_of(&*self.file, id)?.is_some();
        if !is_whole {
            let file = id.file_name();
            tracing::error!(file, "the index is damaged; messages are looked for");
        }
        Ok(*self.has_whole_footer.get_or_init(|| is_whole))
    }
}

/// Refuses a segment of another store: its records look as good as ours.
pub(crate) fn check_owner(
    file: &dyn DiskFile,
    id: SegmentId,
    store_id: [u8; 16],
) -> io::Result<()> {
    let mut header = [0; HEADER_LEN as usize];
    file.read_at(&mut header, 0)?;
    match check_header(&header, id, store_id) {
        Err(HeaderFlaw::Stranger) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a segment of another store",
        )),
        // The checksums of the records tell whether they can be used.
        _ => Ok(()),
    }
}

impl LogRun {
    fn clone_without_settled(&self) -> Self {
        Self {
            settled: Ranges::default(),
            segment: self.segment,
            first: self.first,
            last: self.last,
            live: self.live,
            uncertain: self.uncertain,
            index_at: self.index_at,
            index_count: self.index_count,
        }
    }
}

/// Reads entries of a footer.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn read_index(file: &dyn DiskFile, at: u64, count: u64) -> io::Result<Vec<IndexEntry>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "an index that makes no sense");
    let len = count.checked_mul(INDEX_ENTRY_LEN).ok_or_else(damaged)?;
    let end = at.checked_add(len).ok_or_else(damaged)?;
    let bytes = read_within(file, at, end)?;
    let mut reader = Reader(&bytes);
    (0..count)
        .map(|_| IndexEntry::read(&mut reader).map_err(|_| damaged()))
        .collect()
}

/// The first live entries of a part that lies in a full segment.
fn index_from(file: &dyn DiskFile, part: &Part, max: usize) -> io::Result<Vec<IndexEntry>> {
    let run = &part.run;
    let mut found = Vec::new();
    let mut at = first_entry(file, run)?;
    while at < run.index_count && found.len() < max {
        let count = (run.index_count - at).min(max as u64);
        let entries = read_index(file, run.index_at + at * INDEX_ENTRY_LEN, count)?;
        let beyond = entries.last().is_none_or(|entry| entry.index > run.last);
        let wanted = |entry: &IndexEntry| {
            (run.first..=run.last).contains(&entry.index) && !run.settled.contains(entry.index)
        };
        found.extend(entries.into_iter().filter(wanted));
        if beyond {
            break;
        }
        at += count;
    }
    found.truncate(max);
    Ok(found)
}

/// The first live entries of a part whose index is damaged: what is still whole of the messages
/// themselves.
fn index_by_scan(file: &dyn DiskFile, part: &Part, wanted: &Wanted) -> io::Result<Vec<IndexEntry>> {
    let run = &part.run;
    let mut found = Vec::new();
    let mut span = Span {
        file,
        id: part.id,
        from: HEADER_LEN,
        to: file.len()?,
    };
    loop {
        let end = scan(span, |record, at| {
            let is_wanted = record.kind == Kind::Message
                && record.log == wanted.log
                && (run.first..=run.last).contains(&record.index)
                && !run.settled.contains(record.index);
            if is_wanted {
                found.push(IndexEntry {
                    index: record.index,
                    offset: u32::try_from(at).map_err(|_| Malformed)?,
                    len: u32::try_from(record.len).map_err(|_| Malformed)?,
                });
            }
            Ok(())
        })?;
        let from = end.at + ALIGNMENT as u64;
        let next = match end.flaw {
            Some(_) => find_record(Span { from, ..span })?,
            None => None,
        };
        match next {
            Some(next) => span.from = next,
            None => break,
        }
    }
    found.truncate(wanted.messages_max);
    Ok(found)
}

/// Where the first entry that is not before the part stands.
fn first_entry(file: &dyn DiskFile, run: &LogRun) -> io::Result<u64> {
    let (mut low, mut high) = (0, run.index_count);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = read_index(file, run.index_at + middle * INDEX_ENTRY_LEN, 1)?;
        if entry.first().is_some_and(|entry| entry.index < run.first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Cuts the entries to the limits; says whether there may be more.
fn limit(entries: &mut Vec<IndexEntry>, wanted: &Wanted) -> bool {
    let mut bytes = 0;
    let within = entries.iter().take_while(|entry| {
        let fits = bytes == 0 || bytes + entry.len as usize <= wanted.bytes_max;
        bytes += entry.len as usize;
        fits
    });
    let count = within.count().min(wanted.messages_max);
    let is_cut_short = count < entries.len() || count >= wanted.messages_max;
    entries.truncate(count);
    is_cut_short
}

/// How many of the entries are read at once.
fn together(entries: &[IndexEntry]) -> usize {
    let Some(first) = entries.first() else {
        return 0;
    };
    let begin = u64::from(first.offset);
    let mut end = begin + u64::from(first.len);
    let fits = |entry: &&IndexEntry| {
        let (from, to) = (
            u64::from(entry.offset),
            u64::from(entry.offset) + u64::from(entry.len),
        );
        let near = from >= end && from - end <= GAP_BYTES_MAX && to - begin <= SPAN_BYTES_MAX;
        end = end.max(to);
        near
    };
    1 + entries.iter().skip(1).take_while(fits).count()
}

/// Reads these bytes. Memory is taken for what the file has, not for what an entry says.
fn read_within(file: &dyn DiskFile, begin: u64, end: u64) -> io::Result<Vec<u8>> {
    if end > file.len()? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; (end - begin) as usize];
    file.read_at(&mut bytes, begin)?;
    Ok(bytes)
}

fn read_span(
    file: &dyn DiskFile,
    part: &Part,
    log: LogId,
    span: &[IndexEntry],
    read: &mut Read,
) -> io::Result<()> {
    let (Some(first), Some(last)) = (span.first(), span.last()) else {
        return Ok(());
    };
    let begin = u64::from(first.offset);
    let end = u64::from(last.offset) + u64::from(last.len);
    let bytes = match read_within(file, begin, end) {
        Ok(bytes) => bytes,
        Err(error) => {
            for entry in span {
                report(part.id, entry, log, &error.to_string());
                read.unreadable.push(entry.index);
            }
            return Ok(());
        }
    };
    for entry in span {
        let from = (u64::from(entry.offset) - begin) as usize;
        let record = bytes
            .get(from..from + entry.len as usize)
            .unwrap_or_default();
        match message(record, part, log, entry) {
            Ok(message) => read.messages.push(message),
            Err(why) => {
                report(part.id, entry, log, why);
                read.unreadable.push(entry.index);
            }
        }
    }
    Ok(())
}

fn message(
    bytes: &[u8],
    part: &Part,
    log: LogId,
    entry: &IndexEntry,
) -> Result<StoredMessage, &'static str> {
    let place = part.id.at(u64::from(entry.offset));
    let record = Record::parse(bytes, place).map_err(|flaw| flaw.as_str())?;
    if record.log != log || record.index != entry.index {
        return Err("a record of another message");
    }
    let returned = part.returns.iter().find(|(index, _)| *index == entry.index);
    let return_count = returned.map_or(0, |(_, count)| *count);
    Ok(StoredMessage {
        index: entry.index,
        return_count,
        redelivered: return_count > 0 || entry.index < part.redelivered_below,
        bytes: record.payload.to_vec(),
    })
}

fn report(id: SegmentId, entry: &IndexEntry, log: LogId, why: &str) {
    let (file, offset) = (id.file_name(), entry.offset);
    let (log, index) = (log.0, entry.index);
    tracing::error!(
        file,
        offset,
        log,
        index,
        why,
        "a stored message cannot be read"
    );
}

/// Nothing of a part can be read, not even which messages it has. As many are named as live in it.
fn unreadable(part: &Part, wanted: &Wanted, error: &io::Error) -> Read {
    let (file, log) = (part.id.file_name(), wanted.log.0);
    let (first, last) = (part.run.first, part.run.last);
    tracing::error!(file, log, first, last, %error, "stored messages cannot be read");
    let indexes = (first..=last).filter(|index| !part.run.settled.contains(*index));
    let live = usize::try_from(part.run.live).unwrap_or(usize::MAX);
    Read {
        unreadable: indexes.take(live).collect(),
        through: last,
        ..Read::default()
    }
}
