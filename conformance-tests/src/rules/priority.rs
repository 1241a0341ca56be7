//! Message priorities (`x-max-priority`).

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("PRIO", &[]);
