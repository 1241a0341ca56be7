//! Numbers 77 to 86: what is done to disks and memory.

use std::path::{Path, PathBuf};

/// An empty directory for one test.
pub(crate) fn empty_directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("attack-{test}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
