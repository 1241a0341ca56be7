//! [`Health`]: whether a broker can do all it is there for, and if not, why.
//!
//! What it is not: a measurement. It names what an operator has to look at.

use std::fmt;

/// Why a broker is not well. Empty is good news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The store cannot write any more, for this reason: persistent messages are refused until the
    /// broker is started again. Consumers are served.
    StoreFailed(String),
    /// The disk is too full for new messages: publishers are held up until there is space.
    DiskFull,
    /// Stored messages could not be read when it was their turn. Their queues have passed over them; they
    /// stay in the data directory.
    Unreadable {
        /// How many they are.
        count: u64,
        /// Where the first of them was to be.
        first: String,
    },
    /// This was found damaged in the data directory when the broker started; it was left as it is.
    Damage(String),
}

impl Health {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Health {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return out.write_str("ok");
        }
        let problems = self.problems.iter().map(ToString::to_string);
        out.write_str(&problems.collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreFailed(why) => write!(out, "the store has failed: {why}"),
            Self::DiskFull => out.write_str("the disk is full"),
            Self::Unreadable { count, first } => {
                write!(
                    out,
                    "{count} stored messages cannot be read, the first: {first}"
                )
            }
            Self::Damage(what) => write!(out, "damaged: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_says_all_that_is_wrong() {
        assert_eq!(Health::default().to_string(), "ok");
        let health = Health {
            problems: vec![
                Problem::StoreFailed("fdatasync: EIO".to_owned()),
                Problem::DiskFull,
                Problem::Damage("a.seg: bytes 1 to 2: no record".to_owned()),
            ],
        };
        assert!(!health.is_ok());
        assert_eq!(
            health.to_string(),
            "the store has failed: fdatasync: EIO; the disk is full; \
             damaged: a.seg: bytes 1 to 2: no record"
        );
    }
}
