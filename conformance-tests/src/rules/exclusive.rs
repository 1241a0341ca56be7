//! Queues that belong to one connection.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("EXCL", &[]);
