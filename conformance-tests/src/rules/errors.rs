//! The error model: which close, with which code, text and culprit.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("ERR", &[]);
