//! [`Ledger`]: which messages live, and where they lie.
//!
//! It is a plain machine: the same records in the same order give the same ledger, whether they are
//! applied as they are written or read back when the store is opened.
//!
//! ```text
//!   log 7 ─▶ runs: [segment 3: 0–812, of which 5–9 settled] [segment 4: 813–]
//!   segment 3 ─▶ 2 runs: stays      segment 2 ─▶ no run: can go
//! ```
//!
//! What it is not: it reads no file. Where in a segment a message lies is kept here only for the
//! segment that is being written; a full one has it in its footer.
//!
//! Invariants: the runs of a log are in order and do not overlap; a run of a full segment has at
//! least one live message; a segment's `runs` is how many runs point to it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::codec::Malformed;
use crate::ranges::Ranges;
use crate::record::Record;
use crate::records::Kind;
use crate::segment::{Footer, IndexEntry, IndexPlace, SegmentId};
use crate::{CatalogChange, LogId, Settled};

/// The number that no segment has.
const NO_SEGMENT: u64 = 0;

/// The messages that one log has in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogRun {
    pub(crate) segment: u64,
    /// Index of the first message.
    pub(crate) first: u64,
    /// Index of the last message.
    pub(crate) last: u64,
    /// Messages that are not settled.
    pub(crate) live: u64,
    /// True when `live` is only a guess: messages with gaps between them were settled together.
    pub(crate) uncertain: bool,
    /// Where the footer has this run's entries, once the segment is full.
    pub(crate) index_at: u64,
    /// How many entries the footer has.
    pub(crate) index_count: u64,
    pub(crate) settled: Ranges,
}

/// One log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) next_index: u64,
    /// Messages below may be delivered, and count as delivered after a crash.
    pub(crate) mark: u64,
    /// Messages below may have been delivered before the store was opened.
    pub(crate) redelivered_below: u64,
    pub(crate) body_bytes: u64,
    pub(crate) runs: Vec<LogRun>,
    /// How often messages came back, for those that did.
    pub(crate) returns: BTreeMap<u64, u32>,
}

/// One segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentState {
    pub(crate) generation: u32,
    /// Length of the file, once it is full.
    pub(crate) len: u64,
    /// Messages that were in it when it became full.
    pub(crate) messages: u64,
    /// Runs that point to it.
    pub(crate) runs: u64,
    /// Something in it cannot be read. It is never removed or compacted.
    pub(crate) damaged: bool,
    /// True once it is full.
    pub(crate) full: bool,
}

/// All logs and segments of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) logs: FxHashMap<LogId, LogState>,
    pub(crate) segments: BTreeMap<u64, SegmentState>,
    pub(crate) catalog: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) next_log_id: u64,
    /// [`NO_SEGMENT`] between two segments.
    active: u64,
    index: FxHashMap<LogId, Vec<IndexEntry>>,
}

impl Ledger {
    /// A ledger whose next log has this id.
    pub(crate) fn new(next_log_id: u64) -> Self {
        Self {
            next_log_id,
            ..Self::default()
        }
    }

    /// Records that are applied from now on lie in this segment.
    pub(crate) fn begin_segment(&mut self, number: u64) {
        self.active = number;
        self.index.clear();
        self.segments.insert(number, SegmentState::default());
    }

    /// Takes a record that lies at this offset of the segment that is being written.
    ///
    /// # Errors
    /// When the record makes no sense here; then nothing has changed.
    pub(crate) fn apply(&mut self, record: &Record<'_>, offset: u64) -> Result<(), Malformed> {
        match record.kind {
            Kind::Batch => Ok(()),
            Kind::Message => self.add_message(record, offset),
            Kind::Settle => {
                self.settle(record.log, record.settled()?);
                Ok(())
            }
            Kind::Returned => self.note_return(record),
            Kind::Mark => {
                if let Some(log) = self.logs.get_mut(&record.log) {
                    log.mark = log.mark.max(record.index);
                }
                Ok(())
            }
            Kind::Catalog => {
                record
                    .changes()?
                    .into_iter()
                    .for_each(|change| self.change(change));
                Ok(())
            }
        }
    }

    fn add_message(&mut self, record: &Record<'_>, offset: u64) -> Result<(), Malformed> {
        let entry = IndexEntry {
            index: record.index,
            offset: u32::try_from(offset).map_err(|_| Malformed)?,
            len: u32::try_from(record.len).map_err(|_| Malformed)?,
        };
        if !self.logs.contains_key(&record.log) {
            // Records of a log that has ended are of no use. A log that nobody began is what damage
            // leaves; its messages are kept for whoever repairs it.
            if record.log.0 < self.next_log_id {
                return Ok(());
            }
            self.change(CatalogChange::CreateLog(record.log));
        }
        let log = self.logs.get_mut(&record.log).ok_or(Malformed)?;
        if record.index < log.next_index {
            return Err(Malformed);
        }
        log.next_index = record.index.saturating_add(1);
        log.body_bytes = log.body_bytes.saturating_add(u64::from(record.body_bytes));
        match log.runs.last_mut() {
            Some(run) if run.segment == self.active => {
                run.last = record.index;
                run.live += 1;
            }
            _ => {
                log.runs.push(LogRun {
                    segment: self.active,
                    first: record.index,
                    last: record.index,
                    live: 1,
                    ..LogRun::default()
                });
                self.segments.entry(self.active).or_default().runs += 1;
            }
        }
        self.index.entry(record.log).or_default().push(entry);
        Ok(())
    }

    fn settle(&mut self, id: LogId, settled: Settled) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        log.body_bytes = log.body_bytes.saturating_sub(settled.body_bytes);
        let has_gaps = settled.count != (settled.last - settled.first).saturating_add(1);
        let from = log.runs.partition_point(|run| run.last < settled.first);
        let mut emptied = Vec::new();
        let runs = log.runs.iter_mut().enumerate().skip(from);
        for (at, run) in runs.take_while(|(_, run)| run.first <= settled.last) {
            run.settle(settled.first, settled.last, has_gaps);
            if run.is_empty() && run.segment != self.active {
                emptied.push((at, run.segment));
            }
        }
        while let Some(first) = log.returns.range(settled.first..=settled.last).next() {
            let index = *first.0;
            log.returns.remove(&index);
        }
        emptied
            .iter()
            .rev()
            .for_each(|(at, _)| drop(log.runs.remove(*at)));
        for (_, segment) in emptied {
            self.leave_segment(segment);
        }
    }

    fn leave_segment(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.runs -= 1;
        }
    }

    fn note_return(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        let count = record.return_count()?;
        if let Some(log) = self.logs.get_mut(&record.log)
            && log.is_live(record.index)
        {
            log.returns.insert(record.index, count);
        }
        Ok(())
    }

    fn change(&mut self, change: CatalogChange) {
        match change {
            CatalogChange::Put { key, value } => {
                self.catalog.insert(key, value);
            }
            CatalogChange::Delete { key } => {
                self.catalog.remove(&key);
            }
            CatalogChange::CreateLog(id) => {
                self.next_log_id = self.next_log_id.max(id.0.saturating_add(1));
                self.logs.entry(id).or_default();
            }
            CatalogChange::DropLog(id) => {
                self.index.remove(&id);
                let log = self.logs.remove(&id).unwrap_or_default();
                for run in log.runs {
                    self.leave_segment(run.segment);
                }
            }
        }
    }

    /// What the segment that is being written has in it, for its footer: the messages that still
    /// live.
    pub(crate) fn footer(&self) -> Footer {
        let mut logs: Vec<_> = self
            .index
            .iter()
            .filter_map(|(id, entries)| {
                let run = self.logs.get(id)?.runs.last()?;
                let is_live = |entry: &&IndexEntry| !run.settled.contains(entry.index);
                let live: Vec<_> = entries.iter().filter(is_live).copied().collect();
                (!live.is_empty()).then_some((*id, live))
            })
            .collect();
        logs.sort_unstable_by_key(|(id, _)| *id);
        Footer { logs }
    }

    /// The segment that was being written is full: its footer is at these places, and its file so
    /// long.
    pub(crate) fn seal_segment(&mut self, places: &[IndexPlace], len: u64) {
        let number = self.active;
        let mut places_of: FxHashMap<LogId, IndexPlace> = FxHashMap::default();
        places_of.extend(places.iter().map(|place| (place.log, *place)));
        let ids: Vec<_> = self.index.drain().map(|(id, _)| id).collect();
        for id in ids {
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            match places_of.get(&id) {
                Some(place) => log.end_run(number, *place),
                None => {
                    log.runs.retain(|run| run.segment != number);
                    self.leave_segment(number);
                }
            }
        }
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.len = len;
            segment.messages = places.iter().map(|place| place.count).sum();
            segment.full = true;
        }
        self.active = NO_SEGMENT;
    }

    /// A full segment lies in another file now, with its live messages' entries at these places.
    pub(crate) fn replace_segment(&mut self, id: SegmentId, len: u64, places: &[IndexPlace]) {
        // A run of which nothing was copied has no entries any more, and is counted away later.
        let copied: Vec<_> = places.iter().map(|place| place.log).collect();
        let others = self
            .logs
            .iter_mut()
            .filter(|(log, _)| !copied.contains(log));
        let runs = others.flat_map(|(_, log)| &mut log.runs);
        for run in runs.filter(|run| run.segment == id.number) {
            run.index_count = 0;
            run.uncertain = true;
        }
        for place in places {
            let log = self.logs.get_mut(&place.log);
            let runs = log.map(|log| &mut log.runs);
            let run = runs.and_then(|runs| runs.iter_mut().find(|r| r.segment == id.number));
            if let Some(run) = run {
                run.index_at = place.at;
                run.index_count = place.count;
            }
        }
        if let Some(segment) = self.segments.get_mut(&id.number) {
            segment.generation = id.generation;
            segment.len = len;
            segment.messages = places.iter().map(|place| place.count).sum();
        }
    }

    /// A segment that is kept and not looked into.
    pub(crate) fn add_strange_segment(&mut self, number: u64, len: u64) {
        let strange = SegmentState {
            len,
            damaged: true,
            full: true,
            ..SegmentState::default()
        };
        self.segments.insert(number, strange);
    }

    /// Something in a segment cannot be read.
    pub(crate) fn mark_damaged(&mut self, number: u64) {
        self.segments.entry(number).or_default().damaged = true;
    }

    /// The segments that are needed no more: full, and no live message in them.
    pub(crate) fn forget_empty_segments(&mut self) -> usize {
        let before = self.segments.len();
        self.segments
            .retain(|_, segment| !segment.full || segment.runs > 0 || segment.damaged);
        before - self.segments.len()
    }

    /// How many full segments have no live message.
    pub(crate) fn empty_segments(&self) -> usize {
        let is_empty = |s: &&SegmentState| s.full && s.runs == 0 && !s.damaged;
        self.segments.values().filter(is_empty).count()
    }

    /// Counts anew what lives of a run whose entries are these.
    pub(crate) fn recount(&mut self, id: LogId, segment: u64, entries: &[IndexEntry]) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        let Some(at) = log.runs.iter().position(|run| run.segment == segment) else {
            return;
        };
        let run = &mut log.runs[at];
        let live = entries
            .iter()
            .filter(|entry| !run.settled.contains(entry.index));
        run.live = live.count() as u64;
        run.uncertain = false;
        if run.live == 0 {
            log.runs.remove(at);
            self.leave_segment(segment);
        }
    }

    /// The runs whose live messages were only guessed.
    pub(crate) fn uncertain_runs(&self) -> Vec<(LogId, LogRun)> {
        let runs = self
            .logs
            .iter()
            .flat_map(|(id, log)| log.runs.iter().map(|run| (*id, run)));
        runs.filter(|(_, run)| run.uncertain && run.segment != self.active)
            .map(|(id, run)| (id, run.clone()))
            .collect()
    }

    /// Entries of the segment that is being written, from this index on.
    pub(crate) fn active_entries(&self, id: LogId, first: u64, last: u64) -> &[IndexEntry] {
        let Some(entries) = self.index.get(&id) else {
            return &[];
        };
        let from = entries.partition_point(|entry| entry.index < first);
        let to = entries.partition_point(|entry| entry.index <= last);
        entries.get(from..to).unwrap_or_default()
    }

    /// The number of the segment that is being written.
    pub(crate) fn active(&self) -> u64 {
        self.active
    }

    /// The file that a segment lies in now.
    pub(crate) fn segment_id(&self, number: u64) -> SegmentId {
        let segment = self.segments.get(&number);
        SegmentId {
            number,
            generation: segment.map_or(0, |segment| segment.generation),
        }
    }
}

impl LogRun {
    fn settle(&mut self, first: u64, last: u64, has_gaps: bool) {
        let (first, last) = (first.max(self.first), last.min(self.last));
        let covers_all = first == self.first && last == self.last;
        if covers_all {
            self.live = 0;
            self.uncertain = false;
        } else if has_gaps {
            self.uncertain = true;
        } else {
            self.live = self.live.saturating_sub(last - first + 1);
        }
        self.settled.insert(first, last);
    }

    /// True when surely nothing of it lives.
    fn is_empty(&self) -> bool {
        self.live == 0 && !self.uncertain
    }
}

impl LogState {
    fn end_run(&mut self, segment: u64, place: IndexPlace) {
        if let Some(run) = self
            .runs
            .iter_mut()
            .rev()
            .find(|run| run.segment == segment)
        {
            run.live = place.count;
            run.uncertain = false;
            run.index_at = place.at;
            run.index_count = place.count;
        }
    }

    /// Whether a message is there and not settled, as far as can be told without its segment.
    fn is_live(&self, index: u64) -> bool {
        let at = self.runs.partition_point(|run| run.last < index);
        let run = self.runs.get(at);
        run.is_some_and(|run| run.first <= index && !run.settled.contains(index))
    }
}
