//! Routing by topic exchanges.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("TOPIC", &[]);
