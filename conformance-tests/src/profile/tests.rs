//! What a profile may say, and how it is told that it says something else.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::registry::{Follows, Rule, registered};

/// Reads the first of these files, which may extend the others.
fn read(files: &[(&str, &str)]) -> Result<Profile, ProfileError> {
    let texts: BTreeMap<_, _> = files.iter().copied().collect();
    let mut fetch = |path: &str| match texts.get(path) {
        Some(text) => Ok((*text).to_owned()),
        None => Err("cannot be read: no such file".to_owned()),
    };
    checked(layers::resolve(files[0].0, &mut fetch)?)
}

const HEAD: &str = "extends = \"rabbitmq-3.13\"\n\n";

/// The error of a file with this in it, below two lines of its own.
fn error_of(body: &str) -> String {
    let error = read(&[("own.toml", &format!("{HEAD}{body}"))]).unwrap_err();
    error.to_string()
}

/// A file that extends the default and says this.
fn profile_of(body: &str) -> Profile {
    read(&[("own.toml", &format!("{HEAD}{body}"))]).unwrap()
}

fn named(name: &str) -> Profile {
    Profile::named(name).unwrap()
}

fn all_variants() -> Vec<Variant> {
    let mut all: Vec<Variant> = Vec::new();
    for variant in registered().flat_map(Rule::all_variants) {
        if !all.contains(&variant) {
            all.push(variant);
        }
    }
    all
}

#[test]
fn every_built_in_profile_can_be_read() {
    for (name, _) in BUILT_IN {
        Profile::named(name).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_variant_is_accepted_by_some_profile() {
    let profiles: Vec<_> = BUILT_IN.iter().map(|(name, _)| named(name)).collect();
    let accepted = |variant: &Variant| profiles.iter().any(|profile| profile.accepts(*variant));
    let useless: Vec<_> = all_variants();
    let useless: Vec<_> = useless
        .iter()
        .filter(|variant| !accepted(variant))
        .collect();
    assert_eq!(useless, Vec::<&Variant>::new());
}

#[test]
fn a_variant_has_one_name_and_one_meaning_within_a_known_id() {
    let all = all_variants();
    let names: HashSet<_> = all
        .iter()
        .map(|variant| (variant.id, variant.name))
        .collect();
    assert_eq!(names.len(), all.len());
    let meanings: HashSet<_> = all
        .iter()
        .map(|variant| (variant.id, variant.behaviour))
        .collect();
    assert_eq!(meanings.len(), all.len());
    let unknown = all
        .iter()
        .find(|variant| !registered().flat_map(Rule::ids).any(|id| id == variant.id));
    assert_eq!(unknown, None);
}

#[test]
fn a_rule_of_one_generation_or_later_version_is_not_asked_of_another() {
    let is_asked = |name: &str, follows, since| {
        let rule = Rule {
            follows,
            since,
            ..*registered().next().unwrap()
        };
        named(name).other_version(&rule).is_none()
    };
    assert!(is_asked("rabbitmq-3.13", Follows::V3, None));
    assert!(!is_asked("rabbitmq-3.13", Follows::V4, None));
    assert!(!is_asked("rabbitmq-4", Follows::V3, None));
    assert!(is_asked("rabbitmq-4", Follows::V4, None));
    assert!(!is_asked("rabbitmq-4", Follows::V4, Some((4, 3))));
    assert!(is_asked("rabbitmq-3.13", Follows::Both, Some((3, 11))));
    assert!(!is_asked("rabbitmq-3.10", Follows::Both, Some((3, 11))));
    let newer = profile_of("version = \"4.3\"\n");
    let rule = Rule {
        since: Some((4, 3)),
        ..*registered().next().unwrap()
    };
    assert_eq!(newer.other_version(&rule), None);
    let error = error_of("version = \"4\"\n");
    assert_eq!(
        error,
        "profile own.toml:3: version = \"4\": it has to be of the form \"3.13\""
    );
}

#[test]
fn the_older_profiles_accept_nothing_that_the_newer_one_of_their_generation_refuses() {
    let (older, newer) = (named("rabbitmq-3.10"), named("rabbitmq-3.13"));
    let more: Vec<_> = all_variants()
        .into_iter()
        .filter(|variant| older.accepts(*variant) && !newer.accepts(*variant))
        .collect();
    assert_eq!(more, Vec::<Variant>::new());
}

#[test]
fn a_file_changes_what_it_extends() {
    let cut = all_variants()
        .into_iter()
        .find(|variant| variant.name == "cut-by-formatter");
    let cut = cut.unwrap();
    assert!(!named(DEFAULT).accepts(cut));
    let body = "[[rule]]\nid = \"ERR-03\"\naccepts = [\"cut-by-formatter\"]\nreason = \"ours\"\n";
    let profile = profile_of(body);
    assert!(profile.accepts(cut));
    assert_eq!(profile.reason("ERR-03"), Some("ours"));
    assert_eq!(profile.texts(), Texts::Exact);
    assert_eq!(profile_of("texts = \"free\"\n").texts(), Texts::Free);
}

#[test]
fn an_id_counts_before_its_section_and_a_file_before_what_it_extends() {
    let section = "[[rule]]\nsection = \"DLX\"\nnot_applicable = true\nreason = \"none here\"\n";
    let but_one = "[[rule]]\nid = \"DLX-01\"\nnot_applicable = false\nreason = \"but this\"\n";
    let base = format!("{HEAD}{but_one}{section}");
    let profile = read(&[("base.toml", &base)]).unwrap();
    assert_eq!(profile.not_applicable("DLX-02"), Some("none here"));
    assert_eq!(profile.not_applicable("DLX-01"), None);
    assert_eq!(profile.not_applicable("QUEUE-01"), None);

    let own = format!("extends = \"base.toml\"\n{section}");
    let profile = read(&[("own.toml", &own), ("base.toml", &base)]).unwrap();
    assert_eq!(profile.not_applicable("DLX-01"), Some("none here"));
}

#[test]
fn a_path_is_seen_from_the_file_that_extends_it() {
    let files = [
        ("brokers/own.toml", "extends = \"base.toml\"\n"),
        ("brokers/base.toml", HEAD),
    ];
    assert!(read(&files).is_ok());
}

#[test]
fn an_unknown_id_section_or_variant_is_named_with_its_line() {
    assert_eq!(
        error_of("[[rule]]\nid = \"ERR-99\"\nnot_applicable = true\nreason = \"r\"\n"),
        "profile own.toml:4: id = \"ERR-99\": there is no such rule"
    );
    assert_eq!(
        error_of("[[rule]]\nsection = \"ER\"\nnot_applicable = true\nreason = \"r\"\n"),
        "profile own.toml:4: section = \"ER\": there is no such rule"
    );
    assert_eq!(
        error_of("[[rule]]\nid = \"ERR-03\"\nreason = \"r\"\naccepts = [\n  \"cut\",\n]\n"),
        "profile own.toml:7: accepts = \"cut\": ERR-03 has no such variant; it has cut-to-252-bytes, \
         cut-by-formatter"
    );
    assert_eq!(
        error_of("[[rule]]\nid = \"EXCH-01\"\nreason = \"r\"\naccepts = [\"x\"]\n"),
        "profile own.toml:6: accepts = \"x\": EXCH-01 has no such variant; it has none"
    );
}

#[test]
fn an_id_stands_there_once_and_with_a_reason() {
    let rule = "[[rule]]\nid = \"ERR-01\"\nnot_applicable = true\nreason = \"r\"\n";
    assert_eq!(
        error_of(&format!("{rule}{rule}")),
        "profile own.toml:8: id = \"ERR-01\": line 4 speaks of it already"
    );
    assert_eq!(
        error_of("[[rule]]\nid = \"ERR-01\"\nnot_applicable = true\n"),
        "profile own.toml:3: [[rule]]: it needs a reason"
    );
    assert_eq!(
        error_of("[[rule]]\nid = \"ERR-01\"\nnot_applicable = true\nreason = \" \"\n"),
        "profile own.toml:6: reason = \" \": it needs a reason"
    );
}

#[test]
fn a_statement_that_says_nothing_or_too_much_is_refused() {
    for (body, problem) in [
        (
            "id = \"ERR-03\"\nreason = \"r\"\n",
            "3: [[rule]]: it needs accepts or not_applicable",
        ),
        (
            "reason = \"r\"\nnot_applicable = true\n",
            "3: [[rule]]: it needs either an id or a section",
        ),
        (
            "id = \"ERR-03\"\nsection = \"ERR\"\nreason = \"r\"\nnot_applicable = true\n",
            "3: [[rule]]: it needs either an id or a section",
        ),
        (
            "section = \"ERR\"\naccepts = [\"cut-by-formatter\"]\nreason = \"r\"\n",
            "5: accepts = [\"cut-by-formatter\"]: variants are those of an id, not of a section",
        ),
        (
            "id = \"ERR-03\"\naccepts = []\nreason = \"r\"\n",
            "5: accepts = []: it accepts nothing, so that no broker could pass",
        ),
        (
            "id = \"ERR-03\"\naccepts = [\"cut-by-formatter\"]\nnot_applicable = true\nreason = \"r\"\n",
            "5: accepts = [\"cut-by-formatter\"]: a rule that is not applicable accepts nothing",
        ),
    ] {
        assert_eq!(
            error_of(&format!("[[rule]]\n{body}")),
            format!("profile own.toml:{problem}")
        );
    }
}

#[test]
fn an_unknown_key_or_value_is_named_with_its_line() {
    let error = error_of("[[rule]]\nid = \"ERR-01\"\naccept = [\"x\"]\nreason = \"r\"\n");
    assert!(
        error.starts_with("profile own.toml:5: unknown field `accept`"),
        "{error}"
    );
    let error = error_of("texts = \"loose\"\n");
    assert!(
        error.starts_with("profile own.toml:3: unknown variant `loose`"),
        "{error}"
    );
    let error = error_of("[[rule]\n");
    assert!(error.starts_with("profile own.toml:3: "), "{error}");
}

#[test]
fn what_is_extended_has_to_exist_and_may_not_go_in_circles() {
    let error = read(&[("own.toml", "# ours\nextends = \"rabbitmq-5\"\n")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile own.toml:2: extends = \"rabbitmq-5\": there is no such profile; there are \
         rabbitmq-3.10, rabbitmq-3.13, rabbitmq-4, spec, and files whose names end in .toml"
    );
    let error = read(&[("own.toml", "extends = \"gone.toml\"\n")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile own.toml:1: extends = \"gone.toml\": cannot be read: no such file"
    );
    let circle = [
        ("a.toml", "extends = \"b.toml\"\n"),
        ("b.toml", "\nextends = \"a.toml\"\n"),
    ];
    assert_eq!(
        read(&circle).unwrap_err().to_string(),
        "profile b.toml:2: extends = \"a.toml\": a.toml, b.toml extend each other: a cycle"
    );
}

#[test]
fn a_profile_that_leaves_a_rule_without_a_way_to_pass_is_refused() {
    let error = read(&[("own.toml", "texts = \"exact\"\n")])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("profile own.toml: it says nothing of ERR-03, which has the variants"),
        "{error}"
    );
}

#[test]
fn a_word_is_a_name_or_a_path() {
    assert_eq!(Profile::find("spec").unwrap().name(), "spec");
    let error = Profile::find("rabbitmq-5").unwrap_err();
    assert!(
        error.to_string().contains("there is no such profile"),
        "{error}"
    );
    let error = Profile::find("no/such/file.toml").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no/such/file.toml: cannot be read"),
        "{error}"
    );
}
