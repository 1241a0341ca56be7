//! The key about how threads share the connections.
//!
//! What it is not: a runtime. The binary makes that; the library runs in whichever it is called in.

use serde::{Deserialize, Serialize};

/// How connections come to the threads that serve them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerScheduling {
    /// Each turn of a connection runs on whichever thread is free.
    #[default]
    Stealing,
    /// A connection stays on the thread that it was given when it was accepted.
    Pinned,
}
