//! Acks, nacks and rejects.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("ACK", &[]);
