//! Transactions.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("TX", &[]);
