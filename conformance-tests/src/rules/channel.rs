//! The life of a channel.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("CHAN", &[]);
