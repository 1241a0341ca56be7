//! Field tables and strings.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("TABLE", &[]);
