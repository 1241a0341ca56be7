//! The superblock: says that a directory is a store, of which version, and which one.
//!
//! ```text
//!   magic 8 │ version u32 │ crc u32 │ store id 16 │ node id 16 │ zeros up to 64
//! ```

use crate::checksum::checksum_of_file;
use crate::codec::{Malformed, Put as _, Reader};

pub(crate) const FILE_NAME: &str = "superblock";
const MAGIC: &[u8; 8] = b"LEVERET1";
const LEN: usize = 64;

/// Which store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// The same for every node that shares one state; today there is one.
    pub(crate) store_id: [u8; 16],
    /// This node.
    pub(crate) node_id: [u8; 16],
}

/// Why a file is no superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuperblockFlaw {
    Damaged,
    Version(u32),
}

impl Superblock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut covered = Vec::with_capacity(LEN);
        covered.put_u32(crate::FORMAT_VERSION);
        covered.put(&self.store_id);
        covered.put(&self.node_id);
        covered.resize(LEN - 12, 0);
        let mut bytes = Vec::with_capacity(LEN);
        bytes.put(MAGIC);
        bytes.put_u32(checksum_of_file(FILE_NAME, &[&covered]));
        bytes.put(&covered);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SuperblockFlaw> {
        let damaged = |Malformed| SuperblockFlaw::Damaged;
        let mut reader = Reader(bytes);
        let magic: [u8; 8] = reader.array().map_err(damaged)?;
        let sum = reader.u32().map_err(damaged)?;
        let covered = reader.0;
        if &magic != MAGIC || bytes.len() != LEN || sum != checksum_of_file(FILE_NAME, &[covered]) {
            return Err(SuperblockFlaw::Damaged);
        }
        let version = reader.u32().map_err(damaged)?;
        if version > crate::FORMAT_VERSION {
            return Err(SuperblockFlaw::Version(version));
        }
        Ok(Self {
            store_id: reader.array().map_err(damaged)?,
            node_id: reader.array().map_err(damaged)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_flip_is_noticed() {
        let block = Superblock {
            store_id: [1; 16],
            node_id: [2; 16],
        };
        let bytes = block.encode();
        assert_eq!(bytes.len(), LEN);
        assert_eq!(Superblock::decode(&bytes), Ok(block));
        for bit in 0..LEN * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
