//! Login, opening a vhost and the end of a connection.

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::unfinished("CONN", &[]);
