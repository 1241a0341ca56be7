//! The eight bytes with which a connection begins.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("PROTO", &[]);
