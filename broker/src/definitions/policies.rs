//! Policies as definitions write them, and as vhosts have them.
//!
//! What it is not: the rules; which keys there are and what they may say is [`crate::core::policy`]'s.
//!
//! Invariants: a key that is not known here is named in the report and left out, and so is a policy that
//! has no other; a key that is known and changes nothing is named and kept. Everything else that is wrong
//! keeps the file from being imported.

use leveret_protocol::{Array, ArrayBuf, TableBuf, Value};

use super::document::{Definitions, Place, PolicyDefinition};
use super::report::Report;
use crate::core::policy::{
    ApplyTo, Definition, KeyEffect, Policy, PolicyError, PolicyKind, PolicyValue, effect, is_known,
};
use crate::core::topology::Topology;

/// The policy that a definition asks for, without the keys that are not known here.
///
/// # Errors
/// Everything that is wrong with it, each with its path in the entry.
pub(super) fn policy_of(one: &PolicyDefinition) -> Result<Policy, Vec<String>> {
    let definition: Definition = keys(one).collect();
    let (kind, name, pattern) = (kind(one), &*one.name, &*one.pattern);
    let errors = Policy::errors(kind, name, pattern, &definition);
    let problems = errors.iter().map(|error| problem(one, error));
    match apply_to(one) {
        Err(problem) => Err(std::iter::once(problem).chain(problems).collect()),
        Ok(apply_to) => Policy::new(kind, name, pattern, apply_to, one.priority, definition)
            .map_err(|_| problems.collect()),
    }
}

/// Whether a definition has keys, and none that is known here. It cannot be a policy then, and is none
/// that would do anything.
pub(super) fn asks_for_nothing(one: &PolicyDefinition) -> bool {
    !one.definition.view().is_empty() && keys(one).next().is_none()
}

fn apply_to(one: &PolicyDefinition) -> Result<ApplyTo, String> {
    let (within, found) = (within(one), &one.apply_to);
    ApplyTo::from_name(found).ok_or_else(|| {
        let names = ApplyTo::EVERY.map(ApplyTo::as_str).join(", ");
        format!("{within}apply-to: expected one of {names}; found '{found}'")
    })
}

fn problem(one: &PolicyDefinition, error: &PolicyError) -> String {
    let (within, reason) = (within(one), &error.reason);
    match &error.key {
        Some(key) => format!("{within}definition.{key}: {reason}"),
        None => format!("{within}{reason}"),
    }
}

/// Where in its entry a policy's fields are: operator policies are values of parameters.
fn within(one: &PolicyDefinition) -> &'static str {
    match one.is_operator {
        true => "value.",
        false => "",
    }
}

fn kind(one: &PolicyDefinition) -> PolicyKind {
    match one.is_operator {
        true => PolicyKind::Operator,
        false => PolicyKind::User,
    }
}

fn keys(one: &PolicyDefinition) -> impl Iterator<Item = (Box<str>, PolicyValue)> {
    let entries = one.definition.view().entries();
    entries.filter_map(|(key, value)| {
        let key = key.to_text();
        is_known(&key).then(|| (Box::from(&*key), value_of(&value)))
    })
}

fn value_of(value: &Value<'_>) -> PolicyValue {
    match *value {
        Value::I64(number) => PolicyValue::Number(number),
        Value::Bool(flag) => PolicyValue::Bool(flag),
        Value::LongStr(text) => PolicyValue::Text(String::from_utf8_lossy(text).into()),
        Value::Array(items) => PolicyValue::List(list_of(items)),
        ref other => PolicyValue::Other(format!("{other:?}").into()),
    }
}

fn list_of(items: Array<'_>) -> Vec<PolicyValue> {
    items.values().map(|item| value_of(&item)).collect()
}

/// Names every key that changes nothing here, and every policy of which nothing is left.
pub(super) fn report(definitions: &Definitions, report: &mut Report) {
    for one in &definitions.policies {
        if asks_for_nothing(one) {
            report.not_honoured(&one.place, "it has no key that is known here");
        }
        for (key, _) in one.definition.view().entries() {
            let key = key.to_text();
            if let Some(reason) = no_effect(&key) {
                let what = format!("{} {}definition.{key}", one.place, within(one));
                report.not_honoured(what, reason);
            }
        }
    }
}

/// Why a key changes nothing here, if it does not.
fn no_effect(key: &str) -> Option<&'static str> {
    match effect(key) {
        _ if !is_known(key) => Some("there is no such policy key here"),
        KeyEffect::NotHonoured => Some("this policy key has no effect here"),
        KeyEffect::Needless => Some("there is nothing for this policy key to decide on one node"),
        KeyEffect::Applied => None,
    }
}

/// The policies of a vhost, as definitions.
pub(super) fn definitions_of(topology: &Topology) -> impl Iterator<Item = PolicyDefinition> {
    let policies = topology.policies();
    let kinds = [PolicyKind::User, PolicyKind::Operator];
    let all = kinds.into_iter().flat_map(|kind| policies.of_kind(kind));
    all.map(|policy| definition_of(policy, topology.vhost()))
}

fn definition_of(policy: &Policy, vhost: &str) -> PolicyDefinition {
    let entries = policy.definition().iter();
    let definition = entries.fold(TableBuf::new(), |table, (key, value)| {
        with(table, key, value)
    });
    PolicyDefinition {
        place: Place::default(),
        vhost: vhost.to_owned(),
        name: policy.name().to_string(),
        is_operator: policy.kind() == PolicyKind::Operator,
        pattern: policy.pattern().as_str().to_owned(),
        apply_to: policy.apply_to().as_str().to_owned(),
        priority: policy.priority(),
        definition,
    }
}

/// The table with one key more.
fn with(table: TableBuf, key: &str, value: &PolicyValue) -> TableBuf {
    match value {
        PolicyValue::Number(number) => table.with(key, Value::I64(*number)),
        PolicyValue::Bool(flag) => table.with(key, Value::Bool(*flag)),
        PolicyValue::Text(text) | PolicyValue::Other(text) => {
            table.with(key, Value::LongStr(text.as_bytes()))
        }
        PolicyValue::List(items) => table.with(key, Value::Array(array_of(items).view())),
    }
}

fn array_of(items: &[PolicyValue]) -> ArrayBuf {
    // An array is built at once from borrowed values, so what they borrow is made first.
    let owned = items.iter().map(|item| with(TableBuf::new(), "", item));
    let owned: Vec<_> = owned.collect();
    owned.iter().filter_map(|one| one.view().get("")).collect()
}
