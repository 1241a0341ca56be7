//! [`Report`]: what became of definitions that were imported.

use std::fmt;

/// One thing that was read and has no effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotHonoured {
    /// What it is, for instance `parameters[2] 'to-berlin' in vhost '/'`.
    pub what: String,
    /// Why it has none.
    pub reason: String,
}

impl fmt::Display for NotHonoured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.reason)
    }
}

/// What an import has done. What was so already counts as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Users that were added or replaced.
    pub users: usize,
    /// Vhosts that the definitions name.
    pub vhosts: usize,
    /// Permissions, those on topics included.
    pub permissions: usize,
    /// Policies and operator policies that were set.
    pub policies: usize,
    /// Exchanges that were declared.
    pub exchanges: usize,
    /// Queues that were declared.
    pub queues: usize,
    /// Bindings that were made.
    pub bindings: usize,
    /// Everything that was read and has no effect, by name.
    pub not_honoured: Vec<NotHonoured>,
}

impl Report {
    pub(super) fn not_honoured(&mut self, what: impl fmt::Display, reason: impl Into<String>) {
        self.not_honoured.push(NotHonoured {
            what: what.to_string(),
            reason: reason.into(),
        });
    }

    /// Writes the report to the log: one line for what was done, and one for each thing that has no
    /// effect.
    pub(crate) fn log(&self) {
        for one in &self.not_honoured {
            tracing::warn!(what = one.what, reason = one.reason, "not honoured");
        }
        tracing::info!("{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "definitions: {} users, {} vhosts, {} permissions, {} policies; new: {} exchanges, {} queues, \
             {} bindings; not honoured: {}",
            self.users,
            self.vhosts,
            self.permissions,
            self.policies,
            self.exchanges,
            self.queues,
            self.bindings,
            self.not_honoured.len()
        )
    }
}
