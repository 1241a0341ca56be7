//! [`Settings`]: what a policy and an operator policy say together.
//!
//! What it is not: merged with arguments (see [`super::merge`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Policy, PolicyValue};

/// The policies that apply to one queue or exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    policy: Option<Arc<Policy>>,
    operator_policy: Option<Arc<Policy>>,
}

impl Settings {
    pub(super) fn new(policy: Option<Arc<Policy>>, operator_policy: Option<Arc<Policy>>) -> Self {
        Self {
            policy,
            operator_policy,
        }
    }

    /// The policy that applies.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// The operator policy that applies.
    pub fn operator_policy(&self) -> Option<&Arc<Policy>> {
        self.operator_policy.as_ref()
    }

    /// The value of one key. Where both have it, the smaller number counts; what is no limit but a choice
    /// is the operator's.
    pub fn value(&self, key: &str) -> Option<&PolicyValue> {
        let own = value_of(self.policy.as_ref(), key);
        let operators = value_of(self.operator_policy.as_ref(), key);
        match (own, operators) {
            (Some(own), Some(operators)) => Some(stricter(key, own, operators)),
            (own, operators) => own.or(operators),
        }
    }

    /// All keys with their values, as management shows them.
    pub fn definition(&self) -> BTreeMap<&str, &PolicyValue> {
        let policies = self.policy.iter().chain(&self.operator_policy);
        let keys = policies.flat_map(|policy| policy.definition().keys());
        let entries = keys.filter_map(|key| Some((&**key, self.value(key)?)));
        entries.collect()
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.as_unsigned()
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_text()
    }
}

fn value_of<'p>(policy: Option<&'p Arc<Policy>>, key: &str) -> Option<&'p PolicyValue> {
    policy?.definition().get(key)
}

/// Which of two versions of a queue is newer is no matter of strictness.
fn stricter<'p>(key: &str, own: &'p PolicyValue, operators: &'p PolicyValue) -> &'p PolicyValue {
    match (own, operators) {
        (PolicyValue::Number(a), PolicyValue::Number(b)) if key != "queue-version" && a < b => own,
        _ => operators,
    }
}
