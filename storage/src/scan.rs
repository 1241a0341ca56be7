//! Reading a segment's records from front to back.
//!
//! What it is not: a judge. It says where the records end and why; whether that is the end of what
//! was written or damage is for [`crate::recovery`] to tell.

use std::io;

use crate::codec::Malformed;
use crate::disk::DiskFile;
use crate::record::{Flaw, Record, announced_len};
use crate::records::{ALIGNMENT, HEADER_LEN, Kind, RECORD_VERSION};
use crate::segment::SegmentId;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A part of one segment file that is to be scanned.
#[derive(Clone, Copy)]
pub(crate) struct Span<'f> {
    pub(crate) file: &'f dyn DiskFile,
    pub(crate) id: SegmentId,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Where whole records ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: u64,
    /// Why; `None` when everything was read.
    pub(crate) flaw: Option<Flaw>,
}

/// A window over a file that moves forward.
struct Window<'f> {
    span: Span<'f>,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `at` on, at least `wanted` of them if the span has them.
    fn from(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = self.span.to.saturating_sub(at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let has = at >= self.at && at + wanted as u64 <= self.at + self.bytes.len() as u64;
        if !has {
            let len = usize::try_from(left).unwrap_or(usize::MAX);
            self.bytes.clear();
            self.bytes.resize(len.min(wanted.max(CHUNK_BYTES)), 0);
            self.span.file.read_at(&mut self.bytes, at)?;
            self.at = at;
        }
        let skip = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    /// The whole of the record that begins at `at`, as far as the span goes.
    fn record(&mut self, at: u64) -> io::Result<&[u8]> {
        let head = self.from(at, HEADER_LEN)?;
        let len = announced_len(head).unwrap_or(HEADER_LEN);
        self.from(at, len)
    }
}

/// Shows every record to `visit`, with its offset.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn scan(
    span: Span<'_>,
    mut visit: impl FnMut(&Record<'_>, u64) -> Result<(), Malformed>,
) -> io::Result<End> {
    let (mut at, bytes) = (span.from, Vec::new());
    let mut window = Window { span, at, bytes };
    while at < span.to {
        let parsed = Record::parse(window.record(at)?, span.id.at(at));
        let checked = parsed.and_then(|record| {
            visit(&record, at).map_err(|Malformed| Flaw::Content)?;
            Ok(record.len as u64)
        });
        match checked {
            Ok(len) => at += len,
            Err(flaw) => {
                let flaw = Some(flaw);
                return Ok(End { at, flaw });
            }
        }
    }
    Ok(End { at, flaw: None })
}

/// The first whole record in the span, wherever it begins.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn find_record(span: Span<'_>) -> io::Result<Option<u64>> {
    let mut at = span.from.next_multiple_of(ALIGNMENT as u64);
    let bytes = Vec::new();
    let mut window = Window { span, at, bytes };
    while at + HEADER_LEN as u64 <= span.to {
        let bytes = window.from(at, CHUNK_BYTES / 2)?;
        match candidate(bytes) {
            Some(skip) => {
                at += skip as u64;
                if Record::parse(window.record(at)?, span.id.at(at)).is_ok() {
                    return Ok(Some(at));
                }
                at += ALIGNMENT as u64;
            }
            None => at += ((bytes.len() - HEADER_LEN) / ALIGNMENT * ALIGNMENT + ALIGNMENT) as u64,
        }
    }
    Ok(None)
}

/// Where a record may begin, going by its version and kind.
fn candidate(bytes: &[u8]) -> Option<usize> {
    let starts = (0..bytes.len().checked_sub(HEADER_LEN)? + 1).step_by(ALIGNMENT);
    starts.into_iter().find(|at| {
        bytes.get(at + 8) == Some(&RECORD_VERSION)
            && bytes
                .get(at + 9)
                .is_some_and(|kind| Kind::from_byte(*kind).is_some())
    })
}
