//! Policies as definitions write them, and as vhosts have them.
//!
//! What it is not: the rules; which keys there are and what they may say is [`crate::core::policy`]'s.
//!
//! Invariant: a key that no version of RabbitMQ's policies has here is named in the report and left out;
//! everything else that is wrong keeps the file from being imported.

use leveret_protocol::{Array, ArrayBuf, TableBuf, Value};

use super::document::{Definitions, Place, PolicyDefinition};
use super::report::Report;
use crate::core::policy::{ApplyTo, KeyEffect, Policy, PolicyKind, PolicyValue, is_known};
use crate::core::topology::Topology;

/// The policy that a definition asks for, without the keys that are not known here.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn policy_of(one: &PolicyDefinition) -> Result<Policy, String> {
    let apply_to = ApplyTo::from_name(&one.apply_to)
        .ok_or_else(|| format!("apply-to: there is no '{}'", one.apply_to))?;
    let kind = kind(one);
    Policy::new(
        kind,
        &one.name,
        &one.pattern,
        apply_to,
        one.priority,
        keys(one),
    )
    .map_err(|error| error.to_string())
}

fn kind(one: &PolicyDefinition) -> PolicyKind {
    match one.is_operator {
        true => PolicyKind::Operator,
        false => PolicyKind::User,
    }
}

fn keys(one: &PolicyDefinition) -> impl Iterator<Item = (String, PolicyValue)> {
    let entries = one.definition.view().entries();
    entries.filter_map(|(key, value)| {
        let key = key.to_text().into_owned();
        is_known(&key).then(|| (key, value_of(&value)))
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

/// Names every key that changes nothing here.
pub(super) fn report(definitions: &Definitions, report: &mut Report) {
    for one in &definitions.policies {
        for (key, _) in one.definition.view().entries() {
            let key = key.to_text();
            if !is_known(&key) {
                let what = format!("{} key '{key}'", one.place);
                report.not_honoured(what, "there is no such policy key here");
            }
        }
        let Ok(policy) = policy_of(one) else { continue };
        for (key, effect) in policy.effects() {
            if effect == KeyEffect::NotHonoured {
                let what = format!("{} key '{key}'", one.place);
                report.not_honoured(what, "this policy key has no effect here");
            }
        }
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
