//! The policies that a test has had set.
//!
//! What it is not: it sets none itself; [`crate::operator`] does.
//!
//! Invariant: a policy counts as set from the moment somebody is asked to set it until somebody has cleared
//! it, so the clean-up never leaves one behind. No two orders about policies are carried out at once: RabbitMQ
//! applies all that is set to all queues with each order, and the one that comes second finds nothing left to do and
//! is done before the first has told the queues.

use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::operator::{Order, PolicyName, PolicyOrder};
use crate::target::Target;

/// Of the turn that an order about policies waits for.
const TURN: &str = "policies";

#[derive(Debug, Default)]
pub(crate) struct SetPolicies(Mutex<Vec<PolicyName>>);

impl SetPolicies {
    pub(crate) async fn set(&self, target: &Target, policy: PolicyOrder) -> Result<(), Failure> {
        self.edit(|all| {
            if !all.contains(&policy.name) {
                all.push(policy.name.clone());
            }
        });
        let _turn = target.lock(TURN).await;
        target.operate(Order::SetPolicy(policy)).await
    }

    pub(crate) async fn clear(&self, target: &Target, name: PolicyName) -> Result<(), Failure> {
        let turn = target.lock(TURN).await;
        target.operate(Order::ClearPolicy(name.clone())).await?;
        drop(turn);
        self.edit(|all| all.retain(|one| *one != name));
        Ok(())
    }

    pub(crate) async fn clear_all(&self, target: &Target) -> Result<(), Failure> {
        let mut left = Vec::new();
        self.edit(|all| left.clone_from(all));
        for name in left {
            self.clear(target, name).await?;
        }
        Ok(())
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<PolicyName>)) {
        edit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
