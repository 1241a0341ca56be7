//! What is known to differ between brokers, as data: a profile says which of a rule's variants a broker may
//! show, which rules do not concern it, and why.
//!
//! ```text
//!   rules/*  declare variants ──────────────▶ variant   a named alternative that a test knows
//!                                                │
//!   profiles/*.toml ─▶ file ─▶ layers ─▶ check ──┘      shapes and lines; what extends what; is it true
//!   a user's own file ─┘                  │
//!                                         ▼
//!   a test asks `t.accepts(VARIANT)` ◀─ Profile
//! ```
//!
//! What it is not: a list of known failures. A broker that shows a variant its profile does not accept
//! fails, and a rule that does not concern it is skipped with the reason, never passed.
//!
//! Invariant: whoever holds a [`Profile`] holds one in which every rule that applies has a variant that is
//! accepted, if it has variants at all.

mod check;
mod error;
mod file;
mod layers;
mod seen;
mod variant;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub use error::ProfileError;
pub(crate) use seen::SeenVariants;
pub use variant::Variant;

use crate::registry::{Follows, Rule, section_of};

/// The profiles that come with the suite: name and file.
pub const BUILT_IN: &[(&str, &str)] = &[
    (
        "rabbitmq-3.10",
        include_str!("../../profiles/rabbitmq-3.10.toml"),
    ),
    (
        "rabbitmq-3.13",
        include_str!("../../profiles/rabbitmq-3.13.toml"),
    ),
    ("rabbitmq-4", include_str!("../../profiles/rabbitmq-4.toml")),
    ("spec", include_str!("../../profiles/spec.toml")),
];

/// The profile of a target that was given none.
pub const DEFAULT: &str = "rabbitmq-3.13";

/// What a broker may do where brokers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    texts: Texts,
    /// Major and minor.
    version: (u32, u32),
    /// By ID.
    accepted: BTreeMap<String, Accepted>,
    /// By ID or section; an ID's word counts before its section's.
    applicable: BTreeMap<String, Applicable>,
}

/// The variants of one ID that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    variants: Vec<String>,
    reason: String,
}

/// Whether a rule or section concerns the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Applicable {
    is_applicable: bool,
    reason: String,
}

/// How reply texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Texts {
    /// They have to be RabbitMQ's: clients match on parts of them.
    #[default]
    Exact,
    /// Only codes and the blamed method count.
    Free,
}

impl Profile {
    /// One of [`BUILT_IN`].
    ///
    /// # Errors
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        checked(layers::resolve(name, &mut layers::built_in_only)?)
    }

    /// A file of the user's own. It may extend a profile of [`BUILT_IN`] by its name, or another file by
    /// its path from this one, which ends in `.toml`.
    ///
    /// # Errors
    /// It cannot be read, or is wrong; the error names the file, the line and the key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let path = path.as_ref().to_string_lossy();
        checked(layers::resolve(&path, &mut layers::from_disk)?)
    }

    /// A profile that comes with the suite if the word is the name of one, or else the file at this path.
    ///
    /// # Errors
    /// It is neither, or the file is wrong.
    pub fn find(word: &str) -> Result<Self, ProfileError> {
        let is_built_in = BUILT_IN.iter().any(|(name, _)| *name == word);
        match is_built_in || !layers::is_path(word) {
            true => Self::named(word),
            false => Self::read(word),
        }
    }

    fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            texts: Texts::default(),
            version: (0, 0),
            accepted: BTreeMap::new(),
            applicable: BTreeMap::new(),
        }
    }

    /// Its name, or the path it was read from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How reply texts are compared.
    #[must_use]
    pub fn texts(&self) -> Texts {
        self.texts
    }

    /// Why a rule is not one of the version of RabbitMQ that the broker follows, if so.
    #[must_use]
    pub fn other_version(&self, rule: &Rule) -> Option<String> {
        let (major, minor) = self.version;
        let follows = format!("profile {} follows {major}.{minor}", self.name);
        match (rule.follows, rule.since) {
            (_, Some((major, minor))) if self.version < (major, minor) => {
                Some(format!("only from {major}.{minor} on; {follows}"))
            }
            (Follows::V4, _) if major < 4 => Some(format!("only 4.x; {follows}")),
            (Follows::V3, _) if major >= 4 => Some(format!("only 3.x; {follows}")),
            _ => None,
        }
    }

    /// Whether a broker may show this variant.
    #[must_use]
    pub fn accepts(&self, variant: Variant) -> bool {
        let accepted = self.accepted.get(variant.id);
        accepted.is_some_and(|accepted| accepted.variants.iter().any(|name| name == variant.name))
    }

    /// Why the variants of this ID are accepted that are, if it has any.
    #[must_use]
    pub fn reason(&self, id: &str) -> Option<&str> {
        let accepted = self.accepted.get(id)?;
        Some(&accepted.reason)
    }

    /// Why a rule does not concern the broker, if so.
    #[must_use]
    pub fn not_applicable(&self, id: &str) -> Option<&str> {
        let own = self.applicable.get(id);
        let word = own.or_else(|| self.applicable.get(section_of(id)))?;
        (!word.is_applicable).then_some(&word.reason)
    }
}

fn checked(profile: Profile) -> Result<Profile, ProfileError> {
    check::every_rule_can_be_passed(&profile)?;
    Ok(profile)
}
