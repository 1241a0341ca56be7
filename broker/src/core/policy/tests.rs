//! What a policy may say, and what is said about one that may not be set.

#![allow(clippy::unwrap_used)]

use super::*;

fn built(kind: PolicyKind, definition: &[(&str, PolicyValue)]) -> Result<Policy, PolicyError> {
    let definition = definition.iter().cloned();
    Policy::new(kind, "p", "x", ApplyTo::Queues, 0, definition)
}

fn reason(kind: PolicyKind, definition: &[(&str, PolicyValue)]) -> String {
    built(kind, definition).unwrap_err().reason
}

fn other(written: &str) -> PolicyValue {
    PolicyValue::Other(Box::from(written))
}

#[test]
fn wrong_values_are_refused_in_the_words_of_the_reference() {
    let wrong: [(&str, PolicyValue, &str); 21] = [
        (
            "max-length",
            (-1).into(),
            "-1 is not a valid maximum length",
        ),
        (
            "max-length",
            "a".into(),
            "<<\"a\">> is not a valid maximum length",
        ),
        (
            "max-length",
            other("1.5"),
            "1.5 is not a valid maximum length",
        ),
        (
            "max-length",
            true.into(),
            "true is not a valid maximum length",
        ),
        (
            "max-length",
            PolicyValue::List(vec!["a".into(), 2.into()]),
            "[<<\"a\">>,2] is not a valid maximum length",
        ),
        (
            "max-length-bytes",
            (-1).into(),
            "-1 is not a valid maximum length in bytes",
        ),
        ("message-ttl", (-1).into(), "-1 is not a valid message TTL"),
        ("expires", 0.into(), "0 is not a valid queue expiry"),
        (
            "overflow",
            "xx".into(),
            "<<\"xx\">> is not a valid overflow value",
        ),
        (
            "dead-letter-strategy",
            "xx".into(),
            "<<\"xx\">> is not a valid dead letter strategy",
        ),
        (
            "dead-letter-exchange",
            1.into(),
            "1 is not a valid dead letter exchange name",
        ),
        (
            "dead-letter-routing-key",
            1.into(),
            "1 is not a valid dead letter routing key",
        ),
        (
            "alternate-exchange",
            1.into(),
            "1 is not a valid alternate exchange name",
        ),
        (
            "delivery-limit",
            (-1).into(),
            "-1 is not a valid delivery limit",
        ),
        (
            "queue-version",
            3.into(),
            "3 is not a valid queue-version value",
        ),
        (
            "queue-mode",
            "x".into(),
            "<<\"x\">> is not a valid queue-mode value",
        ),
        (
            "queue-master-locator",
            "x".into(),
            "<<\"x\">> invalid queue-master-locator value",
        ),
        ("max-age", "1x".into(), "<<\"1x\">> is not a valid max age"),
        (
            "ha-mode",
            "x".into(),
            "<<\"x\">> is not a valid ha-mode value",
        ),
        (
            "ha-mode",
            "exactly".into(),
            "ha-mode=\"exactly\" takes an integer, none given",
        ),
        (
            "ha-sync-mode",
            "automatic".into(),
            "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown",
        ),
    ];
    for (key, value, text) in wrong {
        assert_eq!(reason(PolicyKind::User, &[(key, value)]), text);
    }
}

#[test]
fn unknown_keys_are_listed_and_an_empty_definition_is_none() {
    assert_eq!(reason(PolicyKind::User, &[]), "no policy provided");
    let unknown = [
        ("bogus", 1.into()),
        ("bogus2", "b".into()),
        ("expires", 1.into()),
    ];
    assert_eq!(
        reason(PolicyKind::User, &unknown),
        "[{<<\"bogus\">>,1},{<<\"bogus2\">>,<<\"b\">>}] are not recognised policy settings"
    );
    let operator = [("dead-letter-exchange", "x".into())];
    assert_eq!(
        reason(PolicyKind::Operator, &operator),
        "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings"
    );
}

#[test]
fn a_refusal_names_policy_and_key() {
    let refused = built(PolicyKind::Operator, &[("max-length", (-1).into())]);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "operator policy 'p', key 'max-length': -1 is not a valid maximum length"
    );
    let none: [(&str, i64); 1] = [("max-length", 1)];
    let refused = Policy::new(PolicyKind::User, "p", "(", ApplyTo::All, 0, none);
    let text = refused.unwrap_err().to_string();
    let expected = "policy 'p': pattern should be regular expression but is invalid: '(': ";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_comes_of_a_key_is_told() {
    let policy = built(
        PolicyKind::User,
        &[
            ("federation-upstream", "u".into()),
            ("ha-mode", "all".into()),
            ("max-length", 1.into()),
        ],
    );
    let expected = [
        ("federation-upstream", KeyEffect::NotHonoured),
        ("ha-mode", KeyEffect::Needless),
        ("max-length", KeyEffect::Applied),
    ];
    assert_eq!(policy.unwrap().effects().collect::<Vec<_>>(), expected);
}

#[test]
fn pol_01_a_policy_is_for_what_it_says_and_for_queues_that_know_all_its_keys() {
    use QueueType::{Classic, Quorum};
    let of = |apply_to, key: &str, value: PolicyValue| {
        Policy::new(PolicyKind::User, "p", "^x", apply_to, 0, [(key, value)]).unwrap()
    };
    let length = |apply_to| of(apply_to, "max-length", 1.into());
    let told: Vec<_> = ApplyTo::EVERY
        .map(length)
        .iter()
        .map(|p| {
            let queues = [Classic, Quorum].map(|kind| p.is_for_queue("x", kind));
            (queues, p.is_for_exchange("x"))
        })
        .collect();
    let expected = [
        ([true, true], true),
        ([true, true], false),
        ([true, false], false),
        ([false, true], false),
        ([false, false], false),
        ([false, false], true),
    ];
    assert_eq!(told, expected);
    assert!(!length(ApplyTo::All).is_for_queue("y", Classic));
    assert!(!length(ApplyTo::All).is_for_exchange("y"));
    let lazy = of(ApplyTo::All, "queue-mode", "lazy".into());
    assert!(lazy.is_for_queue("x", Classic) && !lazy.is_for_queue("x", Quorum));
    let aged = of(ApplyTo::All, "max-age", "1h".into());
    assert!(!aged.is_for_queue("x", Classic) && aged.is_for_exchange("x"));
}
