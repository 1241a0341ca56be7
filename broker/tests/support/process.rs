//! What tests of the built binary do to its process.

#![allow(clippy::unwrap_used, unreachable_pub)]

use std::process::{Child, Command};

/// Sends a signal, `TERM` for instance, to a process that the test has started.
pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "{kill}");
}
