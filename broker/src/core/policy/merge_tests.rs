//! Which policies apply, and what they come to with arguments, against a naive statement of the rules.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::core::queue::Overflow;
use crate::core::queue::arguments::QueueArguments;

fn policy(kind: PolicyKind, name: &str, priority: i64, key: &str, value: i64) -> Arc<Policy> {
    let definition = [(key, value)];
    Arc::new(Policy::new(kind, name, "^a", ApplyTo::All, priority, definition).unwrap())
}

fn of_classic(policies: &Policies, name: &str) -> Settings {
    policies.for_queue(name, QueueType::Classic)
}

#[test]
fn pol_01_one_policy_and_one_operator_policy_apply_and_the_highest_priority_decides() {
    use PolicyKind::{Operator, User};
    let mut policies = Policies::default();
    policies.set(policy(User, "low", 1, "max-length", 1));
    policies.set(policy(User, "high", 2, "message-ttl", 2));
    policies.set(policy(User, "also-high", 2, "expires", 3));
    policies.set(policy(Operator, "high", -5, "max-length", 4));
    let settings = of_classic(&policies, "a");
    let name = |policy: Option<&Arc<Policy>>| policy.map(|policy| policy.name().to_string());
    assert_eq!(name(settings.policy()).as_deref(), Some("also-high"));
    assert_eq!(name(settings.operator_policy()).as_deref(), Some("high"));
    let definition: Vec<_> = settings.definition().into_iter().collect();
    assert_eq!(
        definition,
        [("expires", &3.into()), ("max-length", &4.into())],
        "nothing of the others"
    );
    policies.clear(User, "also-high").unwrap();
    policies.clear(User, "high").unwrap();
    assert_eq!(
        name(of_classic(&policies, "a").policy()).as_deref(),
        Some("low")
    );
    assert!(policies.clear(User, "high").is_none());
    assert_eq!(of_classic(&policies, "b"), Settings::default());
    assert_eq!(
        policies.for_exchange("a").policy().unwrap().name().as_ref(),
        "low"
    );
}

#[test]
fn pol_02_limits_take_the_smallest_and_choices_the_argument_then_the_operator() {
    let of = |kind, definition: [(&str, PolicyValue); 2]| {
        Arc::new(Policy::new(kind, "p", "", ApplyTo::Queues, 0, definition).unwrap())
    };
    let overflow = |name: &str| ("overflow", PolicyValue::from(name));
    let user = of(
        PolicyKind::User,
        [("max-length", 5.into()), overflow("reject-publish")],
    );
    let stricter = ("max-length", 3.into());
    let operators = of(PolicyKind::Operator, [stricter, overflow("drop-head")]);
    let settings = Settings::new(Some(user), Some(operators));
    let merged = QueueArguments::default().under(&settings);
    assert_eq!(merged.length_max, Some(3));
    assert_eq!(merged.overflow, Some(Overflow::DropHead));
    let declared = QueueArguments {
        length_max: Some(2),
        overflow: Some(Overflow::RejectPublishDeadLetter),
        ..QueueArguments::default()
    };
    assert_eq!(declared.clone().under(&settings), declared);
}

#[test]
fn deliv_13_the_shorter_consumer_timeout_counts_and_zero_is_for_ever() {
    for (argument, policy_ms, merged) in [
        (None, 5, Some(5)),
        (Some(3), 5, Some(3)),
        (Some(0), 5, Some(5)),
        (Some(3), 0, Some(3)),
        (None, 0, Some(0)),
    ] {
        let timeout = policy(PolicyKind::User, "p", 0, "consumer-timeout", policy_ms);
        let declared = QueueArguments {
            consumer_timeout_ms: argument,
            ..QueueArguments::default()
        };
        let settings = Settings::new(Some(timeout), None);
        assert_eq!(declared.under(&settings).consumer_timeout_ms, merged);
    }
}

#[test]
fn a_time_beyond_ten_years_is_ten_years() {
    let far = policy(PolicyKind::User, "p", 0, "expires", i64::MAX);
    let merged = QueueArguments::default().under(&Settings::new(Some(far), None));
    assert_eq!(merged.expires_ms, Some(crate::core::EXPIRY_MS_MAX));
}

const LIMITS: [&str; 4] = ["message-ttl", "expires", "max-length", "max-length-bytes"];
const TEXTS: [&str; 2] = ["dead-letter-exchange", "dead-letter-routing-key"];
const OVERFLOWS: [&str; 3] = ["drop-head", "reject-publish", "reject-publish-dlx"];

/// What somebody asks for: a policy, or a queue's arguments.
#[derive(Clone, Debug)]
struct Wishes {
    limits: [Option<i64>; 4],
    texts: [Option<String>; 2],
    overflow: Option<usize>,
}

#[derive(Clone, Debug)]
struct Rule {
    wishes: Wishes,
    pattern: &'static str,
    priority: i64,
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let limit = || prop::option::of(1i64..6);
    let text = || prop::option::of("[a-c]");
    let limits = [limit(), limit(), limit(), limit()];
    let overflow = prop::option::of(0usize..3);
    (limits, [text(), text()], overflow).prop_map(|(limits, texts, overflow)| Wishes {
        limits,
        texts,
        overflow,
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let pattern = prop::sample::select(vec!["", "^a", "b$", "^c$"]);
    let rule = (wishes(), pattern, 0i64..3).prop_map(|(wishes, pattern, priority)| Rule {
        wishes,
        pattern,
        priority,
    });
    prop::collection::vec(rule, 0..4)
}

/// Texts are for policies only; the key of no limit at all is left out, as no policy may be empty.
fn definition(kind: PolicyKind, wishes: &Wishes) -> Vec<(&'static str, PolicyValue)> {
    let limits = LIMITS.into_iter().zip(wishes.limits);
    let mut definition: Vec<_> = limits
        .filter_map(|(key, limit)| Some((key, PolicyValue::from(limit?))))
        .collect();
    if let Some(overflow) = wishes.overflow {
        definition.push(("overflow", OVERFLOWS[overflow].into()));
    }
    if kind == PolicyKind::User {
        let texts = TEXTS.into_iter().zip(wishes.texts.clone());
        definition.extend(texts.filter_map(|(key, text)| Some((key, text?.into()))));
    }
    definition
}

fn add(policies: &mut Policies, kind: PolicyKind, rules: &[Rule]) {
    for (number, rule) in rules.iter().enumerate() {
        let name = number.to_string();
        let definition = definition(kind, &rule.wishes);
        let (pattern, priority) = (rule.pattern, rule.priority);
        // One that asks for nothing cannot exist.
        if !definition.is_empty() {
            let policy = Policy::new(kind, &name, pattern, ApplyTo::All, priority, definition);
            policies.set(Arc::new(policy.unwrap()));
        }
    }
}

fn declared(wishes: &Wishes) -> QueueArguments {
    let limit = |at: usize| wishes.limits[at].map(|limit| limit as u64);
    let text = |at: usize| wishes.texts[at].clone().map(|t| t.into_bytes().into());
    QueueArguments {
        message_ttl_ms: limit(0),
        expires_ms: limit(1),
        length_max: limit(2),
        length_bytes_max: limit(3),
        overflow: wishes.overflow.map(|at| {
            [
                Overflow::DropHead,
                Overflow::RejectPublish,
                Overflow::RejectPublishDeadLetter,
            ][at]
        }),
        dead_letter_exchange: text(0),
        dead_letter_routing_key: text(1),
        ..QueueArguments::default()
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern {
        "" => true,
        "^a" => name.starts_with('a'),
        "b$" => name.ends_with('b'),
        _ => name == "c",
    }
}

/// Looks at priorities from the highest down, and at names in their order.
fn decisive(kind: PolicyKind, rules: &[Rule], name: &str) -> Option<Wishes> {
    (0..3).rev().find_map(|priority| {
        let rule = rules.iter().find(|rule| {
            rule.priority == priority
                && matches(rule.pattern, name)
                && !definition(kind, &rule.wishes).is_empty()
        });
        rule.map(|rule| rule.wishes.clone())
    })
}

/// Whoever comes first in the list has the choice; limits are the smallest of all.
fn naive(argument: &Wishes, operators: Option<Wishes>, users: Option<Wishes>) -> Wishes {
    let of_operators = operators.map(|wishes| Wishes {
        texts: [None, None],
        ..wishes
    });
    let all: Vec<_> = std::iter::once(argument.clone())
        .chain(of_operators)
        .chain(users)
        .collect();
    let limit = |at: usize| all.iter().filter_map(|wishes| wishes.limits[at]).min();
    let text = |at: usize| all.iter().find_map(|wishes| wishes.texts[at].clone());
    Wishes {
        limits: [limit(0), limit(1), limit(2), limit(3)],
        texts: [text(0), text(1)],
        overflow: all.iter().find_map(|wishes| wishes.overflow),
    }
}

proptest! {
    #[test]
    fn pol_02_len_10_dlx_24_merging_is_as_the_rules_say(
        argument in wishes(),
        users in rules(),
        operators in rules(),
        name in "[a-c]{1,2}",
    ) {
        let mut policies = Policies::default();
        add(&mut policies, PolicyKind::User, &users);
        add(&mut policies, PolicyKind::Operator, &operators);
        let merged = declared(&argument).under(&of_classic(&policies, &name));
        let user = decisive(PolicyKind::User, &users, &name);
        let operator = decisive(PolicyKind::Operator, &operators, &name);
        prop_assert_eq!(merged, declared(&naive(&argument, operator, user)));
    }
}
