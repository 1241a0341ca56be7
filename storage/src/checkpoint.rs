//! [`Checkpoint`]: the ledger at the beginning of a segment, as a file.
//!
//! What came before that segment need not be read again when the store is opened. The latest two are
//! kept, so that a damaged one does not cost more than reading one segment more.
//!
//! ```text
//!   magic 8 │ version u32 │ crc u32 │ length u64 │ number … segments … catalog … logs
//! ```

use std::collections::BTreeMap;

use crate::LogId;
use crate::checksum::checksum_of_file;
use crate::codec::{Malformed, Put as _, Reader};
use crate::ledger::{Ledger, LogRun, LogState, SegmentState};
use crate::ranges::Ranges;
use crate::segment::{INDEX_ENTRY_LEN, SegmentId};

const MAGIC: &[u8; 8] = b"LEVCHKP1";
const PREFIX: &str = "checkpoint-";
/// Bytes before the number.
const HEAD_LEN: usize = 24;
/// Where the checksum stands, which covers everything before and behind it.
const SUM: std::ops::Range<usize> = 12..16;

/// The ledger and where to go on from it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// Counts checkpoints.
    pub(crate) number: u64,
    /// The first segment that is not in the ledger.
    pub(crate) replay_from: u64,
    /// The store was closed in good order, and nothing was written since.
    pub(crate) clean: bool,
    /// The epoch of the last commit before; 0 if none was in this run of the program.
    pub(crate) epoch: u64,
    pub(crate) store_id: [u8; 16],
    pub(crate) ledger: Ledger,
}

/// Why a file is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointFlaw {
    /// Not what was written.
    Damaged,
    /// Of a later version.
    Version(u32),
}

impl From<Malformed> for CheckpointFlaw {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// A checkpoint's bytes, and the segment files that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) number: u64,
    pub(crate) replay_from: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) segments: Vec<SegmentId>,
}

/// Lays a checkpoint out.
pub(crate) fn encode(
    ledger: &Ledger,
    number: u64,
    replay_from: u64,
    (clean, epoch): (bool, u64),
    store_id: [u8; 16],
) -> Encoded {
    let mut bytes = vec![0; HEAD_LEN];
    bytes.put_u64(number);
    bytes.put_u64(replay_from);
    bytes.put_u64(u64::from(clean));
    bytes.put_u64(epoch);
    bytes.put(&store_id);
    bytes.put_u64(ledger.next_log_id);
    let full = || ledger.segments.iter().filter(|(_, segment)| segment.full);
    put_segments(&mut bytes, full());
    bytes.put_u64(ledger.catalog.len() as u64);
    for (key, value) in &ledger.catalog {
        bytes.put_bytes(key);
        bytes.put_bytes(value);
    }
    put_logs(&mut bytes, ledger);
    let length = bytes.len() as u64;
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&crate::FORMAT_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&length.to_le_bytes());
    let covered = [&bytes[..SUM.start], &bytes[SUM.end..]];
    let sum = checksum_of_file(&file_name(number), &covered);
    bytes[SUM].copy_from_slice(&sum.to_le_bytes());
    let ids = full().map(|(number, segment)| SegmentId {
        number: *number,
        generation: segment.generation,
    });
    Encoded {
        number,
        replay_from,
        segments: ids.collect(),
        bytes,
    }
}

fn put_segments<'l>(bytes: &mut Vec<u8>, full: impl Iterator<Item = (&'l u64, &'l SegmentState)>) {
    let full: Vec<_> = full.collect();
    bytes.put_u64(full.len() as u64);
    for (number, segment) in full {
        bytes.put_u64(*number);
        bytes.put_u32(segment.generation);
        bytes.put_u32(u32::from(segment.damaged));
        bytes.put_u64(segment.len);
        bytes.put_u64(segment.messages);
    }
}

fn put_logs(bytes: &mut Vec<u8>, ledger: &Ledger) {
    let mut ids: Vec<_> = ledger.logs.keys().copied().collect();
    ids.sort_unstable();
    bytes.put_u64(ids.len() as u64);
    for (id, log) in ids.iter().filter_map(|id| Some((id, ledger.logs.get(id)?))) {
        bytes.put_u64(id.0);
        bytes.put_u64(log.next_index);
        bytes.put_u64(log.mark);
        bytes.put_u64(log.redelivered_below);
        bytes.put_u64(log.body_bytes);
        bytes.put_u64(log.runs.len() as u64);
        log.runs.iter().for_each(|run| put_run(bytes, run));
        bytes.put_u64(log.returns.len() as u64);
        for (index, count) in &log.returns {
            bytes.put_u64(*index);
            bytes.put_u32(*count);
        }
    }
}

fn put_run(bytes: &mut Vec<u8>, run: &LogRun) {
    bytes.put_u64(run.segment);
    bytes.put_u64(run.first);
    bytes.put_u64(run.last);
    bytes.put_u64(run.live);
    bytes.put_u64(u64::from(run.uncertain));
    bytes.put_u64(run.index_at);
    bytes.put_u64(run.index_count);
    bytes.put_u64(run.settled.len() as u64);
    for (first, last) in run.settled.iter() {
        bytes.put_u64(first);
        bytes.put_u64(last);
    }
}

/// Reads a checkpoint back.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Checkpoint, CheckpointFlaw> {
    let mut reader = Reader(bytes);
    let magic: [u8; 8] = reader.array()?;
    if &magic != MAGIC {
        return Err(CheckpointFlaw::Damaged);
    }
    let (version, sum, length) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let covered = [&bytes[..SUM.start], &bytes[SUM.end..]];
    if length != bytes.len() as u64 || sum != checksum_of_file(name, &covered) {
        return Err(CheckpointFlaw::Damaged);
    }
    // Looked at last: a damaged checkpoint must not pass for one of a later version.
    if version > crate::FORMAT_VERSION {
        return Err(CheckpointFlaw::Version(version));
    }
    let checkpoint = read(&mut reader)?;
    if file_name(checkpoint.number) != name {
        return Err(CheckpointFlaw::Damaged);
    }
    Ok(checkpoint)
}

fn read(reader: &mut Reader<'_>) -> Result<Checkpoint, Malformed> {
    let (number, replay_from, clean) = (reader.u64()?, reader.u64()?, reader.u64()? == 1);
    let epoch = reader.u64()?;
    let store_id = reader.array()?;
    let mut ledger = Ledger::new(reader.u64()?);
    for _ in 0..reader.count(32)? {
        let (number, segment) = read_segment(reader)?;
        ledger.segments.insert(number, segment);
    }
    for _ in 0..reader.count(8)? {
        let key = reader.bytes()?.to_vec();
        ledger.catalog.insert(key, reader.bytes()?.to_vec());
    }
    for _ in 0..reader.count(48)? {
        let (id, log) = read_log(reader)?;
        for run in &log.runs {
            ledger.segments.entry(run.segment).or_default().runs += 1;
        }
        ledger.logs.insert(id, log);
    }
    Ok(Checkpoint {
        number,
        replay_from,
        clean,
        epoch,
        store_id,
        ledger,
    })
}

fn read_segment(reader: &mut Reader<'_>) -> Result<(u64, SegmentState), Malformed> {
    let number = reader.u64()?;
    let segment = SegmentState {
        generation: reader.u32()?,
        damaged: reader.u32()? != 0,
        len: reader.u64()?,
        messages: reader.u64()?,
        runs: 0,
        full: true,
    };
    Ok((number, segment))
}

fn read_log(reader: &mut Reader<'_>) -> Result<(LogId, LogState), Malformed> {
    let id = LogId(reader.u64()?);
    let mut log = LogState {
        next_index: reader.u64()?,
        mark: reader.u64()?,
        redelivered_below: reader.u64()?,
        body_bytes: reader.u64()?,
        runs: Vec::new(),
        returns: BTreeMap::new(),
    };
    for _ in 0..reader.count(64)? {
        let run = read_run(reader)?;
        if log
            .runs
            .last()
            .is_some_and(|before| before.last >= run.first)
            || run.last >= log.next_index
        {
            return Err(Malformed);
        }
        log.runs.push(run);
    }
    for _ in 0..reader.count(12)? {
        log.returns.insert(reader.u64()?, reader.u32()?);
    }
    Ok((id, log))
}

fn read_run(reader: &mut Reader<'_>) -> Result<LogRun, Malformed> {
    let mut run = LogRun {
        segment: reader.u64()?,
        first: reader.u64()?,
        last: reader.u64()?,
        live: reader.u64()?,
        uncertain: reader.u64()? != 0,
        index_at: reader.u64()?,
        index_count: reader.u64()?,
        settled: Ranges::default(),
    };
    for _ in 0..reader.count(16)? {
        let (first, last) = (reader.u64()?, reader.u64()?);
        if first > last {
            return Err(Malformed);
        }
        run.settled.insert(first, last);
    }
    let index_len = run.index_count.checked_mul(INDEX_ENTRY_LEN);
    let index_end = index_len.and_then(|len| run.index_at.checked_add(len));
    let is_sound = index_end.is_some()
        && run.first <= run.last
        && run.live <= (run.last - run.first).saturating_add(1);
    is_sound.then_some(run).ok_or(Malformed)
}
