//! The limits that client and server agree on.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("TUNE", &[]);
