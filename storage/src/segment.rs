//! Segment files: their names, their headers, and the footers of full ones.
//!
//! ```text
//!   header 64 │ record │ record │ … │ footer: index of the live messages │ trailer 32
//! ```
//!
//! A segment that is still written to has no footer and is longer than what is in it. A full one ends
//! with its trailer. A compacted segment has the same number and the next generation, in a file of
//! its own.
//!
//! Invariant: a segment that has a trailer is never written again.

use crate::LogId;
use crate::checksum::{Place, checksum};
use crate::codec::{Malformed, Put as _, Reader};

/// Bytes before the first record.
pub(crate) const HEADER_LEN: u64 = 64;
/// Bytes of the trailer that ends a full segment.
pub(crate) const TRAILER_LEN: u64 = 32;
/// Bytes of one message in a footer.
pub(crate) const INDEX_ENTRY_LEN: u64 = 16;
/// Bytes of one log in a footer.
pub(crate) const LOG_ENTRY_LEN: u64 = 24;

const HEADER_MAGIC: &[u8; 8] = b"LEVSEGM1";
const TRAILER_MAGIC: &[u8; 8] = b"LEVSEALD";
const PREFIX: &str = "journal-";

/// Names one segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    /// Its place in the journal; never used again.
    pub(crate) number: u64,
    /// How often it was compacted.
    pub(crate) generation: u32,
}

impl SegmentId {
    pub(crate) fn file_name(self) -> String {
        format!("{PREFIX}{:012}.{}", self.number, self.generation)
    }

    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        let (number, generation) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let id = Self {
            number: number.parse().ok()?,
            generation: generation.parse().ok()?,
        };
        (id.file_name() == name).then_some(id)
    }

    pub(crate) fn at(self, offset: u64) -> Place {
        Place {
            segment: self.number,
            generation: self.generation,
            offset,
        }
    }
}

/// The first bytes of a segment of this store.
pub(crate) fn header(id: SegmentId, store_id: [u8; 16]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_LEN as usize);
    header.put(HEADER_MAGIC);
    header.put_u32(crate::FORMAT_VERSION);
    header.put_u32(id.generation);
    header.put_u64(id.number);
    header.put(&store_id);
    header.resize(HEADER_LEN as usize - 4, 0);
    let sum = checksum(id.at(0), &header);
    header.put_u32(sum);
    header
}

/// Why a header is not the one that belongs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// Nothing but zeros: the file was created and never begun.
    Blank,
    /// Not what was written here.
    Damaged,
    /// A later version of the format.
    Version(u32),
    /// A segment of another store.
    Stranger,
}

/// Checks the first bytes of a segment.
pub(crate) fn check_header(
    bytes: &[u8],
    id: SegmentId,
    store_id: [u8; 16],
) -> Result<(), HeaderFlaw> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(HeaderFlaw::Blank);
    }
    let fields = read_header(bytes).map_err(|Malformed| HeaderFlaw::Damaged)?;
    let (magic, version, found, store, sum) = fields;
    if &magic != HEADER_MAGIC {
        return Err(HeaderFlaw::Damaged);
    }
    let covered = bytes.get(..HEADER_LEN as usize - 4).unwrap_or_default();
    if found != id || sum != checksum(id.at(0), covered) {
        return Err(HeaderFlaw::Damaged);
    }
    // Looked at behind the checksum: a damaged header must not pass for one of a later version.
    if version > crate::FORMAT_VERSION {
        return Err(HeaderFlaw::Version(version));
    }
    if store != store_id {
        return Err(HeaderFlaw::Stranger);
    }
    Ok(())
}

type HeaderFields = ([u8; 8], u32, SegmentId, [u8; 16], u32);

fn read_header(bytes: &[u8]) -> Result<HeaderFields, Malformed> {
    let mut reader = Reader(bytes);
    let (magic, version) = (reader.array()?, reader.u32()?);
    let generation = reader.u32()?;
    let number = reader.u64()?;
    let store = reader.array()?;
    reader.take(20)?;
    Ok((
        magic,
        version,
        SegmentId { number, generation },
        store,
        reader.u32()?,
    ))
}

/// Where one message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) index: u64,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl IndexEntry {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            index: reader.u64()?,
            offset: reader.u32()?,
            len: reader.u32()?,
        })
    }
}

/// The index of a full segment, as it is written and as it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Each log with its messages, in order.
    pub(crate) logs: Vec<(LogId, Vec<IndexEntry>)>,
}

/// Where the footer put one log's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexPlace {
    pub(crate) log: LogId,
    pub(crate) at: u64,
    pub(crate) count: u64,
}

impl Footer {
    /// The footer's bytes with the trailer, for a segment whose records end at `end`, and where each
    /// log's entries will lie.
    pub(crate) fn encode(&self, id: SegmentId, end: u64) -> (Vec<u8>, Vec<IndexPlace>) {
        let mut places = Vec::with_capacity(self.logs.len());
        let mut at = end + 8 + self.logs.len() as u64 * LOG_ENTRY_LEN;
        let mut bytes = Vec::new();
        bytes.put_u64(self.logs.len() as u64);
        for (log, entries) in &self.logs {
            let count = entries.len() as u64;
            places.push(IndexPlace {
                log: *log,
                at,
                count,
            });
            bytes.put_u64(log.0);
            bytes.put_u64(at);
            bytes.put_u64(count);
            at += count * INDEX_ENTRY_LEN;
        }
        for entry in self.logs.iter().flat_map(|(_, entries)| entries) {
            bytes.put_u64(entry.index);
            bytes.put_u32(entry.offset);
            bytes.put_u32(entry.len);
        }
        let sum = checksum(id.at(end), &bytes);
        let trailer_at = end + bytes.len() as u64;
        let mut trailer = Vec::with_capacity(TRAILER_LEN as usize);
        trailer.put(TRAILER_MAGIC);
        trailer.put_u64(end);
        trailer.put_u32(sum);
        trailer.put(&[0; 8]);
        let trailer_sum = checksum(id.at(trailer_at), &trailer);
        trailer.put_u32(trailer_sum);
        bytes.put(&trailer);
        (bytes, places)
    }
}

/// What a trailer says: where the footer begins, and its checksum.
pub(crate) fn read_trailer(bytes: &[u8], id: SegmentId, at: u64) -> Result<(u64, u32), Malformed> {
    let mut reader = Reader(bytes);
    let magic: [u8; 8] = reader.array()?;
    let (footer_at, footer_sum) = (reader.u64()?, reader.u32()?);
    reader.take(8)?;
    let sum = reader.u32()?;
    let covered = bytes.get(..TRAILER_LEN as usize - 4).ok_or(Malformed)?;
    let is_right = &magic == TRAILER_MAGIC && sum == checksum(id.at(at), covered);
    (is_right && footer_at <= at)
        .then_some((footer_at, footer_sum))
        .ok_or(Malformed)
}

/// Where a footer's logs have their entries.
pub(crate) fn read_footer(
    bytes: &[u8],
    sum: u32,
    id: SegmentId,
    at: u64,
) -> Result<Vec<IndexPlace>, Malformed> {
    if checksum(id.at(at), bytes) != sum {
        return Err(Malformed);
    }
    let mut reader = Reader(bytes);
    let count = reader.count(LOG_ENTRY_LEN as usize)?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        let place = IndexPlace {
            log: LogId(reader.u64()?),
            at: reader.u64()?,
            count: reader.u64()?,
        };
        let len = place.count.checked_mul(INDEX_ENTRY_LEN).ok_or(Malformed)?;
        let end = place.at.checked_add(len).ok_or(Malformed)?;
        if place.at < at || end > at + bytes.len() as u64 {
            return Err(Malformed);
        }
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: SegmentId = SegmentId {
        number: 7,
        generation: 1,
    };

    #[test]
    fn names_are_read_back_and_others_are_not() {
        assert_eq!(ID.file_name(), "journal-000000000007.1");
        assert_eq!(
            SegmentId::from_file_name("journal-000000000007.1"),
            Some(ID)
        );
        for other in [
            "journal-7.1",
            "journal-000000000007",
            "checkpoint-1",
            "journal-x.0",
        ] {
            assert_eq!(SegmentId::from_file_name(other), None);
        }
    }

    #[test]
    fn every_flip_in_a_header_is_noticed() {
        let store = [5; 16];
        let bytes = header(ID, store);
        assert_eq!(bytes.len() as u64, HEADER_LEN);
        assert_eq!(check_header(&bytes, ID, store), Ok(()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check_header(&flipped, ID, store).is_err(), "bit {bit}");
        }
        assert_eq!(check_header(&bytes, ID, [6; 16]), Err(HeaderFlaw::Stranger));
        assert_eq!(check_header(&[0; 64], ID, store), Err(HeaderFlaw::Blank));
    }

    #[test]
    fn a_footer_says_where_its_entries_are_and_every_flip_is_noticed() {
        let entry = |index| IndexEntry {
            index,
            offset: 64,
            len: 48,
        };
        let footer = Footer {
            logs: vec![
                (LogId(3), vec![entry(1), entry(2)]),
                (LogId(9), vec![entry(5)]),
            ],
        };
        let (bytes, places) = footer.encode(ID, 1000);
        let read = |bytes: &[u8]| {
            let trailer_at = bytes.len() - TRAILER_LEN as usize;
            let trailer = &bytes[trailer_at..];
            let (at, sum) = read_trailer(trailer, ID, 1000 + trailer_at as u64)?;
            assert_eq!(at, 1000);
            read_footer(&bytes[..trailer_at], sum, ID, at)
        };
        assert_eq!(read(&bytes), Ok(places.clone()));
        let at = (places[1].at - 1000) as usize;
        let found = IndexEntry::read(&mut Reader(&bytes[at..])).unwrap();
        assert_eq!(found, entry(5));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }
}
