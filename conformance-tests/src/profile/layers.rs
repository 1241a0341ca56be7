//! What extends what: a profile is its own file laid upon the profile that the file extends.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;

use super::check::Checked;
use super::error::ProfileError;
use super::file::File;
use super::{Accepted, Applicable, BUILT_IN, Profile};
use crate::registry::section_of;

/// Finds the text of a file by its path.
pub(super) type Fetch<'f> = &'f mut dyn FnMut(&str) -> Result<String, String>;

/// Reads a profile with all that it extends. A path ends in `.toml`, and is fetched; any other name is one
/// of those that come with the suite.
pub(super) fn resolve(name: &str, fetch: Fetch<'_>) -> Result<Profile, ProfileError> {
    let chain = chain(name, fetch)?;
    let mut profile = Profile::empty(name);
    for file in chain.iter().rev() {
        lay_upon(&mut profile, file)?;
    }
    Ok(profile)
}

/// The file, the one it extends, the one which that extends, and so on.
fn chain(name: &str, fetch: Fetch<'_>) -> Result<Vec<File>, ProfileError> {
    let mut chain: Vec<File> = Vec::new();
    let mut next = name.to_owned();
    loop {
        let text = text_of(&next, fetch).map_err(|problem| {
            let Some(last) = chain.last() else {
                return ProfileError::of_file(name, problem);
            };
            at_extends(last, problem)
        })?;
        let file = File::parse(&next, text)?;
        let extended = file.written.extends.as_ref();
        let extended = extended.map(|extended| beside(&next, extended.get_ref()));
        chain.push(file);
        let Some(extended) = extended else {
            return Ok(chain);
        };
        if chain.iter().any(|file| file.name == extended) {
            return Err(cycle(&chain, &extended));
        }
        next = extended;
    }
}

fn cycle(chain: &[File], again: &str) -> ProfileError {
    let names: Vec<_> = chain.iter().map(|file| file.name.as_str()).collect();
    let problem = format!("{} extend each other: a cycle", names.join(", "));
    match chain.last() {
        Some(last) => at_extends(last, problem),
        None => ProfileError::of_file(again, problem),
    }
}

fn at_extends(file: &File, problem: String) -> ProfileError {
    match &file.written.extends {
        Some(extended) => file.error_at("extends", extended, problem),
        None => ProfileError::of_file(&file.name, problem),
    }
}

/// Whether a word is the path of a file rather than the name of a profile.
pub(super) fn is_path(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|end| end == "toml")
}

/// A path as it is seen from where the extending file is read.
fn beside(file: &str, extended: &str) -> String {
    let directory = Path::new(file).parent();
    match directory {
        Some(directory) if is_path(extended) => {
            directory.join(extended).to_string_lossy().into_owned()
        }
        _ => extended.to_owned(),
    }
}

fn text_of(name: &str, fetch: Fetch<'_>) -> Result<String, String> {
    if is_path(name) {
        return fetch(name);
    }
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    built_in.map_or_else(
        || Err(no_such_profile()),
        |(_, text)| Ok((*text).to_owned()),
    )
}

fn no_such_profile() -> String {
    let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    format!(
        "there is no such profile; there are {}, and files whose names end in .toml",
        names.join(", ")
    )
}

pub(super) fn from_disk(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

pub(super) fn built_in_only(_: &str) -> Result<String, String> {
    Err(no_such_profile())
}

fn lay_upon(profile: &mut Profile, file: &File) -> Result<(), ProfileError> {
    profile.texts = file.written.texts.unwrap_or(profile.texts);
    if let Some(version) = &file.written.version {
        profile.version = version_of(file, version)?;
    }
    // Sections first: what the file says of an ID counts before what it says of its section, whichever
    // stands above the other, while its section counts before an ID of the profile that it extends.
    let mut seen = BTreeMap::new();
    let mut statements = Vec::new();
    for statement in &file.written.statements {
        let checked = Checked::new(file, statement)?;
        refuse_twice(file, &mut seen, checked.key)?;
        statements.push(checked);
    }
    statements.sort_by_key(|statement| !statement.is_section);
    for statement in statements {
        apply(profile, &statement);
    }
    Ok(())
}

fn version_of(file: &File, written: &Spanned<String>) -> Result<(u32, u32), ProfileError> {
    let numbers = written.get_ref().split_once('.');
    let numbers = numbers.map(|(major, minor)| (major.parse(), minor.parse()));
    match numbers {
        Some((Ok(major), Ok(minor))) => Ok((major, minor)),
        _ => Err(file.error_at("version", written, "it has to be of the form \"3.13\"")),
    }
}

fn refuse_twice<'f>(
    file: &File,
    seen: &mut BTreeMap<&'f str, usize>,
    key: &'f Spanned<String>,
) -> Result<(), ProfileError> {
    match seen.insert(key.get_ref(), file.line(key)) {
        None => Ok(()),
        Some(line) => {
            let kind = if key.get_ref().contains('-') {
                "id"
            } else {
                "section"
            };
            Err(file.error_at(kind, key, format!("line {line} speaks of it already")))
        }
    }
}

fn apply(profile: &mut Profile, statement: &Checked<'_>) {
    let key = statement.key.get_ref();
    if statement.is_section {
        let is_inside = |other: &str| other.contains('-') && section_of(other) == key;
        profile.applicable.retain(|other, _| !is_inside(other));
    }
    let reason = statement.reason.to_owned();
    if let Some(variants) = &statement.accepts {
        let variants = variants.iter().map(|name| (*name).to_owned()).collect();
        let accepted = Accepted {
            variants,
            reason: reason.clone(),
        };
        profile.accepted.insert(key.clone(), accepted);
    }
    if let Some(not_applicable) = statement.not_applicable {
        let applicable = Applicable {
            is_applicable: !not_applicable,
            reason,
        };
        profile.applicable.insert(key.clone(), applicable);
    }
}
