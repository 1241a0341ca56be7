//! Notices that files are to be read again: on SIGHUP, and when they have changed, by looking at them now
//! and then.
//!
//! Looking works on every file system, through symbolic links and mounted secrets too, where what tells of
//! changes often does not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the files are looked at: certificates are replaced days before the old ones end.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Waits for SIGHUP, from its creation on.
pub(super) struct HangUps {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl HangUps {
    /// Takes the signal over from the system, which would end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// Some files as they were when they were last looked at.
pub(super) struct Changes {
    files: Vec<(PathBuf, Option<Stamp>)>,
    looks: Interval,
}

/// What differs when a file has another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Changes {
    pub(super) fn of<'f>(files: impl IntoIterator<Item = &'f Path>) -> Self {
        let files = files.into_iter().map(|file| (file.to_owned(), stamp(file)));
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            files: files.collect(),
            looks,
        }
    }

    /// Waits until a file is another than before; for ever if there is none. A file that is gone is waited
    /// for: whoever replaces one may take it away first.
    pub(super) async fn next(&mut self) {
        if self.files.is_empty() {
            std::future::pending::<()>().await;
        }
        while !self.look() {
            self.looks.tick().await;
        }
    }

    fn look(&mut self) -> bool {
        let mut changed = false;
        for (file, known) in &mut self.files {
            let now = stamp(file);
            if now.is_some() && now != *known {
                *known = now;
                changed = true;
            }
        }
        changed
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_file_has_changed_once_it_is_there_again_with_another_content() {
        let directory =
            std::env::temp_dir().join(format!("leveret-changes-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("a");
        fs::write(&file, "one").unwrap();
        let mut changes = Changes::of([file.as_path(), &directory.join("missing")]);
        assert!(!changes.look());
        fs::remove_file(&file).unwrap();
        assert!(!changes.look(), "it is waited for");
        fs::write(&file, "three").unwrap();
        assert!(changes.look());
        assert!(!changes.look());
        fs::write(directory.join("missing"), "").unwrap();
        assert!(changes.look(), "one that was never there");
        fs::remove_dir_all(&directory).unwrap();
    }
}
