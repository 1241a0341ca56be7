//! Ending a consumer, by either side.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("CANCEL", &[]);
