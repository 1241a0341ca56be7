//! The keys about what is kept on disk.
//!
//! What it is not: the store; the broker opens that.

use serde::{Deserialize, Serialize};

/// The table `[storage]`. It has no effect without a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Whether a confirm waits for the disk.
    pub sync: StorageSync,
    /// Size of one file of the store in bytes. 64 MiB are written in well under a second and given
    /// back soon enough.
    pub segment_bytes: u64,
    /// Publishers are held back while the disk has less than this many bytes left (FLOW-02). The
    /// default is the reference's.
    pub disk_free_min_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            sync: StorageSync::Always,
            segment_bytes: 64 << 20,
            disk_free_min_bytes: 50_000_000,
        }
    }
}

/// When what is written is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageSync {
    /// Before it is confirmed.
    #[default]
    Always,
    /// When the system likes: a crash of the machine may take what was confirmed.
    Never,
}

/// A directory as TOML has it: the empty string is none.
pub(super) mod directory_or_file {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        directory: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let directory = directory.as_ref().map(|path| path.to_string_lossy());
        directory.unwrap_or_default().serialize(to)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(from)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
}
