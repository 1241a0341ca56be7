//! Routing by headers exchanges.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("HEADERS", &[]);
