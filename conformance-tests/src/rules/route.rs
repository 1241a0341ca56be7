//! Routing by direct and fanout exchanges.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("ROUTE", &[]);
