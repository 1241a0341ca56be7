//! Queues: declaring, deleting and purging.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("QUEUE", &[]);
