//! Deliveries: their order, their tags and who gets them.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("DELIV", &[]);
