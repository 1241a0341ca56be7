//! Bindings of queues and exchanges.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("BIND", &[]);
