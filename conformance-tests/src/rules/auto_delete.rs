//! Queues that go with their last consumer.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("AUTODEL", &[]);
