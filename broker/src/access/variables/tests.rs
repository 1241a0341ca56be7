//! Names that look like patterns (attack 47), and keys that are judged as they are (attack 48).

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::access::Pattern;

/// Places in which a name stands for itself, with what stands before and behind it.
const PLACES: &[&str] = &[
    "^{username}$",
    "^({username})$",
    "^(?:{username}|never)$",
    "^(?x) {username} $",
    "^[ab]{0}{username}[]a]{0}$",
    "^\\\\{0}{username}$",
    "^[\\]]{0}{username}$",
    "^[[:alpha:]&&[a]]{0}{username}$",
];

/// Names with everything in them that is special somewhere.
const NAMES: &[&str] = &[
    ".*",
    "a|b",
    "^",
    "$",
    "(",
    ")",
    "[a-z]",
    "]",
    "-",
    "a-z",
    "\\",
    "\\d",
    "x{2}",
    "{username}",
    "{vhost}",
    "a b",
    "#",
    "a#b",
    "&&",
    "~~",
    "--",
    "(?i)a",
    "a+",
    "\n",
    "é",
    "(?-x:",
];

fn matches(pattern: &str, name: &str, key: &str) -> bool {
    let compiled = Pattern::of_keys(pattern, name, "the vhost").unwrap();
    compiled.matches(key)
}

#[test]
fn attack_47_a_name_stands_for_itself_alone() {
    for place in PLACES {
        for name in NAMES {
            assert!(matches(place, name, name), "{place} {name:?}");
            for other in NAMES.iter().filter(|other| *other != name) {
                assert!(!matches(place, name, other), "{place} {name:?} {other:?}");
            }
            for other in ["", "a", "b", "ab", "z", "d", "xx", "5", "A", "the vhost"] {
                assert!(!matches(place, name, other), "{place} {name:?} {other:?}");
            }
        }
    }
}

#[test]
fn attack_47_a_name_is_one_thing_to_what_follows_it() {
    assert!(matches("^{username}+$", "ab", "abab"));
    assert!(!matches("^{username}+$", "ab", "abb"));
    assert!(matches("^{username}?$", "ab", "") && !matches("^{username}?$", "ab", "a"));
}

#[test]
fn attack_47_there_is_no_variable_where_a_name_is_taken_apart() {
    for pattern in [
        "[{username}]",
        "[^{username}]",
        "[^]{username}]",
        "[]{vhost}]",
        "[a-{username}]",
        "[a[b]{username}]",
        "[[:alpha:]{username}]",
        "[\\]{username}]",
        "[a&&{username}]",
        "\\{username}",
        "\\\\\\{vhost}",
        "^ok$|[{vhost}]",
    ] {
        let refused = Pattern::of_keys(pattern, "ada", "/").unwrap_err();
        assert_eq!(refused, PatternError::Variable, "{pattern}");
    }
}

#[test]
fn perm_14_both_names_have_a_place() {
    assert!(
        Pattern::of_keys("^{vhost}-{username}$", "u", "v")
            .unwrap()
            .matches("v-u")
    );
    let plain = Pattern::of_keys("^a{2}$", "u", "v").unwrap();
    assert!(plain.matches("aa"), "other braces are no variables");
    assert!(Pattern::of_keys("", "u", "v").unwrap().matches(""));
}

/// A pattern for keys is about the text of a key, and wildcards of a binding key are text.
#[test]
fn attack_48_a_binding_key_is_judged_by_its_text() {
    let own = |key| matches("^{username}\\.[a-z]+$", "ada", key);
    assert!(own("ada.orders"));
    for key in [
        "#",
        "*.orders",
        "ada.#",
        "ada.*",
        "ada.orders.#",
        "ada",
        "eve.orders",
    ] {
        assert!(!own(key), "{key}");
    }
}

proptest! {
    #[test]
    fn whatever_the_name_is_it_matches_itself_and_nothing_else(
        name in "\\PC{0,12}",
        other in "\\PC{0,12}",
        place in proptest::sample::select(PLACES),
    ) {
        prop_assert!(matches(place, &name, &name));
        prop_assert_eq!(matches(place, &name, &other), name == other);
    }
}
