//! [`Record`]: one record as it lies in a segment; the layout is in [`crate::records`].
//!
//! What it is not: it does not know what a record does; see [`crate::ledger`].

use crate::checksum::{Place, checksum};
use crate::codec::{Malformed, Reader};
use crate::records::{ALIGNMENT, HEADER_LEN, Kind, RECORD_VERSION};
use crate::{CatalogChange, LogId, Settled};

/// A record whose checksum was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) body_bytes: u32,
    pub(crate) log: LogId,
    pub(crate) index: u64,
    pub(crate) time_ms: u64,
    pub(crate) payload: &'a [u8],
    /// Bytes from one record to the next.
    pub(crate) len: usize,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing was written here.
    Blank,
    /// The bytes end before the record does.
    Short,
    /// The bytes are not what was written here.
    Checksum,
    /// A whole record of a later version of the format.
    Version(u8),
    /// A whole record that makes no sense, which a correct writer never leaves behind.
    Content,
}

impl Flaw {
    /// In words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "nothing was written here",
            Self::Short => "the file ends within a record",
            Self::Checksum => "the checksum does not match",
            Self::Version(_) => "a record of a later version",
            Self::Content => "a record that makes no sense",
        }
    }
}

/// The length of the record that begins here, whatever its checksum says.
pub(crate) fn announced_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*bytes.get(4..8)?.first_chunk()?) as usize;
    (len >= HEADER_LEN && len.is_multiple_of(ALIGNMENT)).then_some(len)
}

/// Completes a record that is about to be written to this place.
pub(crate) fn seal(record: &mut [u8], place: Place) {
    let (sum, rest) = record.split_at_mut(4);
    sum.copy_from_slice(&checksum(place, rest).to_le_bytes());
}

impl<'a> Record<'a> {
    /// Reads the record that begins the bytes, which lie at this place.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &'a [u8], place: Place) -> Result<Self, Flaw> {
        if bytes.iter().take(HEADER_LEN).all(|byte| *byte == 0) {
            return Err(Flaw::Blank);
        }
        let len = announced_len(bytes).ok_or(Flaw::Checksum)?;
        let bytes = bytes.get(..len).ok_or(Flaw::Short)?;
        let (sum, rest) = bytes.split_first_chunk().ok_or(Flaw::Short)?;
        if u32::from_le_bytes(*sum) != checksum(place, rest) {
            return Err(Flaw::Checksum);
        }
        Self::read(bytes, len)
    }

    /// Reads a record that this process has just laid out.
    pub(crate) fn read(bytes: &'a [u8], len: usize) -> Result<Self, Flaw> {
        let mut reader = Reader(bytes.get(8..len).ok_or(Flaw::Short)?);
        let version = reader.u8().map_err(|_| Flaw::Short)?;
        if version != RECORD_VERSION {
            return Err(Flaw::Version(version));
        }
        Self::read_fields(&mut reader, len).map_err(|_| Flaw::Content)
    }

    fn read_fields(reader: &mut Reader<'a>, len: usize) -> Result<Self, Malformed> {
        let kind = Kind::from_byte(reader.u8()?).ok_or(Malformed)?;
        let padding = usize::from(reader.u16()?);
        let body_bytes = reader.u32()?;
        let log = LogId(reader.u64()?);
        let _term = reader.u64()?;
        let index = reader.u64()?;
        let time_ms = reader.u64()?;
        let payload_len = reader.0.len().checked_sub(padding).ok_or(Malformed)?;
        Ok(Self {
            kind,
            body_bytes,
            log,
            index,
            time_ms,
            payload: reader.take(payload_len)?,
            len,
        })
    }

    /// What a [`Kind::Settle`] says.
    pub(crate) fn settled(&self) -> Result<Settled, Malformed> {
        let mut reader = Reader(self.payload);
        let settled = Settled {
            first: self.index,
            last: reader.u64()?,
            count: reader.u64()?,
            body_bytes: reader.u64()?,
        };
        let is_sound = settled.first <= settled.last;
        is_sound.then_some(settled).ok_or(Malformed)
    }

    /// How often the message came back, for a [`Kind::Returned`].
    pub(crate) fn return_count(&self) -> Result<u32, Malformed> {
        let count = Reader(self.payload).u64()?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// How far the journal was synced when this [`Kind::Batch`] was written.
    pub(crate) fn synced(&self) -> Result<(u64, u64), Malformed> {
        let mut reader = Reader(self.payload);
        Ok((reader.u64()?, reader.u64()?))
    }

    /// What a [`Kind::Catalog`] says.
    pub(crate) fn changes(&self) -> Result<Vec<CatalogChange>, Malformed> {
        let mut reader = Reader(self.payload);
        let mut changes = Vec::new();
        while !reader.is_empty() {
            changes.push(match reader.u8()? {
                1 => CatalogChange::Put {
                    key: reader.bytes()?.to_vec(),
                    value: reader.bytes()?.to_vec(),
                },
                2 => CatalogChange::Delete {
                    key: reader.bytes()?.to_vec(),
                },
                3 => CatalogChange::CreateLog(LogId(reader.u64()?)),
                4 => CatalogChange::DropLog(LogId(reader.u64()?)),
                _ => return Err(Malformed),
            });
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{NewMessage, Records};

    const PLACE: Place = Place {
        segment: 3,
        generation: 0,
        offset: 64,
    };

    fn sealed() -> Vec<u8> {
        let mut records = Records::default();
        let pieces: [&[u8]; 2] = [b"hel", b"lo"];
        let message = NewMessage {
            index: 9,
            time_ms: 77,
            body_bytes: 5,
            pieces: &pieces,
        };
        records.message(LogId(4), message);
        let mut bytes = records.bytes().to_vec();
        seal(&mut bytes, PLACE);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was_laid_out() {
        let bytes = sealed();
        let record = Record::parse(&bytes, PLACE).unwrap();
        assert_eq!((record.kind, record.log), (Kind::Message, LogId(4)));
        assert_eq!(
            (record.index, record.time_ms, record.body_bytes),
            (9, 77, 5)
        );
        assert_eq!(record.payload, b"hello", "without the padding");
        assert_eq!(record.len, bytes.len());
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_other_place_is_noticed() {
        let bytes = sealed();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(&flipped, PLACE).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len], PLACE).is_err(), "cut at {len}");
        }
        let places = [
            Place {
                segment: 4,
                ..PLACE
            },
            Place {
                generation: 1,
                ..PLACE
            },
            Place {
                offset: 72,
                ..PLACE
            },
        ];
        for place in places {
            assert_eq!(Record::parse(&bytes, place), Err(Flaw::Checksum));
        }
    }

    #[test]
    fn neighbouring_settlements_are_one_record() {
        let settled = |first, last| Settled {
            first,
            last,
            count: last - first + 1,
            body_bytes: 10,
        };
        let mut records = Records::default();
        records.settle(LogId(1), settled(5, 6));
        records.settle(LogId(1), settled(7, 7));
        records.settle(LogId(1), settled(9, 9));
        let first = Record::read(records.bytes(), announced_len(records.bytes()).unwrap()).unwrap();
        let expected = Settled {
            body_bytes: 20,
            ..settled(5, 7)
        };
        assert_eq!(first.settled(), Ok(expected));
        assert_eq!(records.bytes().len(), 2 * first.len);
    }
}
