//! Opening a store: from whatever a crash has left to a ledger and a journal that goes on.
//!
//! ```text
//!   superblock ─▶ latest checkpoint ─▶ replay the segments behind it, record by record
//!        ─▶ first bytes that are no record:
//!              something behind them was written after they had been synced ─▶ damage: reported, passed over
//!              otherwise ─▶ the torn end of what was never committed: cut off
//!        ─▶ footer for what had none ─▶ a new checkpoint ─▶ unneeded files removed
//! ```
//!
//! Nothing that may have been committed is ever thrown away: a damaged segment stays on disk and is
//! never compacted, and whoever opens the store is told of file, offset and log.

use std::io;

use crate::checkpoint::{self, Checkpoint, CheckpointFlaw};
use crate::disk::{Disk, DiskFile};
use crate::keeper::{Kept, UNFINISHED, write_file};
use crate::ledger::{Ledger, LogRun, LogState, SegmentState};
use crate::record::Flaw;
use crate::records::Kind;
use crate::scan::{End, Span, find_record, scan};
use crate::segment::{
    HEADER_LEN, HeaderFlaw, IndexPlace, SegmentId, TRAILER_LEN, check_header, read_footer,
    read_trailer,
};
use crate::superblock::{self, Superblock, SuperblockFlaw};
use crate::{Damage, LogId, OpenError, Recovered, RecoveredLog, Run};

/// What opening has brought to light.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) superblock: Superblock,
    pub(crate) ledger: Ledger,
    pub(crate) last_number: u64,
    pub(crate) next_checkpoint: u64,
    pub(crate) kept: Vec<Kept>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) notes: Vec<String>,
    /// True when the store was closed in good order.
    pub(crate) clean: bool,
    /// Segments before this one were full when they were last written of.
    pub(crate) replay_from: u64,
}

/// Bytes that are written again at once.
const WRITE_AGAIN_BYTES: u64 = 1 << 20;

/// Whether opening may change files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Cut off torn ends and write footers.
    Repair,
    /// Touch nothing.
    LookOnly,
}

/// Reads a file that is small enough to be read whole.
pub(crate) fn read_file(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Finds the store on this disk, or makes one if there is nothing.
pub(crate) fn superblock(
    disk: &dyn Disk,
    fresh: Option<Superblock>,
) -> Result<Superblock, OpenError> {
    let unusable = |error| OpenError::io(disk, superblock::FILE_NAME, error);
    match read_file(disk, superblock::FILE_NAME) {
        Ok(bytes) => {
            let found = Superblock::decode(&bytes).map_err(|flaw| match flaw {
                SuperblockFlaw::Damaged => OpenError::damaged(disk, superblock::FILE_NAME),
                SuperblockFlaw::Version(version) => OpenError::newer(disk, version),
            })?;
            if fresh.is_some() && !has_journal(disk).map_err(unusable)? {
                // Whoever made it may have failed to make it last.
                write_file(disk, superblock::FILE_NAME, &bytes).map_err(unusable)?;
            }
            Ok(found)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_journal(disk).map_err(unusable)? {
                return Err(OpenError::damaged(disk, superblock::FILE_NAME));
            }
            let Some(fresh) = fresh else {
                return Err(OpenError::NoStore {
                    directory: disk.location(),
                });
            };
            write_file(disk, superblock::FILE_NAME, &fresh.encode()).map_err(unusable)?;
            Ok(fresh)
        }
        Err(error) => Err(unusable(error)),
    }
}

/// Whether there is a segment or a checkpoint.
fn has_journal(disk: &dyn Disk) -> io::Result<bool> {
    let is_ours = |name: &String| {
        SegmentId::from_file_name(name).is_some() || checkpoint::number_of(name).is_some()
    };
    Ok(disk.list()?.iter().any(is_ours))
}

/// Brings the ledger up to what is on disk.
pub(crate) fn open(
    disk: &dyn Disk,
    superblock: Superblock,
    mode: Mode,
) -> Result<Opened, OpenError> {
    let names = disk
        .list()
        .map_err(|error| OpenError::io(disk, "", error))?;
    let mut opening = Opening {
        disk,
        mode,
        opened: Opened {
            superblock,
            ledger: Ledger::default(),
            last_number: 0,
            next_checkpoint: 1,
            kept: Vec::new(),
            damage: Vec::new(),
            notes: Vec::new(),
            clean: true,
            replay_from: 1,
        },
        last_epoch: 0,
    };
    let replay_from = opening.load_checkpoint(&names)?;
    opening.opened.replay_from = replay_from;
    opening.refuse_later_versions(&names)?;
    opening.check_listed(&names);
    let mut segments: Vec<_> = names
        .iter()
        .filter_map(|name| SegmentId::from_file_name(name))
        .collect();
    segments.sort_unstable();
    let last = segments.last().map_or(0, |id| id.number);
    opening.opened.last_number = last.max(replay_from.saturating_sub(1));
    // A compacted file of one that is replayed belongs to a checkpoint that could not be used.
    segments.retain(|id| id.number >= replay_from && id.generation == 0);
    opening.replay(&segments)?;
    if mode == Mode::Repair && names.iter().any(|name| name == UNFINISHED) {
        // Half-written files are never part of a store.
        let _ = disk.remove(UNFINISHED);
    }
    Ok(opening.opened)
}

struct Opening<'d> {
    disk: &'d dyn Disk,
    mode: Mode,
    opened: Opened,
    /// The epoch of the last commit that was read.
    last_epoch: u64,
}

impl Opening<'_> {
    fn damage(&mut self, damage: Damage) {
        self.opened.clean = false;
        self.opened.damage.push(damage);
    }

    /// Takes the latest checkpoint that is whole; says from which segment to replay.
    fn load_checkpoint(&mut self, names: &[String]) -> Result<u64, OpenError> {
        let mut numbers: Vec<_> = names
            .iter()
            .filter_map(|name| checkpoint::number_of(name))
            .collect();
        numbers.sort_unstable();
        self.opened.next_checkpoint = numbers.last().map_or(1, |number| number + 1);
        let mut found: Option<Checkpoint> = None;
        for number in numbers.into_iter().rev() {
            let name = checkpoint::file_name(number);
            let bytes = read_file(self.disk, &name)
                .map_err(|error| OpenError::io(self.disk, &name, error))?;
            match checkpoint::decode(&name, &bytes) {
                Ok(checkpoint) if checkpoint.store_id != self.opened.superblock.store_id => {
                    self.damage(whole_file(&name, "it belongs to another store"));
                }
                Ok(checkpoint) => {
                    self.opened.kept.push(kept(&checkpoint));
                    found = found.or(Some(checkpoint));
                }
                Err(CheckpointFlaw::Version(version)) => {
                    return Err(OpenError::newer(self.disk, version));
                }
                Err(CheckpointFlaw::Damaged) => {
                    self.damage(whole_file(&name, "the checksum does not match"))
                }
            }
        }
        self.opened.kept.sort_by_key(|kept| kept.number);
        let Some(found) = found else {
            return self.without_checkpoint(names);
        };
        self.opened.clean &= found.clean;
        self.last_epoch = found.epoch;
        self.opened.ledger = found.ledger;
        Ok(found.replay_from)
    }

    /// A store that was only just made has none yet. Otherwise nobody could say what lives.
    fn without_checkpoint(&self, names: &[String]) -> Result<u64, OpenError> {
        let has_segments = names
            .iter()
            .any(|name| SegmentId::from_file_name(name).is_some());
        let had_checkpoints = self.opened.next_checkpoint > 1;
        if has_segments || had_checkpoints {
            let name = checkpoint::file_name(self.opened.next_checkpoint.saturating_sub(1));
            return Err(OpenError::damaged(self.disk, &name));
        }
        Ok(1)
    }

    /// Before anything is changed.
    fn refuse_later_versions(&self, names: &[String]) -> Result<(), OpenError> {
        let ids = names
            .iter()
            .filter_map(|name| SegmentId::from_file_name(name));
        for id in ids {
            let file = self.disk.open(&id.file_name());
            let flaw = file.and_then(|file| self.header_of(&*file, id, file.len()?));
            // What cannot be read is reported when it is needed.
            if let Ok(Some(HeaderFlaw::Version(version))) = flaw {
                return Err(OpenError::newer(self.disk, version));
            }
        }
        Ok(())
    }

    /// Every full segment that the checkpoint knows must be there.
    fn check_listed(&mut self, names: &[String]) {
        let listed: Vec<_> = self
            .opened
            .ledger
            .segments
            .iter()
            .map(|(n, s)| (*n, *s))
            .collect();
        for (number, segment) in listed {
            let id = self.opened.ledger.segment_id(number);
            let name = id.file_name();
            let flaw = if segment.damaged {
                Some("found damaged before".to_owned())
            } else if names.contains(&name) {
                self.listed_flaw(id, &segment)
            } else {
                Some("the file is missing".to_owned())
            };
            if let Some(flaw) = flaw {
                let (logs, said) = self.logs_in(number);
                self.damage(Damage {
                    logs,
                    ..whole_file(&name, &format!("{flaw}; in it: {said}"))
                });
                self.opened.ledger.mark_damaged(number);
            }
        }
    }

    fn listed_flaw(&self, id: SegmentId, segment: &SegmentState) -> Option<String> {
        let checked = self.disk.open(&id.file_name()).and_then(|file| {
            let len = file.len()?;
            Ok((len, self.header_flaw(&*file, id)?))
        });
        match checked {
            Err(error) => Some(error.to_string()),
            Ok((_, Some(flaw))) => Some(flaw),
            Ok((len, None)) if len != segment.len => {
                Some(format!("it is {len} bytes long instead of {}", segment.len))
            }
            Ok(_) => None,
        }
    }

    fn header_flaw(&self, file: &dyn DiskFile, id: SegmentId) -> io::Result<Option<String>> {
        let mut bytes = vec![0; HEADER_LEN as usize];
        file.read_at(&mut bytes, 0)?;
        let checked = check_header(&bytes, id, self.opened.superblock.store_id);
        Ok(checked
            .err()
            .map(|flaw| format!("its header is not right ({flaw:?})")))
    }

    fn logs_in(&self, number: u64) -> (Vec<LogId>, String) {
        let logs = self.opened.ledger.logs.iter();
        let mut texts: Vec<_> = logs
            .filter_map(|(id, log)| {
                let run = log.runs.iter().find(|run| run.segment == number)?;
                let (live, first, last) = (run.live, run.first, run.last);
                Some((
                    *id,
                    format!("log {}: {live} messages from {first} to {last}", id.0),
                ))
            })
            .collect();
        texts.sort();
        let (ids, texts): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
        let said = match texts.is_empty() {
            true => "nothing".to_owned(),
            false => texts.join(", "),
        };
        (ids, said)
    }

    fn replay(&mut self, segments: &[SegmentId]) -> Result<(), OpenError> {
        for (at, id) in segments.iter().enumerate() {
            let later = segments.get(at + 1..).unwrap_or_default();
            let name = id.file_name();
            let replayed = self.replay_segment(*id, later);
            let goes_on = replayed.map_err(|error| OpenError::io(self.disk, &name, error))??;
            if !goes_on {
                self.discard(later)?;
                break;
            }
        }
        Ok(())
    }

    /// Applies a segment's records. False when the journal ends in it.
    fn replay_segment(
        &mut self,
        id: SegmentId,
        later: &[SegmentId],
    ) -> io::Result<Result<bool, OpenError>> {
        let name = id.file_name();
        let file = self.disk.open(&name)?;
        let len = file.len()?;
        if let Some(blank) = self.header_of(&*file, id, len)? {
            match blank {
                HeaderFlaw::Version(version) => {
                    return Ok(Err(OpenError::newer(self.disk, version)));
                }
                // Its records look as good as ours, and are not.
                HeaderFlaw::Stranger => {
                    self.damage(whole_file(&name, "it belongs to another store"));
                    self.opened.ledger.add_strange_segment(id.number, len);
                    return Ok(Ok(true));
                }
                // The crash came while it was made: nothing can be in it.
                _ if self.latest_claim(later)? <= (id.number, 0)
                    && !self.has_records(&*file, id, len)? =>
                {
                    if blank != HeaderFlaw::Blank {
                        let note = format!("{name}: removed: it was never begun");
                        self.opened.notes.push(note);
                    }
                    self.remove(&name);
                    return Ok(Ok(true));
                }
                flaw => self.damage(whole_file(
                    &name,
                    &format!("its header is not right ({flaw:?})"),
                )),
            }
        }
        self.opened.ledger.begin_segment(id.number);
        let footer_at = trailer_of(&*file, id, len)?;
        let to = footer_at.map_or(len, |(at, _)| at);
        let mut span = Span {
            file: &*file,
            id,
            from: HEADER_LEN.min(to),
            to,
        };
        let mut had_records = false;
        let mut epochs = Epochs::after(self.last_epoch);
        let end = loop {
            let ledger = &mut self.opened.ledger;
            let end = scan(span, |record, at| {
                had_records = true;
                if record.kind == Kind::Batch {
                    epochs.note(record.index, at);
                }
                ledger.apply(record, at)
            })?;
            let Some(flaw) = end.flaw else {
                break end;
            };
            if let Flaw::Version(version) = flaw {
                return Ok(Err(OpenError::newer(self.disk, u32::from(version))));
            }
            let next = find_record(Span {
                from: end.at + 8,
                ..span
            })?;
            if !self.is_damage(end, footer_at.is_some(), next, span, later)? {
                break end;
            }
            let to = next.unwrap_or(span.to);
            let (log, guess) = guess(&*file, end.at);
            self.damage(Damage {
                file: name.clone(),
                bytes: (end.at, to),
                logs: log.into_iter().collect(),
                what: format!("{}{guess}", flaw.as_str()),
            });
            self.opened.ledger.mark_damaged(id.number);
            if next.is_none() {
                break End { at: to, flaw: None };
            }
            span.from = to;
        };
        self.last_epoch = epochs.last;
        if let Some((gap, at)) = epochs.gap {
            self.damage(missing_commits(id, gap, at));
        }
        self.opened.clean &= !had_records;
        self.finish_segment(&*file, id, end, len, footer_at)?;
        Ok(Ok(end.flaw.is_none()))
    }

    fn header_of(
        &self,
        file: &dyn DiskFile,
        id: SegmentId,
        len: u64,
    ) -> io::Result<Option<HeaderFlaw>> {
        if len < HEADER_LEN {
            return Ok(Some(HeaderFlaw::Blank));
        }
        let mut bytes = vec![0; HEADER_LEN as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(check_header(&bytes, id, self.opened.superblock.store_id).err())
    }

    fn has_records(&self, file: &dyn DiskFile, id: SegmentId, len: u64) -> io::Result<bool> {
        let from = HEADER_LEN.min(len);
        Ok(find_record(Span {
            file,
            id,
            from,
            to: len,
        })?
        .is_some())
    }

    /// Whether the bytes that are no record had been synced once.
    fn is_damage(
        &self,
        end: End,
        is_full: bool,
        next: Option<u64>,
        span: Span<'_>,
        later: &[SegmentId],
    ) -> io::Result<bool> {
        if is_full {
            return Ok(true);
        }
        let mut claim = self.latest_claim(later)?;
        if let Some(from) = next {
            claim = claim.max(claims(Span { from, ..span })?);
        }
        Ok(claim > (span.id.number, end.at))
    }

    /// How far the journal was synced, going by later segments.
    fn latest_claim(&self, later: &[SegmentId]) -> io::Result<(u64, u64)> {
        let mut latest = (0, 0);
        for id in later {
            let file = self.disk.open(&id.file_name())?;
            let to = file.len()?;
            let (file, id) = (&*file, *id);
            latest = latest.max(claims(Span {
                file,
                id,
                from: HEADER_LEN.min(to),
                to,
            })?);
        }
        Ok(latest)
    }

    /// Makes a replayed segment a full one.
    fn finish_segment(
        &mut self,
        file: &dyn DiskFile,
        id: SegmentId,
        end: End,
        len: u64,
        footer: Option<(u64, u32)>,
    ) -> io::Result<()> {
        let ledger = &mut self.opened.ledger;
        if let Some((at, _)) = footer {
            if let Some(places) = footer_of(file, id)? {
                if self.mode == Mode::Repair {
                    // A process that was killed may have written it and not synced it.
                    write_again(file, at, len)?;
                    file.set_len(len)?;
                    file.sync_data()?;
                }
                ledger.seal_segment(&places, len);
                return Ok(());
            }
            self.damage(Damage {
                bytes: (at, len),
                ..whole_file(&id.file_name(), "the checksum of its index does not match")
            });
        } else if end.flaw.is_some_and(|flaw| flaw != Flaw::Blank) {
            let (name, at) = (id.file_name(), end.at);
            self.opened.notes.push(format!(
                "{name}: cut off at {at}: what follows was never committed"
            ));
        }
        let ledger = &mut self.opened.ledger;
        let (bytes, places) = ledger.footer().encode(id, end.at);
        let len = end.at + bytes.len() as u64;
        // What is damaged lies before and stays as it is.
        if self.mode == Mode::Repair {
            if !self
                .opened
                .damage
                .iter()
                .any(|damage| damage.file == id.file_name())
            {
                write_again(file, 0, end.at)?;
            }
            file.write_at(&bytes, end.at)?;
            file.set_len(len)?;
            file.sync_data()?;
        }
        ledger.seal_segment(&places, len);
        Ok(())
    }

    fn discard(&mut self, later: &[SegmentId]) -> Result<(), OpenError> {
        for id in later {
            self.remove(&id.file_name());
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        if self.mode == Mode::Repair
            && let Err(error) = self.disk.remove(name)
        {
            self.opened
                .notes
                .push(format!("{name}: cannot be removed: {error}"));
        }
    }
}

/// Counts commits: none may be missing between two.
struct Epochs {
    last: u64,
    /// The first gap: which commits are missing, and where the next one begins.
    gap: Option<((u64, u64), u64)>,
}

impl Epochs {
    fn after(last: u64) -> Self {
        Self { last, gap: None }
    }

    fn note(&mut self, epoch: u64, at: u64) {
        // Each run of the program counts from 1, and a commit in two segments is there twice.
        if epoch > self.last + 1 {
            self.gap.get_or_insert(((self.last + 1, epoch - 1), at));
        }
        self.last = epoch;
    }
}

fn missing_commits(id: SegmentId, (first, last): (u64, u64), at: u64) -> Damage {
    Damage {
        bytes: (HEADER_LEN, at),
        ..whole_file(
            &id.file_name(),
            &format!("commits {first} to {last}, which were written before, are missing"),
        )
    }
}

/// A file that as a whole is not right.
fn whole_file(name: &str, what: &str) -> Damage {
    Damage {
        file: name.to_owned(),
        what: what.to_owned(),
        ..Damage::default()
    }
}

/// Writes what is there once more, so that the next sync makes it last. If the sync of an earlier
/// process failed, the system may have it in memory, not on disk, and believe that it is.
fn write_again(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let len = (to - at).min(WRITE_AGAIN_BYTES);
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, at)?;
        file.write_at(&bytes, at)?;
        at += len;
    }
    Ok(())
}

/// What a damaged record may have been, going by its header.
pub(crate) fn guess(file: &dyn DiskFile, at: u64) -> (Option<LogId>, String) {
    let mut bytes = [0; crate::records::HEADER_LEN];
    if file.read_at(&mut bytes, at).is_err() {
        return (None, String::new());
    }
    let number = |from: usize| {
        let field = bytes
            .get(from..from + 8)
            .and_then(|field| field.first_chunk());
        field.map_or(0, |field| u64::from_le_bytes(*field))
    };
    let log = LogId(number(16));
    match bytes.get(9).and_then(|kind| Kind::from_byte(*kind)) {
        Some(kind) => {
            let guess = format!(" (perhaps {kind:?} {} of log {})", number(32), log.0);
            (Some(log), guess)
        }
        None => (None, String::new()),
    }
}

fn kept(checkpoint: &Checkpoint) -> Kept {
    let segments = checkpoint.ledger.segments.keys();
    Kept {
        number: checkpoint.number,
        replay_from: checkpoint.replay_from,
        segments: segments
            .map(|number| checkpoint.ledger.segment_id(*number))
            .collect(),
    }
}

/// The furthest that any commit in the span says the journal was synced.
fn claims(span: Span<'_>) -> io::Result<(u64, u64)> {
    let (mut latest, mut from) = ((0, 0), Some(span.from));
    while let Some(start) = from {
        let end = scan(
            Span {
                from: start,
                ..span
            },
            |record, _| {
                if record.kind == Kind::Batch {
                    latest = latest.max(record.synced()?);
                }
                Ok(())
            },
        )?;
        if end.flaw.is_none() {
            break;
        }
        from = find_record(Span {
            from: end.at + 8,
            ..span
        })?;
    }
    Ok(latest)
}

/// Where a full segment's footer is, and its checksum.
pub(crate) fn trailer_of(
    file: &dyn DiskFile,
    id: SegmentId,
    len: u64,
) -> io::Result<Option<(u64, u32)>> {
    let Some(at) = len.checked_sub(TRAILER_LEN).filter(|at| *at >= HEADER_LEN) else {
        return Ok(None);
    };
    let mut bytes = vec![0; TRAILER_LEN as usize];
    file.read_at(&mut bytes, at)?;
    Ok(read_trailer(&bytes, id, at).ok())
}

/// Where a full segment's footer has each log's entries; none if the footer is not whole.
pub(crate) fn footer_of(file: &dyn DiskFile, id: SegmentId) -> io::Result<Option<Vec<IndexPlace>>> {
    let len = file.len()?;
    let Some((at, sum)) = trailer_of(file, id, len)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; (len - TRAILER_LEN - at) as usize];
    file.read_at(&mut bytes, at)?;
    Ok(read_footer(&bytes, sum, id, at).ok())
}

/// What whoever opened the store is told.
pub(crate) fn recovered(ledger: &mut Ledger, clean: bool, damage: Vec<Damage>) -> Recovered {
    let mut logs: Vec<_> = ledger
        .logs
        .iter_mut()
        .map(|(id, log)| {
            if !clean {
                log.redelivered_below = log.redelivered_below.max(log.mark);
            }
            log.mark = 0;
            recovered_log(*id, log)
        })
        .collect();
    logs.sort_unstable_by_key(|log| log.id);
    let catalog = ledger.catalog.iter();
    Recovered {
        catalog: catalog
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        logs,
        next_log_id: ledger.next_log_id.max(1),
        damage,
    }
}

fn recovered_log(id: LogId, log: &LogState) -> RecoveredLog {
    let run = |run: &LogRun| Run {
        first: run.first,
        last: run.last,
        count: run.live,
    };
    RecoveredLog {
        id,
        // What is stored from now on was not delivered before, and must not lie below the old mark.
        next_index: log.next_index.max(log.redelivered_below),
        body_bytes: log.body_bytes,
        runs: log.runs.iter().map(run).collect(),
        returned: log
            .returns
            .iter()
            .map(|(at, count)| (*at, *count))
            .collect(),
    }
}
