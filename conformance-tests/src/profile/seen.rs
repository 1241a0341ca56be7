//! What one run of a test had to do with variants: which the broker showed, and which the test asked for
//! without having declared them.

use std::sync::{Mutex, PoisonError};

use super::Variant;
use crate::failure::Failure;
use crate::registry::Rule;

/// The variants of one run of a test.
#[derive(Debug, Default)]
pub(crate) struct SeenVariants {
    seen: Mutex<Vec<Variant>>,
    undeclared: Mutex<Vec<Variant>>,
}

impl SeenVariants {
    /// The broker has shown this one.
    pub(crate) fn record(&self, variant: Variant) {
        push_once(&self.seen, variant);
    }

    /// The test has asked for this one. A report and a profile know only those that its row declares.
    pub(crate) fn ask(&self, rule: &Rule, variant: Variant) {
        if !rule.all_variants().any(|declared| declared == variant) {
            push_once(&self.undeclared, variant);
        }
    }

    /// Those that were shown.
    pub(crate) fn shown(&self) -> Vec<Variant> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Fails if the test asked for what its row does not declare.
    pub(crate) fn expect_declared(&self, rule: &Rule) -> Result<(), Failure> {
        let undeclared = self
            .undeclared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match undeclared.first() {
            None => Ok(()),
            Some(variant) => Err(Failure::new(format!(
                "a mistake of the test: it asks for variant {variant}, which the row of {} does not \
                 declare",
                rule.name()
            ))),
        }
    }
}

fn push_once(list: &Mutex<Vec<Variant>>, variant: Variant) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    if !list.contains(&variant) {
        list.push(variant);
    }
}
