//! Messages that come back.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("RET", &[]);
