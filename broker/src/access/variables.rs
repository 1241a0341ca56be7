//! `{username}` and `{vhost}` in topic permissions (PERM-14).
//!
//! A name stands for itself wherever it is put: it is escaped, and put into a group of its own in which
//! blanks count. Where that cannot be, there must be no variable: inside a class a name would be so many
//! characters (and `[^{username}]` would let through whoever has none of them), and right behind a
//! backslash its first character would be another.
//!
//! What it is not: a parser of patterns. It knows what ends a class and what a backslash hides, and
//! leaves the rest to the compiler of patterns.

use super::permissions::PatternError;

/// The pattern with the names in their places.
///
/// # Errors
/// A variable in a class, or behind a backslash.
pub(super) fn filled_in(pattern: &str, user: &str, vhost: &str) -> Result<String, PatternError> {
    let mut filled = String::with_capacity(pattern.len());
    let mut place = Place::default();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let (value, after) = match (
            rest.strip_prefix("{username}"),
            rest.strip_prefix("{vhost}"),
        ) {
            (Some(after), _) => (Some(user), after),
            (_, Some(after)) => (Some(vhost), after),
            (None, None) => (None, rest.get(next.len_utf8()..).unwrap_or_default()),
        };
        match value {
            Some(_) if !place.is_plain() => return Err(PatternError::Variable),
            Some(name) => filled.push_str(&format!("(?-x:{})", regex::escape(name))),
            None => {
                place.pass(next);
                filled.push(next);
            }
        }
        rest = after;
    }
    Ok(filled)
}

/// Where in a pattern one is.
#[derive(Default)]
struct Place {
    is_escaped: bool,
    /// Classes can be inside classes.
    class_depth: usize,
    /// A bracket that would end a class stands for itself right behind the one that begins it.
    is_class_fresh: bool,
}

impl Place {
    fn is_plain(&self) -> bool {
        !self.is_escaped && self.class_depth == 0
    }

    fn pass(&mut self, next: char) {
        let was_fresh = std::mem::take(&mut self.is_class_fresh);
        if std::mem::take(&mut self.is_escaped) {
            return;
        }
        match next {
            '\\' => self.is_escaped = true,
            '[' => {
                self.class_depth += 1;
                self.is_class_fresh = true;
            }
            '^' => self.is_class_fresh = was_fresh,
            ']' if !was_fresh => self.class_depth = self.class_depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
