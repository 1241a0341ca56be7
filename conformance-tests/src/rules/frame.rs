//! Frames, well and badly made, and the order of content.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("FRAME", &[]);
