//! Prefetch limits.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("QOS", &[]);
