//! Arguments of a queue: what is allowed and what is compared.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("QARG", &[]);
