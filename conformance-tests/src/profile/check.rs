//! Whether what a profile says is about rules and variants that exist, and leaves a way to pass.

use toml::Spanned;

use super::error::ProfileError;
use super::file::{File, Statement};
use super::{Profile, Variant};
use crate::registry::{Check, IDS, Rule, registered, section_of};

/// A statement that holds up.
pub(super) struct Checked<'f> {
    /// The ID or section.
    pub(super) key: &'f Spanned<String>,
    pub(super) is_section: bool,
    pub(super) accepts: Option<Vec<&'f str>>,
    pub(super) not_applicable: Option<bool>,
    pub(super) reason: &'f str,
}

impl<'f> Checked<'f> {
    pub(super) fn new(
        file: &File,
        statement: &'f Spanned<Statement>,
    ) -> Result<Self, ProfileError> {
        let written = statement.get_ref();
        let (key, is_section) = subject(file, statement)?;
        says_something(file, statement)?;
        let checked = Self {
            key,
            is_section,
            accepts: accepted(file, written, key)?,
            not_applicable: written.not_applicable,
            reason: reason(file, statement)?,
        };
        Ok(checked)
    }
}

fn subject<'f>(
    file: &File,
    statement: &'f Spanned<Statement>,
) -> Result<(&'f Spanned<String>, bool), ProfileError> {
    let Statement { id, section, .. } = statement.get_ref();
    let (key, word, is_known, is_section) = match (id, section) {
        (Some(id), None) => (
            id,
            "id",
            IDS.lines().any(|known| known == id.get_ref()),
            false,
        ),
        (None, Some(name)) => {
            let mut sections = IDS.lines().map(section_of);
            (
                name,
                "section",
                sections.any(|known| known == name.get_ref()),
                true,
            )
        }
        _ => return Err(file.error_in(statement, "it needs either an id or a section")),
    };
    match is_known {
        true => Ok((key, is_section)),
        false => Err(file.error_at(word, key, "there is no such rule")),
    }
}

fn says_something(file: &File, statement: &Spanned<Statement>) -> Result<(), ProfileError> {
    let written = statement.get_ref();
    match (&written.accepts, written.not_applicable) {
        (None, None) => Err(file.error_in(statement, "it needs accepts or not_applicable")),
        (Some(accepts), Some(true)) => Err(file.error_at(
            "accepts",
            accepts,
            "a rule that is not applicable accepts nothing",
        )),
        (Some(accepts), _) if written.section.is_some() => Err(file.error_at(
            "accepts",
            accepts,
            "variants are those of an id, not of a section",
        )),
        (Some(accepts), _) if accepts.get_ref().is_empty() => Err(file.error_at(
            "accepts",
            accepts,
            "it accepts nothing, so that no broker could pass",
        )),
        _ => Ok(()),
    }
}

fn accepted<'f>(
    file: &File,
    statement: &'f Statement,
    id: &Spanned<String>,
) -> Result<Option<Vec<&'f str>>, ProfileError> {
    let Some(accepts) = &statement.accepts else {
        return Ok(None);
    };
    let known = variants_of(id.get_ref());
    for name in accepts.get_ref() {
        if !known.iter().any(|variant| variant.name == name.get_ref()) {
            let problem = format!(
                "{} has no such variant; it has {}",
                id.get_ref(),
                names(&known)
            );
            return Err(file.error_at("accepts", name, problem));
        }
    }
    let names = accepts.get_ref().iter();
    Ok(Some(names.map(|name| name.get_ref().as_str()).collect()))
}

fn reason<'f>(file: &File, statement: &'f Spanned<Statement>) -> Result<&'f str, ProfileError> {
    match &statement.get_ref().reason {
        None => Err(file.error_in(statement, "it needs a reason")),
        Some(reason) if reason.get_ref().trim().is_empty() => {
            Err(file.error_at("reason", reason, "it needs a reason"))
        }
        Some(reason) => Ok(reason.get_ref()),
    }
}

/// The variants of an ID, each once.
pub(super) fn variants_of(id: &str) -> Vec<Variant> {
    let mut variants = Vec::new();
    for variant in registered().flat_map(Rule::all_variants) {
        if variant.id == id && !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    variants
}

fn names(variants: &[Variant]) -> String {
    if variants.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = variants.iter().map(|variant| variant.name).collect();
    names.join(", ")
}

/// A test whose variants are all refused could not be passed by any broker.
pub(super) fn every_rule_can_be_passed(profile: &Profile) -> Result<(), ProfileError> {
    let unsettled = registered()
        .filter(|rule| matches!(rule.check, Check::Test(_)))
        .filter(|rule| profile.not_applicable(rule.id).is_none())
        .filter(|rule| profile.other_version(rule).is_none())
        .find_map(|rule| unsettled_id(rule, profile));
    let Some(id) = unsettled else {
        return Ok(());
    };
    let problem = format!(
        "it says nothing of {id}, which has the variants {}; accept one of them, or extend a profile \
         that does",
        names(&variants_of(id))
    );
    Err(ProfileError::of_file(profile.name(), problem))
}

fn unsettled_id(rule: &Rule, profile: &Profile) -> Option<&'static str> {
    let mut ids = rule.all_variants().map(|variant| variant.id);
    ids.find(|id| profile.reason(id).is_none())
}
