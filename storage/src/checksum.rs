//! CRC-32C over everything that the store writes.
//!
//! A checksum also covers where the bytes belong (which file, which place), so that whole and valid
//! bytes in the wrong place are noticed like damaged ones.

use crc_fast::{CrcAlgorithm, Digest};

/// Where bytes lie in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The segment's number.
    pub(crate) segment: u64,
    /// How often the segment was compacted.
    pub(crate) generation: u32,
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
}

/// The checksum of these bytes at this place.
pub(crate) fn checksum(place: Place, bytes: &[u8]) -> u32 {
    let mut seed = [0; 20];
    seed[..8].copy_from_slice(&place.segment.to_le_bytes());
    seed[8..12].copy_from_slice(&place.generation.to_le_bytes());
    seed[12..].copy_from_slice(&place.offset.to_le_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&seed);
    digest.update(bytes);
    digest.finalize() as u32
}

/// The checksum of the pieces of a file that is always read as a whole; `name` says which.
pub(crate) fn checksum_of_file(name: &str, pieces: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(name.as_bytes());
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}
