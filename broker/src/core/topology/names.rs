//! Rules about names.

use std::borrow::Cow;

/// Names that begin so are the broker's own (EXCH-06, QUEUE-07).
const RESERVED_PREFIX: &str = "amq.";

/// The name without its CR and LF characters, as every declare, delete, bind and unbind takes it
/// (TABLE-11).
pub fn strip_cr_lf(name: &str) -> Cow<'_, str> {
    match name.contains(['\r', '\n']) {
        true => Cow::Owned(name.replace(['\r', '\n'], "")),
        false => Cow::Borrowed(name),
    }
}

/// True for a name that is the broker's own to give.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}
