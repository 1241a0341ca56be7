//! A named alternative that a test knows.

use std::fmt;

/// One of the ways in which brokers follow a rule that they do not all follow alike. Which of them are
/// accepted is for the [`crate::Profile`] to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The rule, for instance `ERR-03`.
    pub id: &'static str,
    /// Its name, unique within the ID, as it stands in a profile.
    pub name: &'static str,
    /// What the broker does, in one line.
    pub behaviour: &'static str,
}

impl fmt::Display for Variant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {} ({})", self.name, self.id, self.behaviour)
    }
}
